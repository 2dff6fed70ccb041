package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// DialContext connects to "host:port" in the network: "tcp" or "udp", with "4"
// or "6" behind it for one family. host is an address, or a name of the network.
// Addresses of a name are tried one after the other, in the order in which they
// were answered.
//
// Errors are of type [*net.OpError], and wrap [ErrNoName], [ErrNoRoute] or
// [ErrNetwork] where one of them is the reason. A peer that does not answer shows
// in the end of ctx only.
func (n *Net) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	kind, accepts, err := parseNetwork(network)
	if err != nil {
		return nil, fail(err)
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return nil, fail(err)
	}
	list, err := n.Lookup(ctx, host)
	if err != nil {
		return nil, fail(err)
	}
	err = ErrNoName // of that family
	for _, a := range list {
		if !accepts(a) {
			continue
		}
		var c net.Conn
		if c, err = n.dial(ctx, kind, netip.AddrPortFrom(a, port)); err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return nil, err
	}
	return nil, fail(fmt.Errorf("%s: %w", host, err))
}

func (n *Net) dial(ctx context.Context, kind string, to netip.AddrPort) (net.Conn, error) {
	if !n.routed(to.Addr()) && !n.own(to.Addr()) {
		return nil, ErrNoRoute
	}
	at, protocol := fullAddress(to)
	if kind == "udp" {
		return gonet.DialUDP(n.tun.stack, nil, &at, protocol)
	}
	return gonet.DialContextTCP(ctx, n.tun.stack, at, protocol)
}

// Listen takes TCP connections from the network. address is "host:port", where
// host is one of the config's addresses, or empty for all of them.
func (n *Net) Listen(network, address string) (net.Listener, error) {
	at, err := n.local("tcp", network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	full, protocol := fullAddress(at)
	return gonet.ListenTCP(n.tun.stack, full, protocol)
}

// ListenPacket is Listen for UDP.
func (n *Net) ListenPacket(network, address string) (net.PacketConn, error) {
	at, err := n.local("udp", network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	full, protocol := fullAddress(at)
	return gonet.DialUDP(n.tun.stack, &full, nil, protocol)
}

// local reads where to listen. Without a host it is all of IPv6, which takes
// IPv4 too, unless network says otherwise.
func (n *Net) local(want, network, address string) (netip.AddrPort, error) {
	kind, accepts, err := parseNetwork(network)
	if err != nil || kind != want {
		return netip.AddrPort{}, ErrNetwork
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a := netip.IPv6Unspecified()
	if !accepts(a) {
		a = netip.IPv4Unspecified()
	}
	if host != "" {
		if a, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(a, port), nil
}

func parseNetwork(network string) (kind string, accepts func(netip.Addr) bool, err error) {
	switch network {
	case "tcp", "udp":
		return network, netip.Addr.IsValid, nil
	case "tcp4", "udp4":
		return network[:3], netip.Addr.Is4, nil
	case "tcp6", "udp6":
		return network[:3], netip.Addr.Is6, nil
	}
	return "", nil, ErrNetwork
}

func splitHostPort(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "port is not a number", Addr: address}
	}
	return host, uint16(p), nil
}

func fullAddress(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	protocol := ipv4.ProtocolNumber
	if a.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	full := tcpip.FullAddress{NIC: nic, Port: a.Port()}
	if !a.Addr().IsUnspecified() {
		full.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return full, protocol
}
