package userspace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	nic   = 1
	queue = 1024 // packets on their way out
	batch = 64   // packets that WireGuard takes at once
)

// stackTUN is a TCP/IP stack whose one network card is a [tun.Device].
//
// It does what wireguard-go's own one does, and can change its addresses while
// connections run; that one may panic if it is closed meanwhile.
type stackTUN struct {
	stack  *stack.Stack
	card   *channel.Endpoint
	mtu    atomic.Int64
	ctx    context.Context //nolint:containedctx // of Read, which has none
	cancel context.CancelFunc

	mu     sync.Mutex
	events chan tun.Event // closed with ctx
}

func newStackTUN() (*stackTUN, error) {
	t := &stackTUN{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
			HandleLocal:        true,
		}),
		card:   channel.New(queue, defaultMTU, ""),
		events: make(chan tun.Event, 1),
	}
	t.mtu.Store(defaultMTU)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	sack := tcpip.TCPSACKEnabled(true)
	if err := t.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack); err != nil {
		return nil, failure("enable SACK", err)
	}
	if err := t.stack.CreateNIC(nic, t.card); err != nil {
		return nil, failure("make interface", err)
	}
	t.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	return t, nil
}

// setAddresses goes over from one list to another.
func (t *stackTUN) setAddresses(have, want []netip.Prefix) error {
	var errs []error
	for _, p := range have {
		if !slices.ContainsFunc(want, func(w netip.Prefix) bool { return w.Addr() == p.Addr() }) {
			err := t.stack.RemoveAddress(nic, tcpip.AddrFromSlice(p.Addr().AsSlice()))
			if _, gone := err.(*tcpip.ErrBadLocalAddress); !gone {
				errs = append(errs, failure("remove address", err))
			}
		}
	}
	for _, p := range want {
		a := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFromSlice(p.Addr().AsSlice()).WithPrefix()}
		if p.Addr().Is6() {
			a.Protocol = ipv6.ProtocolNumber
		}
		err := t.stack.AddProtocolAddress(nic, a, stack.AddressProperties{})
		if _, there := err.(*tcpip.ErrDuplicateAddress); !there {
			errs = append(errs, failure("add address", err))
		}
	}
	return errors.Join(errs...)
}

func failure(what string, err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %v", what, err)
}

func (t *stackTUN) setMTU(bytes int) {
	if t.mtu.Swap(int64(bytes)) == int64(bytes) {
		return
	}
	t.card.SetMTU(uint32(bytes)) //nolint:gosec // 16 bits in a config
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return
	}
	select {
	case t.events <- tun.EventMTUUpdate:
	default: // one is on its way
	}
}

// Read waits for one packet and takes those behind it along.
func (t *stackTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	for p := t.card.ReadContext(t.ctx); p != nil; p = t.card.Read() {
		view := p.ToView()
		p.DecRef()
		sizes[n], err = view.Read(bufs[n][offset:])
		view.Release()
		if n++; err != nil || n == len(bufs) {
			return n, err
		}
	}
	if n == 0 {
		return 0, os.ErrClosed
	}
	return n, nil
}

// Write takes packets that came out of the tunnel.
func (t *stackTUN) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		b = b[offset:]
		if len(b) == 0 {
			continue
		}
		var protocol tcpip.NetworkProtocolNumber
		switch b[0] >> 4 {
		case 4:
			protocol = ipv4.ProtocolNumber
		case 6:
			protocol = ipv6.ProtocolNumber
		default:
			return i, syscall.EAFNOSUPPORT
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		t.card.InjectInbound(protocol, p)
		p.DecRef()
	}
	return len(bufs), nil
}

// Close aborts all connections.
func (t *stackTUN) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil
	}
	t.cancel()
	close(t.events)
	t.stack.Destroy()
	t.card.Close()
	return nil
}

func (t *stackTUN) MTU() (int, error) { return int(t.mtu.Load()), nil }

func (t *stackTUN) Events() <-chan tun.Event { return t.events }

func (t *stackTUN) Name() (string, error) { return "userspace", nil }

func (t *stackTUN) File() *os.File { return nil }

func (t *stackTUN) BatchSize() int { return batch }
