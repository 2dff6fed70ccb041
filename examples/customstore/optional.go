package customstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/apnkit/apnkit/apn/store"
)

// Wait implements [store.Waiter]: the script publishes each commit.
func (s *Store) Wait(ctx context.Context, space string, after store.Rev) error {
	sub := s.rdb.Subscribe(ctx, s.name(space))
	defer func() { _ = sub.Close() }()
	news := sub.ChannelWithSubscriptions()
	// First comes word that it listens, then a commit, or that it listens again
	// and may have missed one.
	for listening := false; ; listening = true {
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("customstore: wait for %q: %w", space, ctx.Err())
		}
		if listening {
			return nil
		}
		if p, err := s.Get(ctx, space); err != nil || p.Rev > after {
			return err
		}
	}
}

// Compact implements [store.Compactor].
func (s *Store) Compact(ctx context.Context, space string, before store.Rev) error {
	_, err := s.run(ctx, compactScript, space, uint64(before))
	return err
}

var compactScript = redis.NewScript(`
local head, rows, revs = unpack(KEYS)
local rev = tonumber(redis.call('HGET', head, 'rev') or 0)
local floor = tonumber(redis.call('HGET', head, 'floor') or 0)
local before = math.min(tonumber(ARGV[1]), rev)
if before > floor then
  redis.call('HSET', head, 'floor', before)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', revs, '-inf', before)) do
    if redis.call('HEXISTS', rows, key) == 0 then redis.call('ZREM', revs, key) end
  end
end
return {'0', 0}
`)
