package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Bitmap and Trie open the inner structures to tests.
type Bitmap struct{ bitmap }

func (b *Bitmap) Grow(word uint64)         { b.grow(word) }
func (b *Bitmap) Len() uint64              { return b.len() }
func (b *Bitmap) Set(i uint64)             { b.set(i) }
func (b *Bitmap) Clear(i uint64)           { b.clear(i) }
func (b *Bitmap) Next(i uint64) uint64     { return b.next(i) }
func (t *Trie) Unused(p netip.Prefix) bool { return t.t.unused(spanOf(p)) }
func (t *Trie) Set(p netip.Prefix, on bool) {
	t.t.set(spanOf(p), map[bool]uint32{false: unused, true: used}[on])
}

type Trie struct{ t *trie }

func NewTrie(p netip.Prefix) *Trie { return &Trie{newTrie(spanOf(p))} }

// Find returns the prefix of the given length that would be cut next.
func (t *Trie) Find(bits int, spread bool) (netip.Prefix, bool) {
	ones := bits
	if t.t.base.is4() {
		ones += 96
	}
	n, _, ok := t.t.fit(ones, spread)
	if !ok {
		return netip.Prefix{}, false
	}
	return span{t.t.find(n, spread), ones}.prefix(), true
}

// Nodes returns the nodes in use, counted and as reached from the top.
func (t *Trie) Nodes() (int, int) { return len(t.t.nodes) - 2 - len(t.t.spare), t.t.reach(t.t.top) }

func (t *trie) reach(i uint32) int {
	if i <= used {
		return 0
	}
	return 1 + t.reach(t.nodes[i].kid[0]) + t.reach(t.nodes[i].kid[1])
}

func (t *trie) equal(o *trie, i, j uint32) bool {
	if i <= used || j <= used {
		return i == j
	}
	a, b := t.nodes[i], o.nodes[j]
	return a.mask == b.mask && a.best == b.best && t.equal(o, a.kid[0], b.kid[0]) && t.equal(o, a.kid[1], b.kid[1])
}

// Check compares what a Pool keeps for speed with what its entries and ranges
// say.
func Check(p *Pool) error {
	for f := range p.fam {
		for _, t := range p.fam[f].tries {
			want := newTrie(t.span)
			p.closeExcluded(want, want.span)
			for _, r := range p.ranges {
				if !r.closed && t.covers(r.span) {
					want.set(r.span, used)
				}
			}
			if !t.equal(want, t.top, want.top) {
				return fmt.Errorf("trie of %v", t.prefix())
			}
			if n := len(t.nodes) - 2 - len(t.spare); n != t.reach(t.top) {
				return fmt.Errorf("trie of %v: %d nodes, %d reached", t.prefix(), n, t.reach(t.top))
			}
		}
		want := slices.SortedFunc(maps.Values(p.ranges), byRelease)
		want = slices.DeleteFunc(want, func(r *subrange) bool { return r.released == 0 || familyOf(r.base) != f })
		if !slices.Equal(want, p.resting[f]) {
			return fmt.Errorf("resting ranges of family %d", f)
		}
	}

	type counts struct{ entries, live, resting int }
	inRange, inApp := map[*subrange]counts{}, map[*app]counts{}
	for id := range p.entries.all() {
		e := p.entries.at(id)
		a, r := p.ids[e.app], p.home(id)
		if found, ok := p.entryAt(e.at); !ok || found != id {
			return fmt.Errorf("%v is not found", e.at.addr())
		}
		if maps.Collect(p.owned(a, e.owner))[id] != e {
			return fmt.Errorf("%v is not found by its owner", e.at.addr())
		}
		x, y := inRange[r], inApp[a]
		x.entries++
		y.entries++
		if e.released == 0 {
			x.live++
			y.live++
		} else {
			x.resting++
			if r.resting[e.rank-1] != id {
				return fmt.Errorf("%v is not in its place of the heap", e.at.addr())
			}
		}
		inRange[r], inApp[a] = x, y
	}
	if n := p.entries.len(); p.owners.n != n || p.addrs.n != n {
		return fmt.Errorf("%d entries, %d by owner, %d by address", n, p.owners.n, p.addrs.n)
	}
	for name, a := range p.apps {
		if a.name != name || p.ids[a.id] != a || a.entries != inApp[a].entries || a.live != inApp[a].live {
			return fmt.Errorf("app %q: %+v", name, inApp[a])
		}
		if a.entries+len(a.ranges[0])+len(a.ranges[1]) == 0 {
			return fmt.Errorf("app %q is empty", name)
		}
	}
	for base, r := range p.ranges {
		n := inRange[r]
		if r.base != base || p.apps[r.app.name].around(base) != r || r.entries != n.entries || int(r.live) != n.live || len(r.resting) != n.resting {
			return fmt.Errorf("range %v: %+v", r.prefix(), n)
		}
		for i := 1; i < len(r.resting); i++ {
			if p.entries.less(r.resting[i], r.resting[(i-1)/2]) {
				return fmt.Errorf("range %v: heap", r.prefix())
			}
		}
		again := p.newSubrange(r.app, r.span)
		for id := range p.inside(r) {
			p.occupy(again, id)
		}
		if again.count != r.count || again.usable != r.usable || !slices.Equal(again.pins, r.pins) {
			return fmt.Errorf("range %v: %v usable, %v held, want %v and %v", r.prefix(), r.usable, r.count, again.usable, again.count)
		}
		var usable uint64
		for off := range min(r.window, 1<<16) {
			if r.class(off) == 0 {
				usable++
			}
		}
		if r.window <= 1<<16 && usable != r.usable {
			return fmt.Errorf("range %v: %d usable, counted %d", r.prefix(), r.usable, usable)
		}
		for w := range r.taken.len() >> 6 {
			want := r.blocked(w)
			for b := range uint64(64) {
				if id, ok := p.entryAt(r.base.add(w<<6 + b)); ok && w<<6+b < r.window && p.home(id) == r {
					want |= 1 << b
				}
			}
			if r.taken.level[0][w] != want {
				return fmt.Errorf("range %v: word %d is %x, want %x", r.prefix(), w, r.taken.level[0][w], want)
			}
		}
	}
	return nil
}
