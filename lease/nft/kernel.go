//go:build linux

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const levelChanged = slog.LevelWarn

// prepare makes room for 100,000 leases in one transaction, and ends a call that
// the kernel never answers.
func prepare(c *netlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(32<<20), c.SetReadBuffer(4<<20), c.SetDeadline(time.Now().Add(patience)))
}

func dial(namespace int) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: namespace})
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// generation asks for the number of the ruleset, which each transaction in the
// network namespace raises by one.
func generation(namespace int) (uint32, error) {
	c, err := dial(namespace)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	answer, err := c.Execute(netlink.Message{
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
