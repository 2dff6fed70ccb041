//go:build linux

package nft_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside tells this test binary that it runs in namespaces of its own.
const inside = "APN_NFT_INSIDE"

// TestMain runs all tests again in a network and a mount namespace of their
// own, so that no test can touch the firewall of the host.
func TestMain(m *testing.M) {
	// Keeps tests off the main thread: it would not end with its goroutine, and
	// hold on to a namespace.
	runtime.LockOSThread()
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	// Most tests wait for packets that do not come.
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", append([]string{"-test.parallel=16"}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default: // the tests that need no kernel still run
		_ = os.Setenv(inside, "cannot make namespaces: "+err.Error())
		os.Exit(m.Run())
	}
}

// bed is a network namespace with a loopback interface, which ends with the
// test.
type bed struct {
	fd   int
	work chan func()
	skip func(reason string)
}

// newBed skips the test, or fails it, where namespaces or nftables are missing.
func newBed(tb testing.TB) *bed {
	tb.Helper()
	skip := func(reason string) {
		tb.Helper()
		if os.Getenv("APN_REQUIRE") == "all" {
			tb.Fatal(reason)
		}
		tb.Skip(reason)
	}
	if reason := os.Getenv(inside); reason != "1" {
		skip(reason)
	}
	b := &bed{work: make(chan func()), skip: skip}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace end here
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			b.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
		for f := range b.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		skip("cannot make a network namespace: " + err.Error())
	}
	tb.Cleanup(func() {
		close(b.work)
		_ = unix.Close(b.fd)
	})
	b.do(func() { b.up(tb, "lo") })
	return b
}

// do runs f in the namespace. f must not end the goroutine: it is not that of
// the test.
func (b *bed) do(f func()) {
	done := make(chan struct{})
	b.work <- func() { defer close(done); f() }
	<-done
}

func (b *bed) up(tb testing.TB, name string, addrs ...string) {
	tb.Helper()
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	for _, a := range addrs {
		if err == nil {
			err = netlink.AddrAdd(l, address(a))
		}
	}
	if err != nil {
		tb.Errorf("%s: %v", name, err)
	}
}

func address(s string) *netlink.Addr {
	p := netip.MustParsePrefix(s)
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// listen opens a UDP socket in the namespace.
func (b *bed) listen(tb testing.TB, at string) *net.UDPConn {
	tb.Helper()
	var c *net.UDPConn
	var err error
	b.do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))) })
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// hears sends a datagram from one socket to another and reports whether it
// arrives. One that has not after 20 ms was dropped: it has no way to go.
func hears(tb testing.TB, from, to *net.UDPConn, text string) bool {
	tb.Helper()
	send(tb, from, to, text)
	buf := make([]byte, 1500)
	for range 2 { // a deadline that passed while we slept hides what is there
		require.NoError(tb, to.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		for {
			n, err := to.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			require.NoError(tb, err)
			if string(buf[:n]) == text {
				return true
			}
		}
	}
	return false
}

func send(tb testing.TB, from, to *net.UDPConn, text string) {
	tb.Helper()
	_, err := from.WriteToUDPAddrPort([]byte(text), local(to))
	if !errors.Is(err, unix.EPERM) { // what an output chain drops is an error of the sender
		require.NoError(tb, err)
	}
}

func local(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
