package apn_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
)

// world is what a test in a bubble works with.
type world struct {
	t   *testing.T
	ctl *apn.Control
	n   *apn.Network
}

// bubble runs a test in which time passes as soon as everybody waits.
func bubble(t *testing.T, test func(w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctl := open(t, store.NewMem(), func(c *apn.Config) { c.Idle = -1 })
		n, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		shop(t, n)
		test(world{t, ctl, n})
	})
}

// allow opens the app's port for one more source.
func allow(t *testing.T, n *apn.Network, app string, i int) {
	t.Helper()
	_, err := n.AddRule(t.Context(), app, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32), nil)
	require.NoError(t, err)
}

func TestNetmapWaits(t *testing.T) {
	t.Parallel()
	bubble(t, func(w world) {
		t, ctl, n := w.t, w.ctl, w.n
		ctx := t.Context()
		s := join(t, ctl, n, "shop", "web-1")
		began := time.Now()
		require.NotNil(t, s.poll(time.Minute), "without a document there is no wait")
		require.Zero(t, time.Since(began))
		require.Nil(t, s.poll(55*time.Second))
		require.Equal(t, 55*time.Second, time.Since(began))

		// What does not concern the app wakes nobody; what does, does so at once.
		began = time.Now()
		next := s.wait(55 * time.Second)
		time.Sleep(time.Second)
		_, err := n.DeviceConfig(ctx, "ada", "laptop")
		require.NoError(t, err)
		allow(t, n, "blog", 1)
		time.Sleep(time.Second)
		allow(t, n, "shop", 1)
		require.Len(t, s.take((<-next).update).Openings.Permanent, 1)
		require.Equal(t, 2*time.Second+10*time.Millisecond, time.Since(began))
		require.EqualValues(t, 2, ctl.AgentStats().Encoded, "the whole, and one delta")
	})
}

// TestNetmapGathers: what a busy network does in a row is one document.
func TestNetmapGathers(t *testing.T) {
	t.Parallel()
	bubble(t, func(w world) {
		t, ctl, n := w.t, w.ctl, w.n
		s := join(t, ctl, n, "shop", "web-1")
		s.poll(0)
		updates := make(chan int, 1)
		go func() {
			count := 0
			for ; ; count++ {
				u, err := s.Netmap(t.Context(), s.held(), time.Second)
				if u == nil || err != nil {
					break
				}
				s.have = mustApply(s.have, u)
			}
			updates <- count
		}()
		for i := range 200 {
			time.Sleep(5 * time.Millisecond)
			allow(t, n, "shop", i)
		}
		require.InDelta(t, 20, <-updates, 2, "one in 50 ms")
		require.Equal(t, uint64(n.Rev()), s.have.Revision())
	})
}

// TestNetmapShared: an encoding serves all who wait with one document.
func TestNetmapShared(t *testing.T) {
	t.Parallel()
	bubble(t, func(w world) {
		t, ctl, n := w.t, w.ctl, w.n
		const agents = 50
		servers := make([]*server, agents)
		for i := range servers {
			name := fmt.Sprintf("s%d", i)
			_, err := n.AddServer(t.Context(), "shop", name, nil)
			require.NoError(t, err)
			servers[i] = join(t, ctl, n, "shop", name)
		}
		for _, s := range servers {
			s.poll(0)
		}
		require.EqualValues(t, 1, ctl.AgentStats().Encoded)
		for round := range 3 {
			var wg sync.WaitGroup
			for _, s := range servers {
				wg.Go(func() { require.Len(t, s.poll(time.Minute).Openings.Permanent, round+1) })
			}
			synctest.Wait()
			require.EqualValues(t, agents, ctl.AgentStats().Waiting)
			allow(t, n, "shop", round*2)
			wg.Wait()
			require.EqualValues(t, round+2, ctl.AgentStats().Encoded, "one for all")
		}
	})
}

// mustApply returns where an update leads.
func mustApply(have *netmap.Signed, u *apn.Update) *netmap.Signed {
	d, err := netmap.ParseDelta(u.Body)
	if err != nil {
		panic(err)
	}
	next, err := have.Apply(d)
	if err != nil {
		panic(err)
	}
	return next
}

// TestNetmapLinks: the servers of a linked app are known, those of others not.
func TestNetmapLinks(t *testing.T) {
	t.Parallel()
	bubble(t, func(w world) {
		t, ctl, n := w.t, w.ctl, w.n
		s := join(t, ctl, n, "blog", "web-1")
		require.Len(t, s.poll(0).Peers, 4) // three of shop, ada's laptop
		next := s.wait(time.Minute)
		synctest.Wait()
		require.NoError(t, n.SetLink(t.Context(), "blog", "shop", false, nil))
		require.Len(t, s.take((<-next).update).Peers, 1)
		next = s.wait(time.Minute)
		synctest.Wait()
		_, err := n.AddServer(t.Context(), "shop", "web-3", nil)
		require.NoError(t, err)
		require.Nil(t, (<-next).update)
	})
}

// TestNetmapBehind: an agent that was away gets what it missed, and the whole if
// that was much.
func TestNetmapBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(w world) {
		t, ctl, n := w.t, w.ctl, w.n
		s, awake := join(t, ctl, n, "shop", "web-1"), join(t, ctl, n, "shop", "web-2")
		s.poll(0)
		awake.poll(0)
		s.poll(0) // that the other joined, too
		away := func(rounds int) {
			for i := range rounds {
				allow(t, n, "shop", 2*i)
				awake.poll(time.Minute)
			}
			for i := range rounds {
				require.NoError(t, n.RemoveRule(t.Context(), "shop", fmt.Sprintf("203.0.113.%d_32", 2*i), nil))
			}
		}
		away(apn.PastDocuments - 1)
		time.Sleep(time.Second)
		require.Empty(t, s.poll(0).Openings.Permanent)
		away(apn.PastDocuments + 2)
		last := s.held()
		last.Content = ""
		_, err := s.Netmap(t.Context(), last, time.Minute)
		require.ErrorIs(t, err, apn.ErrStartOver)

		// By what it says it still is the same document.
		awake.poll(time.Minute)
		before := s.have.Revision()
		require.NotNil(t, s.poll(time.Minute))
		require.Greater(t, s.have.Revision(), before)
		require.Nil(t, s.poll(time.Minute))

		_, err = s.Netmap(t.Context(), apn.Held{Epoch: "other", Revision: 1 << 40}, time.Minute)
		require.ErrorIs(t, err, apn.ErrStartOver)
	})
}

// TestNetmapRestart: a process that has just begun recognises documents of the
// one before it by what they say.
func TestNetmapRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem()
		one := open(t, st)
		n, err := one.CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		shop(t, n)
		s := join(t, one, n, "shop", "web-1")
		s.poll(0)
		require.NoError(t, one.Close())

		two := open(t, st)
		n, err = two.Network(t.Context(), "acme")
		require.NoError(t, err)
		allow(t, n, "blog", 1) // not for this app
		s.identify(two)
		before := s.have.Revision()
		u, err := s.Netmap(t.Context(), s.held(), time.Minute)
		require.NoError(t, err)
		require.Less(t, len(u.Body), 600, "head and signature")
		s.take(u)
		require.Greater(t, s.have.Revision(), before)
		require.Nil(t, s.poll(time.Minute))

		// One that changed meanwhile is not.
		three := open(t, st)
		n, err = three.Network(t.Context(), "acme")
		require.NoError(t, err)
		allow(t, n, "shop", 1)
		s.identify(three)
		_, err = s.Netmap(t.Context(), s.held(), time.Minute)
		require.ErrorIs(t, err, apn.ErrStartOver)
		s.have = nil
		require.NotNil(t, s.poll(0))

		// What was seen elsewhere is not gone back from: the document comes when
		// this process has caught up.
		ahead := s.held()
		ahead.Revision, ahead.Content = ahead.Revision+1, ""
		began := time.Now()
		u, err = s.Netmap(t.Context(), ahead, time.Second)
		require.NoError(t, err)
		require.Nil(t, u)
		require.Equal(t, time.Second, time.Since(began))
	})
}

// TestNetmapEnds: a wait ends with its request, its server, its app and its
// process.
func TestNetmapEnds(t *testing.T) {
	t.Parallel()
	ends := map[string]struct {
		end  func(t *testing.T, ctl *apn.Control, n *apn.Network)
		want error
	}{
		"server": {func(t *testing.T, _ *apn.Control, n *apn.Network) {
			t.Helper()
			require.NoError(t, n.RemoveServer(t.Context(), "shop", "web-1", nil))
		}, apn.ErrForbidden},
		"app": {func(t *testing.T, _ *apn.Control, n *apn.Network) {
			t.Helper()
			require.NoError(t, n.RemoveApp(t.Context(), "shop", &apn.RemoveAppOptions{Servers: true}))
		}, apn.ErrForbidden},
		"another agent": {func(t *testing.T, ctl *apn.Control, n *apn.Network) {
			t.Helper()
			join(t, ctl, n, "shop", "web-1")
		}, apn.ErrForbidden},
		"process": {func(t *testing.T, ctl *apn.Control, _ *apn.Network) {
			t.Helper()
			require.NoError(t, ctl.Close())
		}, nil},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w world) {
				t, ctl, n := w.t, w.ctl, w.n
				s := join(t, ctl, n, "shop", "web-1")
				s.poll(0)
				began := time.Now()
				result := s.wait(time.Minute)
				synctest.Wait()
				tt.end(t, ctl, n)
				got := <-result
				require.ErrorIs(t, got.err, tt.want)
				require.Nil(t, got.update)
				require.LessOrEqual(t, time.Since(began), 50*time.Millisecond)
			})
		})
	}
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(w world) {
			t, ctl, n := w.t, w.ctl, w.n
			s := join(t, ctl, n, "shop", "web-1")
			s.poll(0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := s.Netmap(ctx, s.held(), time.Minute)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}
