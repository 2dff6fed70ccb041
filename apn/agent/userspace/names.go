package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Lookup returns the addresses of a name of the network, or the address that
// host is. A name without dots is looked for in the search domains of the config,
// another one there too if it does not exist as it stands.
//
// If there is no such name, the error wraps [ErrNoName].
func (n *Net) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" {
		return nil, ErrNoName
	}
	candidates := []string{name}
	if search := n.config.Load().Interface.Search; name == host && len(search) > 0 {
		if !strings.Contains(name, ".") {
			candidates = nil
		}
		for _, domain := range search {
			candidates = append(candidates, name+"."+strings.TrimSuffix(domain, "."))
		}
	}
	last := ErrNoName
	for _, c := range candidates {
		list, err := n.lookup(ctx, c)
		if len(list) > 0 {
			return list, nil
		}
		if err != nil {
			last = err
		}
	}
	return nil, fmt.Errorf("look up %s: %w", name, last)
}

// lookup returns nothing if there is no such name.
func (n *Net) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if n.names != nil {
		return n.names(name), nil
	}
	var last error
	for _, server := range n.config.Load().Interface.DNS {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.dial(ctx, strings.TrimRight(network, "46"), netip.AddrPortFrom(server, 53))
		}}
		list, err := r.LookupNetIP(ctx, "ip", name+".") // the dot keeps the host's search list out
		if err == nil {
			for i := range list {
				list[i] = list[i].Unmap()
			}
			return list, nil
		}
		// A server that speaks for the network alone refuses all other names.
		if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsTemporary && !dns.IsTimeout {
			return nil, nil
		}
		last = err
	}
	return nil, last
}
