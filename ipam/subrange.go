package ipam

import (
	"iter"
	"math"
	"slices"
)

// subrange is one range of an app: the rules that say which of its addresses
// may be given out, and which of those are held.
//
// Addresses are offsets from the base. Picks use those below window only, so
// that an IPv6 range costs no more than an IPv4 one and its anycast tail (RFC
// 2526) is avoided; a caller may choose any other address, and it is a pin.
type subrange struct {
	span
	app      *app
	gen      uint64
	released int64 // Unix nanoseconds; 0: live
	closed   bool  // nothing is picked: it overlaps another range or left the pool

	edge     edges
	reserved uint64 // offsets below it are kept free
	holes    []hole // excluded offsets, ascending
	window   uint64
	usable   uint64 // offsets in the window that may be given out

	taken   bitmap          // held or unusable
	count   [classes]uint64 // entries in the window
	entries int             // all entries
	live    uint64          // of them
	resting cooling         // the others
	pins    []uint32        // entries beyond the window, by address
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

// newSubrange returns s as a live range without entries.
func (p *Pool) newSubrange(a *app, s span) *subrange {
	r := &subrange{span: s, app: a, edge: edgesOf(s)}
	size := s.size()
	r.window = min(size, maxBits)
	// At least one address stays.
	keep := min(p.reserve, subSat(r.window-r.edges(0, r.window), 1))
	switch r.edge {
	case noEdges:
		r.reserved = keep
	case firstEdge, bothEdges:
		r.reserved = keep + 1
	case everyEdge:
		r.reserved = keep/254*256 + keep%254 + 1
	}
	for _, x := range p.holesOf(s) {
		h := hole{0, size}
		if s.covers(x.span) {
			lo := x.base.minus(s.base)
			h = hole{lo, addSat(lo, x.size())}
		}
		r.holes = append(r.holes, h)
	}
	r.usable = r.window - r.ruled(0, r.window)
	for _, h := range r.holes {
		lo, hi := min(h.lo, r.window), min(h.hi, r.window)
		r.usable -= hi - lo - r.ruled(lo, hi)
	}
	return r
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

// resized returns r with another prefix length, with all its entries. r stays
// as it was, and must not be used after the result has changed.
func (p *Pool) resized(r *subrange, ones int) *subrange {
	n := p.newSubrange(r.app, span{r.base, ones})
	n.gen, n.released, n.closed = r.gen, r.released, r.closed
	n.entries, n.live, n.resting = r.entries, r.live, r.resting
	if r.edge == n.edge && r.edge != bothEdges && r.reserved == n.reserved && len(n.holes) == 0 && r.window <= n.window {
		n.taken, n.count, n.pins = r.taken, r.count, r.pins
		return n
	}
	for id := range p.inside(r) {
		p.occupy(n, id)
	}
	return n
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

// room counts the addresses that could be picked now; resting ones count as held.
func (r *subrange) room() uint64 {
	if r.closed {
		return 0
	}
	return r.usable - r.count[usable]
}

// next returns the lowest unheld usable offset from off on.
func (r *subrange) next(off uint64) (uint64, bool) {
	for off < r.window {
		off = r.taken.next(off)
		if off < r.taken.len() {
			break
		}
		if m := ^r.blocked(off>>6) >> (off & 63); m != 0 {
			off += lowest(m)
			break
		}
		off = (off | 63) + 1
	}
	return off, off < r.window
}

// occupy marks the entry's address as held.
func (p *Pool) occupy(r *subrange, id uint32) {
	off := p.entries.at(id).at.minus(r.base)
	if off >= r.window {
		i, _ := slices.BinarySearchFunc(r.pins, id, p.byAddr)
		r.pins = slices.Insert(r.pins, i, id)
		return
	}
	r.count[r.class(off)]++
	if words := off>>6 + 1 - r.taken.len()>>6; off >= r.taken.len() {
		r.taken.level[0] = slices.Grow(r.taken.level[0], int(words))
	}
	for off >= r.taken.len() {
		r.taken.grow(r.blocked(r.taken.len() >> 6))
	}
	r.taken.set(off)
}

// vacate undoes occupy.
func (p *Pool) vacate(r *subrange, id uint32) {
	off := p.entries.at(id).at.minus(r.base)
	if off >= r.window {
		i, _ := slices.BinarySearchFunc(r.pins, id, p.byAddr)
		r.pins = slices.Delete(r.pins, i, i+1)
		return
	}
	c := r.class(off)
	r.count[c]--
	if c == usable {
		r.taken.clear(off)
	}
}

func (p *Pool) byAddr(a, b uint32) int { return p.entries.at(a).at.cmp(p.entries.at(b).at) }

// inside returns the entries of r in address order.
func (p *Pool) inside(r *subrange) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range r.taken.len() >> 6 {
			for w := r.taken.level[0][i]; w != 0; w &= w - 1 {
				id, ok := p.entryAt(r.base.add(i<<6 + lowest(w)))
				if ok && p.ids[p.entries.at(id).app] == r.app && !yield(id) {
					return
				}
			}
		}
		for _, id := range r.pins {
			if !yield(id) {
				return
			}
		}
	}
}

func (r *subrange) record() Record {
	return Record{App: r.app.name, Prefix: r.prefix(), Gen: r.gen, Released: fromNano(r.released)}
}
