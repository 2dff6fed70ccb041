package dnsserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// upstream is a resolver of the test's own making. answer gets each query and
// returns the packets that come back.
func upstream(t *testing.T, answer func(network string, query []byte) [][]byte) netip.AddrPort {
	t.Helper()
	packets, stream := listen(t, "127.0.0.1:0")
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = packets.Close()
		_ = stream.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			buf := make([]byte, 4096)
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			wg.Go(func() {
				for _, reply := range answer("udp", buf[:n]) {
					_, _ = packets.WriteTo(reply, from)
				}
			})
		}
	})
	wg.Go(func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer closed(conn)
				size := make([]byte, 2)
				if _, err := io.ReadFull(conn, size); err != nil {
					return
				}
				query := make([]byte, int(size[0])<<8|int(size[1]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				for _, reply := range answer("tcp", query) {
					_, _ = conn.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
				}
			})
		}
	})
	return stream.Addr().(*net.TCPAddr).AddrPort()
}

// resource answers query with addresses.
func resource(query []byte, list ...netip.Addr) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil
	}
	m.Response, m.RecursionAvailable = true, true
	for _, a := range list {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: 1, TTL: 60}}
		if a.Is4() {
			r.Body = &dnsmessage.AResource{A: a.As4()}
		} else {
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		}
		m.Answers = append(m.Answers, r)
	}
	b, _ := m.Pack()
	return b
}

func forwarding(t *testing.T, opts *dnsserver.UpstreamsOptions, servers ...netip.AddrPort) netip.AddrPort {
	t.Helper()
	return serve(t, source(testSet(t)), &dnsserver.Options{Forward: dnsserver.NewUpstreams(servers, opts)})
}

func TestForward(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	up := upstream(t, func(network string, query []byte) [][]byte {
		seen.Store(network+string(query[:2]), query)
		return [][]byte{resource(query, addrs("192.0.2.1")...)}
	})
	server := forwarding(t, nil, up)
	for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
		query := ask("www.example.com", dnszone.TypeA)
		copy(query[13:], "WwW") // in the client's own case
		msg := exchange(t, via, server, query)
		require.Equal(t, query[:2], msg[:2])
		require.Equal(t, query[12:], msg[12:len(query)])
		m := unpack(t, msg)
		require.Equal(t, dnsmessage.RCodeSuccess, m.RCode)
		require.True(t, m.RecursionAvailable)
		require.Len(t, m.Answers, 1)
	}
	n := 0
	seen.Range(func(_, query any) bool {
		n++
		require.NotEqual(t, []byte{0x12, 0x34}, query.([]byte)[:2], "an ID of our own")
		return true
	})
	require.Equal(t, 2, n)

	// Our own names say that recursion is there, too; others need to be asked
	// for it.
	require.True(t, unpack(t, exchange(t, dnszone.UDP, server, ask("web.apn", 1))).RecursionAvailable)
	query := ask("www.example.com", 1)
	query[2] = 0
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.UDP, server, query)))
}

// TestForwardNeverLeaks: whatever is asked, no name of ours goes upstream.
func TestForwardNeverLeaks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var leaked []string
	server := serve(t, source(testSet(t)), &dnsserver.Options{Forward: forwarderFunc(func(query []byte) ([]byte, error) {
		q, _ := dnszone.ParseQuestion(query)
		mu.Lock()
		defer mu.Unlock()
		if name := strings.ToLower(q.Name); name == "apn." || strings.HasSuffix(name, ".apn.") || strings.HasSuffix(name, ".17.1.10.in-addr.arpa.") {
			leaked = append(leaked, name)
		}
		return resource(query), nil
	})})
	rng := rand.New(rand.NewPCG(1, 1))
	var forwarded int
	udp := dial(t, "udp", server)
	for i := range 3000 {
		name := []string{"apn", "web.apn", "x.y.web.apn", "nothing.apn", `a\.b.apn`, `web\.apn`, "xapn", "apn.example.com", "4.17.1.10.in-addr.arpa", `\000.apn`, `*.apn`, "example.com"}[rng.IntN(12)]
		query := ask(name, dnszone.Type([]int{1, 2, 6, 12, 28, 65, 251, 252, 255, 0, 41}[rng.IntN(11)]))
		for range rng.IntN(3) { // letter case, flags, noise
			at := 2 + rng.IntN(len(query)-2)
			if c := query[at]; 'a' <= c && c <= 'z' {
				query[at] -= 32
			} else if at < 12 {
				query[at] ^= 1 << rng.IntN(8)
			}
		}
		if rng.IntN(4) == 0 {
			query = append(query, make([]byte, rng.IntN(12))...)
		}
		query[2] &= 0x7f // no response, so that there is a reply
		if i%10 == 0 {
			if msg, err := tryExchange(t, "tcp", server, query, 5*time.Second); err == nil && msg[3]&0x80 != 0 {
				forwarded++
			}
			continue
		}
		_, err := udp.Write(query)
		require.NoError(t, err)
		require.NoError(t, udp.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err = udp.Read(make([]byte, 2000))
		require.NoError(t, err, "%x", query)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, leaked)
	require.NotZero(t, forwarded)
}

// TestForwardForged: replies that do not fit the query are not there.
func TestForwardForged(t *testing.T) {
	t.Parallel()
	up := upstream(t, func(_ string, query []byte) [][]byte {
		good := resource(query, addrs("192.0.2.1")...)
		change := func(at int, b byte) []byte {
			bad := resource(query, addrs("192.0.2.66")...)
			bad[at] ^= b
			return bad
		}
		return [][]byte{
			{},
			{1},
			good[:12], query,
			change(0, 1), change(1, 1), // ID
			change(13, 1), change(13, 0x80), // name
			change(len(query)-3, 1), change(len(query)-1, 1), // type and class
			change(5, 1), change(2, 0x80), change(2, 0x10), // no question, not a response, another opcode
			good,
		}
	})
	server := forwarding(t, nil, up)
	m := unpack(t, exchange(t, dnszone.UDP, server, ask("www.example.com", dnszone.TypeA)))
	require.Len(t, m.Answers, 1)
	require.Equal(t, [4]byte{192, 0, 2, 1}, m.Answers[0].Body.(*dnsmessage.AResource).A)
}

// TestForwardTruncated: a short answer over UDP is fetched over TCP; a client on
// UDP that cannot take it is told so.
func TestForwardTruncated(t *testing.T) {
	t.Parallel()
	var big []netip.Addr
	for i := range 100 {
		big = append(big, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}))
	}
	up := upstream(t, func(network string, query []byte) [][]byte {
		if network == "tcp" {
			return [][]byte{resource(query, big...)}
		}
		short := resource(query)
		short[2] |= 2
		return [][]byte{short}
	})
	server := forwarding(t, nil, up)
	for _, query := range [][]byte{ask("big.example.com", dnszone.TypeAAAA), edns(ask("big.example.com", dnszone.TypeAAAA), 4096, 0, 0)} {
		m := unpack(t, exchange(t, dnszone.UDP, server, query))
		require.True(t, m.Truncated)
		require.True(t, m.RecursionAvailable)
		require.Empty(t, m.Answers)
		m = unpack(t, exchange(t, dnszone.TCP, server, query))
		require.False(t, m.Truncated)
		require.Len(t, m.Answers, 100)
	}
}

// TestForwardEDNS: the client's options stay here, DO and the size go on.
func TestForwardEDNS(t *testing.T) {
	t.Parallel()
	queries := make(chan []byte, 10)
	up := upstream(t, func(_ string, query []byte) [][]byte {
		queries <- query
		return [][]byte{resource(query)}
	})
	server := forwarding(t, nil, up)
	exchange(t, dnszone.UDP, server, edns(ask("a.example.com", 1), 4096, 0, 0x80, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)) // a cookie
	got := <-queries
	want := edns(ask("a.example.com", 1), 1232, 0, 0x80)
	require.Equal(t, want[2:], got[2:])
	exchange(t, dnszone.UDP, server, ask("b.example.com", 1))
	require.Equal(t, ask("b.example.com", 1)[2:], (<-queries)[2:])
}

// TestForwardFailures: the next server takes over; if none is left, SERVFAIL.
func TestForwardFailures(t *testing.T) {
	t.Parallel()
	mute := upstream(t, func(string, []byte) [][]byte { return nil })
	broken := upstream(t, func(_ string, query []byte) [][]byte {
		reply := resource(query)
		reply[3] |= 2
		return [][]byte{reply}
	})
	good := upstream(t, func(_ string, query []byte) [][]byte { return [][]byte{resource(query, addrs("192.0.2.1")...)} })
	unused := freePort(t)
	opts := &dnsserver.UpstreamsOptions{Timeout: 200 * time.Millisecond}
	for _, tt := range []struct {
		servers []netip.AddrPort
		want    dnszone.Rcode
	}{
		{[]netip.AddrPort{mute, good}, dnszone.NoError},
		{[]netip.AddrPort{broken, good}, dnszone.NoError},
		{[]netip.AddrPort{unused, good}, dnszone.NoError},
		{[]netip.AddrPort{broken, mute}, dnszone.ServFail},
		{[]netip.AddrPort{mute}, dnszone.ServFail},
		{[]netip.AddrPort{unused}, dnszone.ServFail},
		{nil, dnszone.ServFail},
	} {
		server := forwarding(t, opts, tt.servers...)
		for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
			require.Equal(t, tt.want, rcode(exchange(t, via, server, ask("www.example.com", 1))), "%v", tt.servers)
		}
	}
	_, err := dnsserver.NewUpstreams(nil, nil).Forward(t.Context(), []byte("junk"), dnszone.UDP)
	require.Error(t, err)
	dialErr := errors.New("no route")
	_, err = dnsserver.NewUpstreams([]netip.AddrPort{unused}, &dnsserver.UpstreamsOptions{
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, dialErr },
	}).Forward(t.Context(), ask("a.example.com", 1), dnszone.UDP)
	require.ErrorIs(t, err, dialErr)
}

// TestForwardLoop: two servers that forward to each other go round once.
func TestForwardLoop(t *testing.T) {
	t.Parallel()
	var rounds atomic.Int32
	var server netip.AddrPort
	ready := make(chan struct{})
	up := upstream(t, func(_ string, query []byte) [][]byte {
		<-ready
		rounds.Add(1)
		reply, err := tryExchange(t, "udp", server, query, 5*time.Second)
		if err != nil {
			return nil
		}
		return [][]byte{reply}
	})
	server = forwarding(t, &dnsserver.UpstreamsOptions{Timeout: 300 * time.Millisecond}, up)
	close(ready)
	require.Equal(t, dnszone.ServFail, rcode(exchange(t, dnszone.UDP, server, ask("loop.example.com", 1))))
	require.EqualValues(t, 1, rounds.Load())
}

// TestForwardShared: clients with one question share one query.
func TestForwardShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var conns []net.Conn
		u := dnsserver.NewUpstreams([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, &dnsserver.UpstreamsOptions{
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				conns = append(conns, there)
				return here, nil
			},
		})
		var replies [10][]byte
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() {
				query := ask("www.example.com", 1)
				query[0] = byte(i)
				replies[i], _ = u.Forward(t.Context(), query, dnszone.UDP)
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var impatient error
		wg.Go(func() { _, impatient = u.Forward(ctx, ask("www.example.com", 1), dnszone.UDP) })
		synctest.Wait() // all of them wait
		require.Len(t, conns, 1)
		cancel()
		query := make([]byte, 512)
		n, err := conns[0].Read(query)
		require.NoError(t, err)
		_, err = conns[0].Write(resource(query[:n], addrs("192.0.2.1")...))
		require.NoError(t, err)
		wg.Wait()
		for i, reply := range replies {
			require.EqualValues(t, i, reply[0])
			require.Len(t, unpack(t, reply).Answers, 1)
		}
		require.ErrorIs(t, impatient, context.Canceled, "even if it was the first to ask")
	})
}

// TestForwardLimits: too many at a time fail at once, and ours still work.
func TestForwardLimits(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	events := make(chan dnsserver.Event, 10)
	server := serve(t, source(testSet(t)), &dnsserver.Options{
		Limits:  dnsserver.Limits{ForwardsPerSource: 2},
		OnQuery: func(e dnsserver.Event) { events <- e },
		Forward: forwarderFunc(func(query []byte) ([]byte, error) {
			<-release
			return resource(query), nil
		}),
	})
	conn := dial(t, "udp", server)
	for i := range 3 {
		_, err := conn.Write(ask(fmt.Sprint("n", i, ".example.com"), 1))
		require.NoError(t, err)
	}
	e := <-events
	require.Equal(t, dnszone.ServFail, e.Rcode)
	require.True(t, e.Forwarded)
	require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.UDP, server, ask("web.apn", 1))))
	close(release)
	for range 3 {
		<-events
	}
}

// TestForwardPipelined: a slow answer from elsewhere does not hold up our own.
func TestForwardPipelined(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := serve(t, source(testSet(t)), &dnsserver.Options{Forward: forwarderFunc(func(query []byte) ([]byte, error) {
		<-release
		return resource(query, addrs("192.0.2.1")...), nil
	})})
	conn := dial(t, "tcp", server)
	slow, quick := ask("www.example.com", 1), ask("web.apn", 1)
	slow[0], quick[0] = 1, 2
	writeTCP(t, conn, slow, quick)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	require.EqualValues(t, 2, readTCP(t, conn)[0])
	close(release)
	require.EqualValues(t, 1, readTCP(t, conn)[0])
}

func TestForwardRejectPrivate(t *testing.T) {
	t.Parallel()
	answers := map[string][]netip.Addr{
		"public.example.com.":  addrs("192.0.2.1", "2001:db8::1"),
		"rfc1918.example.com.": addrs("192.0.2.1", "10.0.0.1"),
		"loop.example.com.":    addrs("127.0.0.1"),
		"cgnat.example.com.":   addrs("100.64.0.1"),
		"ula.example.com.":     addrs("fd00::1"),
		"link.example.com.":    addrs("fe80::1"),
		"zero.example.com.":    addrs("0.0.0.0"),
		"mapped.example.com.":  addrs("::ffff:10.0.0.1"),
	}
	up := upstream(t, func(_ string, query []byte) [][]byte {
		q, _ := dnszone.ParseQuestion(query)
		if q.Name == "junk.example.com." {
			reply := resource(query, addrs("192.0.2.1")...)
			return [][]byte{reply[:len(reply)-2]}
		}
		return [][]byte{resource(query, answers[q.Name]...)}
	})
	server := forwarding(t, &dnsserver.UpstreamsOptions{RejectPrivate: true}, up)
	for name := range answers {
		want := dnszone.Refused
		if name == "public.example.com." {
			want = dnszone.NoError
		}
		require.Equal(t, want, rcode(exchange(t, dnszone.UDP, server, ask(name, 1))), name)
	}
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.UDP, server, ask("junk.example.com", 1))))
	open := forwarding(t, nil, up)
	require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.UDP, open, ask("rfc1918.example.com", 1))))
}
