package ipam

import (
	"iter"
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
