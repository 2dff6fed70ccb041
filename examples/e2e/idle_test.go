//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/keys"
)

// idle has nothing to change: a sync writes nothing, no packet is lost, and no
// session starts again.
func (b *bed) idle(t *testing.T) {
	t.Helper()
	web, db := b.servers[0], b.servers[1]
	db.agent.signal(unix.SIGTERM)
	a := db.start(t, role+"=keep", "/proc/self/exe", "/var/lib/apn-agent", "firewall and names")
	defer func() {
		_ = a.in.Close()
		<-a.done
		db.begin(t)
	}()
	a.says(t, "up")
	f := db.steady(t, web.addr)
	before := db.shaken(t, b.publicKey(t, web.path()))
	heard := db.changes(t)
	_, err := fmt.Fprintln(a.in, "ten syncs")
	require.NoError(t, err)
	require.Equal(t, "0", a.says(t, "writes: (.+)"))
	require.Empty(t, heard(), "changes of links, addresses, routes or nftables")
	b.unharmed(t, f)
	require.Equal(t, before, db.shaken(t, b.publicKey(t, web.path())))
}

// shaken returns when the last handshake with a peer was.
func (h *host) shaken(t *testing.T, key keys.PublicKey) (at time.Time) {
	t.Helper()
	for _, p := range h.wireguard(t).Peers {
		if p.PublicKey == wgtypes.Key(key) {
			at = p.LastHandshakeTime
		}
	}
	require.NotZero(t, at)
	return at
}

// flushed has somebody else delete all of nftables.
func (b *bed) flushed(t *testing.T) {
	t.Helper()
	db := b.servers[1]
	table := func() (found bool) {
		db.must(t, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			list, err := c.ListTables()
			found = len(list) == 1 && list[0].Name == apn0
			return err
		})
		return found
	}
	eventually(t, "the table is there", table)
	began := time.Now()
	db.must(t, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	eventually(t, "the table is there again", table)
	t.Logf("the table is back after %v", time.Since(began).Round(100*time.Microsecond))
	b.stranger.fresh(t)
	b.stranger.blocked(t, db.addr)
}

// changes listens to what the kernel tells of changes on the host. What it
// returns says what that was.
func (h *host) changes(t *testing.T) (heard func() []string) {
	t.Helper()
	open := func(family int, groups ...int) int {
		var fd int
		h.must(t, func() (err error) {
			if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, family); err != nil {
				return err
			}
			if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
				return err
			}
			for _, g := range groups {
				if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
					return err
				}
			}
			return nil
		})
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	sockets := map[string]int{
		"links": open(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE),
		"nftables": open(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES),
	}
	return func() (all []string) {
		buf := make([]byte, 1<<16)
		for name, fd := range sockets {
			for {
				n, _, err := unix.Recvfrom(fd, buf, 0)
				if err != nil {
					break
				}
				all = append(all, fmt.Sprintf("%s: %q", name, bytes.Trim(buf[:n], "\x00")))
			}
		}
		return all
	}
}
