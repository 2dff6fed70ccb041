package etcdstore

import (
	"context"
	"errors"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/apnkit/apnkit/apn/store"
)

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	return s.read(ctx, "get from", space, func() (store.Page, error) { return s.rows(ctx, space, 0, keys) })
}

// rows reads the rows of keys as of the revision at of the cluster, 0 for now.
func (s *Store) rows(ctx context.Context, space string, at int64, keys []string) (store.Page, error) {
	for p := (store.Page{}); ; {
		n := min(len(keys), maxOps-1)
		ops := []clientv3.Op{clientv3.OpGet(s.key(space, headKey), clientv3.WithRev(at))}
		for _, key := range keys[:n] {
			ops = append(ops, clientv3.OpGet(s.key(space, rowKey)+key, clientv3.WithRev(at)))
		}
		resp, err := s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return store.Page{}, err
		}
		p.Rev = modified(resp.Responses[0].GetResponseRange())
		for _, r := range resp.Responses[1:] {
			p.Entries = s.appendRows(p.Entries, space, r.GetResponseRange())
		}
		if keys = keys[n:]; len(keys) == 0 {
			return p, nil
		}
		if at == 0 {
			at = resp.Header.Revision
		}
	}
}

func (s *Store) appendRows(list []store.Entry, space string, r *pb.RangeResponse) []store.Entry {
	for _, kv := range r.Kvs {
		key := strings.TrimPrefix(string(kv.Key), s.key(space, rowKey))
		list = append(list, store.Entry{Key: key, Value: append([]byte{}, kv.Value...), Rev: rev(kv.ModRevision)})
	}
	return list
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	first, end := s.key(space, rowKey)+prefix, clientv3.GetPrefixRangeEnd(s.key(space, rowKey)+prefix)
	if next := s.key(space, rowKey) + after + "\x00"; after != "" && next > first {
		first = next
	}
	ops := []clientv3.Op{clientv3.OpGet(s.key(space, headKey))}
	if first < end { // etcd promises nothing about a range that ends before it begins
		ops = append(ops, clientv3.OpGet(first, clientv3.WithRange(end), clientv3.WithLimit(int64(max(limit, 0)))))
	}
	return s.read(ctx, "list", space, func() (store.Page, error) {
		resp, err := s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return store.Page{}, err
		}
		p := store.Page{Rev: modified(resp.Responses[0].GetResponseRange())}
		for _, r := range resp.Responses[1:] {
			p.More = r.GetResponseRange().More
			p.Entries = s.appendRows(p.Entries, space, r.GetResponseRange())
		}
		return p, nil
	})
}

// read runs fn, which only reads, and which may run again: at another member,
// or at a newer revision if etcd forgot the one that it was reading.
func (s *Store) read(ctx context.Context, verb, space string, fn func() (store.Page, error)) (store.Page, error) {
	err := ctx.Err()
	for try := 0; err == nil; try++ {
		var p store.Page
		if p, err = fn(); err == nil {
			return p, nil
		}
		if try < len(s.client.Endpoints()) && again(err) {
			err = ctx.Err()
		}
	}
	return store.Page{}, fail(ctx, verb, space, err)
}

func again(err error) bool {
	var etcd rpctypes.EtcdError
	return errors.Is(err, rpctypes.ErrCompacted) || status.Code(err) == codes.Unavailable ||
		errors.As(err, &etcd) && etcd.Code() == codes.Unavailable
}
