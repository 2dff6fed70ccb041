package etcdstore

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// compactStep is how many commits one transaction of Compact forgets: etcd
// serves nobody else meanwhile.
const compactStep = 1000

// Compact implements [store.Compactor]: it cuts the log, in steps. etcd itself
// keeps old revisions of all keys until its own compaction, which is up to the
// operator (--auto-compaction-retention).
func (s *Store) Compact(ctx context.Context, space string, before store.Rev) error {
	for more := true; more; {
		var err error
		if more, err = s.compact(ctx, space, before); err != nil {
			return fail(ctx, "compact", space, err)
		}
	}
	return nil
}

// compact cuts some of the log, and reports whether there is more to do.
func (s *Store) compact(ctx context.Context, space string, before store.Rev) (more bool, err error) {
	resp, _, err := s.send(ctx, s.client.Txn(ctx).Then(
		clientv3.OpGet(s.key(space, headKey)),
		clientv3.OpGet(s.key(space, floorKey)),
		clientv3.OpGet(s.key(space, logKey), clientv3.WithRange(s.log(space, before)), clientv3.WithKeysOnly(), clientv3.WithLimit(compactStep)),
	))
	if err != nil {
		return false, err
	}
	floorNow := resp.Responses[1].GetResponseRange()
	floor, err := forgotten(floorNow)
	before = min(before, modified(resp.Responses[0].GetResponseRange()))
	if err != nil || before <= floor {
		return false, err
	}
	log := resp.Responses[2].GetResponseRange()
	end := s.log(space, before)
	if n := len(log.Kvs); n > 0 {
		last := log.Kvs[n-1]
		switch {
		case log.More:
			before = rev(last.ModRevision)
			end = s.log(space, before)
		case rev(last.ModRevision) > before:
			end = string(last.Key) // the commit came later, only its name is old
		}
	}
	done, _, err := s.send(ctx, s.client.Txn(ctx).
		If(unchanged(s.key(space, floorKey), modified(floorNow))).
		Then(
			clientv3.OpPut(s.key(space, floorKey), strconv.FormatUint(uint64(before), 10)),
			clientv3.OpDelete(s.key(space, logKey), clientv3.WithRange(end)),
		))
	if err != nil {
		return false, err
	}
	return log.More || !done.Succeeded, nil
}
