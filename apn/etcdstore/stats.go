package etcdstore

import (
	"context"
	"fmt"
)

// Stats counts since [New] or [Open].
type Stats struct {
	Commits   uint64 // acknowledged
	Conflicts uint64
}

// Stats returns figures for a metrics page.
func (s *Store) Stats() Stats {
	return Stats{Commits: s.commits.Load(), Conflicts: s.conflicts.Load()}
}

// Ping reports whether the cluster answers and has a leader, and whether this
// program still knows the format: a health check.
func (s *Store) Ping(ctx context.Context) error {
	resp, err := s.client.Get(ctx, s.formatKey())
	if err == nil {
		err = checkFormat(resp.Kvs)
	}
	if err != nil {
		return fmt.Errorf("etcdstore: ping: %w", err)
	}
	return nil
}
