package netmap_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func signer(seed byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed([]byte{31: seed})
	return key, key.Public().(ed25519.PublicKey)
}

// pubOf returns a public key that is always the same for n.
func pubOf(n int) keys.PublicKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("test key"), uint64(n)))
	sum[31] &= 0x3f // canonical
	return sum
}

func addr(n int) netip.Prefix {
	a := netip.AddrFrom4([4]byte{10, 66 + byte(n>>16), byte(n >> 8), byte(n)})
	return netip.PrefixFrom(a, 32)
}

func server(n int) netmap.Peer {
	name := fmt.Sprintf("web-%05d", n)
	return netmap.Peer{
		ID: netmap.ServerID("shop", name), Name: name + ".shop", PublicKey: pubOf(n), KeyGen: 1,
		AllowedIPs: []netip.Prefix{addr(n)}, Endpoint: fmt.Sprintf("203.0.%d.%d:51820", 113+n>>8&0x7f, n&0xff),
		Keepalive: 25 * time.Second, Names: []string{name + ".apn", name + ".shop.apn"},
	}
}

// mesh returns a map of n servers at revision 1.
func mesh(n int) *netmap.Map {
	m := &netmap.Map{
		Format: netmap.Format, Network: "acme", App: "shop", Epoch: "e1", Revision: 1, ListenPort: 51820, Suffix: "apn",
		Routes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/15")},
	}
	for i := range n {
		m.Peers = append(m.Peers, server(i+1))
	}
	return m
}

// small returns a map with something of everything.
func small() *netmap.Map {
	m := mesh(3)
	laptop := netmap.Peer{ID: "dev/ada/laptop", Name: "laptop.ada", PublicKey: pubOf(100), KeyGen: 2, AllowedIPs: []netip.Prefix{addr(100)}, Via: m.Peers[2].ID}
	phone := netmap.Peer{
		ID: "dev/ada/phone", Name: "phone.ada", PublicKey: pubOf(101), KeyGen: 1,
		AllowedIPs: []netip.Prefix{addr(101), netip.MustParsePrefix("fd00::65/128")},
	}
	m.Peers = append([]netmap.Peer{laptop, phone}, m.Peers...)
	m.Routes = append(m.Routes, netip.MustParsePrefix("fd00::/64"))
	m.Openings = netmap.Openings{
		Permanent: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:9::/48")},
		Leases: []netmap.Opening{
			{Source: netip.MustParsePrefix("203.0.113.200/32"), IssuedAt: start, ExpiresAt: start.Add(24 * time.Hour)},
			{Source: netip.MustParsePrefix("2001:db8:1:2::/64"), IssuedAt: start, ExpiresAt: start.Add(time.Hour)},
		},
	}
	return m
}

func sign(tb testing.TB, m *netmap.Map, before *netmap.Signed) *netmap.Signed {
	tb.Helper()
	key, _ := signer(1)
	s, err := netmap.Sign(key, m, before)
	require.NoError(tb, err)
	return s
}

// next returns a copy of m at the next revision, whose lists may be changed.
func next(m *netmap.Map) *netmap.Map {
	c := *m
	c.Revision++
	c.Peers = append([]netmap.Peer(nil), m.Peers...)
	c.Openings.Leases = append([]netmap.Opening(nil), m.Openings.Leases...)
	return &c
}
