package boltstore

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	return s.read(ctx, "get from", space, func(b *bbolt.Bucket, _ store.Rev, p *store.Page) error {
		for _, key := range keys {
			e, err := row(b, key)
			if err != nil {
				return err
			}
			if e.Value != nil {
				p.Entries = append(p.Entries, e)
			}
		}
		return nil
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	return s.read(ctx, "list", space, func(b *bbolt.Bucket, _ store.Rev, p *store.Page) error {
		c, start := b.Cursor(), rowKey(prefix)
		for k, v := c.Seek(rowKey(max(prefix, after))); bytes.HasPrefix(k, start); k, v = c.Next() {
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if e.Value == nil || e.Key == after {
				continue
			}
			if p.More = limit > 0 && len(p.Entries) == limit; p.More {
				return nil
			}
			p.Entries = append(p.Entries, e)
		}
		return nil
	})
}

// Since implements [store.Store].
func (s *Store) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	return s.read(ctx, "read the changes of", space, func(b *bbolt.Bucket, floor store.Rev, p *store.Page) error {
		if after < floor {
			return fmt.Errorf("since %d: %w", after, store.ErrCompacted)
		}
		if after >= p.Rev {
			return nil
		}
		c := b.Cursor()
		for k, _ := c.Seek(logKey(after+1, "")); k != nil && k[0] == 'l'; k, _ = c.Next() {
			e, err := logged(b, k)
			if err != nil {
				return err
			}
			if n := len(p.Entries); limit > 0 && n >= limit && p.Entries[n-1].Rev != e.Rev {
				p.More = true
				return nil
			}
			p.Entries = append(p.Entries, e)
		}
		return nil
	})
}

// read runs fn over one space, at one revision. A space without commits is an
// empty page.
func (s *Store) read(ctx context.Context, verb, space string, fn func(b *bbolt.Bucket, floor store.Rev, p *store.Page) error) (store.Page, error) {
	var p store.Page
	err := s.usable(ctx)
	if err == nil {
		err = guard(func() error {
			return s.db.View(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucket(space))
				rev, floor, err := head(b, space)
				if b == nil || err != nil {
					return err
				}
				p.Rev = rev
				return fn(b, floor, &p)
			})
		})
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("boltstore: %s %q: %w", verb, space, err)
	}
	return p, nil
}
