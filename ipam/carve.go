package ipam

import (
	"cmp"
	"slices"
)

// carving decides new ranges of one family. It works on the Pool's tries until
// it has to note something in them, then on copies, so the Pool stays as it is.
type carving struct {
	p      *Pool
	now    int64
	app    string
	f      int
	tries  []*trie // nil: not looked at yet
	copied bool
	rested []*subrange // ranges whose rest is over, not of app itself: they count as unused
	taken  []span      // by this decision
	noted  int         // how many of them are in tries
}

// collectRanges is how many rested ranges a decision removes beyond those whose
// space it needs: a few, so that none pile up and no change becomes long.
const collectRanges = 8

// look brings tries to the time of the decision.
func (c *carving) look() {
	if c.tries != nil {
		return
	}
	p := c.p
	c.tries = p.fam[c.f].tries
	for _, r := range p.resting[c.f] {
		if !p.rested(r.released, c.now) {
			break
		}
		if r.app.name != c.app {
			c.rested = append(c.rested, r)
		}
	}
	for _, r := range c.rested {
		c.copy()
		if t := c.trieOf(r.span); t != nil && !r.closed {
			t.set(r.span, unused)
			p.closeExcluded(t, r.span)
		}
	}
	for _, r := range p.closed {
		if !slices.Contains(c.rested, r) {
			c.copy()
			for _, t := range c.tries {
				t.close(r.span)
			}
		}
	}
}

func (c *carving) copy() {
	if !c.copied {
		c.copied = true
		c.tries = slices.Clone(c.tries)
		for i, t := range c.tries {
			c.tries[i] = t.clone()
		}
	}
}

func (c *carving) trieOf(s span) *trie {
	if i := slices.IndexFunc(c.tries, func(t *trie) bool { return t.covers(s) }); i >= 0 {
		return c.tries[i]
	}
	return nil
}

// unused reports whether s is in the pool and nothing in it is held.
func (c *carving) unused(s span) bool {
	c.look()
	t := c.trieOf(s)
	return t != nil && t.unused(s) && !slices.ContainsFunc(c.taken, s.overlaps)
}

func (c *carving) take(s span) { c.taken = append(c.taken, s) }

// find takes an unused prefix of length ones, where the placement wants it.
func (c *carving) find(ones int) (span, bool) {
	c.look()
	for _, s := range c.taken[c.noted:] {
		c.copy()
		c.trieOf(s).set(s, used)
		c.noted++
	}
	var best *trie
	var from, rank int
	for _, t := range c.tries {
		n, r, ok := t.fit(ones, c.p.spread)
		if ok && (best == nil || (c.p.spread && n < from) || (!c.p.spread && n > from) || (n == from && r < rank)) {
			best, from, rank = t, n, r
		}
	}
	if best == nil {
		return span{}, false
	}
	s := span{best.find(from, c.p.spread), ones}
	c.take(s)
	return s, true
}

// fill takes the room of one prefix of length ones, in pieces if it has to be.
// It reports false if the pool has less; what there is has been taken.
func (c *carving) fill(ones int) bool {
	longest := c.p.fam[c.f].max
	want := uint64(1) << (longest - ones) // in prefixes of the longest length
	for n := ones; n <= longest; n++ {
		for size := uint64(1) << (longest - n); size <= want; want -= size {
			if _, ok := c.find(n); !ok {
				break
			}
		}
	}
	return want == 0
}

// grow returns list with at least room for n more addresses: first by doubling
// ranges in place, the largest first, then by further ones. It reports false
// if the pool has less.
func (c *carving) grow(list []*subrange, n uint64) ([]*subrange, bool) {
	p := c.p
	list = slices.Clone(list)
	room := func() (sum uint64) {
		for _, r := range list {
			sum = addSat(sum, r.room())
		}
		return sum
	}
	for have := room(); have < n; have = room() {
		if c.double(list) {
			continue
		}
		ones := p.fam[c.f].max
		for _, r := range list {
			ones = min(ones, r.ones)
		}
		s, ok := c.find(max(ones, p.fam[c.f].min))
		for ones++; !ok && ones <= p.fam[c.f].max; ones++ {
			s, ok = c.find(ones)
		}
		if !ok {
			return nil, false
		}
		list = append(list, p.newSubrange(&app{name: c.app}, s))
	}
	slices.SortFunc(list, bySpan)
	return list, true
}

// double doubles the largest range of list that can be, in place.
func (c *carving) double(list []*subrange) bool {
	best := -1
	var half, to span
	for i, r := range list {
		if best >= 0 && cmp.Or(cmp.Compare(r.ones, list[best].ones), r.base.cmp(list[best].base)) >= 0 {
			continue
		}
		if whole, upper, ok := r.doubled(); ok && !r.closed && whole.ones >= c.p.fam[c.f].min && c.unused(upper) {
			best, half, to = i, upper, whole
		}
	}
	if best < 0 {
		return false
	}
	c.take(half)
	list[best] = c.p.resized(list[best], to.ones)
	return true
}

// steps writes those of the app's spans that are new or have grown into d, and
// removes the rested ranges that they meet or that nobody needs.
func (c *carving) steps(d *draft, spans []span) {
	changed := false
	for _, s := range spans {
		after := &Record{App: c.app, Prefix: s.prefix()}
		old := c.p.ranges[s.base]
		switch {
		case old == nil:
			d.put(nil, after)
		case old.app.name != c.app: // rested
			d.put(new(old.record()), after)
		case old.span != s:
			after.Gen = old.gen
			d.put(new(old.record()), after)
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return
	}
	more := collectRanges
	for _, old := range c.rested {
		if !slices.ContainsFunc(spans, old.overlaps) {
			if more == 0 {
				continue
			}
			more--
		}
		for id := range c.p.inside(old) {
			d.put(new(c.p.recordOf(c.p.entries.at(id))), nil)
		}
		if !slices.ContainsFunc(spans, func(s span) bool { return s.base == old.base }) {
			d.put(new(old.record()), nil)
		}
	}
}
