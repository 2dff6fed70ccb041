//go:build linux

package wgdev_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// kernel is what an interface has, as text.
type kernel struct {
	addresses, routes []string // routes of every protocol
	mtu               int
	up                bool
}

func (b *bed) look(tb testing.TB, name string) (k kernel) {
	tb.Helper()
	b.do(func() {
		l, err := netlink.LinkByName(name)
		if err != nil {
			tb.Error(err)
			return
		}
		k.mtu, k.up = l.Attrs().MTU, l.Attrs().RawFlags&unix.IFF_UP != 0
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			tb.Error(err)
		}
		for _, a := range addrs {
			k.addresses = append(k.addresses, a.IPNet.String())
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
		if err != nil {
			tb.Error(err)
		}
		for _, r := range routes {
			k.routes = append(k.routes, r.Dst.String())
		}
	})
	slices.Sort(k.addresses)
	slices.Sort(k.routes)
	return k
}

// writes counts what the kernel reports to have changed in the namespace.
func (b *bed) writes(tb testing.TB) func() int {
	tb.Helper()
	fd := -1
	b.do(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE); err != nil {
			tb.Error(err)
		}
		groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { _ = unix.Close(fd) })
	return func() (n int) {
		for buf := make([]byte, 1<<16); ; n++ {
			if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
				return n
			}
		}
	}
}

func TestSetLinks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path})
	writes := b.writes(t)
	steps := []struct {
		name      string
		links     wgdev.Links
		addresses []string
		routes    []string
		mtu       int
	}{
		{
			name:      "subnet",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.11/24", "fd00:66::11/64")},
			addresses: []string{"10.66.0.11/24", "fd00:66::11/64"}, routes: []string{"10.66.0.0/24", "fd00:66::/64"}, mtu: 1420,
		},
		{
			name:      "linked app, and what the address brings",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.11/24", "fd00:66::11/64"), Routes: prefixes("10.66.0.0/24", "10.66.5.0/24", "fd00:66:5::/64"), MTU: 1380},
			addresses: []string{"10.66.0.11/24", "fd00:66::11/64"}, routes: []string{"10.66.0.0/24", "10.66.5.0/24", "fd00:66:5::/64", "fd00:66::/64"}, mtu: 1380,
		},
		{
			name:      "address alone",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.11/32", "fd00:66::11/128"), Routes: prefixes("10.66.0.0/24", "fd00:66::/64")},
			addresses: []string{"10.66.0.11/32", "fd00:66::11/128"}, routes: []string{"10.66.0.0/24", "fd00:66::/64", "fd00:66::11/128"}, mtu: 1380,
		},
		{
			name:      "second address, routes swapped",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.11/32", "10.67.0.11/32", "fd00:66::11/128"), Routes: prefixes("10.67.0.0/24")},
			addresses: []string{"10.66.0.11/32", "10.67.0.11/32", "fd00:66::11/128"}, routes: []string{"10.67.0.0/24", "fd00:66::11/128"}, mtu: 1380,
		},
		{
			name:      "first address of a subnet goes",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.11/24", "10.66.0.12/24", "10.66.0.13/24")},
			addresses: []string{"10.66.0.11/24", "10.66.0.12/24", "10.66.0.13/24"}, routes: []string{"10.66.0.0/24"}, mtu: 1380,
		},
		{
			name:      "the kernel takes the others along",
			links:     wgdev.Links{Addresses: prefixes("10.66.0.12/24", "10.66.0.13/24"), Routes: prefixes("10.70.0.0/16"), MTU: wgdev.MinMTU},
			addresses: []string{"10.66.0.12/24", "10.66.0.13/24"}, routes: []string{"10.66.0.0/24", "10.70.0.0/16"}, mtu: wgdev.MinMTU,
		},
		{
			name:      "all other",
			links:     wgdev.Links{Addresses: prefixes("10.1.0.1/32"), Routes: prefixes("10.70.0.0/16")},
			addresses: []string{"10.1.0.1/32"}, routes: []string{"10.70.0.0/16"}, mtu: wgdev.MinMTU,
		},
		{name: "nothing", mtu: wgdev.MinMTU},
	}
	for _, tt := range steps {
		require.NoError(t, i.SetLinks(t.Context(), tt.links), tt.name)
		got := b.look(t, name)
		require.Equal(t, kernel{addresses: tt.addresses, routes: tt.routes, mtu: tt.mtu, up: true}, got, tt.name)
		slices.Reverse(tt.links.Addresses)
		slices.Reverse(tt.links.Routes)
		// The kernel reports a new IPv6 address once more, a little later.
		for end := time.Now().Add(5 * time.Second); writes() > 0; {
			require.True(t, time.Now().Before(end), tt.name+", again and again")
			require.NoError(t, i.SetLinks(t.Context(), tt.links), tt.name)
		}
	}
}

func TestSetLinksRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	i := open(t, wgdev.Options{Namespace: b.path})
	writes := b.writes(t)
	for name, l := range map[string]wgdev.Links{
		"MTU below IPv6":       {MTU: 1279},
		"no address":           {Addresses: make([]netip.Prefix, 1)},
		"unspecified address":  {Addresses: prefixes("0.0.0.0/32")},
		"multicast address":    {Addresses: prefixes("ff02::1/128")},
		"mapped address":       {Addresses: prefixes("::ffff:10.0.0.1/128")},
		"route with host bits": {Routes: prefixes("10.0.0.1/8")},
		"no route":             {Routes: make([]netip.Prefix, 1)},
	} {
		require.ErrorIs(t, i.SetLinks(t.Context(), l), wgdev.ErrInvalid, name)
	}
	require.Zero(t, writes())
}

// TestOthersRoutes has routes of somebody else on our interface and elsewhere.
func TestOthersRoutes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path})
	b.do(func() {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Error(err)
			return
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IP{10, 9, 0, 0}, Mask: net.CIDRMask(16, 32)}, Scope: netlink.SCOPE_LINK}); err != nil {
			t.Error(err)
		}
	})
	l := wgdev.Links{Addresses: prefixes("10.66.0.11/32"), Routes: prefixes("10.66.0.0/24", "10.9.0.0/16", "10.67.0.0/24")}
	err := i.SetLinks(t.Context(), l)
	require.ErrorIs(t, err, wgdev.ErrExists)
	require.ErrorContains(t, err, "10.9.0.0/16")
	want := []string{"10.66.0.0/24", "10.67.0.0/24", "10.9.0.0/16"}
	require.Equal(t, want, b.look(t, name).routes, "the rest is there")
	require.NoError(t, i.SetLinks(t.Context(), wgdev.Links{Addresses: prefixes("10.66.0.11/32")}))
	require.Equal(t, []string{"10.9.0.0/16"}, b.look(t, name).routes, "theirs stays")
}

// TestNoIPv6 does what it can on a host without IPv6, and says what it cannot.
func TestNoIPv6(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o600); err != nil {
			t.Error(err)
		}
	})
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path})
	err := i.SetLinks(t.Context(), wgdev.Links{Addresses: prefixes("fd00:66::11/128", "10.66.0.11/32"), Routes: prefixes("10.66.0.0/24")})
	require.ErrorContains(t, err, "fd00:66::11/128")
	require.NotErrorIs(t, err, wgdev.ErrPrivilege)
	got := b.look(t, name)
	require.Equal(t, []string{"10.66.0.11/32"}, got.addresses)
	require.Equal(t, []string{"10.66.0.0/24"}, got.routes)
}

// TestTakenDown repairs what somebody did to the interface.
func TestTakenDown(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path})
	l := wgdev.Links{Addresses: prefixes("10.66.0.11/32", "fd00:66::11/128"), Routes: prefixes("10.66.0.0/24", "fd00:66::/64")}
	require.NoError(t, i.SetLinks(t.Context(), l))
	want := b.look(t, name)
	b.do(func() {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			t.Error(err)
		}
	})
	require.NotEqual(t, want, b.look(t, name))
	require.NoError(t, i.SetLinks(t.Context(), l))
	require.Equal(t, want, b.look(t, name))
}

// TestIP shows routes as ip-route(8) shows them to an administrator.
func TestIP(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ip, err := exec.LookPath("ip")
	if err != nil {
		skip(t, "ip(8) is missing")
	}
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path})
	require.NoError(t, i.SetLinks(t.Context(), wgdev.Links{Addresses: prefixes("10.66.0.11/24"), Routes: prefixes("10.67.0.0/24")}))
	var out []byte
	b.do(func() { out, err = exec.CommandContext(t.Context(), ip, "-4", "route").CombinedOutput() })
	require.NoError(t, err)
	require.Equal(t, "10.66.0.0/24 dev "+name+" proto kernel scope link src 10.66.0.11 \n10.67.0.0/24 dev "+name+" proto 151 scope link \n", string(out))
}
