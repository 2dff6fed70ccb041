package ipam

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
)

// RandomPool4 draws a random prefix of the given length from 10.0.0.0/8 that
// meets none of the [DefaultExclusions]. r is crypto/rand.Reader outside of
// tests. bits is 10 to 30, otherwise the error wraps [ErrInvalid].
//
// A random place makes it unlikely that two networks that one device is in,
// or a network and an office, use the same addresses.
func RandomPool4(r io.Reader, bits int) (netip.Prefix, error) {
	if bits < 10 || bits > 30 {
		return netip.Prefix{}, fmt.Errorf("ipam: random pool: /%d is not between /10 and /30: %w", bits, ErrInvalid)
	}
	p, err := draw(r, []byte{10, 0, 0, 0}, bits)
	if err != nil {
		return p, fmt.Errorf("ipam: random pool: %w", err)
	}
	return p, nil
}

// RandomULA draws a unique local /48 (RFC 4193, section 3.2) that meets none of
// the [DefaultExclusions]. r is crypto/rand.Reader outside of tests.
func RandomULA(r io.Reader) (netip.Prefix, error) {
	p, err := draw(r, []byte{0: 0xfd, 15: 0}, 48)
	if err != nil {
		return p, fmt.Errorf("ipam: random ULA: %w", err)
	}
	return p, nil
}

// draw fills in the bits of addr behind its first byte until the prefix meets no
// default exclusion.
func draw(r io.Reader, addr []byte, bits int) (netip.Prefix, error) {
	exclude := DefaultExclusions()
	random := addr[1 : (bits+7)/8]
	for range 256 { // a quarter of the 10.0.0.0/10s is left, more of what is smaller
		if _, err := io.ReadFull(r, random); err != nil {
			return netip.Prefix{}, err
		}
		a, _ := netip.AddrFromSlice(addr)
		p := netip.PrefixFrom(a, bits).Masked()
		if !slices.ContainsFunc(exclude, func(x Exclusion) bool { return x.Prefix.Overlaps(p) }) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("the reader is not random: %w", ErrInvalid)
}
