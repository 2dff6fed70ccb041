//go:build linux

package e2e_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// silence is how long nothing has to come before it counts as nothing.
const silence = 400 * time.Millisecond

// echoPort is where every server echoes UDP packets.
const echoPort = 7

// echo answers every packet with itself, on all addresses of the host.
func (h *host) echo(t *testing.T) {
	t.Helper()
	c := h.listen(t, echoPort)
	h.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from) // it may be blocked
		}
	}()
}

func (h *host) listen(t *testing.T, port uint16) (c net.PacketConn) {
	t.Helper()
	h.must(t, func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		return err
	})
	return c
}

// flow sends numbered packets from one host to the echo of another.
type flow struct {
	conn net.PacketConn
	to   net.Addr
	stop func()

	mu   sync.Mutex
	sent []time.Time
	back []time.Time // zero: not yet
	last time.Time   // of back
}

func (h *host) flow(t *testing.T, to netip.Addr, every time.Duration) *flow {
	t.Helper()
	conn := h.listen(t, 0)
	f := &flow{conn: conn, to: net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, echoPort))}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.send(ctx, every) })
	wg.Go(f.receive)
	f.stop = func() {
		cancel()
		_ = conn.Close()
		wg.Wait()
	}
	t.Cleanup(f.stop)
	return f
}

func (f *flow) send(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		f.mu.Lock()
		n := len(f.sent)
		f.sent, f.back = append(f.sent, time.Now()), append(f.back, time.Time{})
		f.mu.Unlock()
		_, _ = f.conn.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(n)), f.to) // there may be no way
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *flow) receive() {
	buf := make([]byte, 16)
	for {
		n, _, err := f.conn.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			return
		}
		if n != 8 {
			continue
		}
		f.mu.Lock()
		f.back[binary.BigEndian.Uint64(buf)], f.last = now, now
		f.mu.Unlock()
	}
}

// lastBack returns when the latest answer came, and how many there were.
func (f *flow) lastBack() (at time.Time, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.back {
		if !b.IsZero() {
			n++
		}
	}
	return f.last, n
}

// missing returns how many packets that were sent before at have not come back.
func (f *flow) missing(at time.Time) (n, of int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.sent {
		if f.sent[i].Before(at) {
			of++
			if f.back[i].IsZero() {
				n++
			}
		}
	}
	return n, of
}

// gap returns the longest time between two answers.
func (f *flow) gap() (longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var last time.Time
	for _, at := range f.back {
		if !at.IsZero() {
			if !last.IsZero() {
				longest = max(longest, at.Sub(last))
			}
			last = at
		}
	}
	return longest
}

// flows waits until packets of the flow come back.
func (f *flow) flows(t *testing.T) {
	t.Helper()
	_, before := f.lastBack()
	eventually(t, "packets come back", func() bool {
		_, n := f.lastBack()
		return n > before+10
	})
}

// reaches waits until the host has an answer from the echo at to, and returns
// how long that took.
func (h *host) reaches(t *testing.T, to netip.Addr) time.Duration {
	t.Helper()
	began := time.Now()
	f := h.flow(t, to, 10*time.Millisecond)
	defer f.stop()
	eventually(t, h.name+" reaches "+to.String(), func() bool {
		_, n := f.lastBack()
		return n > 0
	})
	return time.Since(began)
}

// steady returns a flow through a tunnel that is up, which has to lose nothing.
func (h *host) steady(t *testing.T, to netip.Addr) *flow {
	t.Helper()
	h.reaches(t, to)
	f := h.flow(t, to, 5*time.Millisecond)
	f.flows(t)
	return f
}

// blocked requires that the host has no answer from the echo at to.
func (h *host) blocked(t *testing.T, to netip.Addr) {
	t.Helper()
	f := h.flow(t, to, 10*time.Millisecond)
	defer f.stop()
	time.Sleep(silence) // silence takes its time
	_, n := f.lastBack()
	require.Zero(t, n, "%s reaches %v", h.name, to)
}

// lookup asks the DNS server at an address, from the host.
func (h *host) lookup(t *testing.T, server netip.Addr, name string) netip.Addr {
	t.Helper()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return h.dial(ctx, network, netip.AddrPortFrom(server, 53).String())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip4", name+".")
	require.NoError(t, err)
	require.Len(t, addrs, 1, name)
	return addrs[0].Unmap()
}
