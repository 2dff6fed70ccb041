//go:build linux

package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience ends a call that the kernel never answers. 100,000 leases take a
// second or two.
const patience = 30 * time.Second

// link is a connection that stays: to close one waits, for the 20 ms that the
// kernel takes to free what the last transaction deleted.
type link struct {
	*nftables.Conn
	raw *netlink.Conn
}

func connect(namespace int) (*link, error) {
	l := &link{}
	c, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(namespace), nftables.WithSockOptions(func(c *netlink.Conn) error {
		l.raw = c
		return c.SetWriteBuffer(32 << 20) // room for one transaction of 100,000 leases
	}))
	l.Conn = c
	return l, err
}

// transact calls f with a connection. After an error there is a new one: what
// the kernel still had to say on the old one belongs to no other call.
func (t *Table) transact(ctx context.Context, f func(*link) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.link == nil {
		l, err := connect(t.opts.Namespace)
		if err != nil {
			return err
		}
		t.link = l
	}
	err := t.link.raw.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = f(t.link)
	}
	if err != nil {
		t.gen = 0
		err = errors.Join(err, t.disconnect())
	}
	return err
}

func (t *Table) disconnect() error {
	l := t.link
	if t.link = nil; l == nil {
		return nil
	}
	return l.CloseLasting()
}

// generation asks for the number of the ruleset, which each transaction in the
// network namespace raises by one.
func (l *link) generation() (uint32, error) {
	answer, err := l.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("read generation: %w", err)
	}
	for _, m := range answer {
		if gen, ok := attribute(m, unix.NFTA_GEN_ID); ok && len(gen) == 4 {
			return binary.BigEndian.Uint32(gen), nil
		}
	}
	return 0, fmt.Errorf("read generation: %w", ErrUnsupported)
}

// attribute returns the first attribute of a type.
func attribute(m netlink.Message, kind uint16) ([]byte, bool) {
	if len(m.Data) < 4 {
		return nil, false
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	for err == nil && d.Next() {
		if d.Type() == kind {
			return d.Bytes(), true
		}
	}
	return nil, false
}
