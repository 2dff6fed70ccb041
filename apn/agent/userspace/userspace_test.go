package userspace_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent/userspace"
	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// member is one side of a network: its config, and the config of others for it.
type member struct {
	config *render.Config
	net    *userspace.Net
}

// members connects n of them with each other on the loopback interface. The
// addresses are 10.66.0.1, fd00:66::1 and so on.
func members(tb testing.TB, n int, opts *userspace.Options) []*member {
	tb.Helper()
	list := make([]*member, n)
	for i := range list {
		key, err := keys.GeneratePrivateKey()
		require.NoError(tb, err)
		list[i] = &member{config: &render.Config{Interface: render.Interface{
			PrivateKey: key, Addresses: []netip.Prefix{address4(i), address6(i)}, ListenPort: freePort(tb),
		}}}
	}
	for i, m := range list {
		for k, o := range list {
			if i != k {
				m.config.Peers = append(m.config.Peers, peer(k, o))
			}
		}
		m.open(tb, opts)
	}
	return list
}

func address4(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 0, byte(i + 1)}), 24)
}

func address6(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x66, 15: byte(i + 1)}), 64)
}

func peer(i int, m *member) render.Peer {
	return render.Peer{
		PublicKey:  m.config.Interface.PrivateKey.PublicKey(),
		Endpoint:   render.Endpoint{Host: "127.0.0.1", Port: m.config.Interface.ListenPort},
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(address4(i).Addr(), 32), netip.PrefixFrom(address6(i).Addr(), 128)},
	}
}

func (m *member) open(tb testing.TB, opts *userspace.Options) {
	tb.Helper()
	var err error
	m.net, err = userspace.New(m.config, opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.net.Close()) })
}

var port atomic.Uint32

// freePort returns one below those that the kernel gives to anybody.
func freePort(tb testing.TB) uint16 {
	tb.Helper()
	for range 1000 {
		p := 22000 + uint16(port.Add(1)%5000)
		if c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(p)}); err == nil {
			_ = c.Close()
			return p
		}
	}
	tb.Fatal("no port is free")
	return 0
}

// echo answers each connection with what it says.
func echo(tb testing.TB, m *member, address string) {
	tb.Helper()
	l, err := m.net.Listen("tcp", address)
	require.NoError(tb, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// dial has the patience for a lost handshake, which is repeated after 5 s.
func dial(tb testing.TB, m *member, network, address string) net.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	c, err := m.net.DialContext(ctx, network, address)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func says(tb testing.TB, c net.Conn, text string) {
	tb.Helper()
	require.NoError(tb, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := c.Write([]byte(text))
	require.NoError(tb, err)
	buf := make([]byte, len(text))
	_, err = io.ReadFull(c, buf)
	require.NoError(tb, err)
	require.Equal(tb, text, string(buf))
}

func TestTCP(t *testing.T) {
	t.Parallel()
	m := members(t, 2, nil)
	echo(t, m[1], ":7")
	for _, at := range []string{"10.66.0.2:7", "[fd00:0:0:66::2]:7", "[::ffff:10.66.0.2]:7"} {
		if strings.HasPrefix(at, "[fd00") {
			at = netip.AddrPortFrom(address6(1).Addr(), 7).String()
		}
		c := dial(t, m[0], "tcp", at)
		says(t, c, "hello "+at)
	}
	c := dial(t, m[1], "tcp", "10.66.0.2:7")
	says(t, c, "to myself")

	c = dial(t, m[0], "tcp4", "10.66.0.2:7")
	const size = 4 << 20
	go func() { _, _ = io.CopyN(c, zeros{}, size) }()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	n, err := io.CopyN(io.Discard, c, size)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUDP(t *testing.T) {
	t.Parallel()
	m := members(t, 2, nil)
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(address4(1).Addr(), 7), netip.AddrPortFrom(address6(1).Addr(), 7)} {
		p, err := m[1].net.ListenPacket("udp", at.String())
		require.NoError(t, err)
		defer func() { _ = p.Close() }()
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = p.WriteTo(buf[:n], from)
			}
		}()
		c := dial(t, m[0], "udp", at.String())
		buf := make([]byte, 100)
		require.Eventually(t, func() bool { // a datagram may be lost with its handshake
			_, _ = c.Write([]byte("hello"))
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			n, err := c.Read(buf)
			return err == nil && string(buf[:n]) == "hello"
		}, 20*time.Second, time.Millisecond)
	}
}

func zone(tb testing.TB) *dnszone.Set {
	tb.Helper()
	set, _, err := dnszone.Build(dnszone.Config{}, 1, slices.Values([]dnszone.Host{
		{ID: "1", App: "shop", Name: "web", Addrs: []netip.Addr{address4(0).Addr(), address6(0).Addr()}},
		{ID: "2", App: "shop", Name: "db", Addrs: []netip.Addr{address4(1).Addr(), address6(1).Addr()}},
		{ID: "3", App: "blog", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.67.0.1")}},
	}))
	require.NoError(tb, err)
	return set
}

// TestResolver asks a name server inside the network.
func TestResolver(t *testing.T) {
	t.Parallel()
	m := members(t, 2, nil)
	set := zone(t)
	p, err := m[1].net.ListenPacket("udp", "10.66.0.2:53")
	require.NoError(t, err)
	defer func() { _ = p.Close() }()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			if msg, err := set.AppendReply(nil, buf[:n], dnszone.UDP); err == nil {
				_, _ = p.WriteTo(msg, from)
			}
		}
	}()
	_, err = m[0].net.DialContext(t.Context(), "tcp", "db:7")
	require.ErrorIs(t, err, userspace.ErrNoName, "nobody to ask")

	m[0].config.Interface.DNS = []netip.Addr{address4(1).Addr()}
	m[0].config.Interface.Search = []string{"shop.apn", "apn"}
	require.NoError(t, m[0].net.Update(m[0].config))
	tests := map[string][]netip.Addr{
		"db":             {address4(1).Addr(), address6(1).Addr()},
		"db.shop":        {address4(1).Addr(), address6(1).Addr()},
		"db.shop.apn":    {address4(1).Addr(), address6(1).Addr()},
		"db.shop.apn.":   {address4(1).Addr(), address6(1).Addr()},
		"web":            {address4(0).Addr(), address6(0).Addr()},
		"web.blog":       {netip.MustParseAddr("10.67.0.1")},
		"10.1.2.3":       {netip.MustParseAddr("10.1.2.3")},
		"::ffff:1.2.3.4": {netip.MustParseAddr("1.2.3.4")},
	}
	for name, want := range tests {
		got, err := m[0].net.Lookup(t.Context(), name)
		require.NoError(t, err, name)
		require.ElementsMatch(t, want, got, name)
	}
	for _, name := range []string{"", ".", "nobody", "nobody.shop", "nobody.shop.apn"} {
		_, err := m[0].net.Lookup(t.Context(), name)
		require.ErrorIs(t, err, userspace.ErrNoName, name)
	}
	echo(t, m[1], "10.66.0.2:7")
	says(t, dial(t, m[0], "tcp4", "db:7"), "by name")
	require.NoError(t, m[1].net.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = m[0].net.DialContext(ctx, "tcp", "db:7")
	require.Error(t, err)
	require.NotErrorIs(t, err, userspace.ErrNoName, "nobody has said that")
}

func TestNames(t *testing.T) {
	t.Parallel()
	names := map[string][]netip.Addr{"db": {address6(1).Addr(), address4(1).Addr()}, "far": {netip.MustParseAddr("10.99.0.1")}}
	m := members(t, 2, &userspace.Options{Names: func(name string) []netip.Addr { return names[name] }})
	l, err := m[1].net.Listen("tcp", ":80")
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") })}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	client := &http.Client{Transport: &http.Transport{DialContext: m[0].net.DialContext}, Timeout: 20 * time.Second}
	r, err := client.Get("http://db/")
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "inside", string(body))

	tests := []struct {
		network, address string
		want             error
	}{
		{"tcp", "nobody:80", userspace.ErrNoName},
		{"tcp", "far:80", userspace.ErrNoRoute},
		{"tcp", "192.0.2.1:80", userspace.ErrNoRoute},
		{"udp", "[2001:db8::1]:80", userspace.ErrNoRoute},
		{"tcp6", "far:80", userspace.ErrNoName},
		{"unix", "/run/x", userspace.ErrNetwork},
		{"tcp", "db:http", nil},
		{"tcp", "db", nil},
		{"tcp", "10.66.0.2:81", nil}, // refused
	}
	for _, tt := range tests {
		_, err := m[0].net.DialContext(t.Context(), tt.network, tt.address)
		require.ErrorAs(t, err, new(*net.OpError), tt.address)
		if tt.want != nil {
			require.ErrorIs(t, err, tt.want, tt.address)
		}
	}
	for _, at := range []string{"", "x", "db:1", "1.2.3.4:x"} {
		_, err := m[0].net.Listen("tcp", at)
		require.Error(t, err, at)
		_, err = m[0].net.ListenPacket("tcp", ":1")
		require.ErrorIs(t, err, userspace.ErrNetwork)
	}
}

// TestUpdate adds and removes a member and an address while a connection of
// others goes on.
func TestUpdate(t *testing.T) {
	t.Parallel()
	m := members(t, 3, nil)
	all := m[0].config.Clone()
	two := all.Clone()
	two.Peers = two.Peers[:1]
	require.NoError(t, m[0].net.Update(two))
	_, err := m[0].net.DialContext(t.Context(), "tcp", "10.66.0.3:7")
	require.ErrorIs(t, err, userspace.ErrNoRoute)
	echo(t, m[1], ":7")
	echo(t, m[2], ":7")
	c := dial(t, m[0], "tcp", "10.66.0.2:7")
	says(t, c, "before")

	require.NoError(t, m[0].net.Update(all))
	says(t, c, "a member more")
	says(t, dial(t, m[0], "tcp", "10.66.0.3:7"), "the new one")

	more := all.Clone()
	more.Interface.Addresses = append(more.Interface.Addresses, netip.MustParsePrefix("10.66.9.9/24"))
	more.Interface.MTU = 1280
	require.NoError(t, m[0].net.Update(more))
	says(t, c, "an address more")
	back := m[2].config.Clone()
	back.Peers[0].AllowedIPs = append(back.Peers[0].AllowedIPs, netip.MustParsePrefix("10.66.9.9/32"))
	require.NoError(t, m[2].net.Update(back))
	echo(t, m[0], "10.66.9.9:7")
	says(t, dial(t, m[2], "tcp", "10.66.9.9:7"), "the new address")

	require.NoError(t, m[0].net.Update(two))
	says(t, c, "an address and a member less")
	_, err = m[0].net.DialContext(t.Context(), "tcp", "10.66.0.3:7")
	require.ErrorIs(t, err, userspace.ErrNoRoute)

	bad := all.Clone()
	bad.Peers[0].AllowedIPs = []netip.Prefix{{}}
	require.Error(t, m[0].net.Update(bad))
	says(t, c, "a bad one changes nothing")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	key, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	_, err = userspace.New(&render.Config{}, nil)
	require.ErrorIs(t, err, render.ErrNoPrivateKey)
	_, err = userspace.New(&render.Config{Interface: render.Interface{PrivateKey: key}, Peers: []render.Peer{{
		PublicKey: key.PublicKey(), Endpoint: render.Endpoint{Host: "no-such-host.invalid", Port: 1},
	}}}, nil)
	require.ErrorAs(t, err, new(*net.DNSError))

	taken, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	_, err = userspace.New(&render.Config{Interface: render.Interface{PrivateKey: key, ListenPort: taken.LocalAddr().(*net.UDPAddr).AddrPort().Port()}}, nil)
	require.Error(t, err)
}

// TestClose closes both sides of connections that are busy, many times over:
// nothing hangs, panics or stays.
func TestClose(t *testing.T) { //nolint:paralleltest // counts goroutines
	before := runtime.NumGoroutine()
	for range 10 {
		m := members(t, 2, nil)
		echo(t, m[1], ":7")
		var wg sync.WaitGroup
		for range 4 {
			c := dial(t, m[0], "tcp", "10.66.0.2:7")
			wg.Go(func() { _, _ = io.Copy(c, zeros{}) })
			wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		}
		l, err := m[0].net.Listen("tcp", ":9")
		require.NoError(t, err)
		wg.Go(func() {
			if _, err := l.Accept(); err == nil {
				t.Error("nobody called")
			}
		})
		wg.Go(func() { require.NoError(t, m[1].net.Close()) })
		require.NoError(t, m[0].net.Close())
		wg.Wait()
		require.NoError(t, m[0].net.Close(), "again")
		_, err = m[0].net.DialContext(t.Context(), "tcp", "10.66.0.2:7")
		require.Error(t, err)
		require.Error(t, m[0].net.Update(m[0].config))
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "goroutines are left")
	}
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	m := members(t, 2, nil)
	require.NoError(t, m[1].net.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := m[0].net.DialContext(ctx, "tcp", "10.66.0.2:7")
	require.True(t, errors.Is(err, context.DeadlineExceeded) || isTimeout(err), "%v", err)
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func BenchmarkThroughput(b *testing.B) {
	m := members(b, 2, nil)
	l, err := m[1].net.Listen("tcp", ":7")
	require.NoError(b, err)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	c := dial(b, m[0], "tcp", "10.66.0.2:7")
	buf := make([]byte, 1<<16)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		_, err := c.Write(buf)
		require.NoError(b, err)
	}
}
