package ipam

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// u128 is an address as a number. IPv4 addresses are held in their IPv4-mapped
// form, which no pool may contain otherwise, so one arithmetic serves both
// families. IPv4 sorts first: no pool reaches into 0000::/8.
type u128 struct{ hi, lo uint64 }

const mapped = 0xffff << 32 // the lower half of ::ffff:0.0.0.0

func fromAddr(a netip.Addr) u128 {
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (u u128) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], u.hi)
	binary.BigEndian.PutUint64(b[8:], u.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (u u128) is4() bool { return u.hi == 0 && u.lo>>32 == mapped>>32 }

func (u u128) cmp(v u128) int {
	return cmp.Or(cmp.Compare(u.hi, v.hi), cmp.Compare(u.lo, v.lo))
}

func (u u128) add(n uint64) u128 {
	lo, carry := bits.Add64(u.lo, n, 0)
	return u128{u.hi + carry, lo}
}

// minus returns u-v, or the highest uint64 if the difference is larger.
func (u u128) minus(v u128) uint64 {
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	if hi, _ := bits.Sub64(u.hi, v.hi, borrow); hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// mask keeps the first n bits.
func (u u128) mask(n int) u128 {
	if n <= 64 {
		return u128{u.hi &^ (math.MaxUint64 >> n), 0}
	}
	return u128{u.hi, u.lo &^ (math.MaxUint64 >> (n - 64))}
}

// bit returns bit i, counted from the highest.
func (u u128) bit(i int) uint64 {
	if i < 64 {
		return u.hi >> (63 - i) & 1
	}
	return u.lo >> (127 - i) & 1
}

func (u u128) withBit(i int) u128 {
	if i < 64 {
		return u128{u.hi | 1<<(63-i), u.lo}
	}
	return u128{u.hi, u.lo | 1<<(127-i)}
}

// span is a prefix over u128: ones counts from the top of 128 bits, so an IPv4
// /24 has 120.
type span struct {
	base u128
	ones int
}

// spanOf converts a valid prefix without host bits.
func spanOf(p netip.Prefix) span {
	s := span{fromAddr(p.Addr()), p.Bits()}
	if p.Addr().Is4() {
		s.ones += 96
	}
	return s
}

func (s span) prefix() netip.Prefix {
	a := s.base.addr()
	if a.Is4() {
		return netip.PrefixFrom(a, s.ones-96)
	}
	return netip.PrefixFrom(a, s.ones)
}

func (s span) contains(u u128) bool { return u.mask(s.ones) == s.base }

func (s span) covers(o span) bool { return s.ones <= o.ones && s.contains(o.base) }

func (s span) overlaps(o span) bool { return s.covers(o) || o.covers(s) }

// size counts the addresses; 2^64 and more give the highest uint64.
func (s span) size() uint64 {
	if s.ones <= 64 {
		return math.MaxUint64
	}
	return 1 << (128 - s.ones)
}

// doubled returns the span of twice the size with the same base, and the half
// that it adds. It reports false where the base does not allow it.
func (s span) doubled() (whole, upper span, ok bool) {
	if s.ones == 0 || s.base.bit(s.ones-1) == 1 {
		return span{}, span{}, false
	}
	return span{s.base, s.ones - 1}, span{s.base.withBit(s.ones - 1), s.ones}, true
}

func (s span) cmp(o span) int { return cmp.Or(s.base.cmp(o.base), cmp.Compare(s.ones, o.ones)) }

func addSat(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

func subSat(a, b uint64) uint64 { return a - min(a, b) }
