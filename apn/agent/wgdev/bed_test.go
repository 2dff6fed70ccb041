//go:build linux

package wgdev_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

// inside tells this test binary that it runs in namespaces of its own, or why
// it cannot.
const inside = "APN_WGDEV_INSIDE"

// TestMain runs all tests again in a network and a mount namespace of their
// own, with an empty /run: no test can touch an interface or a socket of the
// host.
func TestMain(m *testing.M) {
	// Keeps tests off the main thread: it would not end with its goroutine, and
	// hold on to a namespace.
	runtime.LockOSThread()
	switch os.Getenv(inside) {
	case "":
	case "already":
		_ = os.Setenv(inside, "yes")
		os.Exit(m.Run())
	case "yes":
		if err := enter(); err != nil {
			_ = os.Setenv(inside, err.Error())
		}
		os.Exit(m.Run())
	default:
		os.Exit(m.Run())
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
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

func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return tun.Close()
}

// need skips the test, or fails it, where namespaces or TUN are missing.
func need(tb testing.TB) {
	tb.Helper()
	if reason := os.Getenv(inside); reason != "yes" {
		skip(tb, reason)
	}
}

func skip(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("APN_REQUIRE") == "all" {
		tb.Fatal(reason)
	}
	tb.Skip(reason)
}

// bed is a network namespace that ends with the test.
type bed struct {
	path string
	work chan func()
	end  func()
}

func newBed(tb testing.TB) *bed {
	tb.Helper()
	need(tb)
	b := &bed{work: make(chan func())}
	var fd int
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
		for f := range b.work {
			f()
		}
	}()
	require.NoError(tb, <-made)
	b.path = fmt.Sprintf("/proc/self/fd/%d", fd)
	ended := false
	b.end = func() {
		if !ended {
			close(b.work)
			_ = unix.Close(fd)
		}
		ended = true
	}
	tb.Cleanup(b.end)
	b.do(func() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			tb.Error(err)
		}
	})
	return b
}

// do runs f in the namespace. f must not end the goroutine: it is not that of
// the test.
func (b *bed) do(f func()) {
	done := make(chan struct{})
	b.work <- func() { defer close(done); f() }
	<-done
}

var names atomic.Int64

// uniqueName is for one test: sockets of WireGuard know no network namespaces.
func uniqueName() string { return fmt.Sprintf("apn%d", names.Add(1)) }

// open opens an interface that is closed with the test.
func open(tb testing.TB, o wgdev.Options) *wgdev.Interface {
	tb.Helper()
	if o.Name == "" {
		o.Name = uniqueName()
	}
	i, err := wgdev.Open(tb.Context(), o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, i.Close()) })
	return i
}
