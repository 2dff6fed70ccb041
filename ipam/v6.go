package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Derive6 returns the IPv6 address that goes with an IPv4 address: base with
// that address in its low 32 bits. base has at most 96 bits. If an argument
// does not fit, the error wraps [ErrInvalid].
func Derive6(base netip.Prefix, v4 netip.Addr) (netip.Addr, error) {
	if malformed(base) != "" || base.Addr().Is4() || base.Bits() > 96 || !v4.Is4() {
		return netip.Addr{}, fmt.Errorf("ipam: derive %v in %v: %w", v4, base, ErrInvalid)
	}
	b, four := base.Addr().As16(), v4.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b), nil
}

// Via returns an IPv6 prefix for an IPv4 prefix of one of many sites, so that
// sites with equal IPv4 prefixes can be told apart: base, which is a /64, then
// 32 bits of site, then the IPv4 prefix. [FromVia] undoes it. If an argument
// does not fit, the error wraps [ErrInvalid].
func Via(base netip.Prefix, site uint32, v4 netip.Prefix) (netip.Prefix, error) {
	if malformed(base) != "" || base.Addr().Is4() || base.Bits() != 64 || malformed(v4) != "" || !v4.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("ipam: %v of site %d via %v: %w", v4, site, base, ErrInvalid)
	}
	b, four := base.Addr().As16(), v4.Addr().As4()
	binary.BigEndian.PutUint32(b[8:], site)
	copy(b[12:], four[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 96+v4.Bits()), nil
}

// FromVia returns the site and the IPv4 prefix that [Via] put into via. It
// reports false if via is not such a prefix of base.
func FromVia(base, via netip.Prefix) (site uint32, v4 netip.Prefix, ok bool) {
	if malformed(base) != "" || base.Addr().Is4() || base.Bits() != 64 ||
		malformed(via) != "" || via.Bits() < 96 || !base.Contains(via.Addr()) {
		return 0, netip.Prefix{}, false
	}
	b := via.Addr().As16()
	return binary.BigEndian.Uint32(b[8:]), netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), via.Bits()-96), true
}
