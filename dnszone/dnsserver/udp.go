package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/apnkit/apnkit/dnszone"
)

const (
	batchSize = 64   // packets per system call
	querySize = 4096 // octets of a query; what is longer makes no sense
	oobSize   = 64   // octets of a packet's control message
)

// ServePacket answers queries that arrive at conn until ctx ends, then closes
// conn, waits for forwarded queries and returns nil. Any other end is an error.
//
// On Linux a *net.UDPConn is served in batches. Several sockets may be served at
// the same time.
func (s *Server) ServePacket(ctx context.Context, conn net.PacketConn) error {
	defer conn.Close() //nolint:errcheck // nothing is left unsent
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	var forwards sync.WaitGroup
	defer forwards.Wait()

	b, err := batched(conn)
	if err != nil {
		return fmt.Errorf("dnsserver: serve %v: %w", conn.LocalAddr(), err)
	}
	in, out := messages(querySize), messages(dnszone.MaxUDP)
	for failed := 0; ; {
		n, err := b.ReadBatch(in, 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failed = 0
		case failed > 100 || errors.Is(err, net.ErrClosed):
			return fmt.Errorf("dnsserver: serve %v: %w", conn.LocalAddr(), err)
		default: // a socket also reports what became of packets sent before
			failed++
			continue
		}
		replies := 0
		for i := range in[:n] {
			m, o := &in[i], &out[replies]
			query := m.Buffers[0][:m.N]
			from := addrPort(m.Addr)
			reply, v := s.answer(o.Buffers[0][:0], query, from, dnszone.UDP)
			if v == forward {
				s.forwardPacket(ctx, b, m, from, &forwards)
				continue
			}
			if v == send {
				o.Buffers[0], o.Addr, o.OOB = reply, m.Addr, m.OOB[:m.NN]
				replies++
			} else {
				reply = nil
			}
			s.report(query, reply, from, dnszone.UDP, false)
		}
		sendAll(b, out[:replies])
	}
}

// forwardPacket has m answered by the Forwarder.
func (s *Server) forwardPacket(ctx context.Context, b batcher, m *ipv4.Message, from netip.AddrPort, wg *sync.WaitGroup) {
	query := slices.Clone(m.Buffers[0][:m.N])
	o := ipv4.Message{Addr: m.Addr, OOB: slices.Clone(m.OOB[:m.NN])}
	s.forward(ctx, query, from, dnszone.UDP, wg, func(reply []byte) {
		o.Buffers = [][]byte{reply}
		sendAll(b, []ipv4.Message{o})
	})
}

// batcher is what ipv4.PacketConn and ipv6.PacketConn have in common.
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// batched prepares conn. If it is bound to the unspecified address, packets tell
// which address they were sent to, in a control message that makes the reply
// leave from there when it is sent back.
func batched(conn net.PacketConn) (batcher, error) {
	udp, ok := conn.(*net.UDPConn)
	if !ok || runtime.GOOS != "linux" {
		return oneByOne{conn}, nil
	}
	local := addrPort(udp.LocalAddr()).Addr()
	if local.Is4() {
		b := ipv4.NewPacketConn(udp)
		if local.IsUnspecified() {
			return b, b.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
		}
		return b, nil
	}
	b := ipv6.NewPacketConn(udp)
	if local.IsUnspecified() {
		return b, b.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	return b, nil
}

// oneByOne serves any other PacketConn.
type oneByOne struct{ net.PacketConn }

func (c oneByOne) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	var err error
	m := &ms[0]
	m.N, m.Addr, err = c.ReadFrom(m.Buffers[0])
	return 1, err
}

func (c oneByOne) WriteBatch(ms []ipv4.Message, _ int) (int, error) {
	_, err := c.WriteTo(ms[0].Buffers[0], ms[0].Addr)
	return 1, err
}

// messages returns a batch with room for size octets in each.
func messages(size int) []ipv4.Message {
	ms := make([]ipv4.Message, batchSize)
	room, oob := make([]byte, batchSize*size), make([]byte, batchSize*oobSize)
	for i := range ms {
		ms[i].Buffers = [][]byte{room[i*size : (i+1)*size : (i+1)*size]}
		ms[i].OOB = oob[i*oobSize : (i+1)*oobSize]
	}
	return ms
}

// sendAll sends ms. A packet that cannot be sent is lost, as packets are.
func sendAll(b batcher, ms []ipv4.Message) {
	for len(ms) > 0 {
		n, err := b.WriteBatch(ms, 0)
		if err != nil || n == 0 {
			n = 1
		}
		ms = ms[n:]
	}
}

// addrPort returns the address and port of a, the invalid one if it has none.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	default:
		if a != nil {
			ap, _ = netip.ParseAddrPort(a.String())
		}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
