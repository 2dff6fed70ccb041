package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// request is a commit that waits for its transaction. It shares nothing with
// its caller, who may be gone before the transaction is.
type request struct {
	space  string
	at     *store.Rev
	checks map[string]store.Rev
	keys   []string
	rows   [][]byte // encoded, by key
	rev    store.Rev
	err    error
	done   chan struct{}
}

// errIdle rolls a transaction back in which no request wrote.
var errIdle = errors.New("nothing to commit")

// Commit implements [store.Store].
//
// Whoever comes first writes for all that wait, in one transaction. If ctx ends
// meanwhile, only the waiting ends.
func (s *Store) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	r := &request{space: space, checks: maps.Clone(b.Checks), done: make(chan struct{})}
	if b.At != nil {
		r.at = new(*b.At)
	}
	err := s.usable(ctx)
	for _, w := range b.Writes {
		if w.Key == "" || len(w.Key) > store.MaxKey {
			err = fmt.Errorf("key of %d bytes, want 1 to %d", len(w.Key), store.MaxKey)
		}
		r.keys, r.rows = append(r.keys, w.Key), append(r.rows, encode(w.Value))
	}
	if err == nil {
		err = s.submit(ctx, r)
	}
	if err != nil {
		return 0, fmt.Errorf("boltstore: commit to %q: %w", space, err)
	}
	return r.rev, nil
}

// submit has r committed, by this caller or by another one.
func (s *Store) submit(ctx context.Context, r *request) error {
	s.mu.Lock()
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	select {
	case <-r.done:
	case s.writer <- struct{}{}:
		s.flush()
		<-s.writer
		<-r.done // by this flush or the one before
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = slices.DeleteFunc(s.queue, func(q *request) bool { return q == r }) // it may already be under way
		return ctx.Err()
	}
	return r.err
}

// flush commits all requests that wait. The caller holds the writer's token.
func (s *Store) flush() {
	s.mu.Lock()
	group := s.queue
	s.queue = nil
	s.mu.Unlock()
	if len(group) == 0 {
		return
	}
	txid := 0
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			txid = tx.ID()
			idle := errIdle
			for _, r := range group {
				if r.err = r.check(tx); r.err != nil {
					continue // it has written nothing, the others go on
				}
				if err := r.write(tx); err != nil {
					return err
				}
				idle = nil
			}
			return idle
		})
	})
	if err != nil && !errors.Is(err, errIdle) {
		s.distrust(txid, err)
	} else {
		err = nil
	}
	s.groups.Add(1)
	for _, r := range group {
		if r.err == nil {
			r.err = err
		}
		switch {
		case r.err == nil:
			s.commits.Add(1)
			s.wake(r.space)
		case errors.Is(r.err, store.ErrConflict):
			s.conflicts.Add(1)
		}
		close(r.done)
	}
}

// check tests the conditions of r.
func (r *request) check(tx *bbolt.Tx) error {
	b := tx.Bucket(bucket(r.space))
	have, _, err := head(b, r.space)
	if err != nil {
		return err
	}
	if r.at != nil && have != *r.at {
		return fmt.Errorf("at revision %d, not %d: %w", have, *r.at, store.ErrConflict)
	}
	for key, want := range r.checks {
		e, err := row(b, key)
		if err != nil {
			return err
		}
		if e.Value == nil {
			e.Rev = 0
		}
		if e.Rev != want {
			return fmt.Errorf("row %q has revision %d, not %d: %w", key, e.Rev, want, store.ErrConflict)
		}
	}
	return nil
}

// write does the writes of r. An error dooms the transaction.
func (r *request) write(tx *bbolt.Tx) error {
	rev, floor, err := head(tx.Bucket(bucket(r.space)), r.space)
	if err != nil {
		return err
	}
	b, err := tx.CreateBucketIfNotExists(bucket(r.space))
	if err != nil {
		return err
	}
	r.rev = rev + 1
	for i, key := range r.keys {
		k := rowKey(key)
		if old := b.Get(k); len(old) >= header {
			err = b.Delete(logKey(store.Rev(binary.BigEndian.Uint64(old)), key))
		}
		stamp(k, r.rows[i], r.rev)
		if err = errors.Join(err, b.Put(k, r.rows[i]), b.Put(logKey(r.rev, key), nil)); err != nil {
			return err
		}
	}
	return setHead(b, r.space, r.rev, floor)
}

// distrust ends the use of the file if the transaction txid failed and can be
// read all the same: after a failed sync nothing tells whether it will ever be
// on the disk.
func (s *Store) distrust(txid int, cause error) {
	_ = s.db.View(func(tx *bbolt.Tx) error {
		if tx.ID() >= txid {
			cause = fmt.Errorf("an earlier commit may not be durable, open the file again: %w", cause)
			s.failed.CompareAndSwap(nil, &cause)
		}
		return nil
	})
}

// usable reports why the store cannot be used.
func (s *Store) usable(ctx context.Context) error {
	select {
	case <-s.closed:
		return fs.ErrClosed
	default:
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}
