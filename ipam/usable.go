package ipam

import (
	"math"
	"net/netip"
	"slices"
)

// Usable returns how many addresses of a range may be given out when none is
// reserved or excluded. It skips .0 and .255 of every IPv4 /24, the first and
// the last address of smaller IPv4 ranges, and the first of an IPv6 range;
// /31, /32 (RFC 3021), /127 (RFC 6164) and /128 use all. It stops at 2^64-1;
// an invalid prefix has none.
func Usable(p netip.Prefix) uint64 {
	if !p.IsValid() || p.Addr().Is4In6() {
		return 0
	}
	s := spanOf(p.Masked())
	r := subrange{span: s, edge: edgesOf(s)}
	if size := s.size(); size != math.MaxUint64 {
		return size - r.edges(0, size)
	}
	return math.MaxUint64
}

// hole is the offsets from lo up to but not including hi.
type hole struct{ lo, hi uint64 }

// edges says which addresses of a range are never given out.
type edges uint8

const (
	noEdges   edges = iota // /31, /32 (RFC 3021), /127 (RFC 6164), /128
	firstEdge              // IPv6: the subnet-router anycast address (RFC 4291, 2.6.1)
	bothEdges              // IPv4 below a /24: network and broadcast address
	everyEdge              // IPv4: .0 and .255 of every /24, so that growing brings no surprise
)

// class says why an address may or may not be given out.
type class uint8

const (
	usable class = iota
	reserved
	excluded
	classes
)

func edgesOf(s span) edges {
	switch n := s.size(); {
	case n <= 2:
		return noEdges
	case !s.base.is4():
		return firstEdge
	case n < 256:
		return bothEdges
	}
	return everyEdge
}

// holesOf returns the exclusions that meet s.
func (p *Pool) holesOf(s span) []exclusion {
	i, _ := slices.BinarySearchFunc(p.excluded, s.base, func(x exclusion, u u128) int { return x.base.cmp(u) })
	if i > 0 && p.excluded[i-1].overlaps(s) {
		i--
	}
	j := i
	for j < len(p.excluded) && p.excluded[j].overlaps(s) {
		j++
	}
	return p.excluded[i:j]
}

// edges counts the offsets from lo up to hi that are edges.
func (r *subrange) edges(lo, hi uint64) uint64 {
	if lo >= hi {
		return 0
	}
	var n uint64
	switch r.edge {
	case noEdges:
	case everyEdge:
		upTo := func(x uint64) uint64 { return x/256*2 + min(x%256, 1) }
		return upTo(hi) - upTo(lo)
	case bothEdges:
		if hi == r.size() {
			n++
		}
		fallthrough
	case firstEdge:
		if lo == 0 {
			n++
		}
	}
	return n
}

// ruled counts the offsets from lo up to hi that are edges or reserved.
func (r *subrange) ruled(lo, hi uint64) uint64 {
	if hi <= r.reserved {
		return hi - lo
	}
	return subSat(r.reserved, lo) + r.edges(max(lo, r.reserved), hi)
}

// blocked returns the offsets of word w of the bitmap that are not usable.
func (r *subrange) blocked(w uint64) uint64 {
	lo := w << 6
	var m uint64
	switch r.edge {
	case noEdges:
	case everyEdge:
		m = [4]uint64{1, 0, 0, 1 << 63}[w&3]
	case bothEdges:
		m |= within(lo, hole{r.size() - 1, r.size()})
		fallthrough
	case firstEdge:
		m |= within(lo, hole{0, 1})
	}
	m |= within(lo, hole{0, r.reserved})
	for _, h := range r.holes {
		m |= within(lo, h)
	}
	return m
}

// within returns the part of h in the 64 offsets from base on.
func within(base uint64, h hole) uint64 {
	lo, hi := max(h.lo, base)-base, min(subSat(h.hi, base), 64)
	if lo >= hi {
		return 0
	}
	return math.MaxUint64 << lo & (math.MaxUint64 >> (64 - hi))
}

func (r *subrange) class(off uint64) class {
	for _, h := range r.holes {
		if h.lo <= off && off < h.hi {
			return excluded
		}
	}
	if r.blocked(off>>6)>>(off&63)&1 == 1 {
		return reserved
	}
	return usable
}
