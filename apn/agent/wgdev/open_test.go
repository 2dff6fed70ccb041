//go:build linux

package wgdev_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

func socket(name string) string { return "/run/wireguard/" + name + ".sock" }

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := map[string]wgdev.Options{
		"no name":         {},
		"name too long":   {Name: "sixteen-letters-"},
		"name is a path":  {Name: "../../x"},
		"name is a dot":   {Name: ".."},
		"name is a line":  {Name: "a\nb"},
		"MTU below IPv6":  {Name: "apn0", MTU: 1279},
		"MTU too large":   {Name: "apn0", MTU: 65456},
		"port too large":  {Name: "apn0", ListenPort: 65536},
		"port is no port": {Name: "apn0", ListenPort: -1},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wgdev.Open(t.Context(), o)
			require.ErrorIs(t, err, wgdev.ErrInvalid)
		})
	}
}

func TestOpenClose(t *testing.T) { //nolint:paralleltest // counts goroutines
	need(t)
	before := runtime.NumGoroutine()
	name := uniqueName()
	i, err := wgdev.Open(t.Context(), wgdev.Options{Name: name, MTU: 1300})
	require.NoError(t, err)
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.Equal(t, 1300, l.Attrs().MTU)
	require.NotZero(t, l.Attrs().Flags&net.FlagUp)
	require.FileExists(t, socket(name))
	d, err := i.Device(t.Context())
	require.NoError(t, err)
	require.Equal(t, name, d.Name)
	require.NotZero(t, d.ListenPort)

	c, err := net.Dial("unix", socket(name)) // an administrator who looks on
	require.NoError(t, err)
	defer func() { _ = c.Close() }()

	_, err = wgdev.Open(t.Context(), wgdev.Options{Name: name})
	require.ErrorIs(t, err, wgdev.ErrExists, "twice")

	require.NoError(t, i.Close())
	require.NoError(t, i.Close(), "again")
	<-i.Done()
	_, err = netlink.LinkByName(name)
	require.ErrorAs(t, err, new(netlink.LinkNotFoundError))
	require.NoFileExists(t, socket(name))
	_, err = i.Device(t.Context())
	require.ErrorIs(t, err, wgdev.ErrClosed)
	require.ErrorIs(t, i.SetLinks(t.Context(), wgdev.Links{}), wgdev.ErrClosed)
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "goroutines are left")
	}
}

// TestBelongsToSomebodyElse has interfaces and sockets of others in the way.
func TestBelongsToSomebodyElse(t *testing.T) {
	t.Parallel()
	need(t)
	require.NoError(t, os.MkdirAll("/run/wireguard", 0o750))
	tests := []struct {
		name  string
		make  func(t *testing.T, name string)
		check func(t *testing.T, name string)
	}{
		{"interface", func(t *testing.T, name string) {
			t.Helper()
			require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1333}, PeerName: name + "p"}))
		}, func(t *testing.T, name string) {
			t.Helper()
			l, err := netlink.LinkByName(name)
			require.NoError(t, err)
			require.Equal(t, 1333, l.Attrs().MTU)
			require.Empty(t, l.Attrs().Alias)
			require.NoError(t, netlink.LinkDel(l))
		}},
		{"TUN that waits for its owner", func(t *testing.T, name string) {
			t.Helper()
			require.NoError(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_DEFAULTS}))
		}, func(t *testing.T, name string) {
			t.Helper()
			l, err := netlink.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, netlink.LinkDel(l))
		}},
		{"socket", func(t *testing.T, name string) {
			t.Helper()
			l, err := net.Listen("unix", socket(name))
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
		}, func(t *testing.T, name string) {
			t.Helper()
			c, err := net.Dial("unix", socket(name))
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}},
		{"file in place of the socket", func(t *testing.T, name string) {
			t.Helper()
			require.NoError(t, os.WriteFile(socket(name), []byte("mine"), 0o600))
		}, func(t *testing.T, name string) {
			t.Helper()
			got, err := os.ReadFile(socket(name))
			require.NoError(t, err)
			require.Equal(t, "mine", string(got))
		}},
		{"socket that hangs", func(t *testing.T, name string) {
			t.Helper()
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			t.Cleanup(func() { _ = unix.Close(fd) })
			require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: socket(name)}))
			require.NoError(t, unix.Listen(fd, 0))
			for { // until its queue is full
				c, err := (&net.Dialer{Timeout: 50 * time.Millisecond}).Dial("unix", socket(name))
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
			}
		}, func(t *testing.T, name string) {
			t.Helper()
			require.FileExists(t, socket(name))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := uniqueName()
			tt.make(t, name)
			_, err := wgdev.Open(t.Context(), wgdev.Options{Name: name})
			require.ErrorIs(t, err, wgdev.ErrExists)
			if strings.Contains(tt.name, "socket") {
				_, err = netlink.LinkByName(name)
				require.ErrorAs(t, err, new(netlink.LinkNotFoundError), "nothing half-made")
			} else {
				require.NoFileExists(t, socket(name))
			}
			tt.check(t, name)
		})
	}
}

func TestDeadSocketIsReplaced(t *testing.T) {
	t.Parallel()
	need(t)
	name := uniqueName()
	require.NoError(t, os.MkdirAll("/run/wireguard", 0o750))
	l, err := net.Listen("unix", socket(name))
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	i := open(t, wgdev.Options{Name: name})
	_, err = i.Device(t.Context())
	require.NoError(t, err)
}

// TestKilled kills a process that has an interface. The next one opens it again.
func TestKilled(t *testing.T) {
	t.Parallel()
	need(t)
	const child = "APN_WGDEV_KILLED"
	if name := os.Getenv(child); name != "" {
		_ = open(t, wgdev.Options{Name: name})
		require.NoError(t, unix.Kill(unix.Getpid(), unix.SIGKILL))
	}
	name := uniqueName()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), child+"="+name, inside+"=already")
	out, err := cmd.CombinedOutput()
	require.ErrorContains(t, err, "killed", string(out))
	require.FileExists(t, socket(name))
	_ = open(t, wgdev.Options{Name: name})
}

func TestDeletedBySomebody(t *testing.T) {
	t.Parallel()
	need(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name})
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(l))
	select {
	case <-i.Done():
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody noticed")
	}
	_, err = i.Device(t.Context())
	require.ErrorIs(t, err, wgdev.ErrClosed)
	require.NoError(t, i.Close())
	require.NoFileExists(t, socket(name))
	_ = open(t, wgdev.Options{Name: name})
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	name := uniqueName()
	i := open(t, wgdev.Options{Name: name, Namespace: b.path, MTU: 1400})
	_, err := netlink.LinkByName(name)
	require.ErrorAs(t, err, new(netlink.LinkNotFoundError), "not here")
	var l netlink.Link
	b.do(func() { l, err = netlink.LinkByName(name) })
	require.NoError(t, err)
	require.Equal(t, 1400, l.Attrs().MTU)
	require.NotZero(t, l.Attrs().Flags&net.FlagUp)

	_, err = wgdev.Open(t.Context(), wgdev.Options{Name: name, Namespace: b.path})
	require.ErrorIs(t, err, wgdev.ErrExists)
	_, err = wgdev.Open(t.Context(), wgdev.Options{Name: name})
	require.ErrorIs(t, err, wgdev.ErrExists, "names are unique on a host")
	_, err = wgdev.Open(t.Context(), wgdev.Options{Name: uniqueName(), Namespace: "missing"})
	require.ErrorIs(t, err, wgdev.ErrNamespace)
	links, err := netlink.LinkList()
	require.NoError(t, err)
	for _, l := range links {
		require.NotContains(t, l.Attrs().Name, "wgdev", "left on the way")
	}

	b.end() // the last reference: the interface goes with its namespace
	select {
	case <-i.Done():
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody noticed")
	}
	require.Error(t, i.SetLinks(t.Context(), wgdev.Links{}))
}

func TestNoTUN(t *testing.T) {
	t.Parallel()
	need(t)
	err := apart(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""); err != nil {
			return err
		}
		_, err := wgdev.Open(t.Context(), wgdev.Options{Name: uniqueName(), InProcess: true})
		return err
	})
	require.ErrorIs(t, err, wgdev.ErrNoTUN)
	require.NotContains(t, err.Error(), "0x")
}

func TestNoPrivilege(t *testing.T) {
	t.Parallel()
	need(t)
	for _, inProcess := range []bool{false, true} {
		err := apart(func() error {
			head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&head, &none[0]); err != nil {
				return err
			}
			_, err := wgdev.Open(t.Context(), wgdev.Options{Name: uniqueName(), InProcess: inProcess})
			return err
		})
		require.ErrorIs(t, err, wgdev.ErrPrivilege)
		require.ErrorIs(t, err, os.ErrPermission)
	}
}

// apart runs f on a thread that nobody uses afterwards.
func apart(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	need(t)
	i := open(t, wgdev.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := i.SetLinks(ctx, wgdev.Links{})
	require.ErrorIs(t, err, context.Canceled)
}
