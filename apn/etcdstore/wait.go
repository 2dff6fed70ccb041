package etcdstore

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// Wait implements [store.Waiter], by a watch. If the member that serves it
// loses the leader, Wait fails.
func (s *Store) Wait(ctx context.Context, space string, after store.Rev) error {
	return fail(ctx, "wait for", space, s.wait(ctx, space, after))
}

func (s *Store) wait(ctx context.Context, space string, after store.Rev) error {
	watching, stop := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer stop()
	// A watch from an old revision may hear of what is new 100 ms late. So it
	// starts now, before the look at the revision, or a commit slips between.
	news := s.client.Watch(watching, s.key(space, headKey), clientv3.WithCreatedNotify())
	for n := range 2 { // that it began, that the head changed
		r, ok := <-news
		if err := r.Err(); err != nil || !ok {
			return errors.Join(err, ctx.Err(), s.client.Ctx().Err())
		}
		if n == 0 {
			p, err := s.Get(ctx, space)
			if err != nil || p.Rev > after {
				return err
			}
		}
	}
	return nil
}
