package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// What etcd takes in one transaction, unless its operator says otherwise.
const (
	maxOps   = 128     // --max-txn-ops, of each kind
	maxBytes = 3 << 19 // --max-request-bytes
)

// Operations of a commit that are not its caller's.
const (
	ownWrites = 2 // head, log
	ownChecks = 3 // format, head, log
)

// MaxWrites implements [store.Limiter].
func (*Store) MaxWrites() int { return maxOps - ownWrites }

// Commit implements [store.Store].
//
// A batch of more than 126 writes, 125 checks or about 1.5 MiB, in which a key
// counts twice, gives an error that wraps [ErrTooLarge].
//
// While the cluster has no leader, Commit tries for 10 seconds. Without At it
// reads the revision first, and begins again whenever another commit comes
// between; those of one Store wait for each other.
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
	// The mark tells this commit from all others if its answer is lost.
	mark, bytes := rand.Text(), 0
	log := []string{mark}
	changes := []clientv3.Op{clientv3.OpPut(s.key(space, headKey), "")}
	for _, w := range b.Writes {
		log = append(log, w.Key)
		bytes += 2*len(w.Key) + len(w.Value)
		if w.Value == nil {
			changes = append(changes, clientv3.OpDelete(s.key(space, rowKey)+w.Key))
		} else {
			changes = append(changes, clientv3.OpPut(s.key(space, rowKey)+w.Key, string(w.Value)))
		}
	}
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.Value(s.formatKey()), "=", format)}
	state := []clientv3.Op{clientv3.OpGet(s.key(space, headKey))}
	for key, want := range b.Checks {
		conditions = append(conditions, unchanged(s.key(space, rowKey)+key, want))
		state = append(state, clientv3.OpGet(s.key(space, rowKey)+key, clientv3.WithKeysOnly()))
	}
	if len(b.Writes) > maxOps-ownWrites || len(b.Checks) > maxOps-ownChecks || bytes > maxBytes {
		return 0, ErrTooLarge
	}
	head, done, err := s.start(ctx, space, b)
	defer done()
	for err == nil {
		resp, resent, failed := s.send(ctx, s.client.Txn(ctx).
			If(append(conditions, unchanged(s.key(space, headKey), head))...).
			Then(append(changes, clientv3.OpPut(s.log(space, head), strings.Join(log, "\x00")))...).
			Else(append(state, clientv3.OpGet(s.formatKey()), clientv3.OpGet(s.log(space, head)))...))
		switch {
		case errors.Is(failed, rpctypes.ErrRequestTooLarge), errors.Is(failed, rpctypes.ErrTooManyOps):
			return 0, ErrTooLarge
		case failed != nil:
			return 0, failed
		case resp.Succeeded:
			return rev(resp.Header.Revision), nil
		}
		now, ours := s.page(space, resp.Responses[:len(state)]), resp.Responses[len(state):]
		winner := ours[1].GetResponseRange().Kvs
		switch {
		case len(winner) > 0 && strings.HasPrefix(string(winner[0].Value), mark):
			return rev(winner[0].ModRevision), nil
		case len(winner) == 0 && resent: // and compacted meanwhile
			return 0, errors.New("outcome unknown")
		}
		if err = checkFormat(ours[0].GetResponseRange().Kvs); err == nil {
			err = judge(b, now)
		}
		head = now.Rev
	}
	return 0, err
}

// start returns the revision at which to try b first, and what to call when b
// is done.
func (s *Store) start(ctx context.Context, space string, b store.Batch) (head store.Rev, done func(), err error) {
	if b.At != nil {
		return *b.At, func() {}, ctx.Err()
	}
	turn := s.turns[crc32.ChecksumIEEE([]byte(space))%uint32(len(s.turns))]
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return 0, func() {}, ctx.Err()
	}
	p, err := s.Get(ctx, space, slices.Collect(maps.Keys(b.Checks))...)
	if err == nil {
		err = judge(b, p)
	}
	return p.Rev, func() { <-turn }, err
}

// judge reports why b may not follow the state of the space in p.
func judge(b store.Batch, p store.Page) error {
	if b.At != nil && *b.At != p.Rev {
		return fmt.Errorf("at revision %d, not %d: %w", p.Rev, *b.At, store.ErrConflict)
	}
	have := map[string]store.Rev{}
	for _, e := range p.Entries {
		have[e.Key] = e.Rev
	}
	for key, want := range b.Checks {
		if have[key] != want {
			return fmt.Errorf("row %q has revision %d, not %d: %w", key, have[key], want, store.ErrConflict)
		}
	}
	return nil
}
