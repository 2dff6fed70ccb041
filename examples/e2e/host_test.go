//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is a machine: namespaces without a name, which end with the test.
type host struct {
	t       *testing.T // of the whole test
	name    string
	wire    netip.Addr // its address there
	net     int        // file descriptors of the namespaces
	mnt     int
	app     *process    // WireGuard's, if it is a person's
	threads chan func() // run on the thread that lives as long as the host
}

func newHost(t *testing.T, name string) *host {
	t.Helper()
	h := &host{t: t, name: name, threads: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		made <- h.unshare()
		for f := range h.threads {
			f()
		}
	}()
	require.NoError(t, <-made)
	t.Cleanup(func() {
		close(h.threads)
		_, _ = unix.Close(h.net), unix.Close(h.mnt)
	})
	return h
}

// unshare makes the host out of the thread that runs it.
func (h *host) unshare() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	for _, dir := range []string{"/etc", "/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost\n"), 0o600); err != nil {
		return err
	}
	if h.net, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if h.mnt, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	return up("lo")
}

// do runs f on the host. What f opens belongs there.
func (h *host) do(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nothing else may run here
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(h.mnt, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.Setns(h.net, unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

func (h *host) must(t *testing.T, f func() error) {
	t.Helper()
	require.NoError(t, h.do(f), h.name)
}

// dial connects from the host to an address.
func (h *host) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = h.do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// bridge is the wire that hosts are plugged into.
const bridge = "wire"

// plug gives the host an address on the bridge.
func (h *host) plug(t *testing.T, addr string) *host {
	t.Helper()
	wire, err := netlink.LinkByName(bridge)
	require.NoError(t, err)
	v := netlink.NewVeth(netlink.LinkAttrs{Name: "to-" + h.name, MasterIndex: wire.Attrs().Index})
	v.PeerName, v.PeerNamespace = "eth0", netlink.NsFd(h.net)
	require.NoError(t, netlink.LinkAdd(v))
	h.t.Cleanup(func() { _ = netlink.LinkDel(v) }) // the kernel takes its time otherwise
	require.NoError(t, up(v.Name))
	h.address(t, "eth0", addr)
	return h
}

// address brings a link of the host up, with an address.
func (h *host) address(t *testing.T, link, addr string) {
	t.Helper()
	p := netip.MustParsePrefix(addr)
	h.wire = p.Addr()
	h.must(t, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}
