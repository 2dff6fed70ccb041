package etcdstore

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// Since implements [store.Store]. It reads the log from after on, so it costs
// as much as there is news.
func (s *Store) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	return s.read(ctx, "read the changes of", space, func() (store.Page, error) {
		log, head, at, err := s.readLog(ctx, space, after)
		p := store.Page{Rev: head}
		if err != nil || len(log) == 0 {
			return p, err
		}
		p.Entries, p.More = newest(log, limit)
		keys := make([]string, len(p.Entries))
		for i, e := range p.Entries {
			keys[i] = e.Key
		}
		rows, err := s.rows(ctx, space, at, keys)
		values := map[string][]byte{}
		for _, e := range rows.Entries {
			values[e.Key] = e.Value
		}
		for i, key := range keys {
			p.Entries[i].Value = values[key] // nil if it was deleted
		}
		return p, err
	})
}

// logged is what the log knows of a commit.
type logged struct {
	rev  store.Rev
	keys []string
}

// readLog returns the commits after a revision and the revision of the space,
// as of the revision at of the cluster.
func (s *Store) readLog(ctx context.Context, space string, after store.Rev) (log []logged, head store.Rev, at int64, err error) {
	end := clientv3.GetPrefixRangeEnd(s.key(space, logKey))
	for from := after; ; from = 0 {
		resp, _, err := s.send(ctx, s.client.Txn(ctx).Then(
			clientv3.OpGet(s.key(space, headKey)),
			clientv3.OpGet(s.key(space, floorKey)),
			clientv3.OpGet(s.log(space, from), clientv3.WithRange(end), clientv3.WithMinModRev(int64(after)+1)), //nolint:gosec // beyond int64 there is nothing to find
		))
		if err != nil {
			return nil, 0, 0, err
		}
		head, at = modified(resp.Responses[0].GetResponseRange()), resp.Header.Revision
		floor, err := forgotten(resp.Responses[1].GetResponseRange())
		if err == nil && after < floor {
			err = fmt.Errorf("since %d: %w", after, store.ErrCompacted)
		}
		if err != nil || after >= head {
			return nil, head, at, err
		}
		kvs := resp.Responses[2].GetResponseRange().Kvs
		if from > 0 && (len(kvs) == 0 || string(kvs[0].Key) != s.log(space, after)) {
			continue // no commit has that revision; the first one behind it stands further ahead
		}
		next := after
		for i, kv := range kvs {
			if name := s.log(space, next); string(kv.Key) > name || i > 0 && string(kv.Key) < name {
				break // a commit is missing
			}
			next = rev(kv.ModRevision)
			log = append(log, logged{next, strings.Split(string(kv.Value), "\x00")[1:]})
		}
		if next != head {
			err = fmt.Errorf("%w: log ends at %d, space at %d", ErrDamaged, next, head)
		}
		return log, head, at, err
	}
}

// newest returns each key of log once, without its value: those of whole
// commits, until there are limit of them.
func newest(log []logged, limit int) (list []store.Entry, more bool) {
	last := map[string]store.Rev{}
	for _, c := range log {
		for _, key := range c.keys {
			last[key] = c.rev
		}
	}
	for _, c := range log {
		for _, key := range c.keys {
			if last[key] != c.rev {
				continue
			}
			if n := len(list); limit > 0 && n >= limit && list[n-1].Rev != c.rev {
				return list, true
			}
			list = append(list, store.Entry{Key: key, Rev: c.rev})
		}
	}
	return list, false
}
