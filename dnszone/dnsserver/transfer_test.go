package dnsserver_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// transferred reads the answer to query until the SOA comes back.
func transferred(t *testing.T, server netip.AddrPort, query []byte) (records []string) {
	t.Helper()
	conn := dial(t, "tcp", server)
	defer closed(conn)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	writeTCP(t, conn, query)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	for {
		msg := make([]byte, 2)
		if _, err := io.ReadFull(conn, msg); err != nil {
			require.ErrorIs(t, err, io.EOF)
			return records
		}
		msg = make([]byte, binary.BigEndian.Uint16(msg))
		_, err := io.ReadFull(conn, msg)
		require.NoError(t, err)
		require.Equal(t, dnszone.NoError, rcode(msg))
		r := reader{t: t, msg: msg, at: 12}
		r.name()
		r.at += 4
		for range r.count(6) {
			records = append(records, r.record())
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	set := testSet(t)
	src := source(set)
	server := serve(t, src, &dnsserver.Options{Transfer: dnsserver.TransferPolicy{Allow: loopback}})
	zone, _ := set.Zone("apn")
	n := len(slices.Collect(zone.Records()))

	full := transferred(t, server, ask("apn", dnszone.TypeAXFR))
	require.Len(t, full, n+1)
	require.Equal(t, full[0], full[n])
	require.Equal(t, full, transferred(t, server, ask("APN", dnszone.TypeAXFR)))

	// Up to date, ahead, and behind.
	require.Equal(t, full[:1], transferred(t, server, ixfr("apn", 1)))
	require.Equal(t, full[:1], transferred(t, server, ixfr("apn", 5)))
	require.Equal(t, full, transferred(t, server, ixfr("apn", 0)), "unknown serial: the whole zone")
	require.Equal(t, full, transferred(t, server, ask("apn", dnszone.TypeIXFR)), "no serial: the whole zone")
	for i := range uint32(3) {
		next, _, err := src.Load().Update(i+2, dnszone.Change{Host: dnszone.Host{ID: fmt.Sprint("new", i), App: "new", Name: fmt.Sprint("n", i), Addrs: addrs("10.1.16.9")}})
		require.NoError(t, err)
		src.Store(next)
	}
	steps := transferred(t, server, ixfr("apn", 2))
	require.Len(t, steps, 1+(2+2)+(2+2)+1)
	require.Len(t, transferred(t, server, ixfr("17.1.10.in-addr.arpa", 3)), 1+2+1, "nothing but the serial")
	for i := range uint32(20) {
		next, _, err := src.Load().Update(i+5, dnszone.Change{Host: dnszone.Host{ID: "x"}, Remove: true})
		require.NoError(t, err)
		src.Store(next)
	}
	require.Len(t, transferred(t, server, ixfr("apn", 2)), n+6+1, "too far behind: the whole zone")

	// A Source that starts over has no steps to offer.
	src.Store(set)
	require.Equal(t, full, transferred(t, server, ixfr("apn", 0)))

	// Over UDP, the serial.
	msg := exchange(t, dnszone.UDP, server, ixfr("apn", 0))
	require.Equal(t, dnszone.NoError, rcode(msg))
	r := reader{t: t, msg: msg, at: 12}
	r.name()
	require.Equal(t, dnszone.TypeIXFR, dnszone.Type(r.count(r.at)))
	r.at += 4
	require.Equal(t, full[0], r.record())
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.UDP, server, ask("apn", dnszone.TypeAXFR))))
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.TCP, server, ask("web.apn", dnszone.TypeAXFR))))
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.TCP, server, ask("example.com", dnszone.TypeAXFR))))
}

func TestTransferDenied(t *testing.T) {
	t.Parallel()
	for _, opts := range []*dnsserver.Options{nil, {Transfer: dnsserver.TransferPolicy{Allow: prefixes("10.0.0.0/8")}}} {
		server := serve(t, source(testSet(t)), opts)
		for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
			for _, query := range [][]byte{ask("apn", dnszone.TypeAXFR), ixfr("apn", 0), ask("17.1.10.in-addr.arpa", dnszone.TypeAXFR)} {
				require.Equal(t, dnszone.Refused, rcode(exchange(t, via, server, query)))
			}
		}
	}
}

// TestTransferLimit: a client that does not read holds a place only for itself.
func TestTransferLimit(t *testing.T) {
	t.Parallel()
	var hosts []dnszone.Host
	for i := range 100_000 {
		hosts = append(hosts, dnszone.Host{ID: fmt.Sprint(i), App: fmt.Sprint("app", i/50), Name: fmt.Sprint("server-", i), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}})
	}
	server := serve(t, source(build(t, dnszone.Config{}, 1, hosts...)), &dnsserver.Options{
		Transfer: dnsserver.TransferPolicy{Allow: loopback}, Limits: dnsserver.Limits{Transfers: 1},
	})
	stuck := dial(t, "tcp", server)
	require.NoError(t, stuck.(*net.TCPConn).SetReadBuffer(4096))
	writeTCP(t, stuck, ask("apn", dnszone.TypeAXFR))
	_, err := stuck.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, dnszone.Refused, rcode(exchange(t, dnszone.TCP, server, ask("apn", dnszone.TypeAXFR))))
	require.Equal(t, dnszone.NoError, rcode(exchange(t, dnszone.TCP, server, ask("server-5.apn", dnszone.TypeA))))
	require.NoError(t, stuck.Close())
	require.Eventually(t, func() bool {
		return rcode(exchange(t, dnszone.TCP, server, ask("apn", dnszone.TypeAXFR))) == dnszone.NoError
	}, 10*time.Second, 10*time.Millisecond)
}

// secondary takes NOTIFY and says for which zones.
func secondary(t *testing.T, deaf int) (netip.AddrPort, <-chan string) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	told := make(chan string, 100)
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if deaf--; deaf >= 0 {
				_, _ = conn.WriteTo([]byte("not an answer"), from)
				continue
			}
			r := reader{t: t, msg: buf[:n], at: 12}
			told <- fmt.Sprintf("%s %d %x", r.name(), r.count(r.at), buf[2:4])
			buf[2] |= 0x80
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), told
}

func TestNotify(t *testing.T) {
	t.Parallel()
	src := source(testSet(t))
	to, told := secondary(t, 1)
	var dials atomic.Int32
	srv := dnsserver.New(src, &dnsserver.Options{Transfer: dnsserver.TransferPolicy{
		Notify: []netip.AddrPort{to},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Notify(ctx) }()
	require.Equal(t, `"apn" 6 2400`, <-told)
	for range 5 { // four zones of IPv4 and one of IPv6
		require.Contains(t, <-told, "arpa")
	}
	next, _, err := src.Load().Update(2, dnszone.Change{Host: dnszone.Host{ID: "n", App: "new", Name: "n", Addrs: addrs("10.1.18.1")}})
	require.NoError(t, err)
	src.Store(next)
	require.Equal(t, `"apn" 6 2400`, <-told)
	require.Equal(t, `"18""1""10""in-addr""arpa" 6 2400`, <-told, "and no other")
	cancel()
	require.NoError(t, <-done)
	require.Positive(t, dials.Load())
	require.Empty(t, told)
}

// TestSecondary has real secondaries follow a chain of updates: all of the zone
// at first, then what changes.
func TestSecondary(t *testing.T) {
	t.Parallel()
	for _, daemon := range daemons {
		t.Run(daemon, func(t *testing.T) {
			t.Parallel()
			tool(t, daemon)
			src := source(testSet(t))
			theirs := freePort(t)
			var mu sync.Mutex
			asked := map[dnszone.Type]int{}
			opts := &dnsserver.Options{
				Transfer: dnsserver.TransferPolicy{Allow: loopback, Notify: []netip.AddrPort{theirs}},
				OnQuery: func(e dnsserver.Event) {
					mu.Lock()
					defer mu.Unlock()
					if e.Via == dnszone.TCP && e.Rcode == dnszone.NoError {
						asked[e.Question.Type]++
					}
				},
			}
			ours := serve(t, src, opts)
			var zones []zoneConf
			for z := range src.Load().Zones() {
				zones = append(zones, zoneConf{name: z.Name(), primary: ours})
			}
			start(t, daemon, theirs, zones...)
			for _, z := range zones {
				await(t, theirs, z.name, 1)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = dnsserver.New(src, opts).Notify(ctx) })
			defer wg.Wait()
			defer cancel()
			for serial := uint32(2); serial <= 6; serial++ {
				changes := []dnszone.Change{
					{Host: dnszone.Host{ID: "s", App: "step", Name: fmt.Sprint("n", serial), Addrs: addrs("10.1.16.20")}},
					{Host: dnszone.Host{ID: "3"}, Remove: serial%2 == 0}, // db.apn comes and goes
				}
				if serial%2 == 1 {
					changes[1].Host = testHosts()[2]
				}
				next, _, err := src.Load().Update(serial, changes...)
				require.NoError(t, err)
				src.Store(next)
				await(t, theirs, "apn.", serial)
				await(t, theirs, "16.1.10.in-addr.arpa.", serial)
				for z := range next.Zones() {
					if got, ok := serialAt(t, theirs, z.Name()); !ok || got != serial {
						continue // not told, for nothing changed in it
					}
					for r := range z.Records() {
						query := ask(r.Name, r.Type)
						require.Equal(t, summary(t, exchange(t, dnszone.TCP, ours, query)), summary(t, exchange(t, dnszone.TCP, theirs, query)), r.Name)
					}
				}
				gone := ask(fmt.Sprintf("n%d.apn", serial-1), dnszone.TypeA)
				require.Equal(t, dnszone.NXDomain, rcode(exchange(t, dnszone.UDP, theirs, gone)))
			}
			mu.Lock()
			defer mu.Unlock()
			require.NotZero(t, asked[dnszone.TypeIXFR], "%v", asked)
		})
	}
}

// TestDig asks with the tool that people use.
func TestDig(t *testing.T) {
	t.Parallel()
	dig := tool(t, "dig")
	server := serve(t, source(testSet(t)), &dnsserver.Options{Transfer: dnsserver.TransferPolicy{Allow: loopback}})
	run := func(args ...string) string {
		args = append([]string{"@" + server.Addr().String(), "-p", fmt.Sprint(server.Port()), "+noall", "+answer", "+comments", "+nocookie"}, args...)
		out, err := exec.CommandContext(t.Context(), dig, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.Contains(t, run("web.apn", "AAAA"), "fd00::1")
	require.Contains(t, run("+tcp", "web.apn", "AAAA"), "fd00::1")
	require.Contains(t, run("+cookie", "web.apn"), "10.1.16.11")
	require.Contains(t, run("-x", "10.1.17.3"), "db.shop.apn.")
	require.Contains(t, run("nothing.apn"), "NXDOMAIN")
	require.Contains(t, run("db.apn"), "EDE: 0 (Other)")
	require.Contains(t, run("db.apn"), "(withheld: not unique db.blog.apn db.shop.apn)")
	require.Contains(t, run("+edns=1", "+noednsneg", "web.apn"), "BADVERS")
	out := run("apn", "AXFR")
	require.Equal(t, 2, strings.Count(out, "SOA"))
	require.NotContains(t, out, "failed")
}
