//go:build linux

package nft

import (
	"context"
	"errors"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Changes returns a channel that gets a value after the table has changed, for
// whatever reason: call [Table.Apply] then, which costs next to nothing if the
// change was our own. Changes that nobody has taken yet count as one. The
// channel is closed when ctx ends, or if the kernel stops to tell.
func (t *Table) Changes(ctx context.Context) (<-chan struct{}, error) {
	t.mu.Lock()
	name, namespace := t.opts.Name, t.opts.Namespace
	t.mu.Unlock()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: namespace})
	if err != nil {
		return nil, failed("watch", err)
	}
	if err := errors.Join(c.SetReadBuffer(4<<20), c.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		return nil, failed("watch", errors.Join(err, c.Close()))
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer func() {
			if stop() {
				_ = c.Close()
			}
		}()
		ours := false // something of the transaction that is being told
		for {
			messages, err := c.Receive()
			switch {
			case errors.Is(err, unix.ENOBUFS):
				ours, messages = true, []netlink.Message{{Header: netlink.Header{Type: newGeneration}}} // we missed some
			case err != nil:
				return
			}
			for _, m := range messages {
				if m.Header.Type != newGeneration {
					ours = ours || of(m, name)
					continue
				}
				if ours {
					select {
					case changed <- struct{}{}:
					default:
					}
				}
				ours = false
			}
		}
	}()
	return changed, nil
}

const newGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

// of reports whether m speaks of a table. All messages of nftables have the name
// of their table in the first attribute.
func of(m netlink.Message, table string) bool {
	name, ok := attribute(m, unix.NFTA_TABLE_NAME)
	return ok && strings.TrimRight(string(name), "\x00") == table
}
