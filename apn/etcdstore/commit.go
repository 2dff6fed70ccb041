package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// What etcd takes in one transaction, unless its operator says otherwise.
const (
	maxOps   = 128     // --max-txn-ops
	maxBytes = 3 << 19 // --max-request-bytes
	// maxUser leaves room for two operations of each kind that are ours: the
	// head, and the log or the format.
	maxUser = maxOps - 2
)

// MaxWrites returns how many writes one Commit takes.
func (*Store) MaxWrites() int { return maxUser }

// Commit implements [store.Store].
//
// A batch of more than 126 writes, 126 checks or 1.5 MiB, in which each key
// counts twice, gives an error that wraps a [*LimitError].
//
// Without At, Commit reads the revision first, and begins again whenever
// another commit comes between: callers who compete are better off with At.
func (s *Store) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	rev, err := s.commit(ctx, space, b)
	switch {
	case err == nil:
		s.commits.Add(1)
	case errors.Is(err, store.ErrConflict):
		s.conflicts.Add(1)
	}
	return rev, fail(ctx, "commit to", space, err)
}

func (s *Store) commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	bytes, err := fit(b)
	if err != nil {
		return 0, err
	}
	checks := slices.Sorted(maps.Keys(b.Checks))
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.Value(s.formatKey()), "=", format)}
	state := []clientv3.Op{clientv3.OpGet(s.formatKey()), clientv3.OpGet(s.key(space, headKey))}
	for _, key := range checks {
		conditions = append(conditions, unchanged(s.key(space, rowKey)+key, b.Checks[key]))
		state = append(state, clientv3.OpGet(s.key(space, rowKey)+key, clientv3.WithKeysOnly()))
	}
	var log strings.Builder
	changes := []clientv3.Op{clientv3.OpPut(s.key(space, headKey), "")}
	for _, w := range b.Writes {
		log.WriteString(w.Key + "\x00")
		if w.Value == nil {
			changes = append(changes, clientv3.OpDelete(s.key(space, rowKey)+w.Key))
		} else {
			changes = append(changes, clientv3.OpPut(s.key(space, rowKey)+w.Key, string(w.Value)))
		}
	}
	head, err := s.expected(ctx, space, b.At)
	for err == nil {
		var resp *clientv3.TxnResponse
		resp, err = s.client.Txn(ctx).
			If(append(conditions, unchanged(s.key(space, headKey), head))...).
			Then(append(changes, clientv3.OpPut(s.log(space, head), log.String()))...).
			Else(state...).
			Commit()
		switch {
		case errors.Is(err, rpctypes.ErrRequestTooLarge):
			err = &LimitError{"bytes", bytes, maxBytes}
		case err == nil && resp.Succeeded:
			return rev(resp.Header.Revision), nil
		case err == nil:
			head, err = refused(b, checks, resp.Responses)
			s.retries.Add(1)
		}
	}
	return 0, err
}

// expected is the revision at which the commit is tried first.
func (s *Store) expected(ctx context.Context, space string, at *store.Rev) (store.Rev, error) {
	if at != nil {
		return *at, ctx.Err()
	}
	p, err := s.Get(ctx, space)
	return p.Rev, err
}

// refused returns why a transaction was refused, or, if only another commit
// came between and b does not mind, the new revision of the space.
func refused(b store.Batch, checks []string, state []*pb.ResponseOp) (store.Rev, error) {
	if err := checkFormat(state[0].GetResponseRange().Kvs); err != nil {
		return 0, err
	}
	head := modified(state[1].GetResponseRange())
	if b.At != nil && *b.At != head {
		return 0, fmt.Errorf("at revision %d, not %d: %w", head, *b.At, store.ErrConflict)
	}
	for i, key := range checks {
		if have := modified(state[2+i].GetResponseRange()); have != b.Checks[key] {
			return 0, fmt.Errorf("row %q has revision %d, not %d: %w", key, have, b.Checks[key], store.ErrConflict)
		}
	}
	return head, nil
}

// fit reports whether b fits into a transaction, and its size in bytes.
func fit(b store.Batch) (bytes int, err error) {
	for key := range b.Checks {
		bytes += 2 * len(key)
	}
	for _, w := range b.Writes {
		bytes += 2*len(w.Key) + len(w.Value)
	}
	switch {
	case len(b.Writes) > maxUser:
		err = &LimitError{"writes", len(b.Writes), maxUser}
	case len(b.Checks) > maxUser:
		err = &LimitError{"checks", len(b.Checks), maxUser}
	case bytes > maxBytes:
		err = &LimitError{"bytes", bytes, maxBytes}
	}
	return bytes, err
}
