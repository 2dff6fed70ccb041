package render_test

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// Keys of the tests are hashes of a label, so that all output is fixed.

func privateKey(tb testing.TB, label string) keys.PrivateKey {
	tb.Helper()
	sum := sha256.Sum256([]byte("private " + label))
	k, err := keys.NewPrivateKey(sum[:])
	require.NoError(tb, err)
	return k
}

func presharedKey(tb testing.TB, label string) keys.PresharedKey {
	tb.Helper()
	sum := sha256.Sum256([]byte("preshared " + label))
	k, err := keys.NewPresharedKey(sum[:])
	require.NoError(tb, err)
	return k
}

// publicKey is no point that anybody has the private key of, but is valid.
func publicKey(label string) keys.PublicKey {
	k := keys.PublicKey(sha256.Sum256([]byte("public " + label)))
	k[31] &= 0x7f
	return k
}

// shapes are what the peers of a test config look like.
type shape struct {
	name                            string
	v4, v6, preshared, keepalive    bool
	endpoint6, hostName, noEndpoint bool
}

var shapes = []shape{
	{name: "v4", v4: true},
	{name: "v6", v6: true, endpoint6: true},
	{name: "dual", v4: true, v6: true, keepalive: true},
	{name: "preshared", v4: true, preshared: true},
	{name: "keepalive", v4: true, keepalive: true},
	{name: "hostname", v4: true, keepalive: true, hostName: true},
	{name: "roaming", v4: true, noEndpoint: true},
	{name: "full", v4: true, v6: true, preshared: true, keepalive: true, endpoint6: true},
}

// device returns a config of that shape, in normal form, as a device has it.
func device(tb testing.TB, s shape, peers int) *render.Config {
	tb.Helper()
	c := &render.Config{Name: "laptop"}
	c.Interface.PrivateKey = privateKey(tb, "laptop")
	c.Interface.PublicKey = c.Interface.PrivateKey.PublicKey()
	if s.v4 {
		c.Interface.Addresses = append(c.Interface.Addresses, netip.MustParsePrefix("10.66.0.2/32"))
		c.Interface.DNS = append(c.Interface.DNS, netip.MustParseAddr("10.66.0.1"))
	}
	if s.v6 {
		c.Interface.Addresses = append(c.Interface.Addresses, netip.MustParsePrefix("fd66::2/128"))
		c.Interface.DNS = append(c.Interface.DNS, netip.MustParseAddr("fd66::1"))
	}
	c.Interface.Search = []string{"apn"}
	for i := range peers {
		c.Peers = append(c.Peers, peer(tb, s, i))
	}
	return c
}

func peer(tb testing.TB, s shape, i int) render.Peer {
	tb.Helper()
	p := render.Peer{Name: fmt.Sprintf("web-%d", i), PublicKey: publicKey(fmt.Sprint(i))}
	hi, lo := byte(1+i>>8), byte(i)
	if s.v4 {
		p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, hi, lo}), 32))
	}
	if s.v6 {
		p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x66, 13: 1, 14: hi, 15: lo}), 128))
	}
	if s.preshared {
		p.PresharedKey = presharedKey(tb, fmt.Sprint(i))
	}
	if s.keepalive {
		p.Keepalive = 25 * time.Second
	}
	switch {
	case s.noEndpoint:
	case s.hostName:
		p.Endpoint = render.Endpoint{Host: fmt.Sprintf("server-%05d.shop.example.net", i), Port: 51820}
	case s.endpoint6:
		p.Endpoint = render.EndpointFrom(netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: hi, 15: lo}), 51820))
	default:
		p.Endpoint = render.EndpointFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, lo}), 51820))
	}
	return p
}
