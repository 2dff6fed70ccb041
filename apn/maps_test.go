package apn_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
)

func TestAppMap(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	m, err := n.AppMap(t.Context(), "shop")
	require.NoError(t, err)
	require.NoError(t, m.Check())
	require.Equal(t, []any{"acme", "shop", uint64(n.Rev()), "apn", uint16(51820)}, []any{m.Network, m.App, m.Revision, m.Suffix, m.ListenPort})

	var ids []string
	for _, p := range m.Peers {
		ids = append(ids, p.ID)
	}
	require.Equal(t, []string{"dev/ada/laptop", "srv/blog/web-1", "srv/shop/db-1", "srv/shop/web-1", "srv/shop/web-2"}, ids)
	web, _ := m.Peer("srv/shop/web-1")
	require.Equal(t, []string{"web-1.shop.apn"}, web.Names, "two servers are called web-1")
	db, _ := m.Peer("srv/shop/db-1")
	require.Equal(t, []string{"db-1.apn", "db-1.shop.apn"}, db.Names)
	require.Equal(t, "[2001:db8::3]:51820", db.Endpoint)
	require.Len(t, db.AllowedIPs, 2)

	// Every address is behind the interface, and the routes are few.
	require.LessOrEqual(t, len(m.Routes), 6)
	for _, p := range m.Peers {
		for _, ip := range p.AllowedIPs {
			require.True(t, contains(m.Routes, ip.Addr()), "%s %v in %v", p.ID, ip, m.Routes)
		}
	}
	// A device more needs no route more.
	_, err = n.AddDevice(t.Context(), "ada", "phone", nil)
	require.NoError(t, err)
	more, err := n.AppMap(t.Context(), "shop")
	require.NoError(t, err)
	require.Equal(t, m.Routes, more.Routes)

	_, err = n.AppMap(t.Context(), "gone")
	require.ErrorIs(t, err, apn.ErrNotFound)
	_, err = n.ServerMap(t.Context(), "shop", "gone")
	require.ErrorIs(t, err, apn.ErrNotFound)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// TestAppMapOrder: IDs are sorted even where names of apps are not what their
// prefixes with a slash are.
func TestAppMapOrder(t *testing.T) {
	t.Parallel()
	n := network(t)
	for _, app := range []string{"a", "a-b"} {
		_, err := n.AddApp(t.Context(), app, nil)
		require.NoError(t, err)
		_, err = n.AddServer(t.Context(), app, "web", nil)
		require.NoError(t, err)
	}
	m, err := n.AppMap(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, m.Check())
	_, ok := m.Peer("srv/a/web")
	require.True(t, ok)
}

// TestAppMapSaysTheSame: a revision says the same at any time and on any
// replica. Of several leases for one source the longest counts.
func TestAppMapSaysTheSame(t *testing.T) {
	t.Parallel()
	clk, st := newClock(), store.NewMem()
	n, err := open(t, st, withClock(clk)).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	ctx := t.Context()
	_, err = n.AddMember(ctx, "bob", nil)
	require.NoError(t, err)
	require.NoError(t, n.SetRole(ctx, "bob", "shop", apn.Developer, nil))
	_, err = n.Lease(ctx, "shop", "ada", []netip.Addr{addr("198.51.100.7"), addr("2001:db8:5::1")}, &apn.LeaseOptions{Duration: time.Hour})
	require.NoError(t, err)
	clk.advance(time.Minute)
	_, err = n.Lease(ctx, "shop", "bob", []netip.Addr{addr("198.51.100.7")}, &apn.LeaseOptions{Duration: 2 * time.Hour})
	require.NoError(t, err)
	_, err = n.AddRule(ctx, "shop", netip.MustParsePrefix("192.0.2.0/25"), nil)
	require.NoError(t, err)
	_, err = n.AddRule(ctx, "shop", netip.MustParsePrefix("192.0.2.128/25"), nil)
	require.NoError(t, err)

	m, err := n.AppMap(ctx, "shop")
	require.NoError(t, err)
	require.NoError(t, m.Check())
	require.Equal(t, []netmap.Opening{
		{Source: netip.MustParsePrefix("198.51.100.7/32"), IssuedAt: start().Add(time.Minute), ExpiresAt: start().Add(2*time.Hour + time.Minute)},
		{Source: netip.MustParsePrefix("2001:db8:5::/64"), IssuedAt: start(), ExpiresAt: start().Add(time.Hour)},
	}, m.Openings.Leases)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, m.Openings.Permanent)

	clk.advance(100 * time.Hour)
	later, err := n.AppMap(ctx, "shop")
	require.NoError(t, err)
	require.Equal(t, m, later)
	replica, err := open(t, st, withClock(clk)).Network(ctx, "acme")
	require.NoError(t, err)
	other, err := replica.AppMap(ctx, "shop")
	require.NoError(t, err)
	require.Equal(t, m, other)
}

func TestServerMap(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	c, err := n.ServerMap(t.Context(), "shop", "db-1")
	require.NoError(t, err)
	s, err := n.Server("shop", "db-1")
	require.NoError(t, err)
	require.Equal(t, s.PublicKey, c.PublicKey)
	require.Len(t, c.Peers, 4)
	require.Len(t, c.Addresses, 2)
	require.Equal(t, s.Addresses[0], c.Addresses[0].Addr())
}

// BenchmarkAppMap draws up the map of an app after one server changed, and that
// of another app at the same revision.
func BenchmarkAppMap(b *testing.B) {
	for _, servers := range []int{1000, 10_000} {
		n := network(b)
		for at := 0; at < servers; at += 500 {
			addServers(b, n, fmt.Sprintf("app-%d", at/500), at, at+500)
		}
		for _, changed := range []bool{true, false} {
			b.Run(fmt.Sprintf("servers=%d/changed=%t", servers, changed), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if changed {
						b.StopTimer()
						endpoint := fmt.Sprintf("198.51.100.%d:51820", i%250)
						_, err := n.UpdateServer(b.Context(), "app-0", "s0007", apn.ServerUpdate{Endpoint: &endpoint})
						require.NoError(b, err)
						b.StartTimer()
					}
					if _, err := n.AppMap(b.Context(), "app-0"); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
