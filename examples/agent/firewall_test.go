//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

// newNamespace returns a file descriptor of a network namespace of its own.
func newNamespace(t *testing.T) int {
	t.Helper()
	fd, made := 0, make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
	}()
	if err := <-made; err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip("cannot make a network namespace: ", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// TestFirewallRestart: an agent that starts anew leaves the table of the one
// before as it is until it knows all of its own, and replaces it at once.
func TestFirewallRestart(t *testing.T) {
	t.Parallel()
	ctx, opened := t.Context(), 0
	opts := nft.Options{Interface: "apn0", Namespace: newNamespace(t)}
	boot := filepath.Join(t.TempDir(), "boot.nft")
	want := lease.Openings{Permanent: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}}
	var before *nft.Table
	for range 2 {
		f := &firewall{opts: opts, boot: boot, opened: func(*nft.Table) error { opened++; return nil }}
		require.Nil(t, f.state(ctx))
		require.NoError(t, f.Guard(ctx, 51820, []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}))
		require.NoError(t, f.Forward(ctx, true))
		require.Nil(t, f.installed())
		require.FileExists(t, boot)
		if before != nil {
			got, err := before.Openings(ctx)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.NoError(t, f.Apply(ctx, want))
		require.True(t, f.state(ctx).Installed)
		require.Empty(t, f.state(ctx).Error)
		before = f.installed()
		t.Cleanup(func() { require.NoError(t, before.Close()) })

		more := lease.Openings{Leases: []lease.Opening{{Source: netip.MustParsePrefix("198.51.100.7/32"), ExpiresAt: time.Now().Add(time.Hour)}}}
		require.NoError(t, f.Apply(ctx, more))
		got, err := before.Openings(ctx)
		require.NoError(t, err)
		require.Len(t, got.Leases, 1)
		require.NoError(t, f.Apply(ctx, want))
	}
	require.Equal(t, 2, opened)
}
