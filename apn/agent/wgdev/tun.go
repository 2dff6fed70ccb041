//go:build linux

package wgdev

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// tunDevice is a TUN that wireguard-go reads and writes, wherever it lives.
//
// wireguard-go asks the interface for its MTU by name, in a namespace of its
// choice, and follows its ups and downs with a delay. Here it hears of the MTU
// that we set, and of nothing else.
type tunDevice struct {
	tun.Device
	mtu    atomic.Int64
	mu     sync.Mutex
	events chan tun.Event // nil once closed
	ears   <-chan tun.Event
}

const noLinkLocal = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h

// openTUN makes the interface, up and with its MTU.
func openTUN(o Options) (_ *tunDevice, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%w (/dev/net/tun: %w)", ErrPrivilege, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, ErrNoTUN
	case err != nil:
		return nil, err
	}
	name := o.Name
	if o.Namespace != "" {
		name = "wgdev%d" // a name that is free here, until it has moved
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		// Exclusive: a TUN of somebody else is not ours to use.
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TUN: %w", err)
	}
	// It reports no events: its listeners die with a full netlink buffer and
	// would take the tunnel along.
	device, name, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TUN: %w", err)
	}
	events := make(chan tun.Event, 1)
	t := &tunDevice{Device: device, events: events, ears: events}
	t.mtu.Store(int64(o.MTU))
	if err := t.place(o, name); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// place moves the TUN from here, where it is called name, into its namespace.
func (t *tunDevice) place(o Options, name string) error {
	if o.Namespace != "" {
		ns, err := openNamespace(o.Namespace)
		if err != nil {
			return err
		}
		defer func() { _ = ns.Close() }()
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetNsFd(l, int(ns.Fd())); err != nil {
			return fmt.Errorf("move to %s: %w", o.Namespace, err)
		}
	}
	return inside(o.Namespace, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name != o.Name {
			if err := netlink.LinkSetName(l, o.Name); err != nil {
				return err
			}
		}
		// As in the kernel's WireGuard: a tunnel has no use for the link-local
		// address, nor for what is sent to announce it. Fails without IPv6.
		_ = netlink.LinkSetIP6AddrGenMode(l, noLinkLocal)
		return errors.Join(netlink.LinkSetAlias(l, alias), netlink.LinkSetMTU(l, o.MTU), netlink.LinkSetUp(l))
	})
}

func (t *tunDevice) MTU() (int, error) { return int(t.mtu.Load()), nil }

func (t *tunDevice) Events() <-chan tun.Event { return t.ears }

func (t *tunDevice) setMTU(bytes int) {
	if t.mtu.Swap(int64(bytes)) == int64(bytes) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.events <- tun.EventMTUUpdate:
	default: // closed, or one is on its way
	}
}

func (t *tunDevice) Close() error {
	t.mu.Lock()
	if t.events != nil {
		close(t.events)
		t.events = nil
	}
	t.mu.Unlock()
	return t.Device.Close()
}
