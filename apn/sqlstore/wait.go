package sqlstore

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// patience is for a database that does not answer a look.
const patience = 10 * time.Second

// waiter is a call of Wait.
type waiter struct {
	space string
	after store.Rev
	woken chan struct{}
}

// Wait implements [store.Waiter]. If the store is closed meanwhile, the error
// wraps [fs.ErrClosed].
func (s *Store) Wait(ctx context.Context, space string, after store.Rev) error {
	w := &waiter{space: space, after: after, woken: make(chan struct{})}
	s.mu.Lock()
	s.waiting[w] = struct{}{} // before the look at the revision, or a commit slips between
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, w)
		s.mu.Unlock()
	}()
	p, err := s.Get(ctx, space)
	if err != nil || p.Rev > after {
		return err
	}
	select {
	case <-w.woken:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.closed:
		err = fs.ErrClosed
	}
	return failed(ctx, err, "wait for %q", space)
}

// wake ends the waiting for revisions of space before rev.
func (s *Store) wake(space string, rev store.Rev) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.waiting {
		if w.space == space && w.after < rev {
			close(w.woken)
			delete(s.waiting, w)
		}
	}
}

// announce tells everybody of a commit: those who wait here now, other
// processes soon.
func (s *Store) announce(space string, rev store.Rev) {
	s.wake(space, rev)
	if s.local {
		return
	}
	s.mu.Lock()
	s.news[space] = max(s.news[space], rev)
	s.mu.Unlock()
	select {
	case s.tell <- struct{}{}:
	default: // there is a token
	}
}

// watch looks for commits that nobody announced here.
func (s *Store) watch(ctx context.Context) {
	every(ctx, s.poll, func() { s.look(ctx) })
}

func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// look wakes those whose revision has come, by reading it. If it cannot, it
// will at the next look.
func (s *Store) look(ctx context.Context) {
	s.mu.Lock()
	spaces := map[string]bool{}
	for w := range s.waiting {
		spaces[w.space] = true
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(spaces)), chunk) {
		in, args := list(nil, names)
		rows, err := s.db.QueryContext(ctx, fmt.Sprintf(`SELECT id, rev FROM apn_space WHERE id IN %s`, in), args...)
		if err != nil {
			return
		}
		for rows.Next() {
			var space string
			var rev int64
			if rows.Scan(&space, &rev) == nil {
				s.wake(space, store.Rev(rev)) //nolint:gosec // none is below 0
			}
		}
		if rows.Err() != nil || rows.Close() != nil {
			return
		}
	}
}
