package agent_test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// privOf returns a private key that is always the same for n.
func privOf(n int) keys.PrivateKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("private"), uint64(n)))
	k, err := keys.NewPrivateKey(sum[:])
	if err != nil {
		panic(err)
	}
	return k
}

// pubOf returns a public key that is always the same for n. Nobody has the
// private half.
func pubOf(n int) keys.PublicKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("public"), uint64(n)))
	sum[31] &= 0x3f
	return sum
}

func pskOf(n int) keys.PresharedKey {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("psk"), uint64(n)))
	k, err := keys.NewPresharedKey(sum[:])
	if err != nil {
		panic(err)
	}
	return k
}

func addrOf(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66 + byte(n>>16), byte(n >> 8), byte(n)}), 32)
}

func endpointOf(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113 + byte(n>>8), byte(n)}), 51820)
}

func peer(n int) agent.Peer {
	return agent.Peer{
		ID: fmt.Sprintf("srv/shop/web-%05d", n), PublicKey: pubOf(n), Endpoint: endpointOf(n), Keepalive: 25 * time.Second,
		AllowedIPs: []netip.Prefix{addrOf(n)},
	}
}

func desired(n int) *agent.Desired {
	d := &agent.Desired{PrivateKey: privOf(0), ListenPort: 51820}
	for i := range n {
		d.Peers = append(d.Peers, peer(i+1))
	}
	return d
}

func device(tb testing.TB, i *agenttest.Interface) *wgtypes.Device {
	tb.Helper()
	d, err := i.Device(tb.Context())
	require.NoError(tb, err)
	return d
}

// server is an agent on a fake server with a fake control plane.
type server struct {
	tb     testing.TB
	a      *agent.Agent
	id     *agent.Identity
	cfg    agent.Config
	iface  *agenttest.Interface
	fw     *agenttest.Firewall
	names  *agenttest.Names
	source *agenttest.Source
	m      *netmap.Map
}

// seal is the key that secrets are sealed to in tests.
func seal(tb testing.TB) *ecdh.PrivateKey {
	tb.Helper()
	k, err := ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{7}, 32))
	require.NoError(tb, err)
	return k
}

// newServer returns srv/shop/web-00000 with an agent that has not run yet, and
// the map of an app with n peers that nobody has seen.
func newServer(tb testing.TB, n int) *server {
	tb.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	dir, err := agent.OpenDir(tb.TempDir() + "/state")
	require.NoError(tb, err)
	s := &server{
		tb: tb, iface: agenttest.NewInterface(), fw: &agenttest.Firewall{Now: time.Now}, names: new(agenttest.Names),
		source: &agenttest.Source{Key: key, Clock: time.Now},
		id: &agent.Identity{
			URL: "https://apn.example.org", Key: key.Public().(ed25519.PublicKey), Network: "acme", App: "shop", Server: "web-00000",
			Credential: "apna_secret", SealKey: seal(tb), PrivateKeys: []keys.PrivateKey{privOf(0)},
		},
	}
	require.NoError(tb, dir.SaveIdentity(s.id))
	s.cfg = agent.Config{
		Identity: s.id, Dir: dir, Interface: s.iface, Firewall: s.fw, Names: s.names, Source: s.source, Version: "test",
	}
	s.m = &netmap.Map{
		Format: netmap.Format, Network: "acme", App: "shop", Epoch: "e1", Revision: 1, ListenPort: 51820, Suffix: "apn",
		Routes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/15")},
	}
	self := mapPeer(0)
	self.PublicKey = privOf(0).PublicKey()
	s.m.Peers = append(s.m.Peers, self)
	for i := range n {
		s.m.Peers = append(s.m.Peers, mapPeer(i+1))
	}
	s.start()
	return s
}

// start makes a new agent, as after a restart of its process.
func (s *server) start() {
	s.tb.Helper()
	a, err := agent.New(s.cfg)
	require.NoError(s.tb, err)
	s.a = a
}

func mapPeer(n int) netmap.Peer {
	name := fmt.Sprintf("web-%05d", n)
	return netmap.Peer{
		ID: "srv/shop/" + name, Name: name + ".shop", PublicKey: pubOf(n), KeyGen: 1, AllowedIPs: []netip.Prefix{addrOf(n)},
		Endpoint: endpointOf(n).String(), Keepalive: 25 * time.Second, Names: []string{name + ".apn", name + ".shop.apn"},
	}
}

// change publishes the next revision of the map.
func (s *server) change(edit func(m *netmap.Map)) *netmap.Signed {
	s.tb.Helper()
	next := *s.m
	next.Revision++
	next.Peers = slices.Clone(s.m.Peers)
	next.Openings.Leases = slices.Clone(s.m.Openings.Leases)
	if edit != nil {
		edit(&next)
	}
	s.m = &next
	signed, err := s.source.Publish(s.m)
	require.NoError(s.tb, err)
	return signed
}

// writes returns how often anything was written to the server.
func (s *server) writes() int {
	device, _ := s.iface.Writes()
	return device + s.fw.Writes()
}

// onePeerGone is what somebody else does to the interface.
func onePeerGone(tb testing.TB, s *server) wgtypes.Config {
	tb.Helper()
	return wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: device(tb, s.iface).Peers[0].PublicKey, Remove: true}}}
}
