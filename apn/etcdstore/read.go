package etcdstore

import (
	"context"
	"errors"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	return s.read(ctx, "get from", space, func() (store.Page, error) { return s.rows(ctx, space, 0, keys) })
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	first, end := s.key(space, rowKey)+prefix, clientv3.GetPrefixRangeEnd(s.key(space, rowKey)+prefix)
	if after != "" {
		first = max(first, s.key(space, rowKey)+after+"\x00")
	}
	ops := []clientv3.Op{clientv3.OpGet(s.key(space, headKey))}
	if first < end { // etcd promises nothing about a range that ends before it begins
		ops = append(ops, clientv3.OpGet(first, clientv3.WithRange(end), clientv3.WithLimit(int64(max(limit, 0)))))
	}
	return s.read(ctx, "list", space, func() (store.Page, error) {
		resp, _, err := s.send(ctx, s.client.Txn(ctx).Then(ops...))
		if err != nil {
			return store.Page{}, err
		}
		return s.page(space, resp.Responses), nil
	})
}

// read runs fn, again if etcd forgets the revision at which it reads.
func (s *Store) read(ctx context.Context, verb, space string, fn func() (store.Page, error)) (store.Page, error) {
	p, err := fn()
	for errors.Is(err, rpctypes.ErrCompacted) {
		p, err = fn()
	}
	if err != nil {
		return store.Page{}, fail(ctx, verb, space, err)
	}
	return p, nil
}

// rows reads the rows of keys as of the revision at of the cluster, 0 for now.
func (s *Store) rows(ctx context.Context, space string, at int64, keys []string) (all store.Page, err error) {
	for {
		n := min(len(keys), maxOps-1)
		ops := []clientv3.Op{clientv3.OpGet(s.key(space, headKey), clientv3.WithRev(at))}
		for _, key := range keys[:n] {
			ops = append(ops, clientv3.OpGet(s.key(space, rowKey)+key, clientv3.WithRev(at)))
		}
		resp, _, err := s.send(ctx, s.client.Txn(ctx).Then(ops...))
		if err != nil {
			return store.Page{}, err
		}
		p := s.page(space, resp.Responses)
		all.Rev, all.Entries = p.Rev, append(all.Entries, p.Entries...)
		if keys = keys[n:]; len(keys) == 0 {
			return all, nil
		}
		if at == 0 {
			at = resp.Header.Revision
		}
	}
}

// page returns what a transaction read: the head, then rows.
func (s *Store) page(space string, read []*pb.ResponseOp) store.Page {
	p := store.Page{Rev: modified(read[0].GetResponseRange())}
	for _, r := range read[1:] {
		p.More = r.GetResponseRange().More
		for _, kv := range r.GetResponseRange().Kvs {
			key := strings.TrimPrefix(string(kv.Key), s.key(space, rowKey))
			p.Entries = append(p.Entries, store.Entry{Key: key, Value: append([]byte{}, kv.Value...), Rev: rev(kv.ModRevision)})
		}
	}
	return p
}
