package dnszone

import (
	"fmt"
	"net/netip"
)

// ReverseZones returns the names of the reverse zones that together cover
// prefix and nothing else, in address order: 10.1.16.0/20 gives 16 zones, from
// 16.1.10.in-addr.arpa. to 31.1.10.in-addr.arpa.
//
// prefix carries no host bits and is no 4-in-6 prefix. Zones of IPv4 begin at
// octets, those of IPv6 at nibbles (RFC 1035 section 3.5, RFC 3596 section 2.5).
// A prefix of length 0 is nobody's own; the error wraps [ErrNotOwnedPrefix].
func ReverseZones(prefix netip.Prefix) ([]string, error) {
	list, err := reversePrefixes(prefix)
	if err != nil {
		return nil, fmt.Errorf("dnszone: reverse zones of %v: %w", prefix, err)
	}
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = nameText(reverseName(p.Addr(), p.Bits()))
	}
	return names, nil
}

// reversePrefixes splits prefix at the next octet or nibble border.
func reversePrefixes(prefix netip.Prefix) ([]netip.Prefix, error) {
	switch {
	case !prefix.IsValid():
		return nil, fmt.Errorf("%w: invalid prefix", ErrBadAddr)
	case prefix.Addr().Is4In6():
		return nil, fmt.Errorf("%w: %v is IPv4 in IPv6", ErrBadAddr, prefix)
	case prefix.Masked() != prefix:
		return nil, fmt.Errorf("%w: %v has host bits", ErrBadAddr, prefix)
	case prefix.Bits() == 0:
		return nil, fmt.Errorf("%v: %w", prefix, ErrNotOwnedPrefix)
	}
	step := 4
	if prefix.Addr().Is4() {
		step = 8
	}
	bits := (prefix.Bits() + step - 1) / step * step
	list := make([]netip.Prefix, 1<<(bits-prefix.Bits()))
	for i := range list {
		b := prefix.Addr().AsSlice()
		// Shifts the number into the bits between the prefix and the border.
		b[(bits-1)/8] |= byte(i << ((8 - bits%8) % 8)) //nolint:gosec // at most 128 zones, all in one octet
		a, _ := netip.AddrFromSlice(b)
		list[i] = netip.PrefixFrom(a, bits)
	}
	return list, nil
}

// reverseName returns the reverse name of the first bits of addr.
func reverseName(addr netip.Addr, bits int) string {
	if addr.Is4() {
		return string(appendReverse(nil, addr, 0, bits)) + "\x07in-addr\x04arpa"
	}
	return string(appendReverse(nil, addr, 0, bits)) + "\x03ip6\x04arpa"
}

// appendReverse appends the labels of the bits from..to of addr, last first.
func appendReverse(dst []byte, addr netip.Addr, from, to int) []byte {
	if addr.Is4() {
		b := addr.As4()
		for i := to/8 - 1; i >= from/8; i-- {
			at := len(dst)
			dst = append(dst, 0)
			if b[i] >= 100 {
				dst = append(dst, '0'+b[i]/100)
			}
			if b[i] >= 10 {
				dst = append(dst, '0'+b[i]/10%10)
			}
			dst = append(dst, '0'+b[i]%10)
			setLen(dst, at)
		}
		return dst
	}
	b := addr.As16()
	for i := to/4 - 1; i >= from/4; i-- {
		dst = append(dst, 1, "0123456789abcdef"[b[i/2]>>(4*(1-i%2))&15])
	}
	return dst
}
