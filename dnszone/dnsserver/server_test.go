package dnsserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

var loopback = prefixes("127.0.0.0/8", "::1/128")

func testHosts() []dnszone.Host {
	return []dnszone.Host{
		{ID: "1", App: "shop", Name: "web", Addrs: addrs("10.1.16.1", "10.1.16.11", "fd00::1")},
		{ID: "2", App: "shop", Name: "mail", Addrs: addrs("fd00::2"), Wildcard: true},
		{ID: "3", App: "shop", Name: "db", Addrs: addrs("10.1.17.3")},
		{ID: "4", App: "blog", Name: "db", Addrs: addrs("10.1.17.4")},
	}
}

func build(tb testing.TB, cfg dnszone.Config, serial uint32, hosts ...dnszone.Host) *dnszone.Set {
	tb.Helper()
	set, _, err := dnszone.Build(cfg, serial, slices.Values(hosts))
	require.NoError(tb, err)
	return set
}

func testSet(tb testing.TB) *dnszone.Set {
	tb.Helper()
	return build(tb, dnszone.Config{Reverse: prefixes("10.1.16.0/22", "fd00::/64")}, 1, testHosts()...)
}

func source(set *dnszone.Set) *dnsserver.Source {
	src := &dnsserver.Source{}
	src.Store(set)
	return src
}

// serve runs a server on UDP and TCP of one loopback port until the test ends.
func serve(tb testing.TB, src *dnsserver.Source, opts *dnsserver.Options) netip.AddrPort {
	tb.Helper()
	return serveAt(tb, src, opts, "127.0.0.1:0")
}

func serveAt(tb testing.TB, src *dnsserver.Source, opts *dnsserver.Options, address string) netip.AddrPort {
	tb.Helper()
	srv := dnsserver.New(src, opts)
	packets, stream := listen(tb, address)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.ServePacket(ctx, packets); err != nil {
			tb.Error(err)
		}
	})
	wg.Go(func() {
		if err := srv.ServeStream(ctx, stream); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return stream.Addr().(*net.TCPAddr).AddrPort()
}

// listen opens one port for both transports.
func listen(tb testing.TB, address string) (net.PacketConn, net.Listener) {
	tb.Helper()
	var lc net.ListenConfig
	var err error
	for range 20 {
		var l net.Listener
		l, err = lc.Listen(tb.Context(), "tcp", address)
		require.NoError(tb, err)
		var p net.PacketConn
		if p, err = lc.ListenPacket(tb.Context(), "udp", l.Addr().String()); err == nil {
			return p, l
		}
		_ = l.Close() // somebody has that UDP port
	}
	require.NoError(tb, err)
	return nil, nil
}

func closed(c io.Closer) { _ = c.Close() }

func ask(name string, t dnszone.Type) []byte {
	return dnszone.AppendQuestion([]byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name, t)
}

// exchange sends query and waits for the reply.
func exchange(tb testing.TB, via dnszone.Transport, server netip.AddrPort, query []byte) []byte {
	tb.Helper()
	reply, err := tryExchange(tb, [...]string{"udp", "tcp"}[via], server, query, 5*time.Second)
	require.NoError(tb, err)
	return reply
}

func tryExchange(tb testing.TB, network string, server netip.AddrPort, query []byte, timeout time.Duration) ([]byte, error) {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), network, server.String())
	if err != nil {
		return nil, err
	}
	defer closed(conn)
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if network == "udp" {
		if _, err := conn.Write(query); err != nil {
			return nil, err
		}
		buf := make([]byte, 65535)
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(conn, msg)
	return msg, err
}

func dial(tb testing.TB, network string, server netip.AddrPort) net.Conn {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), network, server.String())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

func writeTCP(tb testing.TB, conn net.Conn, msgs ...[]byte) {
	tb.Helper()
	var b []byte
	for _, m := range msgs {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	_, err := conn.Write(b)
	require.NoError(tb, err)
}

func readTCP(tb testing.TB, conn net.Conn) []byte {
	tb.Helper()
	var size [2]byte
	_, err := io.ReadFull(conn, size[:])
	require.NoError(tb, err)
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(conn, msg)
	require.NoError(tb, err)
	return msg
}

func rcode(msg []byte) dnszone.Rcode { return dnszone.Rcode(msg[3] & 15) }

func unpack(tb testing.TB, msg []byte) dnsmessage.Message {
	tb.Helper()
	var m dnsmessage.Message
	require.NoError(tb, m.Unpack(msg))
	return m
}

// TestServe: what goes over the wire is what the Set says.
func TestServe(t *testing.T) {
	t.Parallel()
	set := testSet(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		server := serveAt(t, source(set), nil, address)
		for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
			for _, name := range []string{"web.apn", "WEB.shop.apn", "db.apn", "nothing.apn", "example.com", "apn", "1.16.1.10.in-addr.arpa"} {
				for _, typ := range []dnszone.Type{1, 6, 12, 28, 251, 252, 255} {
					query := ask(name, typ)
					want, err := set.AppendReply(nil, query, via)
					require.NoError(t, err)
					require.Equal(t, want, exchange(t, via, server, query), "%s %s", name, typ)
				}
			}
		}
	}
}

func TestServeGoResolver(t *testing.T) {
	t.Parallel()
	server := serve(t, source(testSet(t)), nil)
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.String())
		}}
		list, err := r.LookupNetIP(t.Context(), "ip", "web.shop.apn.")
		require.NoError(t, err)
		require.ElementsMatch(t, addrs("10.1.16.1", "10.1.16.11", "fd00::1"), list)

		names, err := r.LookupAddr(t.Context(), "10.1.17.3")
		require.NoError(t, err)
		require.Equal(t, []string{"db.shop.apn."}, names)

		var missing *net.DNSError
		_, err = r.LookupNetIP(t.Context(), "ip", "nothing.apn.")
		require.ErrorAs(t, err, &missing)
		require.True(t, missing.IsNotFound)

		// An IPv6-only name is no dead name to a client that asks for IPv4, too.
		list, err = r.LookupNetIP(t.Context(), "ip", "mail.apn.")
		require.NoError(t, err)
		require.Equal(t, addrs("fd00::2"), list)
	}
}

func TestServeBeforeStore(t *testing.T) {
	t.Parallel()
	src := &dnsserver.Source{}
	var forwarded atomic.Int32
	server := serve(t, src, &dnsserver.Options{Forward: forwarderFunc(func([]byte) ([]byte, error) {
		forwarded.Add(1)
		return nil, errors.New("no")
	})})
	require.Equal(t, dnszone.ServFail, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
	require.Equal(t, dnszone.ServFail, rcode(exchange(t, dnszone.TCP, server, ask("web.apn", 1))))
	require.Zero(t, forwarded.Load(), "without a Set, nobody knows which names are private")
	src.Store(testSet(t))
	require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
	src.Store(nil)
	require.Equal(t, dnszone.ServFail, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
}

type forwarderFunc func(query []byte) ([]byte, error)

func (f forwarderFunc) Forward(_ context.Context, query []byte, _ dnszone.Transport) ([]byte, error) {
	return f(query)
}

// TestServeUnspecified: a reply comes from the address that was asked.
func TestServeUnspecified(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ listen, ask string }{
		{"0.0.0.0:0", "127.0.0.2"},
		{"[::]:0", "127.0.0.3"},
		{"[::]:0", "::1"},
	} {
		bound := serveAt(t, source(testSet(t)), nil, tt.listen)
		server := netip.AddrPortFrom(netip.MustParseAddr(tt.ask), bound.Port())
		// A connected socket takes replies from that address only.
		require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
	}
}

// plainConn hides that a PacketConn is a UDP socket, as one of a userspace
// stack.
type plainConn struct{ net.PacketConn }

func TestServeAnyPacketConn(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	srv := dnsserver.New(source(testSet(t)), nil)
	go func() { done <- srv.ServePacket(ctx, plainConn{conn}) }()
	server := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
	cancel()
	require.NoError(t, <-done)
	_, err = conn.WriteTo([]byte("x"), conn.LocalAddr())
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestServeClosedSockets(t *testing.T) {
	t.Parallel()
	packets, stream := listen(t, "127.0.0.1:0")
	require.NoError(t, packets.Close())
	require.NoError(t, stream.Close())
	srv := dnsserver.New(source(testSet(t)), nil)
	require.ErrorIs(t, srv.ServePacket(t.Context(), packets), net.ErrClosed)
	require.ErrorIs(t, srv.ServeStream(t.Context(), stream), net.ErrClosed)

	// A context that has ended is an orderly end.
	packets, stream = listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, srv.ServePacket(ctx, packets))
	require.NoError(t, srv.ServeStream(ctx, stream))
}

func TestServePipelined(t *testing.T) {
	t.Parallel()
	server := serve(t, source(testSet(t)), nil)
	conn := dial(t, "tcp", server)
	const n = 500
	var queries [][]byte
	for i := range n {
		q := ask("web.apn", dnszone.TypeA)
		binary.BigEndian.PutUint16(q, uint16(i))
		queries = append(queries, q)
	}
	writeTCP(t, conn, queries...)
	// The client has nothing more to say and still gets all replies.
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	for i := range n {
		msg := readTCP(t, conn)
		require.EqualValues(t, i, binary.BigEndian.Uint16(msg))
	}
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// TestServeSplitMessages: TCP has no message borders.
func TestServeSplitMessages(t *testing.T) {
	t.Parallel()
	server := serve(t, source(testSet(t)), nil)
	conn := dial(t, "tcp", server)
	require.NoError(t, conn.(*net.TCPConn).SetNoDelay(true))
	query := ask("web.apn", dnszone.TypeA)
	msg := append([]byte{0, byte(len(query))}, query...)
	for range 3 {
		for _, b := range msg {
			_, err := conn.Write([]byte{b})
			require.NoError(t, err)
		}
		require.Equal(t, dnszone.NoError, rcode(readTCP(t, conn)))
	}
}

// TestServeIdle: a connection on which nothing happens ends, and so does one
// that sends no DNS.
func TestServeIdle(t *testing.T) {
	t.Parallel()
	server := serve(t, source(testSet(t)), &dnsserver.Options{IdleTimeout: 50 * time.Millisecond})
	for _, sent := range [][]byte{nil, {0}, {0, 40, 1, 2}, {0, 3, 1, 2, 3}, {0, 0}} {
		conn := dial(t, "tcp", server)
		_, err := conn.Write(sent)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		_, err = conn.Read(make([]byte, 1))
		require.True(t, errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset"), "%v", err)
	}
}

func TestLimitsTCP(t *testing.T) {
	t.Parallel()
	server := serve(t, source(testSet(t)), &dnsserver.Options{Limits: dnsserver.Limits{TCPPerSource: 2}})
	var conns []net.Conn
	for range 2 {
		conn := dial(t, "tcp", server)
		writeTCP(t, conn, ask("web.apn", 1))
		readTCP(t, conn)
		conns = append(conns, conn)
	}
	third := dial(t, "tcp", server)
	_, err := third.Read(make([]byte, 1))
	require.Error(t, err)
	// Room again after one has gone; the server notices by itself.
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool {
		conn := dial(t, "tcp", server)
		defer closed(conn)
		q := ask("web.apn", 1)
		_, _ = conn.Write(append([]byte{0, byte(len(q))}, q...))
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}, 5*time.Second, 5*time.Millisecond)
}

func TestLimitsRate(t *testing.T) {
	t.Parallel()
	events := make(chan dnsserver.Event, 100)
	server := serve(t, source(testSet(t)), &dnsserver.Options{
		Limits:  dnsserver.Limits{Rate: 1, Burst: 3},
		OnQuery: func(e dnsserver.Event) { events <- e },
	})
	conn := dial(t, "udp", server)
	for range 10 {
		_, err := conn.Write(ask("web.apn", 1))
		require.NoError(t, err)
	}
	var answered int
	for range 10 {
		if e := <-events; e.Size > 0 {
			answered++
		}
	}
	require.GreaterOrEqual(t, answered, 3)
	require.LessOrEqual(t, answered, 5) // a slow machine earns a token or two
}

func TestAllow(t *testing.T) {
	t.Parallel()
	events := make(chan dnsserver.Event, 1)
	server := serve(t, source(testSet(t)), &dnsserver.Options{Allow: prefixes("10.0.0.0/8"), OnQuery: func(e dnsserver.Event) { events <- e }})
	conn := dial(t, "udp", server)
	_, err := conn.Write(ask("web.apn", 1))
	require.NoError(t, err)
	e := <-events
	require.Zero(t, e.Size)
	require.Equal(t, "web.apn.", e.Question.Name)
	stream := dial(t, "tcp", server)
	_, err = stream.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestOnQuery(t *testing.T) {
	t.Parallel()
	events := make(chan dnsserver.Event, 1)
	server := serve(t, source(testSet(t)), &dnsserver.Options{OnQuery: func(e dnsserver.Event) { events <- e }})
	for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
		reply := exchange(t, via, server, ask("Nothing.apn", dnszone.TypeAAAA))
		e := <-events
		require.Equal(t, via, e.Via)
		require.Equal(t, "nothing.apn.", e.Question.Name)
		require.Equal(t, dnszone.NXDomain, e.Rcode)
		require.Len(t, reply, e.Size)
		require.True(t, e.Client.Addr().IsLoopback())
		require.False(t, e.Forwarded)
	}
}

// TestStoreUnderLoad swaps Sets while clients ask: each answer is of one Set.
func TestStoreUnderLoad(t *testing.T) {
	t.Parallel()
	set := func(i byte) *dnszone.Set {
		var hosts []dnszone.Host
		for j := range byte(4) {
			hosts = append(hosts, dnszone.Host{ID: fmt.Sprint(j), App: "shop", Name: "web", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, i, 0, j})}})
		}
		return build(t, dnszone.Config{Collisions: dnszone.CollisionMerge}, uint32(i)+1, hosts...)
	}
	src := source(set(0))
	server := serve(t, src, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := byte(1); ctx.Err() == nil; i++ {
			src.Store(set(i))
		}
	})
	var clients sync.WaitGroup
	for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP, dnszone.UDP} {
		clients.Go(func() {
			for range 300 {
				m := unpack(t, exchange(t, via, server, ask("web.apn", dnszone.TypeA)))
				require.Len(t, m.Answers, 4)
				for _, a := range m.Answers {
					require.Equal(t, m.Answers[0].Body.(*dnsmessage.AResource).A[1], a.Body.(*dnsmessage.AResource).A[1])
				}
			}
		})
	}
	clients.Wait()
	cancel()
	wg.Wait()
}

func TestSourceSubscribe(t *testing.T) {
	t.Parallel()
	src := &dnsserver.Source{}
	require.Nil(t, src.Load())
	changed, stop := src.Subscribe()
	set := testSet(t)
	src.Store(set)
	src.Store(set)
	<-changed
	select {
	case <-changed:
		t.Fatal("two Stores that nobody looked at are one signal")
	default:
	}
	require.Same(t, set, src.Load())
	stop()
	stop()
	src.Store(set)
	select {
	case <-changed:
		t.Fatal("a signal after stop")
	default:
	}
}
