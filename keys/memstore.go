package keys

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// MemStore is a [Store] in memory, for tests and as the reference. The zero
// value is empty and ready.
type MemStore struct {
	mu   sync.Mutex
	rev  uint64
	rows map[string]map[string]Row // network, key
}

// Networks implements [Store].
func (m *MemStore) Networks(ctx context.Context, after string, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(m.rows)), func(n string) bool { return n <= after || len(m.rows[n]) == 0 })
	return names[:min(len(names), limit)], ctx.Err()
}

// Get implements [Store].
func (m *MemStore) Get(ctx context.Context, network string, keys ...string) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Row
	for _, k := range keys {
		if r, ok := m.rows[network][k]; ok {
			r.Value = bytes.Clone(r.Value)
			rows = append(rows, r)
		}
	}
	return rows, ctx.Err()
}

// List implements [Store].
func (m *MemStore) List(ctx context.Context, network, prefix, after string, limit int) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Row
	for _, k := range slices.Sorted(maps.Keys(m.rows[network])) {
		if len(rows) < limit && k > after && strings.HasPrefix(k, prefix) {
			r := m.rows[network][k]
			r.Value = bytes.Clone(r.Value)
			rows = append(rows, r)
		}
	}
	return rows, ctx.Err()
}

// Swap implements [Store].
func (m *MemStore) Swap(ctx context.Context, network string, checks, writes []Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Concat(checks, writes) {
		if m.rows[network][r.Key].Rev != r.Rev {
			return fmt.Errorf("keys: swap %q of %q: %w", r.Key, network, ErrConflict)
		}
	}
	if m.rows == nil {
		m.rows = map[string]map[string]Row{}
	}
	if m.rows[network] == nil {
		m.rows[network] = map[string]Row{}
	}
	m.rev++
	for _, r := range writes {
		if r.Value == nil {
			delete(m.rows[network], r.Key)
			continue
		}
		m.rows[network][r.Key] = Row{Key: r.Key, Value: bytes.Clone(r.Value), Rev: m.rev}
	}
	return nil
}
