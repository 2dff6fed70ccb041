package apn_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/render"
)

func TestDeviceConfig(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)

	cfg, err := n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	require.NoError(t, cfg.Validate(render.All))
	require.False(t, cfg.Interface.PrivateKey.IsZero())

	var names []string
	for _, p := range cfg.Peers {
		names = append(names, p.Name)
		require.Equal(t, 25*time.Second, p.Keepalive)
		require.Len(t, p.AllowedIPs, 2)
		require.Equal(t, 32, p.AllowedIPs[0].Bits())
		require.Equal(t, 128, p.AllowedIPs[1].Bits())
		require.False(t, p.Endpoint.IsZero())
	}
	require.ElementsMatch(t, []string{"web-1.shop", "web-2.shop", "db-1.shop", "web-1.blog"}, names)

	server, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	i := slices.IndexFunc(cfg.Peers, func(p render.Peer) bool { return p.Name == "web-1.shop" })
	require.Equal(t, server.PublicKey, cfg.Peers[i].PublicKey)
	require.Equal(t, server.Addresses[0], cfg.Peers[i].AllowedIPs[0].Addr())
}

func TestServerConfigMatchesDevice(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	device, err := n.Device("ada", "laptop")
	require.NoError(t, err)

	cfg, err := n.ServerConfig(t.Context(), "shop", "db-1")
	require.NoError(t, err)
	require.Equal(t, uint16(51820), cfg.Interface.ListenPort)
	var peers []keys.PublicKey
	for _, p := range cfg.Peers {
		peers = append(peers, p.PublicKey)
	}
	require.Len(t, peers, 4, "three servers and a laptop")
	require.Contains(t, peers, device.PublicKey)

	m, err := n.ServerMap(t.Context(), "shop", "db-1")
	require.NoError(t, err)
	require.Len(t, m.Peers, 4)
	for _, p := range m.Peers {
		require.Contains(t, peers, p.PublicKey)
	}
}

func TestPresharedKeysAgree(t *testing.T) {
	t.Parallel()
	opts := testPool()
	opts.PresharedKeys = true
	n, err := open(t, store.NewMem()).CreateNetwork(t.Context(), "acme", opts)
	require.NoError(t, err)
	shop(t, n)
	laptop, err := n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	server, err := n.ServerConfig(t.Context(), "shop", "web-1")
	require.NoError(t, err)
	require.True(t, pskWith(t, laptop, server.Interface.PublicKey).Equal(pskWith(t, server, laptop.Interface.PublicKey)))
}

func pskWith(t *testing.T, cfg *render.Config, pub keys.PublicKey) keys.PresharedKey {
	t.Helper()
	i := slices.IndexFunc(cfg.Peers, func(p render.Peer) bool { return p.PublicKey == pub })
	require.GreaterOrEqual(t, i, 0)
	require.False(t, cfg.Peers[i].PresharedKey.IsZero())
	return cfg.Peers[i].PresharedKey
}

func TestLinks(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	peers := func() (ids []string) {
		m, err := n.ServerMap(ctx, "blog", "web-1")
		require.NoError(t, err)
		for _, p := range m.Peers {
			ids = append(ids, p.ID)
		}
		return ids
	}
	all := []string{"dev/ada/laptop", "srv/shop/db-1", "srv/shop/web-1", "srv/shop/web-2"}
	require.Equal(t, all, peers())

	require.NoError(t, n.SetLink(ctx, "shop", "blog", false, nil))
	require.Equal(t, []string{"dev/ada/laptop"}, peers())
	require.Len(t, n.Links(), 1)
	require.NoError(t, n.ResetLink(ctx, "blog", "shop", nil))
	require.Equal(t, all, peers())

	none := apn.LinkNone
	_, err := n.Update(ctx, apn.NetworkUpdate{Links: &none})
	require.NoError(t, err)
	require.Equal(t, []string{"dev/ada/laptop"}, peers())
	require.NoError(t, n.SetLink(ctx, "blog", "shop", true, nil))
	require.Equal(t, all, peers())
}

func TestZone(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)

	web1, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	require.Equal(t, []string{"web-1.shop.apn"}, web1.Names, "the short name is withheld: blog has one too")
	web2, err := n.Server("shop", "web-2")
	require.NoError(t, err)
	require.Equal(t, []string{"web-2.apn", "web-2.shop.apn"}, web2.Names)

	set, err := n.Zone(t.Context())
	require.NoError(t, err)
	var b strings.Builder
	for z := range set.Zones() {
		if strings.HasPrefix(z.Name(), "apn") {
			_, err := z.WriteTo(&b)
			require.NoError(t, err)
		}
	}
	require.Contains(t, b.String(), "web-2.shop")
	require.Contains(t, b.String(), web2.Addresses[0].String())

	require.Len(t, set.Report().Withheld, 1)
	_, err = n.AddServer(t.Context(), "blog", "other", nil)
	require.NoError(t, err)
	set, err = n.Zone(t.Context())
	require.NoError(t, err)
	require.Len(t, set.Report().Withheld, 1, "the report is of the whole network")

	// Names follow changes one by one as they would when built anew.
	require.NoError(t, n.RemoveServer(t.Context(), "blog", "web-1", nil))
	web1, err = n.Server("shop", "web-1")
	require.NoError(t, err)
	require.Equal(t, []string{"web-1.apn", "web-1.shop.apn"}, web1.Names)
}

func TestRoleLost(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	_, err := n.Lease(ctx, "shop", "ada", []netip.Addr{addr("198.51.100.9")}, nil)
	require.NoError(t, err)

	require.NoError(t, n.SetRole(ctx, "ada", "shop", apn.Viewer, nil))

	m, err := n.ServerMap(ctx, "shop", "web-1")
	require.NoError(t, err)
	for _, p := range m.Peers {
		require.NotEqual(t, "dev/ada/laptop", p.ID)
	}
	require.Empty(t, m.Openings.Leases)
	cfg, err := n.DeviceConfig(ctx, "ada", "laptop")
	require.NoError(t, err)
	require.Len(t, cfg.Peers, 1)
	_, err = n.Lease(ctx, "shop", "ada", []netip.Addr{addr("198.51.100.9")}, nil)
	require.ErrorIs(t, err, apn.ErrForbidden)
}

func TestLease(t *testing.T) {
	t.Parallel()
	clk := newClock()
	n := network(t, withClock(clk))
	shop(t, n)
	ctx := t.Context()
	sources := []netip.Addr{addr("198.51.100.9"), addr("2001:db8:1:2::77")}

	granted, err := n.Lease(ctx, "shop", "ada", sources, nil)
	require.NoError(t, err)
	require.Len(t, granted, 2)
	require.Equal(t, "198.51.100.9/32", granted[0].Source.String())
	require.Equal(t, "2001:db8:1:2::/64", granted[1].Source.String())
	require.Equal(t, start().Add(24*time.Hour), granted[0].ExpiresAt)

	clk.advance(time.Hour)
	again, err := n.Lease(ctx, "shop", "ada", sources[:1], nil)
	require.NoError(t, err)
	require.Equal(t, granted[0].ID, again[0].ID)
	require.Equal(t, start().Add(25*time.Hour), again[0].ExpiresAt, "leasing again extends")

	shorter, err := n.Lease(ctx, "shop", "ada", sources[:1], &apn.LeaseOptions{Duration: time.Minute})
	require.NoError(t, err)
	require.Equal(t, again[0].ExpiresAt, shorter[0].ExpiresAt, "leasing never shortens")

	m, err := n.ServerMap(ctx, "shop", "db-1")
	require.NoError(t, err)
	require.Len(t, m.Openings.Leases, 2)

	clk.advance(24*time.Hour - time.Nanosecond)
	list, err := n.Leases("shop")
	require.NoError(t, err)
	require.Len(t, list, 1, "the IPv6 lease was not extended")
	clk.advance(time.Nanosecond)
	list, err = n.Leases("shop")
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = n.RenewLease(ctx, "shop", granted[0].ID, 0, nil)
	require.ErrorIs(t, err, apn.ErrNotFound)

	fresh, err := n.Lease(ctx, "shop", "ada", sources[:1], nil)
	require.NoError(t, err)
	renewed, err := n.RenewLease(ctx, "shop", fresh[0].ID, 0, nil)
	require.NoError(t, err)
	require.Equal(t, fresh[0].ExpiresAt, renewed.ExpiresAt)
	require.NoError(t, n.RevokeLease(ctx, "shop", fresh[0].ID, nil))
	_, err = n.LeaseByID("shop", fresh[0].ID)
	require.ErrorIs(t, err, apn.ErrNotFound)
}

func TestRules(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	r, err := n.AddRule(ctx, "shop", netip.MustParsePrefix("198.51.100.0/24"), &apn.RuleOptions{Note: "office"})
	require.NoError(t, err)
	require.Equal(t, "198.51.100.0_24", r.ID)
	_, err = n.AddRule(ctx, "shop", netip.MustParsePrefix("198.51.100.0/24"), nil)
	require.ErrorIs(t, err, apn.ErrExists)
	m, err := n.ServerMap(ctx, "shop", "web-1")
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, m.Openings.Permanent)
	require.NoError(t, n.RemoveRule(ctx, "shop", r.ID, nil))
	rules, err := n.Rules("shop")
	require.NoError(t, err)
	require.Empty(t, rules)
}

func TestCustody(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()

	_, err := n.AddDevice(ctx, "ada", "phone", &apn.DeviceOptions{Custody: keys.Once})
	require.NoError(t, err)
	cfg, err := n.DeviceConfig(ctx, "ada", "phone")
	require.NoError(t, err)
	require.False(t, cfg.Interface.PrivateKey.IsZero())
	_, err = n.DeviceConfig(ctx, "ada", "phone")
	require.ErrorIs(t, err, apn.ErrRevealed)
	_, err = n.RotateDevice(ctx, "ada", "phone", keys.PublicKey{}, nil)
	require.NoError(t, err)
	_, err = n.DeviceConfig(ctx, "ada", "phone")
	require.NoError(t, err, "a new key is shown once more")

	own, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	d, err := n.AddDevice(ctx, "ada", "desktop", &apn.DeviceOptions{PublicKey: own.PublicKey()})
	require.NoError(t, err)
	require.Equal(t, keys.Self, d.Custody)
	cfg, err = n.DeviceConfig(ctx, "ada", "desktop")
	require.NoError(t, err)
	require.True(t, cfg.Interface.PrivateKey.IsZero())
	require.Equal(t, own.PublicKey(), cfg.Interface.PublicKey)

	_, err = n.AddServer(ctx, "shop", "self", &apn.ServerOptions{PublicKey: own.PublicKey()})
	require.ErrorIs(t, err, keys.ErrDuplicateKey)
	_, err = n.RotateDevice(ctx, "ada", "desktop", keys.PublicKey{}, nil)
	require.ErrorIs(t, err, apn.ErrInvalid)
}

func TestAddressRests(t *testing.T) {
	t.Parallel()
	clk := newClock()
	n := network(t, withClock(clk))
	shop(t, n)
	ctx := t.Context()
	gone, err := n.Server("shop", "web-2")
	require.NoError(t, err)
	require.NoError(t, n.RemoveServer(ctx, "shop", "web-2", nil))

	other, err := n.AddServer(ctx, "shop", "web-3", nil)
	require.NoError(t, err)
	require.NotEqual(t, gone.Addresses, other.Addresses, "an old lease must not reach a new server")
	back, err := n.AddServer(ctx, "shop", "web-2", nil)
	require.NoError(t, err)
	require.Equal(t, gone.Addresses, back.Addresses, "the former owner gets it back")
	require.NotEqual(t, gone.PublicKey, back.PublicKey)
}

func TestSubnetGrows(t *testing.T) {
	t.Parallel()
	n := network(t)
	ctx := t.Context()
	_, err := n.AddApp(ctx, "tiny", &apn.AppOptions{Bits: 29})
	require.NoError(t, err)
	seen := map[netip.Addr]bool{}
	for i := range 40 {
		s, err := n.AddServer(ctx, "tiny", "s-"+string(rune('a'+i/26))+string(rune('a'+i%26)), nil)
		require.NoError(t, err)
		require.False(t, seen[s.Addresses[0]])
		seen[s.Addresses[0]] = true
	}
	app, err := n.App("tiny")
	require.NoError(t, err)
	for a := range seen {
		require.True(t, slices.ContainsFunc(app.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }),
			"the app shows the subnets that it grew into")
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	n := network(t)
	ctx := t.Context()
	inv := apn.Inventory{Apps: []apn.InventoryApp{
		{Name: "shop", Servers: []apn.InventoryServer{{Name: "web-1"}, {Name: "web-2", Endpoint: "203.0.113.2:51820"}}},
		{Name: "blog", Servers: []apn.InventoryServer{{Name: "web-1"}}},
	}}
	before := n.Rev()
	got, err := n.Import(ctx, inv, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"shop", "blog"}, got.Apps)
	require.Len(t, got.Servers, 3)
	require.Equal(t, before+1, n.Rev(), "one commit")

	inv.Apps[1].Servers = append(inv.Apps[1].Servers, apn.InventoryServer{Name: "web-9"}, apn.InventoryServer{Name: "bad name"})
	inv.Apps = inv.Apps[1:]
	inv.Apps[0].Servers = inv.Apps[0].Servers[1:]
	_, err = n.Import(ctx, inv, nil)
	require.ErrorIs(t, err, apn.ErrInvalid)
	var field *apn.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "apps[0].servers[1].name", field.Field)
	_, err = n.Server("blog", "web-9")
	require.ErrorIs(t, err, apn.ErrNotFound, "all or nothing")
}

func TestRemoveApp(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	_, err := n.Lease(ctx, "shop", "ada", []netip.Addr{addr("198.51.100.9")}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, n.RemoveApp(ctx, "shop", nil), apn.ErrInUse)
	require.NoError(t, n.RemoveApp(ctx, "shop", &apn.RemoveAppOptions{Servers: true}))

	ada, err := n.Member("ada")
	require.NoError(t, err)
	require.Equal(t, map[string]apn.Role{"blog": apn.Developer}, ada.Roles)
	_, err = n.Leases("shop")
	require.ErrorIs(t, err, apn.ErrNotFound)
	again, err := n.AddApp(ctx, "shop", nil)
	require.NoError(t, err)
	require.NotEmpty(t, again.Subnets)
}

func TestRemoveMember(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	require.NoError(t, n.RemoveMember(t.Context(), "ada", nil))
	_, err := n.Device("ada", "laptop")
	require.ErrorIs(t, err, apn.ErrNotFound)
	m, err := n.ServerMap(t.Context(), "shop", "web-1")
	require.NoError(t, err)
	require.Len(t, m.Peers, 3)
}

func TestInvalidInput(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	long := strings.Repeat("a", 64)
	before := n.Rev()
	bad := []string{
		"", long, "web\n1", "web\x00", "w\u0435b-1", "../web", `we"b`, "we'b", "-web", "web-", "WEB", "we b", "web.1", "xn--we", "localhost",
	}
	for _, name := range bad {
		_, err := n.AddApp(t.Context(), name, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, "app %q", name)
		_, err = n.AddServer(t.Context(), "shop", name, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, "server %q", name)
		_, err = n.AddDevice(t.Context(), "ada", name, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, "device %q", name)
	}
	for _, name := range []string{"", strings.Repeat("a", 65), "a\nb", "Ada", "a..b", "a/b", "\u0430da", `a"b`, ".ada", "@x"} {
		_, err := n.AddMember(t.Context(), name, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, "member %q", name)
	}
	tests := []struct {
		name  string
		field string
		want  error
		do    func() error
	}{
		{"endpoint", "endpoint", apn.ErrInvalid, func() error {
			_, err := n.AddServer(t.Context(), "shop", "x", &apn.ServerOptions{Endpoint: "a b:1\nPostUp = x"})
			return err
		}},
		{"endpoint without port", "endpoint", apn.ErrInvalid, func() error {
			_, err := n.AddServer(t.Context(), "shop", "x", &apn.ServerOptions{Endpoint: "host"})
			return err
		}},
		{"address outside", "address", ipam.ErrNotInPool, func() error {
			_, err := n.AddServer(t.Context(), "shop", "x", &apn.ServerOptions{Address: addr("10.1.1.1")})
			return err
		}},
		{"subnet outside", "subnets", ipam.ErrNotInPool, func() error {
			_, err := n.AddApp(t.Context(), "x", &apn.AppOptions{Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}})
			return err
		}},
		{"subnet with host bits", "subnets", ipam.ErrInvalid, func() error {
			_, err := n.AddApp(t.Context(), "x", &apn.AppOptions{Subnets: []netip.Prefix{netip.MustParsePrefix("10.66.77.7/24")}})
			return err
		}},
		{"subnet taken", "subnets", ipam.ErrOverlap, func() error {
			app, err := n.App("shop")
			require.NoError(t, err)
			_, err = n.AddApp(t.Context(), "x", &apn.AppOptions{Subnets: app.Subnets[:1]})
			return err
		}},
		{"weak key", "public_key", keys.ErrWeakPublicKey, func() error {
			_, err := n.AddServer(t.Context(), "shop", "x", &apn.ServerOptions{PublicKey: keys.PublicKey{1}})
			return err
		}},
		{"role", "role", apn.ErrInvalid, func() error { return n.SetRole(t.Context(), "ada", "shop", 9, nil) }},
		{"role of nobody", "", apn.ErrNotFound, func() error { return n.SetRole(t.Context(), "bob", "shop", apn.Viewer, nil) }},
		{"role on nothing", "", apn.ErrNotFound, func() error { return n.SetRole(t.Context(), "ada", "nope", apn.Viewer, nil) }},
		{"duplicate app", "", apn.ErrExists, func() error { _, err := n.AddApp(t.Context(), "shop", nil); return err }},
		{"duplicate server", "", apn.ErrExists, func() error { _, err := n.AddServer(t.Context(), "shop", "web-1", nil); return err }},
		{"duplicate member", "", apn.ErrExists, func() error { _, err := n.AddMember(t.Context(), "ada", nil); return err }},
		{"duplicate device", "", apn.ErrExists, func() error { _, err := n.AddDevice(t.Context(), "ada", "laptop", nil); return err }},
		{"private source", "sources", lease.ErrSource, func() error {
			_, err := n.Lease(t.Context(), "shop", "ada", []netip.Addr{addr("192.168.1.1")}, nil)
			return err
		}},
		{"no source", "sources", apn.ErrInvalid, func() error { _, err := n.Lease(t.Context(), "shop", "ada", nil, nil); return err }},
		{"long lease", "duration", lease.ErrDuration, func() error {
			_, err := n.Lease(t.Context(), "shop", "ada", []netip.Addr{addr("198.51.100.9")}, &apn.LeaseOptions{Duration: 1e6 * time.Hour})
			return err
		}},
		{"rule for all", "source", lease.ErrSource, func() error {
			_, err := n.AddRule(t.Context(), "shop", netip.MustParsePrefix("0.0.0.0/0"), nil)
			return err
		}},
		{"rule with host bits", "source", lease.ErrSource, func() error {
			_, err := n.AddRule(t.Context(), "shop", netip.MustParsePrefix("198.51.100.7/24"), nil)
			return err
		}},
		{"note", "note", apn.ErrInvalid, func() error {
			_, err := n.AddRule(t.Context(), "shop", netip.MustParsePrefix("198.51.100.0/24"), &apn.RuleOptions{Note: "a\nb"})
			return err
		}},
		{"link to itself", "app", apn.ErrInvalid, func() error { return n.SetLink(t.Context(), "shop", "shop", true, nil) }},
		{"custody", "custody", apn.ErrInvalid, func() error {
			_, err := n.AddDevice(t.Context(), "ada", "x", &apn.DeviceOptions{Custody: "mine"})
			return err
		}},
	}
	for _, tt := range tests {
		err := tt.do()
		require.ErrorIs(t, err, tt.want, tt.name)
		var field *apn.FieldError
		if tt.field != "" {
			require.ErrorAs(t, err, &field, tt.name)
			require.Equal(t, tt.field, field.Field, tt.name)
		}
		var e *apn.Error
		require.ErrorAs(t, err, &e, tt.name)
	}
	require.Equal(t, before, n.Rev(), "nothing was committed")
}

func TestFullPool(t *testing.T) {
	t.Parallel()
	n, err := open(t, store.NewMem()).CreateNetwork(t.Context(), "small", &apn.NetworkOptions{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/28")}, SubnetBits: 30,
	})
	require.NoError(t, err)
	for _, app := range []string{"a", "b", "c", "d"} {
		_, err := n.AddApp(t.Context(), app, nil)
		require.NoError(t, err)
	}
	before := n.Rev()
	_, err = n.AddApp(t.Context(), "e", nil)
	require.ErrorIs(t, err, apn.ErrExhausted)
	require.Equal(t, before, n.Rev())
	_, err = n.Update(t.Context(), apn.NetworkUpdate{AddPrefixes: []netip.Prefix{netip.MustParsePrefix("10.67.0.0/28")}})
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "e", nil)
	require.NoError(t, err, "a pool can be enlarged")
}

func TestCreateNetwork(t *testing.T) {
	t.Parallel()
	ctl := open(t, store.NewMem())
	for _, name := range []string{"", "a/b", "..", "a..b", "a b", "a\n", strings.Repeat("a", 64), "é"} {
		_, err := ctl.CreateNetwork(t.Context(), name, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, "%q", name)
	}
	_, err := ctl.CreateNetwork(t.Context(), "x", &apn.NetworkOptions{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}})
	require.ErrorIs(t, err, apn.ErrInvalid, "all of it is excluded")
	for field, opts := range map[string]*apn.NetworkOptions{
		"prefixes":  {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}},
		"suffix":    {Suffix: "bad suffix"},
		"keepalive": {Keepalive: time.Millisecond},
	} {
		_, err := ctl.CreateNetwork(t.Context(), "x", opts)
		var f *apn.FieldError
		require.ErrorAs(t, err, &f)
		require.Equal(t, field, f.Field)
	}
	_, err = ctl.Network(t.Context(), "x")
	require.ErrorIs(t, err, apn.ErrNotFound)
	n, err := ctl.CreateNetwork(t.Context(), "acct_42", nil)
	require.NoError(t, err)
	require.Len(t, n.Info().Prefixes, 2)
	_, err = ctl.CreateNetwork(t.Context(), "acct_42", nil)
	require.ErrorIs(t, err, apn.ErrExists)
	names, more, err := ctl.Networks(t.Context(), "", 0)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"acct_42"}, names)
}

func TestIfRevAndRequestID(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	s, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	to := "203.0.113.99:51820"
	moved, err := n.UpdateServer(ctx, "shop", "web-1", apn.ServerUpdate{CommitOptions: apn.CommitOptions{IfRev: s.Rev}, Endpoint: &to})
	require.NoError(t, err)
	require.NotEqual(t, s.Rev, moved.Rev)
	_, err = n.UpdateServer(ctx, "shop", "web-1", apn.ServerUpdate{CommitOptions: apn.CommitOptions{IfRev: s.Rev}, Endpoint: &to})
	require.ErrorIs(t, err, apn.ErrConflict)

	once := apn.CommitOptions{RequestID: "abc", RequestDigest: "1"}
	_, err = n.AddServer(ctx, "shop", "web-9", &apn.ServerOptions{CommitOptions: once})
	require.NoError(t, err)
	_, err = n.AddServer(ctx, "shop", "web-9", &apn.ServerOptions{CommitOptions: once})
	require.ErrorIs(t, err, apn.ErrRepeated)
	once.RequestDigest = "2"
	_, err = n.AddServer(ctx, "shop", "web-10", &apn.ServerOptions{CommitOptions: once})
	require.ErrorIs(t, err, apn.ErrInvalid)
}

func TestWatch(t *testing.T) {
	t.Parallel()
	n := network(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan store.Rev)
	ended := make(chan error, 1)
	go func() {
		for rev, err := range n.Watch(ctx, 0) {
			if err != nil {
				ended <- err
				return
			}
			seen <- rev
		}
	}()
	require.Equal(t, n.Rev(), <-seen)
	_, err := n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)
	require.Equal(t, n.Rev(), <-seen)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	n := network(t)
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(&testKEK{id: "k"})})
	require.NoError(t, err)
	other, err := ctl.CreateNetwork(t.Context(), "acme", nil)
	require.NoError(t, err)
	require.NoError(t, ctl.Close())
	require.NoError(t, ctl.Close(), "closing twice is fine")
	_, err = other.AddApp(t.Context(), "shop", nil)
	require.ErrorIs(t, err, apn.ErrClosed)
	_, err = n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err, "other Controls go on")
	for _, cfg := range []apn.Config{{KEK: keys.Multi(&testKEK{id: "k"})}, {Store: store.NewMem()}} {
		_, err = apn.Open(cfg)
		require.ErrorIs(t, err, apn.ErrInvalid)
	}
}

func TestErrorsNameOperationAndObject(t *testing.T) {
	t.Parallel()
	n := network(t)
	_, err := n.AddServer(t.Context(), "nope", "web-1", nil)
	var e *apn.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "add server", e.Op)
	require.Equal(t, "nope/web-1", e.Object)
	require.Equal(t, `apn: add server "nope/web-1": app not found`, err.Error())
	require.NotErrorIs(t, err, apn.ErrExists)
}
