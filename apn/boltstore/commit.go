package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// request is a commit that waits for its transaction. It owns all it holds: a
// caller whose context ends may be gone before the transaction.
type request struct {
	space string
	batch store.Batch // its writes hold encoded rows
	rev   store.Rev
	err   error
	done  chan struct{}
}

// errIdle rolls a transaction back in which every request failed.
var errIdle = errors.New("nothing to commit")

// Commit implements [store.Store].
//
// Whoever comes first writes for all that wait, in one transaction. If ctx ends
// meanwhile, only the waiting ends.
func (s *Store) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	rev, err := s.commit(ctx, space, b)
	if err != nil {
		return 0, fmt.Errorf("boltstore: commit to %q: %w", space, err)
	}
	return rev, nil
}

func (s *Store) commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	r := &request{space: space, done: make(chan struct{})}
	r.batch.Checks = maps.Clone(b.Checks)
	if b.At != nil {
		r.batch.At = new(*b.At)
	}
	for _, w := range b.Writes {
		if w.Key == "" || len(w.Key) > store.MaxKey {
			return 0, fmt.Errorf("key of %d bytes, want 1 to %d", len(w.Key), store.MaxKey)
		}
		r.batch.Writes = append(r.batch.Writes, store.Write{Key: w.Key, Value: encode(w.Value)})
	}
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
		s.withdraw(r)
		return 0, ctx.Err()
	}
	return r.rev, r.err
}

// withdraw takes r out of the queue, unless its transaction already runs.
func (s *Store) withdraw(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(q *request) bool { return q == r })
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
			written := 0
			for _, r := range group {
				if r.err = r.check(tx); r.err != nil {
					continue // it has written nothing, the others go on
				}
				if err := r.write(tx); err != nil {
					return err
				}
				written++
			}
			if written == 0 {
				return errIdle
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errIdle) {
		s.distrust(txid, err)
		for _, r := range group {
			if r.err == nil {
				r.err = err
			}
		}
	}
	s.groups.Add(1)
	for _, r := range group {
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
	if at := r.batch.At; at != nil {
		var have store.Rev
		if b != nil {
			have = store.Rev(b.Sequence())
		}
		if have != *at {
			return fmt.Errorf("at revision %d, not %d: %w", have, *at, store.ErrConflict)
		}
	}
	for key, want := range r.batch.Checks {
		var have store.Rev
		if b != nil {
			k := rowKey(key)
			if row := b.Get(k); row != nil {
				e, err := decode(k, row)
				if err != nil {
					return err
				}
				if e.Value != nil {
					have = e.Rev
				}
			}
		}
		if have != want {
			return fmt.Errorf("row %q has revision %d, not %d: %w", key, have, want, store.ErrConflict)
		}
	}
	return nil
}

// write does the writes of r. An error dooms the transaction.
func (r *request) write(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(bucket(r.space))
	if err != nil {
		return err
	}
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	r.rev = store.Rev(seq)
	for _, w := range r.batch.Writes {
		k := rowKey(w.Key)
		if old := b.Get(k); len(old) >= header {
			if err := b.Delete(logKey(store.Rev(binary.BigEndian.Uint64(old)), w.Key)); err != nil {
				return err
			}
		}
		stamp(k, w.Value, r.rev)
		if err := errors.Join(b.Put(k, w.Value), b.Put(logKey(r.rev, w.Key), nil)); err != nil {
			return err
		}
	}
	return nil
}

// distrust ends the use of the file if the transaction txid can be read
// although it failed: it may not be on the disk, and after a failed sync
// nothing tells whether it ever will be.
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
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// Compact implements [store.Compactor], in one transaction.
func (s *Store) Compact(ctx context.Context, space string, before store.Rev) error {
	err := s.usable(ctx)
	if err == nil {
		err = guard(func() error {
			return s.db.Update(func(tx *bbolt.Tx) error { return compact(tx.Bucket(bucket(space)), before) })
		})
	}
	if err != nil {
		return fmt.Errorf("boltstore: compact %q: %w", space, err)
	}
	return nil
}

func compact(b *bbolt.Bucket, before store.Rev) error {
	if b == nil {
		return nil
	}
	from := floor(b)
	if before = min(before, store.Rev(b.Sequence())); before <= from {
		return nil
	}
	var dead [][]byte
	end := string(logKey(before+1, ""))
	c := b.Cursor()
	for k, _ := c.Seek(logKey(from+1, "")); k != nil && string(k) < end; k, _ = c.Next() {
		e, err := newest(b, k)
		if err != nil {
			return err
		}
		if e.Value == nil {
			dead = append(dead, slices.Clone(k), rowKey(e.Key))
		}
	}
	for _, k := range dead {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return b.Put([]byte{'f'}, binary.BigEndian.AppendUint64(nil, uint64(before)))
}
