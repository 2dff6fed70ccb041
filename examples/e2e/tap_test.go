//go:build linux

package e2e_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tap hears the WireGuard packets that come to a host by its wire.
type tap struct {
	mu    sync.Mutex
	heard map[netip.Addr]time.Time // the last of each sender
}

// wirePort is that of WireGuard on all servers.
const wirePort = 51820

func (h *host) tap(t *testing.T) *tap {
	t.Helper()
	var fd int
	ipv4 := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff})
	h.must(t, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index})
	})
	w := &tap{heard: map[netip.Addr]time.Time{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.read(fd)
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
		require.NoError(t, unix.Close(fd))
	})
	return w
}

func (w *tap) read(fd int) {
	packet := make([]byte, 128)
	n, from, err := unix.Recvfrom(fd, packet, 0)
	if err != nil || n < 28 || from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
		return
	}
	header := int(packet[0]&0xf) * 4
	if packet[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(packet[header:]) != wirePort {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard[netip.AddrFrom4([4]byte(packet[12:16]))] = time.Now()
}

// last returns when the last packet of a sender came.
func (w *tap) last(from netip.Addr) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard[from]
}
