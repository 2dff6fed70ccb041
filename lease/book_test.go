package lease_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
)

func TestBook(t *testing.T) {
	t.Parallel()
	b := lease.NewBook(lease.Policy{PerMember: 2})
	_, ok := b.Next(start)
	require.False(t, ok)
	require.Empty(t, b.Expire(start))

	one, err := b.Grant(key("ada", "203.0.113.1/32"), time.Hour, start)
	require.NoError(t, err)
	two, err := b.Grant(key("ada", "203.0.113.2/32"), 2*time.Hour, start)
	require.NoError(t, err)
	_, err = b.Grant(key("ada", "203.0.113.3/32"), time.Hour, start)
	require.Equal(t, &lease.LimitError{Member: "ada", Limit: 2}, err)
	other, err := b.Grant(key("bob", "203.0.113.3/32"), 3*time.Hour, start)
	require.NoError(t, err)

	// A lease that has ended no longer counts, also before anybody expires it.
	now := one.ExpiresAt
	three, err := b.Grant(key("ada", "203.0.113.3/32"), time.Hour, now)
	require.NoError(t, err)
	at, ok := b.Next(now)
	require.True(t, ok)
	require.Equal(t, now, at)
	_, err = b.Renew(one.ID, 0, now)
	require.ErrorIs(t, err, lease.ErrExpired)
	require.Equal(t, []lease.Lease{one}, b.Expire(now))
	_, err = b.Renew(one.ID, 0, now)
	require.ErrorIs(t, err, lease.ErrNotFound)

	// Renewing moves the next end.
	two, err = b.Renew(two.ID, 4*time.Hour, now)
	require.NoError(t, err)
	require.Equal(t, now.Add(4*time.Hour), two.ExpiresAt)
	at, _ = b.Next(now)
	require.Equal(t, three.ExpiresAt, at)

	revoked, err := b.Revoke(three.ID)
	require.NoError(t, err)
	require.Equal(t, three, revoked)
	_, err = b.Revoke(three.ID)
	require.ErrorIs(t, err, lease.ErrNotFound)
	at, _ = b.Next(now)
	require.Equal(t, other.ExpiresAt, at)

	got, ok := b.Lease(two.ID)
	require.True(t, ok)
	require.Equal(t, two, got)
	_, ok = b.Lease(three.ID)
	require.False(t, ok)
	require.ElementsMatch(t, []lease.Lease{two, other}, slices.Collect(b.Active(now)))
	require.Equal(t, []lease.Lease{other, two}, b.Expire(start.Add(100*time.Hour)))
	_, ok = b.Next(start)
	require.False(t, ok)
}

// TestBookShorterAgain grants anew what was revoked, for a shorter time: what
// the queue remembers of the long lease must neither end nor prolong it.
func TestBookShorterAgain(t *testing.T) {
	t.Parallel()
	b := lease.NewBook(lease.Policy{})
	k := key("ada", "203.0.113.1/32")
	long, err := b.Grant(k, 3*time.Hour, start)
	require.NoError(t, err)
	_, err = b.Revoke(long.ID)
	require.NoError(t, err)
	short, err := b.Grant(k, time.Hour, start)
	require.NoError(t, err)
	require.Equal(t, long.ID, short.ID)
	at, _ := b.Next(start)
	require.Equal(t, short.ExpiresAt, at)
	require.Equal(t, []lease.Lease{short}, b.Expire(short.ExpiresAt))
	require.Empty(t, b.Expire(long.ExpiresAt))
}

// TestBookDay runs the loop that a caller would run, for three days.
func TestBookDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := lease.NewBook(lease.Policy{})
		begin := time.Now()
		l, err := b.Grant(key("ada", "203.0.113.1/32"), 0, begin)
		require.NoError(t, err)
		for renewals := 0; ; renewals++ {
			at, ok := b.Next(time.Now())
			if !ok {
				break
			}
			if renewals < 2 {
				time.Sleep(time.Until(at) - time.Nanosecond)
				require.Empty(t, b.Expire(time.Now()))
				_, err := b.Renew(l.ID, 0, time.Now())
				require.NoError(t, err)
				continue
			}
			time.Sleep(time.Until(at))
			require.Len(t, b.Expire(time.Now()), 1)
		}
		require.Equal(t, 72*time.Hour-2*time.Nanosecond, time.Since(begin))
	})
}

// naive is a Book without a queue: it looks at everything each time.
type naive struct {
	policy lease.Policy
	leases map[string]lease.Lease
}

func (n *naive) grant(k lease.Key, d time.Duration, now time.Time) (lease.Lease, error) {
	live := 0
	var have *lease.Lease
	for _, l := range n.leases {
		switch {
		case l.Key == k:
			have = &l
		case l.Network == k.Network && l.Member == k.Member && l.Active(now):
			live++
		}
	}
	l, err := n.policy.Grant(k, d, have, live, now)
	if err == nil {
		n.leases[l.ID] = l
	}
	return l, err
}

func (n *naive) sorted(keep func(lease.Lease) bool) []lease.Lease {
	var list []lease.Lease
	for _, l := range n.leases {
		if keep(l) {
			list = append(list, l)
		}
	}
	return byEnd(list)
}

func byEnd(list []lease.Lease) []lease.Lease {
	slices.SortFunc(list, func(a, b lease.Lease) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// compare plays steps, one byte each for what and how long, on a Book and on a
// naive one, and fails at the first difference.
func compare(t *testing.T, steps []byte) {
	t.Helper()
	policy := lease.Policy{Max: 10 * time.Hour, Default: 5 * time.Hour, PerMember: 4}
	b, n := lease.NewBook(policy), &naive{policy, map[string]lease.Lease{}}
	now := start
	for i := 0; i+1 < len(steps); i += 2 {
		what, how := steps[i], steps[i+1]
		k := key(fmt.Sprint("m", what>>3&3), netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, what >> 5}), 32).String())
		id, d := lease.IDOf(k), time.Duration(how%12)*time.Hour
		switch what & 7 {
		case 0, 1, 2:
			got, err := b.Grant(k, d, now)
			want, wantErr := n.grant(k, d, now)
			require.Equal(t, wantErr, err, "step %d", i)
			require.Equal(t, want, got, "step %d", i)
		case 3:
			got, err := b.Renew(id, d, now)
			have, ok := n.leases[id]
			if !ok {
				require.ErrorIs(t, err, lease.ErrNotFound, "step %d", i)
				break
			}
			want, wantErr := policy.Renew(have, d, now)
			require.Equal(t, wantErr, err, "step %d", i)
			require.Equal(t, want, got, "step %d", i)
			if err == nil {
				n.leases[id] = got
			}
		case 4:
			got, err := b.Revoke(id)
			want, ok := n.leases[id]
			require.Equal(t, ok, err == nil, "step %d", i)
			require.Equal(t, want, got, "step %d", i)
			delete(n.leases, id)
		case 5:
			want := n.sorted(func(l lease.Lease) bool { return !l.Active(now) })
			got := b.Expire(now)
			require.True(t, slices.IsSortedFunc(got, func(a, b lease.Lease) int { return a.ExpiresAt.Compare(b.ExpiresAt) }))
			require.Equal(t, want, byEnd(got), "step %d", i)
			maps.DeleteFunc(n.leases, func(_ string, l lease.Lease) bool { return !l.Active(now) })
		default:
			now = now.Add(time.Duration(how) * 2 * time.Minute)
		}
		active := func(l lease.Lease) bool { return l.Active(now) }
		require.Equal(t, n.sorted(active), byEnd(slices.Collect(b.Active(now))), "step %d", i)
		all := n.sorted(func(lease.Lease) bool { return true })
		at, ok := b.Next(now)
		require.Equal(t, len(all) > 0, ok, "step %d", i)
		if ok && all[0].Active(now) {
			require.Equal(t, all[0].ExpiresAt, at, "step %d", i)
		} else if ok {
			require.Equal(t, now, at, "step %d", i)
		}
	}
}

func TestBookModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 0))
			steps := make([]byte, 1000)
			for i := range steps {
				steps[i] = byte(rng.IntN(256))
			}
			t.Logf("steps %x", steps)
			compare(t, steps)
		})
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte{0, 1, 6, 30, 5, 0})             // grant, wait, expire
	f.Add([]byte{0, 3, 4, 0, 0, 1, 6, 60, 5, 0}) // long, revoke, short, wait, expire
	f.Add([]byte{0, 1, 6, 10, 3, 5, 6, 40, 5, 0, 6, 255, 5, 0})
	f.Fuzz(compare)
}

// TestBookQueue keeps leases that come and go from piling up in the queue.
func TestBookQueue(t *testing.T) {
	t.Parallel()
	b := lease.NewBook(lease.Policy{})
	k := key("ada", "203.0.113.1/32")
	for range 10_000 {
		l, err := b.Grant(k, time.Hour, start)
		require.NoError(t, err)
		_, err = b.Revoke(l.ID)
		require.NoError(t, err)
		require.Less(t, b.Queued(), 100)
	}
	l, err := b.Grant(k, time.Hour, start)
	require.NoError(t, err)
	require.Equal(t, []lease.Lease{l}, b.Expire(l.ExpiresAt))
}

// BenchmarkNext asks 100,000 leases which one ends next while they are being
// renewed: with the queue, and by looking at all of them.
func BenchmarkNext(b *testing.B) {
	const leases = 100_000
	fill := func(b *testing.B) (*lease.Book, []string) {
		b.Helper()
		book, ids := lease.NewBook(lease.Policy{PerMember: -1}), make([]string, leases)
		for i := range ids {
			source := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			l, err := book.Grant(lease.Key{Member: fmt.Sprint(i / 10), Source: source}, time.Hour+time.Duration(i*7919%leases)*time.Millisecond, start)
			if err != nil {
				b.Fatal(err)
			}
			ids[i] = l.ID
		}
		return book, ids
	}
	for _, way := range []string{"queue", "scan"} {
		b.Run("by="+way, func(b *testing.B) {
			book, ids := fill(b)
			now := start
			for i := 0; b.Loop(); i++ {
				now = now.Add(time.Microsecond)
				if _, err := book.Renew(ids[i*31%leases], 2*time.Hour, now); err != nil {
					b.Fatal(err)
				}
				if way == "queue" {
					book.Next(now)
					continue
				}
				var next time.Time
				for l := range book.Active(now) {
					if next.IsZero() || l.ExpiresAt.Before(next) {
						next = l.ExpiresAt
					}
				}
			}
		})
	}
}

func BenchmarkBook(b *testing.B) {
	k := func(i int) lease.Key {
		return lease.Key{Network: "acme", App: "shop", Member: "ada", Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
	}
	b.Run("renew", func(b *testing.B) {
		book := lease.NewBook(lease.Policy{})
		l, err := book.Grant(k(1), 0, start)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := book.Renew(l.ID, 0, start); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("grant+expire", func(b *testing.B) {
		book := lease.NewBook(lease.Policy{})
		now := start
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			now = now.Add(time.Second)
			if _, err := book.Grant(k(i), time.Minute, now); err != nil {
				b.Fatal(err)
			}
			book.Expire(now)
		}
	})
}
