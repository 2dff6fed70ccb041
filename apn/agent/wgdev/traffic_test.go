//go:build linux

package wgdev_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

func key(tb testing.TB) wgtypes.Key {
	tb.Helper()
	k, err := wgtypes.GeneratePrivateKey()
	require.NoError(tb, err)
	return k
}

func ipNets(list ...string) []net.IPNet {
	var out []net.IPNet
	for _, s := range list {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			panic(err)
		}
		out = append(out, *n)
	}
	return out
}

// host is an interface in a namespace of its own, whose UDP socket is here.
type host struct {
	*bed
	*wgdev.Interface
	name string
	key  wgtypes.Key
	addr netip.Addr
	port int
}

func newHost(t *testing.T, n int) *host {
	t.Helper()
	h := &host{bed: newBed(t), name: uniqueName(), key: key(t), addr: netip.AddrFrom4([4]byte{10, 66, 0, byte(n)})}
	h.Interface = open(t, wgdev.Options{Name: h.name, Namespace: h.path})
	require.NoError(t, h.SetLinks(t.Context(), wgdev.Links{Addresses: []netip.Prefix{
		netip.PrefixFrom(h.addr, 24), netip.MustParsePrefix(fmt.Sprintf("fd00:66::%d/64", n)),
	}}))
	require.NoError(t, h.Configure(t.Context(), wgtypes.Config{PrivateKey: &h.key}))
	d, err := h.Device(t.Context())
	require.NoError(t, err)
	h.port = d.ListenPort
	return h
}

func (h *host) peer(o *host) wgtypes.PeerConfig {
	return wgtypes.PeerConfig{
		PublicKey: o.key.PublicKey(), Endpoint: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: o.port},
		ReplaceAllowedIPs: true, AllowedIPs: ipNets(o.addr.String()+"/32", fmt.Sprintf("fd00:66::%d/128", o.addr.As4()[3])),
	}
}

// TestTraffic connects two hosts, over IPv4 and IPv6, before and after a change
// of the MTU.
func TestTraffic(t *testing.T) {
	t.Parallel()
	a, b := newHost(t, 1), newHost(t, 2)
	require.NoError(t, a.Configure(t.Context(), wgtypes.Config{Peers: []wgtypes.PeerConfig{a.peer(b)}}))
	require.NoError(t, b.Configure(t.Context(), wgtypes.Config{Peers: []wgtypes.PeerConfig{b.peer(a)}}))
	for _, mtu := range []int{0, wgdev.MinMTU} {
		for _, at := range []string{"10.66.0.2:0", "[fd00:66::2]:0"} {
			const size = 1 << 20
			echo(t, a.bed, b.bed, at, size)
		}
		require.NoError(t, a.SetLinks(t.Context(), wgdev.Links{Addresses: []netip.Prefix{
			netip.PrefixFrom(a.addr, 24), netip.MustParsePrefix("fd00:66::1/64"),
		}, MTU: wgdev.MinMTU}), mtu)
	}
	d, err := a.Device(t.Context())
	require.NoError(t, err)
	require.Len(t, d.Peers, 1)
	require.WithinDuration(t, time.Now(), d.Peers[0].LastHandshakeTime, time.Minute)
	require.Greater(t, d.Peers[0].ReceiveBytes, int64(4<<20))
	require.Greater(t, d.Peers[0].TransmitBytes, int64(4<<20))

	// A peer that is gone is gone at once.
	require.NoError(t, b.Configure(t.Context(), wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: a.key.PublicKey(), Remove: true}}}))
	d, err = b.Device(t.Context())
	require.NoError(t, err)
	require.Empty(t, d.Peers)
}

// TestForward has a gateway between two hosts that know only the gateway.
func TestForward(t *testing.T) {
	t.Parallel()
	a, gateway, b := newHost(t, 1), newHost(t, 2), newHost(t, 3)
	for _, h := range []*host{a, b} {
		p := h.peer(gateway)
		p.AllowedIPs = ipNets("10.66.0.0/24", "fd00:66::/64")
		require.NoError(t, h.Configure(t.Context(), wgtypes.Config{Peers: []wgtypes.PeerConfig{p}}))
		require.NoError(t, gateway.Configure(t.Context(), wgtypes.Config{Peers: []wgtypes.PeerConfig{gateway.peer(h)}}))
	}
	setting := func(name string) string {
		var got []byte
		gateway.do(func() { got, _ = os.ReadFile("/proc/sys/net/" + name) })
		return strings.TrimSpace(string(got))
	}
	links := wgdev.Links{Addresses: []netip.Prefix{netip.PrefixFrom(gateway.addr, 24), netip.MustParsePrefix("fd00:66::2/64")}, Forward: true}
	forward := "ipv4/conf/" + gateway.name + "/forwarding"
	require.Equal(t, "0", setting(forward))
	targets := []string{"10.66.0.3:0", "[fd00:66::3]:0"}
	if err := gateway.SetLinks(t.Context(), links); err != nil { // an older kernel
		require.ErrorIs(t, err, wgdev.ErrForwarding)
		targets = targets[:1]
	}
	require.Equal(t, "1", setting(forward))
	require.Equal(t, "0", setting("ipv4/conf/all/forwarding"), "on one interface only")
	require.Equal(t, "0", setting("ipv6/conf/all/forwarding"), "on one interface only")
	for _, at := range targets {
		echo(t, a.bed, b.bed, at, 1<<16)
	}
	links.Forward = false
	require.NoError(t, gateway.SetLinks(t.Context(), links))
	require.Equal(t, "0", setting(forward))
	gateway.do(func() { _ = os.WriteFile("/proc/sys/net/"+forward, []byte("1"), 0o600) })
	for _, links.Forward = range []bool{true, false} {
		_ = gateway.SetLinks(t.Context(), links)
	}
	require.Equal(t, "1", setting(forward), "an administrator's setting")
}

// echo sends bytes from one host to another and back, over TCP.
func echo(t *testing.T, from, to *bed, at string, size int64) {
	t.Helper()
	var l net.Listener
	var err error
	to.do(func() { l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", at) })
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.Copy(c, c)
	}()
	var c net.Conn
	from.do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second) // a lost handshake takes 5 s
		defer cancel()
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	go func() {
		_, _ = io.CopyN(c, zeros{}, size)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	n, err := io.Copy(io.Discard, c)
	require.NoError(t, err)
	require.Equal(t, size, n)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestConfigure changes one thing at a time and compares what we read with what
// wgctrl reads from our socket.
func TestConfigure(t *testing.T) {
	t.Parallel()
	need(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name})
	client, err := wgctrl.New()
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	own, one, two, psk := key(t), key(t).PublicKey(), key(t).PublicKey(), key(t)
	none, keepalive, port, mark := wgtypes.Key{}, 25*time.Second, 0, 7
	steps := []struct {
		name   string
		config wgtypes.Config
		check  func(d *wgtypes.Device)
	}{
		{"nothing", wgtypes.Config{}, func(d *wgtypes.Device) { require.Empty(t, d.Peers) }},
		{"key", wgtypes.Config{PrivateKey: &own}, func(d *wgtypes.Device) { require.Equal(t, own.PublicKey(), d.PublicKey) }},
		{"mark", wgtypes.Config{FirewallMark: &mark}, func(d *wgtypes.Device) { require.Equal(t, 7, d.FirewallMark) }},
		{"port", wgtypes.Config{ListenPort: &port}, func(d *wgtypes.Device) { require.NotZero(t, d.ListenPort) }},
		{"peers", wgtypes.Config{Peers: []wgtypes.PeerConfig{
			{PublicKey: one, PresharedKey: &psk, Endpoint: &net.UDPAddr{IP: net.ParseIP("203.0.113.7"), Port: 51820}, PersistentKeepaliveInterval: &keepalive, AllowedIPs: ipNets("10.66.0.2/32", "fd00::2/128")},
			{PublicKey: two, Endpoint: &net.UDPAddr{IP: net.ParseIP("2001:db8::7"), Port: 1}, AllowedIPs: ipNets("10.66.0.3/32")},
		}}, func(d *wgtypes.Device) {
			require.Len(t, d.Peers, 2)
			p := peerOf(d, one)
			require.Equal(t, psk, p.PresharedKey)
			require.Equal(t, "203.0.113.7:51820", p.Endpoint.String())
			require.Equal(t, keepalive, p.PersistentKeepaliveInterval)
			require.ElementsMatch(t, ipNets("10.66.0.2/32", "fd00::2/128"), p.AllowedIPs)
			require.Zero(t, p.LastHandshakeTime)
			require.Equal(t, "[2001:db8::7]:1", peerOf(d, two).Endpoint.String())
		}},
		{"one allowed IP more", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: two, UpdateOnly: true, AllowedIPs: ipNets("10.66.1.0/24")}}}, func(d *wgtypes.Device) {
			require.ElementsMatch(t, ipNets("10.66.0.3/32", "10.66.1.0/24"), peerOf(d, two).AllowedIPs)
		}},
		{"others instead", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: two, UpdateOnly: true, ReplaceAllowedIPs: true}}}, func(d *wgtypes.Device) {
			require.Empty(t, peerOf(d, two).AllowedIPs)
			require.NotNil(t, peerOf(d, two).Endpoint)
		}},
		{"no preshared key", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: one, PresharedKey: &none}}}, func(d *wgtypes.Device) {
			require.Zero(t, peerOf(d, one).PresharedKey)
		}},
		{"removed and unknown", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: one, Remove: true}, {PublicKey: own.PublicKey(), UpdateOnly: true}}}, func(d *wgtypes.Device) {
			require.Len(t, d.Peers, 1)
			require.Equal(t, two, d.Peers[0].PublicKey)
		}},
		{"replaced", wgtypes.Config{ReplacePeers: true, Peers: []wgtypes.PeerConfig{{PublicKey: one}}}, func(d *wgtypes.Device) {
			require.Len(t, d.Peers, 1)
			require.Equal(t, one, d.Peers[0].PublicKey)
		}},
	}
	for _, tt := range steps {
		require.NoError(t, i.Configure(t.Context(), tt.config), tt.name)
		got, err := i.Device(t.Context())
		require.NoError(t, err)
		tt.check(got)
		want, err := client.Device(name)
		require.NoError(t, err)
		for i := range want.Peers { // wgctrl has IPv4 in the long form
			if at := want.Peers[i].Endpoint; at != nil {
				want.Peers[i].Endpoint = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at.String()))
			}
		}
		require.ElementsMatch(t, want.Peers, got.Peers, tt.name)
		want.Peers, got.Peers = nil, nil
		if want.PrivateKey == (wgtypes.Key{}) {
			want.PublicKey = wgtypes.Key{} // wgctrl computes one from nothing
		}
		require.Equal(t, want, got, tt.name)
	}
	l, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	taken := l.LocalAddr().(*net.UDPAddr).Port
	require.Error(t, i.Configure(t.Context(), wgtypes.Config{ListenPort: &taken}), "the port is in use")
}

func peerOf(d *wgtypes.Device, k wgtypes.Key) *wgtypes.Peer {
	for i := range d.Peers {
		if d.Peers[i].PublicKey == k {
			return &d.Peers[i]
		}
	}
	return &wgtypes.Peer{}
}

// TestWG lets an administrator look on.
func TestWG(t *testing.T) {
	t.Parallel()
	need(t)
	wg, err := exec.LookPath("wg")
	if err != nil {
		skip(t, "wg(8) is missing")
	}
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name})
	k, peer := key(t), key(t).PublicKey()
	require.NoError(t, i.Configure(t.Context(), wgtypes.Config{PrivateKey: &k, Peers: []wgtypes.PeerConfig{{PublicKey: peer, AllowedIPs: ipNets("10.66.0.2/32")}}}))
	out, err := exec.CommandContext(t.Context(), wg, "show", name, "allowed-ips").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, peer.String()+"\t10.66.0.2/32\n", string(out))
}

func manyPeers(tb testing.TB, n int) []wgtypes.PeerConfig {
	tb.Helper()
	var peers []wgtypes.PeerConfig
	for i := range n {
		peers = append(peers, wgtypes.PeerConfig{
			PublicKey: key(tb).PublicKey(), Endpoint: &net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 51820},
			ReplaceAllowedIPs: true, AllowedIPs: []net.IPNet{{IP: net.IPv4(10, 66, byte(i>>8), byte(i)).To4(), Mask: net.CIDRMask(32, 32)}},
		})
	}
	return peers
}

// TestChangeAgainstReplace is why an agent writes differences: to change one of
// 1,000 peers is at least 100 times cheaper than to replace them.
func TestChangeAgainstReplace(t *testing.T) {
	t.Parallel()
	need(t)
	i := open(t, wgdev.Options{InProcess: true})
	peers := manyPeers(t, 1000)
	took := func(c wgtypes.Config) time.Duration {
		start := time.Now()
		require.NoError(t, i.Configure(t.Context(), c))
		return time.Since(start)
	}
	own := key(t)
	took(wgtypes.Config{PrivateKey: &own, Peers: peers})
	one := peers[500]
	one.UpdateOnly = true
	change := time.Hour
	for range 10 {
		change = min(change, took(wgtypes.Config{Peers: []wgtypes.PeerConfig{one}}))
	}
	replace := took(wgtypes.Config{ReplacePeers: true, Peers: peers})
	t.Logf("change of one: %v, replacement of 1,000: %v", change, replace)
	require.Greater(t, replace, 100*change)
}

// BenchmarkPeers adds n peers to an empty interface, changes one of them,
// replaces all by themselves, and reads them.
func BenchmarkPeers(b *testing.B) {
	need(b)
	for _, n := range []int{1000, 10_000} {
		own := key(b)
		peers := manyPeers(b, n)
		var i *wgdev.Interface
		configure := func(b *testing.B, c wgtypes.Config) {
			b.Helper()
			require.NoError(b, i.Configure(b.Context(), c))
		}
		b.Run(fmt.Sprintf("add/%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if i != nil {
					require.NoError(b, i.Close())
				}
				var err error
				i, err = wgdev.Open(context.WithoutCancel(b.Context()), wgdev.Options{Name: uniqueName(), InProcess: true})
				require.NoError(b, err)
				configure(b, wgtypes.Config{PrivateKey: &own})
				b.StartTimer()
				configure(b, wgtypes.Config{Peers: peers})
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			one := peers[n/2]
			one.UpdateOnly = true
			for b.Loop() {
				configure(b, wgtypes.Config{Peers: []wgtypes.PeerConfig{one}})
			}
		})
		b.Run(fmt.Sprintf("read/%d", n), func(b *testing.B) {
			for b.Loop() {
				d, err := i.Device(b.Context())
				require.NoError(b, err)
				require.Len(b, d.Peers, n)
			}
		})
		b.Run(fmt.Sprintf("replace/%d", n), func(b *testing.B) {
			for b.Loop() {
				configure(b, wgtypes.Config{ReplacePeers: true, Peers: peers})
			}
		})
		require.NoError(b, i.Close())
	}
}
