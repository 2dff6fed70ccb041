//go:build linux

package nft_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease/leasetest"
	"github.com/apnkit/apnkit/lease/nft"
)

const port = 51820

// street is a bed with a guarded port, and neighbours on the loopback
// interface.
type street struct {
	*bed
	table      *nft.Table
	host       map[bool]*net.UDPConn // the guarded port, by "is IPv4"
	neighbours map[netip.Addr]*net.UDPConn
	sent       int
	pace       *time.Ticker
}

func newStreet(tb testing.TB, o nft.Options) *street {
	tb.Helper()
	s := &street{bed: newBed(tb), neighbours: map[netip.Addr]*net.UDPConn{}, pace: time.NewTicker(2 * time.Millisecond)}
	addrs := []string{"203.0.113.1/32", "2001:db8:ffff::1/128"}
	for _, a := range leasetest.Senders() {
		addrs = append(addrs, netip.PrefixFrom(a, a.BitLen()).String())
	}
	s.do(func() { s.up(tb, "lo", addrs...) })
	s.host = map[bool]*net.UDPConn{
		true:  s.listen(tb, fmt.Sprintf("203.0.113.1:%d", port)),
		false: s.listen(tb, fmt.Sprintf("[2001:db8:ffff::1]:%d", port)),
	}
	for _, a := range leasetest.Senders() {
		s.neighbours[a] = s.listen(tb, netip.AddrPortFrom(a, 0).String())
	}
	o.Port, o.Namespace = port, s.fd
	table, err := nft.Open(tb.Context(), o)
	require.NoError(tb, err)
	s.table = table
	return s
}

// knock sends a datagram to the guarded port.
func (s *street) knock(tb testing.TB, from netip.Addr) bool {
	tb.Helper()
	<-s.pace.C
	s.sent++
	return hears(tb, s.neighbours[from], s.host[from.Is4()], fmt.Sprint("knock ", s.sent))
}

// answer sends one from the guarded port.
func (s *street) answer(tb testing.TB, to netip.Addr) bool {
	tb.Helper()
	<-s.pace.C
	s.sent++
	return hears(tb, s.host[to.Is4()], s.neighbours[to], fmt.Sprint("answer ", s.sent))
}

func TestConformance(t *testing.T) {
	t.Parallel()
	leasetest.Run(t, func(t *testing.T) leasetest.Bench {
		t.Helper()
		s := newStreet(t, nft.Options{})
		return leasetest.Bench{Firewall: s.table, Knock: func(from netip.Addr) bool { return s.knock(t, from) }}
	})
}

// TestConformanceOfAnswers is the same for what the port sends.
func TestConformanceOfAnswers(t *testing.T) {
	t.Parallel()
	leasetest.Run(t, func(t *testing.T) leasetest.Bench {
		t.Helper()
		s := newStreet(t, nft.Options{})
		return leasetest.Bench{Firewall: s.table, Knock: func(to netip.Addr) bool { return s.answer(t, to) }}
	})
}
