package boltstore

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"
)

// Stats counts since Open, except where it says otherwise.
type Stats struct {
	Commits   uint64 // acknowledged
	Conflicts uint64
	Groups    uint64 // transactions; Commits per group is what joining gains
	FileBytes int64  // size of the data now; the file never shrinks
	FreeBytes int64  // how much of it waits for reuse
}

// Stats returns figures for a metrics page.
func (s *Store) Stats() Stats {
	st := Stats{
		Commits:   s.commits.Load(),
		Conflicts: s.conflicts.Load(),
		Groups:    s.groups.Load(),
		FreeBytes: int64(s.db.Stats().FreeAlloc),
	}
	_ = s.db.View(func(tx *bbolt.Tx) error { // fails after Close: no size then
		st.FileBytes = tx.Size()
		return nil
	})
	return st
}

// Ping reports whether the store can be used: a health check.
func (s *Store) Ping(ctx context.Context) error {
	err := s.usable(ctx)
	if err == nil {
		err = s.db.View(func(*bbolt.Tx) error { return nil })
	}
	if err != nil {
		return fmt.Errorf("boltstore: ping: %w", err)
	}
	return nil
}
