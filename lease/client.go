package lease

import (
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr returns the address of the client of an HTTP request. remote is
// the TCP peer, forwarded holds the values of all X-Forwarded-For header lines
// in their order, trusted the proxies of the operator; nobody is trusted by
// default.
//
// If the peer is not trusted it is the client, and the header is ignored: any
// client can send one. If it is, the header is walked from the right, past
// trusted proxies, to the first address that is none; what stands further left
// is hearsay. Addresses come back without zone, IPv4-mapped ones as IPv4;
// trusted prefixes are compared with that form.
//
// A broken hop on the way, a hop with a port, or nothing but proxies is
// refused with a [*SourceError]: a wrong guess would open the port to the wrong
// source. ClientAddr does not judge the address, [SourcePrefix] does.
func ClientAddr(remote netip.AddrPort, forwarded []string, trusted []netip.Prefix) (netip.Addr, error) {
	addr := remote.Addr().Unmap().WithZone("")
	if !addr.IsValid() {
		return netip.Addr{}, &SourceError{Reason: "no peer address"}
	}
	if !within(trusted, addr) {
		return addr, nil
	}
	for _, line := range slices.Backward(forwarded) {
		for rest, more := line, true; more; {
			var hop string
			rest, hop, more = cutLast(rest)
			addr, err := netip.ParseAddr(strings.Trim(hop, " \t"))
			if err != nil {
				// The hop is the client's text and stays out of the error.
				return netip.Addr{}, &SourceError{Reason: "a hop in X-Forwarded-For is not an address"}
			}
			if addr = addr.Unmap().WithZone(""); !within(trusted, addr) {
				return addr, nil
			}
		}
	}
	return netip.Addr{}, &SourceError{Reason: "X-Forwarded-For names nobody but trusted proxies"}
}

// cutLast splits s at its last comma; without one, all of s is the last part.
func cutLast(s string) (rest, last string, more bool) {
	i := strings.LastIndexByte(s, ',')
	return s[:max(i, 0)], s[i+1:], i >= 0
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
