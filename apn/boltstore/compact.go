package boltstore

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// Compact implements [store.Compactor], in one transaction.
func (s *Store) Compact(ctx context.Context, space string, before store.Rev) error {
	err := s.usable(ctx)
	if err == nil {
		err = guard(func() error {
			return s.db.Update(func(tx *bbolt.Tx) error { return compact(tx.Bucket(bucket(space)), space, before) })
		})
	}
	if err != nil {
		return fmt.Errorf("boltstore: compact %q: %w", space, err)
	}
	return nil
}

func compact(b *bbolt.Bucket, space string, before store.Rev) error {
	rev, floor, err := head(b, space)
	if before = min(before, rev); err != nil || before <= floor {
		return err
	}
	var dead [][]byte
	end := string(logKey(before+1, ""))
	c := b.Cursor()
	for k, _ := c.Seek(logKey(floor+1, "")); k != nil && string(k) < end; k, _ = c.Next() {
		e, err := logged(b, k)
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
	return setHead(b, space, rev, before)
}
