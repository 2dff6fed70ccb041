//go:build linux

package wgdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetLinks makes the addresses, routes and MTU of the interface exactly those of
// l, and brings it up if somebody took it down. It is idempotent: what is there
// already is not written again.
//
// Forwarding is turned on if l says so, and off again if it was turned on here:
// what an administrator has set stays. Packets may then leave through every
// interface to which there is a route; the host's firewall decides. If the kernel
// cannot forward IPv6 on one interface alone, the error wraps [ErrForwarding].
//
// Link-local addresses and routes of another [RouteProtocol] stay. A route of
// the same prefix that somebody else made is an error that wraps [ErrExists].
// What one part cannot have does not keep the others from being set.
func (i *Interface) SetLinks(ctx context.Context, l Links) error {
	if err := checkLinks(l); err != nil {
		return i.failed("set links of", err)
	}
	i.links.Lock()
	defer i.links.Unlock()
	if err := ctx.Err(); err != nil {
		return i.failed("set links of", err)
	}
	err := inside(i.opts.Namespace, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		if err := h.SetSocketTimeout(patience); err != nil {
			return err
		}
		return i.setLinks(h, l)
	})
	if err != nil {
		return i.failed("set links of", err)
	}
	return nil
}

func (i *Interface) setLinks(h *netlink.Handle, l Links) error {
	link, err := h.LinkByName(i.opts.Name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return ErrClosed
	}
	if err != nil {
		return err
	}
	var errs []error
	if l.MTU != 0 && link.Attrs().MTU != l.MTU {
		errs = append(errs, h.LinkSetMTU(link, l.MTU))
	}
	if l.MTU != 0 {
		i.dev.setMTU(l.MTU)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		errs = append(errs, h.LinkSetUp(link))
	}
	errs = append(errs, setAddresses(h, link, l.Addresses), setRoutes(h, link, l), i.setForwarding(l))
	return errors.Join(errs...)
}

// setAddresses removes first: the kernel drops the further addresses of a
// subnet together with the first one, so it reads again after that.
func setAddresses(h *netlink.Handle, link netlink.Link, want []netip.Prefix) error {
	have, err := addresses(h, link)
	if err != nil {
		return err
	}
	var errs []error
	removed := false
	for _, p := range have {
		if !slices.Contains(want, p) {
			removed = true
			if err := h.AddrDel(link, address(p)); !errors.Is(err, unix.EADDRNOTAVAIL) { // not gone already
				errs = append(errs, change("remove address", p, err))
			}
		}
	}
	if removed {
		if have, err = addresses(h, link); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			have = append(have, p)
			errs = append(errs, change("add address", p, h.AddrAdd(link, address(p))))
		}
	}
	return errors.Join(errs...)
}

func addresses(h *netlink.Handle, link netlink.Link) ([]netip.Prefix, error) {
	list, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var have []netip.Prefix
	for _, a := range list {
		if p := prefix(a.IPNet); !p.Addr().IsLinkLocalUnicast() { // the kernel's own
			have = append(have, p)
		}
	}
	return have, nil
}

// address is ready at once: nobody else on a tunnel could have the same one.
func address(p netip.Prefix) *netlink.Addr {
	n := ipNet(p)
	a := &netlink.Addr{IPNet: &n}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	} else {
		a.Broadcast = net.IPv4zero // none on a tunnel
	}
	return a
}

func setRoutes(h *netlink.Handle, link netlink.Link, l Links) error {
	// Read after the addresses are set: without any, the kernel drops routes.
	list, err := h.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{LinkIndex: link.Attrs().Index, Protocol: RouteProtocol},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var errs []error
	have := map[netip.Prefix]bool{}
	for _, p := range l.Addresses {
		have[p.Masked()] = true
	}
	want := map[netip.Prefix]bool{}
	for _, p := range l.Routes {
		want[p] = true
	}
	for k := range list {
		p := prefix(list[k].Dst)
		if !want[p] || have[p] {
			errs = append(errs, change("remove route", p, h.RouteDel(&list[k])))
			continue
		}
		have[p] = true
	}
	for p := range want {
		if !have[p] {
			errs = append(errs, change("add route", p, h.RouteAdd(route(link, p))))
		}
	}
	return errors.Join(errs...)
}

func route(link netlink.Link, p netip.Prefix) *netlink.Route {
	n := ipNet(p)
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: &n, Protocol: RouteProtocol}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// prefix returns the zero Prefix for what is none.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), bits)
}

func change(verb string, p netip.Prefix, err error) error {
	if err != nil {
		return fmt.Errorf("%s %v: %w", verb, p, err)
	}
	return nil
}
