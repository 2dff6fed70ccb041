package ipam_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"go4.org/netipx"

	"github.com/apnkit/apnkit/ipam"
)

func TestUsable(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]uint64{
		"10.0.0.0/24": 254, "10.0.0.0/25": 126, "10.0.0.0/30": 2, "10.0.0.0/31": 2, "10.0.0.0/32": 1,
		"10.0.0.0/23": 508, "10.0.0.0/8": 65536 * 254, "0.0.0.0/0": 1 << 24 * 254,
		"fd00::/64": 1<<64 - 1, "fd00::/65": 1<<63 - 1, "fd00::/126": 3, "fd00::/127": 2, "fd00::/128": 1,
		"10.0.0.7/24": 254, "::ffff:10.0.0.0/104": 0,
	} {
		require.Equal(t, want, ipam.Usable(netip.MustParsePrefix(prefix)), prefix)
	}
	require.Zero(t, ipam.Usable(netip.Prefix{}))
}

func TestVia(t *testing.T) {
	t.Parallel()
	base := netip.MustParsePrefix("fd12:3456:789a:4::/64")
	six, err := ipam.Via(base, 7, netip.MustParsePrefix("10.1.2.0/24"))
	require.NoError(t, err)
	require.Equal(t, "fd12:3456:789a:4:0:7:a01:200/120", six.String())
	site, v4, ok := ipam.FromVia(base, six)
	require.True(t, ok)
	require.EqualValues(t, 7, site)
	require.Equal(t, "10.1.2.0/24", v4.String())

	for _, p := range []string{"fd12:3456:789a:5:0:7:a01:200/120", "fd12:3456:789a:4::/80", "10.0.0.0/24"} {
		_, _, ok := ipam.FromVia(base, netip.MustParsePrefix(p))
		require.False(t, ok, p)
	}
	for _, bad := range [][2]string{
		{"fd12::/48", "10.0.0.0/24"},
		{"fd12::7/64", "10.0.0.0/24"},
		{"10.0.0.0/8", "10.0.0.0/24"},
		{"fd12::/64", "fd00::/64"},
		{"fd12::/64", "10.0.0.7/24"},
		{"fd12::/64", "::ffff:10.0.0.0/104"},
	} {
		_, err := ipam.Via(netip.MustParsePrefix(bad[0]), 7, netip.MustParsePrefix(bad[1]))
		require.ErrorIs(t, err, ipam.ErrInvalid, "%v", bad)
	}
}

func TestDerive6(t *testing.T) {
	t.Parallel()
	base := netip.MustParsePrefix("fd12:3456:789a::/48")
	a, err := ipam.Derive6(base, netip.MustParseAddr("10.0.0.2"))
	require.NoError(t, err)
	require.Equal(t, "fd12:3456:789a::a00:2", a.String())
	for _, bad := range [][2]string{{"fd00::/97", "10.0.0.2"}, {"10.0.0.0/8", "10.0.0.2"}, {"fd00::/48", "fd00::2"}, {"fd00::7/48", "10.0.0.2"}} {
		_, err := ipam.Derive6(netip.MustParsePrefix(bad[0]), netip.MustParseAddr(bad[1]))
		require.ErrorIs(t, err, ipam.ErrInvalid, "%v", bad)
	}
	_, err = ipam.Derive6(netip.Prefix{}, netip.Addr{})
	require.ErrorIs(t, err, ipam.ErrInvalid)
}

func TestDefaultExclusions(t *testing.T) {
	t.Parallel()
	list := ipam.DefaultExclusions()
	var b netipx.IPSetBuilder
	for _, x := range list {
		require.Equal(t, x.Prefix.Masked(), x.Prefix)
		require.NotEmpty(t, x.Reason)
		b.AddPrefix(x.Prefix)
	}
	set, err := b.IPSet()
	require.NoError(t, err)
	for _, a := range []string{
		"172.17.0.1", "172.30.255.255", "172.31.0.2", "192.168.1.1", "169.254.169.254", "100.100.2.136", "100.100.100.100",
		"100.115.92.1", "fd7a:115c:a1e0::53", "fd20::1", "fd00:ec2::254", "10.96.0.1", "10.244.0.1", "10.42.0.1", "10.43.0.1",
		"192.0.0.1", "198.19.0.1",
	} {
		require.True(t, set.Contains(netip.MustParseAddr(a)), a)
	}
	for _, a := range []string{"10.0.0.1", "172.16.0.1", "100.64.0.1", "fd12::1", "10.95.255.255"} {
		require.False(t, set.Contains(netip.MustParseAddr(a)), a)
	}
	list[0].Reason = "changed"
	require.NotEqual(t, list[0], ipam.DefaultExclusions()[0])
}

func TestRandom(t *testing.T) {
	t.Parallel()
	seen := map[netip.Prefix]bool{}
	for range 200 {
		for bits := 10; bits <= 30; bits++ {
			p, err := ipam.RandomPool4(rand.Reader, bits)
			require.NoError(t, err)
			require.Equal(t, bits, p.Bits())
			checkRandom(t, p, "10.0.0.0/8")
		}
		p, err := ipam.RandomULA(rand.Reader)
		require.NoError(t, err)
		require.Equal(t, 48, p.Bits())
		checkRandom(t, p, "fd00::/8")
		require.False(t, seen[p])
		seen[p] = true
	}

	p, err := ipam.RandomPool4(bytes.NewReader([]byte{0xf4, 1, 0x42, 99}), 16) // 10.244/16 is drawn first
	require.NoError(t, err)
	require.Equal(t, "10.1.0.0/16", p.String())
	p, err = ipam.RandomULA(bytes.NewReader([]byte{0x20, 1, 2, 3, 4, 0x42, 1, 2, 3, 4})) // fd20::/20 is drawn first
	require.NoError(t, err)
	require.Equal(t, "fd42:102:304::/48", p.String())

	for _, bits := range []int{-1, 9, 31} {
		_, err := ipam.RandomPool4(rand.Reader, bits)
		require.ErrorIs(t, err, ipam.ErrInvalid)
	}
	_, err = ipam.RandomULA(bytes.NewReader(bytes.Repeat([]byte{0x20, 0, 0, 0, 0}, 256)))
	require.ErrorIs(t, err, ipam.ErrInvalid)
	broken := errors.New("no entropy")
	_, err = ipam.RandomPool4(iotest.ErrReader(broken), 16)
	require.ErrorIs(t, err, broken)
	_, err = ipam.RandomULA(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)
}

func checkRandom(t *testing.T, p netip.Prefix, within string) {
	t.Helper()
	require.Equal(t, p.Masked(), p)
	require.True(t, netip.MustParsePrefix(within).Contains(p.Addr()))
	for _, x := range ipam.DefaultExclusions() {
		require.False(t, x.Prefix.Overlaps(p), "%v", p)
	}
}
