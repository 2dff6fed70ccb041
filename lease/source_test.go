package lease_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
)

func TestSourcePrefix(t *testing.T) {
	t.Parallel()
	private := &lease.SourceOptions{AllowPrivate: true}
	loopback := &lease.SourceOptions{AllowLoopback: true}
	tests := []struct {
		addr   string
		opts   *lease.SourceOptions
		want   string
		reason string
	}{
		{addr: "203.0.113.7", want: "203.0.113.7/32"},
		{addr: "::ffff:203.0.113.7", want: "203.0.113.7/32"},
		{addr: "8.8.8.8", opts: &lease.SourceOptions{}, want: "8.8.8.8/32"},
		{addr: "2001:db8:1:2:3:4:5:6", want: "2001:db8:1:2::/64"},
		{addr: "2001:db8:1:2:3:4:5:6%eth0", want: "2001:db8:1:2::/64"},
		{addr: "2606:4700::1111", want: "2606:4700::/64"},
		{addr: "3fff:ffff::1", want: "3fff:ffff::/64"},
		{addr: "2002:cb00:7107::1", want: "2002:cb00:7107::/64"},
		{addr: "1.0.0.0", want: "1.0.0.0/32"},
		{addr: "100.63.255.255", want: "100.63.255.255/32"},
		{addr: "100.128.0.0", want: "100.128.0.0/32"},
		{addr: "192.0.1.0", want: "192.0.1.0/32"},
		{addr: "223.255.255.255", want: "223.255.255.255/32"},

		{addr: "10.1.2.3", opts: private, want: "10.1.2.3/32"},
		{addr: "172.31.255.255", opts: private, want: "172.31.255.255/32"},
		{addr: "::ffff:192.168.1.1", opts: private, want: "192.168.1.1/32"},
		{addr: "100.64.0.1", opts: private, want: "100.64.0.1/32"},
		{addr: "fd12:3456:789a:1::1", opts: private, want: "fd12:3456:789a:1::/64"},
		{addr: "127.0.0.1", opts: loopback, want: "127.0.0.1/32"},
		{addr: "::1", opts: loopback, want: "::/64"},

		{addr: "10.1.2.3", reason: "private address"},
		{addr: "172.16.0.1", reason: "private address"},
		{addr: "192.168.1.1", reason: "private address"},
		{addr: "::ffff:10.0.0.1", reason: "private address"},
		{addr: "fc00::1", reason: "private address"},
		{addr: "fd00::1", opts: loopback, reason: "private address"},
		{addr: "100.64.0.0", reason: "shared address of a carrier's NAT (RFC 6598)"},
		{addr: "100.127.255.255", reason: "shared address of a carrier's NAT (RFC 6598)"},
		{addr: "127.0.0.1", reason: "loopback"},
		{addr: "127.255.0.9", opts: private, reason: "loopback"},
		{addr: "::1", reason: "loopback"},
		{addr: "::ffff:127.0.0.1", reason: "loopback"},
		{addr: "169.254.169.254", opts: private, reason: "link-local"},
		{addr: "fe80::1%eth0", opts: private, reason: "link-local"},
		{addr: "0.0.0.0", reason: "this network (RFC 791)"},
		{addr: "0.1.2.3", opts: private, reason: "this network (RFC 791)"},
		{addr: "192.0.0.8", opts: private, reason: "protocol assignment (RFC 6890)"},
		{addr: "224.0.0.1", reason: "multicast"},
		{addr: "239.255.255.250", reason: "multicast"},
		{addr: "ff0e::1", opts: private, reason: "multicast"},
		{addr: "240.0.0.1", opts: private, reason: "reserved"},
		{addr: "255.255.255.255", reason: "reserved"},
		{addr: "::", reason: "not a global unicast address"},
		{addr: "64:ff9b::cb00:7107", reason: "not a global unicast address"}, // NAT64: the /64 holds all of IPv4
		{addr: "fec0::1", opts: private, reason: "not a global unicast address"},
		{addr: "4000::1", reason: "not a global unicast address"},
		{addr: "2001:0:4136:e378::1", reason: "Teredo"},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			t.Parallel()
			got, err := lease.SourcePrefix(netip.MustParseAddr(tt.addr), tt.opts)
			if tt.reason == "" {
				require.NoError(t, err)
				require.Equal(t, tt.want, got.String())
				return
			}
			var refused *lease.SourceError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, lease.ErrSource)
			require.Equal(t, tt.reason, refused.Reason)
			require.Zero(t, got)
		})
	}
	_, err := lease.SourcePrefix(netip.Addr{}, nil)
	require.EqualError(t, err, "lease: source: no address")
	_, err = lease.SourcePrefix(netip.MustParseAddr("::ffff:10.0.0.1"), nil)
	require.EqualError(t, err, "lease: source 10.0.0.1: private address")
}

func TestRulePrefix(t *testing.T) {
	t.Parallel()
	wide := &lease.SourceOptions{AllowWide: true}
	tests := []struct {
		prefix netip.Prefix
		opts   *lease.SourceOptions
		reason string
	}{
		{prefix: netip.MustParsePrefix("203.0.113.0/24")},
		{prefix: netip.MustParsePrefix("203.0.113.7/32")},
		{prefix: netip.MustParsePrefix("2001:db8::/32")},
		{prefix: netip.MustParsePrefix("2001:db8::1/128")},
		{prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{prefix: netip.MustParsePrefix("100.64.0.0/10")},
		{prefix: netip.MustParsePrefix("fd00:1::/48")},
		{prefix: netip.MustParsePrefix("0.0.0.0/0"), opts: wide},
		{prefix: netip.MustParsePrefix("::/0"), opts: wide},
		{prefix: netip.MustParsePrefix("2000::/3"), opts: wide},
		{prefix: netip.MustParsePrefix("127.0.0.0/8"), opts: &lease.SourceOptions{AllowLoopback: true}},

		{prefix: netip.Prefix{}, reason: "no prefix"},
		{prefix: netip.PrefixFrom(netip.MustParseAddr("1.2.3.4"), 33), reason: "no prefix"},
		{prefix: netip.MustParsePrefix("203.0.113.7/24"), reason: "host bits set"},
		{prefix: netip.MustParsePrefix("2001:db8::1/64"), reason: "host bits set"},
		{prefix: netip.PrefixFrom(netip.MustParseAddr("::ffff:203.0.113.0"), 120), reason: "IPv4-mapped prefix"},
		{prefix: netip.PrefixFrom(netip.MustParseAddr("::ffff:0.0.0.0"), 96), opts: wide, reason: "IPv4-mapped prefix"},
		{prefix: netip.MustParsePrefix("0.0.0.0/0"), reason: "too wide"},
		{prefix: netip.MustParsePrefix("128.0.0.0/1"), reason: "too wide"},
		{prefix: netip.MustParsePrefix("::/0"), opts: &lease.SourceOptions{AllowPrivate: true}, reason: "too wide"},
		{prefix: netip.MustParsePrefix("2000::/3"), reason: "too wide"},
		{prefix: netip.MustParsePrefix("127.0.0.0/8"), reason: "loopback"},
		{prefix: netip.MustParsePrefix("169.254.0.0/16"), reason: "link-local"},
		{prefix: netip.MustParsePrefix("224.0.0.0/8"), reason: "multicast"},
		{prefix: netip.MustParsePrefix("ff00::/16"), reason: "multicast"},
		{prefix: netip.MustParsePrefix("0.0.0.0/8"), reason: "this network (RFC 791)"},
	}
	for _, tt := range tests {
		t.Run(tt.prefix.String(), func(t *testing.T) {
			t.Parallel()
			got, err := lease.RulePrefix(tt.prefix, tt.opts)
			if tt.reason == "" {
				require.NoError(t, err)
				require.Equal(t, tt.prefix, got)
				return
			}
			require.Equal(t, &lease.SourceError{Source: tt.prefix, Reason: tt.reason}, err)
			require.Zero(t, got)
		})
	}
}

// FuzzSourcePrefix wants every accepted source to have the shape that Grant
// takes, and to be the same for all addresses inside it.
func FuzzSourcePrefix(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "2001:db8::1", "::ffff:9.9.9.9", "fe80::1%eth0", "64:ff9b::1", "10.0.0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		p, err := lease.SourcePrefix(a, nil)
		if err != nil {
			require.ErrorIs(t, err, lease.ErrSource)
			return
		}
		require.True(t, p.Contains(a.Unmap().WithZone("")))
		again, err := lease.SourcePrefix(p.Addr(), nil)
		require.NoError(t, err)
		require.Equal(t, p, again)
		_, err = lease.RulePrefix(p, nil)
		require.NoError(t, err)
		_, err = lease.Policy{}.Grant(lease.Key{Source: p}, 0, nil, 0, start)
		require.NoError(t, err)
	})
}
