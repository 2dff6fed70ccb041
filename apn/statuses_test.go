package apn_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

func TestServerStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem()
		ctl := open(t, st)
		ctx := t.Context()
		n, err := ctl.CreateNetwork(ctx, "acme", testPool())
		require.NoError(t, err)
		shop(t, n)
		status := func() apn.ServerStatus {
			t.Helper()
			s, err := n.ServerStatus(ctx, "shop", "web-1")
			require.NoError(t, err)
			return s
		}
		var last store.Rev
		written := func() bool {
			t.Helper()
			page, err := st.Get(ctx, "status/acme", "srv/shop/web-1")
			require.NoError(t, err)
			before := last
			last = page.Entries[0].Rev
			return last != before
		}
		require.Zero(t, status())
		_, err = n.ServerStatus(ctx, "shop", "web-9")
		require.ErrorIs(t, err, apn.ErrNotFound)

		joined := time.Now()
		s := join(t, ctl, n, "shop", "web-1")
		require.Equal(t, apn.ServerStatus{JoinedAt: joined.UTC(), Version: "1.0", Wanted: uint64(n.Rev())}, status())
		s.poll(0)
		rev := n.Rev()
		report := func(change func(*netmap.Status)) {
			t.Helper()
			r := netmap.Status{Version: "1.1", Epoch: s.have.Epoch(), Revision: s.have.Revision(), ClockOffset: time.Millisecond}
			if change != nil {
				change(&r)
			}
			require.NoError(t, s.Report(ctx, r))
			time.Sleep(2 * time.Second)
		}

		report(func(r *netmap.Status) {
			r.PeersUp = 2
			r.Peers = []netmap.PeerStatus{
				{ID: "dev/ada/laptop", HandshakeAge: 3 * time.Second, Received: 10, Sent: 20},
				{ID: "srv/shop/web-2", HandshakeAge: time.Minute, Received: 30},
				{ID: "srv/shop/gone", HandshakeAge: 0},
				{ID: "net", HandshakeAge: 0},
				{ID: "dev/ada/laptop", HandshakeAge: -1},
			}
			r.Errors = []string{"DNS: \x1b[31mno port 53", strings.Repeat("é", 200)}
		})
		got := status()
		seen := joined.UTC()
		require.Equal(t, seen, got.SeenAt)
		require.Equal(t, "1.1", got.Version)
		require.Equal(t, got.Wanted, got.Applied)
		require.Equal(t, time.Millisecond, got.ClockOffset)
		require.Equal(t, 2, got.PeersUp)
		require.Equal(t, seen.Add(-3*time.Second), got.LastHandshake)
		require.Equal(t, []apn.PeerStatus{
			{ID: "dev/ada/laptop", LastHandshake: seen.Add(-3 * time.Second), Received: 10, Sent: 20},
			{ID: "srv/shop/web-2", LastHandshake: seen.Add(-time.Minute), Received: 30},
		}, got.Peers)
		require.Equal(t, []string{"DNS:  [31mno port 53", strings.Repeat("é", 128)}, got.Errors)

		// Without news it is written twice a minute, with news at once. What was
		// known of peers stays.
		report(func(r *netmap.Status) { r.PeersUp = 2 })
		require.True(t, written())
		for range 12 {
			report(func(r *netmap.Status) { r.PeersUp = 1 })
		}
		require.False(t, written())
		time.Sleep(30 * time.Second)
		report(func(r *netmap.Status) { r.PeersUp = 1 })
		require.True(t, written())
		require.Len(t, status().Peers, 2)
		require.Equal(t, seen.Add(-3*time.Second), status().LastHandshake)
		for _, news := range []func(*netmap.Status){
			func(r *netmap.Status) { r.PeersUp = 0 },
			func(r *netmap.Status) { r.Errors = []string{"x"} },
			func(r *netmap.Status) { r.ClockOffset = 5 * time.Second },
			func(r *netmap.Status) { r.Version = "1.2" },
			func(r *netmap.Status) { r.Revision-- },
		} {
			report(news)
			require.True(t, written())
		}
		got = status()
		require.Equal(t, got.Wanted-1, got.Applied, "behind")
		require.Equal(t, rev, n.Rev(), "reports never move the network's revision")

		// Another process finds it in step, although its documents have other
		// revisions.
		report(nil)
		other := open(t, st)
		m, err := other.Network(ctx, "acme")
		require.NoError(t, err)
		allow(t, m, "blog", 1)
		there, err := m.ServerStatus(ctx, "shop", "web-1")
		require.NoError(t, err)
		require.Equal(t, there.Wanted, there.Applied)
		allow(t, m, "shop", 1)
		time.Sleep(time.Second)
		there, err = m.ServerStatus(ctx, "shop", "web-1")
		require.NoError(t, err)
		require.Less(t, there.Applied, there.Wanted)

		// A later server of that name starts afresh.
		require.NoError(t, n.RemoveServer(ctx, "shop", "web-1", nil))
		_, err = n.AddServer(ctx, "shop", "web-1", nil)
		require.NoError(t, err)
		require.Zero(t, status())
		_, err = n.Compact(ctx, apn.Retention{})
		require.NoError(t, err)
		page, err := st.List(ctx, "status/acme", "", "", 0)
		require.NoError(t, err)
		require.Empty(t, page.Entries)
		join(t, ctl, n, "shop", "web-1")
		require.Zero(t, status().SeenAt)
		require.NoError(t, other.Close())
	})
}

// TestStatusTogether: the reports of many servers are few commits.
func TestStatusTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem()
		ctl := open(t, st)
		n, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		shop(t, n)
		var servers []*server
		for i := range 150 {
			name := fmt.Sprintf("s%d", i)
			_, err := n.AddServer(t.Context(), "shop", name, nil)
			require.NoError(t, err)
			s := newServer(t, n, "shop", name)
			s.body.PublicKey = keys.PublicKey{}
			s.join(ctl)
			servers = append(servers, s)
		}
		var many []netmap.PeerStatus
		for _, s := range servers {
			many = append(many, netmap.PeerStatus{ID: netmap.ServerID("shop", s.Server), HandshakeAge: time.Second})
		}
		for _, s := range servers {
			require.NoError(t, s.Report(t.Context(), netmap.Status{Peers: many}))
		}
		require.NoError(t, ctl.Close(), "what waits is written")
		page, err := st.List(t.Context(), "status/acme", "", "", 0)
		require.NoError(t, err)
		require.Len(t, page.Entries, 150)
		commits := map[store.Rev]bool{}
		for _, e := range page.Entries {
			commits[e.Rev] = true
			require.Less(t, len(e.Value), 16<<10)
		}
		require.Len(t, commits, 2)
	})
}
