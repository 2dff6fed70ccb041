package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mem is a [Store], [Waiter] and [Compactor] in memory: the reference for
// adapters, and the store of tests. It is durable for as long as the process
// lives. The zero Mem is empty and ready for use.
//
// Mem is strict where engines differ: Commit refuses names, keys and values
// beyond the limits of the package, except long values, and keys that stand
// twice in a batch. Its revisions jump, because all spaces share one counter.
type Mem struct {
	rev    atomic.Uint64
	spaces sync.Map // name -> *memSpace
}

// NewMem returns an empty Mem.
func NewMem() *Mem { return &Mem{} }

type memSpace struct {
	mu    sync.Mutex
	rev   Rev
	floor Rev // deletions up to here are forgotten
	rows  map[string]memRow
	keys  []string      // keys of rows, sorted; those in fresh are missing
	fresh []string      // keys added since keys was sorted
	log   []memChange   // by rev; a change whose row has another rev is stale
	wake  chan struct{} // closed by the next commit; nil if nobody waits
}

type memRow struct {
	value []byte // nil: deleted
	rev   Rev
}

type memChange struct {
	rev Rev
	key string
}

// space returns the locked space; the caller unlocks it.
func (m *Mem) space(name string) *memSpace {
	v, ok := m.spaces.Load(name)
	if !ok {
		v, _ = m.spaces.LoadOrStore(name, &memSpace{rows: map[string]memRow{}})
	}
	s := v.(*memSpace)
	s.mu.Lock()
	return s
}

// Get implements [Store].
func (m *Mem) Get(ctx context.Context, space string, keys ...string) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, fmt.Errorf("store: get from %q: %w", space, err)
	}
	s := m.space(space)
	defer s.mu.Unlock()
	p := Page{Rev: s.rev}
	for _, k := range keys {
		if r := s.rows[k]; r.value != nil {
			p.Entries = append(p.Entries, r.entry(k))
		}
	}
	return p, nil
}

// List implements [Store].
func (m *Mem) List(ctx context.Context, space, prefix, after string, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, fmt.Errorf("store: list %q: %w", space, err)
	}
	s := m.space(space)
	defer s.mu.Unlock()
	s.sort()
	p := Page{Rev: s.rev}
	i, _ := slices.BinarySearch(s.keys, max(prefix, after))
	for _, k := range s.keys[i:] {
		if !strings.HasPrefix(k, prefix) {
			break
		}
		r := s.rows[k]
		if k == after || r.value == nil {
			continue
		}
		if limit > 0 && len(p.Entries) == limit {
			p.More = true
			break
		}
		p.Entries = append(p.Entries, r.entry(k))
	}
	return p, nil
}

// Since implements [Store].
func (m *Mem) Since(ctx context.Context, space string, after Rev, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, fmt.Errorf("store: read %q since %d: %w", space, after, err)
	}
	s := m.space(space)
	defer s.mu.Unlock()
	if after < s.floor {
		return Page{}, fmt.Errorf("store: read %q since %d: %w", space, after, ErrCompacted)
	}
	p := Page{Rev: s.rev}
	i, _ := slices.BinarySearchFunc(s.log, after, func(c memChange, after Rev) int {
		if c.rev <= after {
			return -1
		}
		return 1
	})
	for _, c := range s.log[i:] {
		r := s.rows[c.key]
		if r.rev != c.rev {
			continue
		}
		if n := len(p.Entries); limit > 0 && n >= limit && p.Entries[n-1].Rev != c.rev {
			p.More = true
			break
		}
		p.Entries = append(p.Entries, r.entry(c.key))
	}
	return p, nil
}

// Commit implements [Store].
func (m *Mem) Commit(ctx context.Context, space string, b Batch) (Rev, error) {
	if err := b.valid(space); err != nil {
		return 0, fmt.Errorf("store: commit to %q: %w", space, err)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("store: commit to %q: %w", space, err)
	}
	s := m.space(space)
	defer s.mu.Unlock()
	if b.At != nil && *b.At != s.rev {
		return 0, fmt.Errorf("store: commit to %q: at revision %d, not %d: %w", space, s.rev, *b.At, ErrConflict)
	}
	for k, want := range b.Checks {
		if have := s.rows[k].live(); have != want {
			return 0, fmt.Errorf("store: commit to %q: row %q has revision %d, not %d: %w", space, k, have, want, ErrConflict)
		}
	}
	s.rev = Rev(m.rev.Add(1))
	for _, w := range b.Writes {
		if _, ok := s.rows[w.Key]; !ok {
			s.fresh = append(s.fresh, w.Key)
		}
		s.rows[w.Key] = memRow{value: bytes.Clone(w.Value), rev: s.rev}
		s.log = append(s.log, memChange{rev: s.rev, key: w.Key})
	}
	if len(s.log) > 2*len(s.rows) {
		s.trim()
	}
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
	return s.rev, nil
}

// Wait implements [Waiter].
func (m *Mem) Wait(ctx context.Context, space string, after Rev) error {
	s := m.space(space)
	if s.rev > after {
		s.mu.Unlock()
		return nil
	}
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	wake := s.wake
	s.mu.Unlock()
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("store: wait for %q: %w", space, ctx.Err())
	}
}

// Compact implements [Compactor].
func (m *Mem) Compact(ctx context.Context, space string, before Rev) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: compact %q: %w", space, err)
	}
	s := m.space(space)
	defer s.mu.Unlock()
	if before = min(before, s.rev); before <= s.floor {
		return nil
	}
	s.floor = before
	s.sort()
	s.keys = slices.DeleteFunc(s.keys, func(k string) bool {
		r := s.rows[k]
		if r.value != nil || r.rev > before {
			return false
		}
		delete(s.rows, k)
		return true
	})
	s.trim()
	return nil
}

// sort takes the fresh keys into the sorted ones.
func (s *memSpace) sort() {
	if len(s.fresh) == 0 {
		return
	}
	s.keys = append(s.keys, s.fresh...)
	slices.Sort(s.keys)
	s.fresh = nil
}

// trim drops the stale changes from the log.
func (s *memSpace) trim() {
	s.log = slices.DeleteFunc(s.log, func(c memChange) bool {
		return s.rows[c.key].rev != c.rev
	})
}

func (r memRow) entry(key string) Entry {
	return Entry{Key: key, Value: bytes.Clone(r.value), Rev: r.rev}
}

// live is the revision that Batch.Checks sees: a deleted row has none.
func (r memRow) live() Rev {
	if r.value == nil {
		return 0
	}
	return r.rev
}

// valid reports what in b or space is outside the grammar of the package.
func (b Batch) valid(space string) error {
	if err := validName(space); err != nil {
		return fmt.Errorf("name of the space: %w", err)
	}
	seen := make(map[string]bool, len(b.Writes))
	for _, w := range b.Writes {
		if err := validName(w.Key); err != nil {
			return fmt.Errorf("key %q: %w", w.Key, err)
		}
		if seen[w.Key] {
			return fmt.Errorf("key %q stands twice in the batch", w.Key)
		}
		seen[w.Key] = true
	}
	return nil
}

func validName(s string) error {
	if s == "" || len(s) > MaxKey {
		return fmt.Errorf("%d bytes, want 1 to %d", len(s), MaxKey)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("byte %#x is not printable ASCII", s[i])
		}
	}
	return nil
}
