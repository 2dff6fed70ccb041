package boltstore

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/apnkit/apnkit/apn/store"
)

// Wait implements [store.Waiter]. If the store is closed meanwhile, the error
// wraps [fs.ErrClosed].
func (s *Store) Wait(ctx context.Context, space string, after store.Rev) error {
	wake := s.waker(space) // before the look at the revision, or a commit slips between
	p, err := s.Get(ctx, space)
	if err != nil || p.Rev > after {
		return err
	}
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.closed:
		err = fs.ErrClosed
	}
	return fmt.Errorf("boltstore: wait for %q: %w", space, err)
}

// waker returns a channel that the next commit to space closes.
func (s *Store) waker(space string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.wakers[space]
	if !ok {
		w = make(chan struct{})
		s.wakers[space] = w
	}
	return w
}

func (s *Store) wake(space string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.wakers[space]; ok {
		close(w)
		delete(s.wakers, space)
	}
}
