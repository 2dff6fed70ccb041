package lease_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
)

func TestClientAddr(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ff::/48")}
	tests := []struct {
		name      string
		remote    string
		forwarded []string
		trusted   []netip.Prefix
		want      string // empty: refused
	}{
		{name: "direct", remote: "203.0.113.7:40000", trusted: proxies, want: "203.0.113.7"},
		{name: "direct, nobody trusted", remote: "10.0.0.1:40000", forwarded: []string{"203.0.113.7"}, want: "10.0.0.1"},
		{name: "direct with spoofed header", remote: "203.0.113.7:40000", forwarded: []string{"198.51.100.1"}, trusted: proxies, want: "203.0.113.7"},
		{name: "one proxy", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7"}, trusted: proxies, want: "203.0.113.7"},
		{name: "spoofed header, proxy appends", remote: "10.0.0.1:443", forwarded: []string{"198.51.100.1, 203.0.113.7"}, trusted: proxies, want: "203.0.113.7"},
		{name: "spoofed trusted address, proxy appends", remote: "10.0.0.1:443", forwarded: []string{"10.0.0.9, 203.0.113.7"}, trusted: proxies, want: "203.0.113.7"},
		{name: "two header lines", remote: "10.0.0.1:443", forwarded: []string{"198.51.100.1", "203.0.113.7, 10.0.0.2"}, trusted: proxies, want: "203.0.113.7"},
		{name: "two header lines, walk into the first", remote: "10.0.0.1:443", forwarded: []string{"198.51.100.1,203.0.113.7", "10.0.0.2"}, trusted: proxies, want: "203.0.113.7"},
		{name: "two proxies", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7, 10.0.0.2"}, trusted: proxies, want: "203.0.113.7"},
		{name: "broken hop", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7, unknown"}, trusted: proxies},
		{name: "broken hop behind a proxy", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7, nonsense, 10.0.0.2"}, trusted: proxies},
		{name: "broken hop further left is not looked at", remote: "10.0.0.1:443", forwarded: []string{"nonsense, 203.0.113.7"}, trusted: proxies, want: "203.0.113.7"},
		{name: "missing header", remote: "10.0.0.1:443", trusted: proxies},
		{name: "empty header", remote: "10.0.0.1:443", forwarded: []string{""}, trusted: proxies},
		{name: "trailing comma", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7,"}, trusted: proxies},
		{name: "only proxies", remote: "10.0.0.1:443", forwarded: []string{"10.0.0.3, 10.0.0.2"}, trusted: proxies},
		{name: "mapped addresses", remote: "[::ffff:10.0.0.1]:443", forwarded: []string{"::ffff:203.0.113.7, ::ffff:10.0.0.2"}, trusted: proxies, want: "203.0.113.7"},
		{name: "v6 proxy", remote: "[2001:db8:ff::1]:443", forwarded: []string{"2001:db8:1::7"}, trusted: proxies, want: "2001:db8:1::7"},
		{name: "v6 client, zone", remote: "[2001:db8:ff::1%eth0]:443", forwarded: []string{"2001:db8:1::7%eth0"}, trusted: proxies, want: "2001:db8:1::7"},
		{name: "port suffix", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7:1234"}, trusted: proxies},
		{name: "brackets", remote: "10.0.0.1:443", forwarded: []string{"[2001:db8:1::7]"}, trusted: proxies},
		{name: "white space", remote: "10.0.0.1:443", forwarded: []string{"198.51.100.1,\t 203.0.113.7 \t"}, trusted: proxies, want: "203.0.113.7"},
		{name: "newline in a hop", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7\n"}, trusted: proxies},
		{name: "unmasked trusted prefix", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7"}, trusted: []netip.Prefix{netip.MustParsePrefix("10.9.9.9/8")}, want: "203.0.113.7"},
		{name: "mapped trusted prefix trusts nobody", remote: "10.0.0.1:443", forwarded: []string{"203.0.113.7"}, trusted: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)}, want: "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := lease.ClientAddr(netip.MustParseAddrPort(tt.remote), tt.forwarded, tt.trusted)
			if tt.want == "" {
				require.ErrorIs(t, err, lease.ErrSource)
				require.NotContains(t, err.Error(), "203.0.113.7", "the header is the client's text")
				return
			}
			require.NoError(t, err)
			require.Equal(t, netip.MustParseAddr(tt.want), got)
		})
	}
	_, err := lease.ClientAddr(netip.AddrPort{}, nil, nil)
	require.EqualError(t, err, "lease: source: no peer address")
}

func TestClientAddrAllocs(t *testing.T) {
	remote := netip.MustParseAddrPort("[::ffff:10.0.0.1]:443")
	forwarded := []string{"198.51.100.1", "2001:db8:1::7, 10.0.0.3", "10.0.0.2"}
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := lease.ClientAddr(remote, forwarded, trusted); err != nil {
			panic(err)
		}
	}))
}

// FuzzClientAddr compares the walk with a plain one over all hops, and wants no
// answer that the nearest trusted proxy did not vouch for.
func FuzzClientAddr(f *testing.F) {
	f.Add("10.0.0.1:443", "198.51.100.1", "203.0.113.7, 10.0.0.2")
	f.Add("203.0.113.7:1", "", "10.0.0.1")
	f.Add("10.0.0.1:443", "a,,b", ",")
	f.Add("[::ffff:10.0.0.1]:443", "::1%x", "[::1]:80")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, remote, first, second string) {
		peer, err := netip.ParseAddrPort(remote)
		if err != nil {
			return
		}
		got, err := lease.ClientAddr(peer, []string{first, second}, trusted)

		want, ok := peer.Addr().Unmap().WithZone(""), true
		hops := strings.Split(first+","+second, ",")
		for ok && trusted[0].Contains(want) {
			if ok = len(hops) > 0; ok {
				var hop netip.Addr
				hop, parseErr := netip.ParseAddr(strings.Trim(hops[len(hops)-1], " \t"))
				want, ok, hops = hop.Unmap().WithZone(""), parseErr == nil, hops[:len(hops)-1]
			}
		}
		require.Equal(t, ok, err == nil)
		if ok {
			require.Equal(t, want, got)
		}
	})
}

func BenchmarkClientAddr(b *testing.B) {
	remote := netip.MustParseAddrPort("10.0.0.1:443")
	forwarded := []string{"198.51.100.1, 203.0.113.7, 10.0.0.2"}
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lease.ClientAddr(remote, forwarded, trusted); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleClientAddr() {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	// A client behind a proxy of ours; the first hop is what the client claims.
	addr, err := lease.ClientAddr(netip.MustParseAddrPort("10.0.0.1:443"), []string{"198.51.100.1, 203.0.113.7"}, proxies)
	fmt.Println(addr, err)
	source, err := lease.SourcePrefix(addr, nil)
	fmt.Println(source, err)
	// Output:
	// 203.0.113.7 <nil>
	// 203.0.113.7/32 <nil>
}
