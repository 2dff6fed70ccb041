package ipam

import (
	"cmp"
	"fmt"
	"slices"
)

// addRange takes the range of r into the state. With force it is kept, closed,
// even where it cannot be.
func (p *Pool) addRange(r *Record, force bool) error {
	s := spanOf(r.Prefix)
	if p.ranges[s.base] != nil {
		return stale(r)
	}
	t := p.trieOf(s)
	holder := p.holder(t, s)
	if !force {
		switch {
		case holder != nil:
			return &OverlapError{r.Prefix, holder.prefix(), holder.app.name}
		case t == nil:
			return fmt.Errorf("%v: %w", r.Prefix, ErrNotInPool)
		}
	}
	a, f := p.ensureApp(r.App), familyOf(s.base)
	n := p.newSubrange(a, s)
	n.gen, n.released = r.Gen, r.releasedNano()
	p.seen = max(p.seen, n.released)
	if n.closed = t == nil || holder != nil; n.closed {
		p.closed = append(p.closed, n)
	} else {
		t.set(s, used)
	}
	p.ranges[s.base] = n
	i, _ := slices.BinarySearchFunc(a.ranges[f], n, bySpan)
	a.ranges[f] = slices.Insert(a.ranges[f], i, n)
	p.enqueue(n)
	return nil
}

func bySpan(a, b *subrange) int { return a.cmp(b.span) }

func byRelease(a, b *subrange) int {
	return cmp.Or(cmp.Compare(a.released, b.released), a.base.cmp(b.base))
}

// enqueue puts a released range in line for the end of its cool-down.
func (p *Pool) enqueue(r *subrange) {
	if r.released != 0 {
		q := &p.resting[familyOf(r.base)]
		i, _ := slices.BinarySearchFunc(*q, r, byRelease)
		*q = slices.Insert(*q, i, r)
	}
}

// dequeue undoes enqueue.
func (p *Pool) dequeue(r *subrange) {
	if r.released != 0 {
		q := &p.resting[familyOf(r.base)]
		i, _ := slices.BinarySearchFunc(*q, r, byRelease)
		*q = slices.Delete(*q, i, i+1)
	}
}

// holder returns the first range that s meets, apart from those to skip; nil if
// there is none. t is the trie of s.
func (p *Pool) holder(t *trie, s span, skip ...*subrange) (first *subrange) {
	if t != nil && t.unused(s) && len(p.closed) == 0 {
		return nil
	}
	// s meets a range or an exclusion.
	for _, r := range p.ranges {
		if r.overlaps(s) && (first == nil || r.base.cmp(first.base) < 0) && !slices.Contains(skip, r) {
			first = r
		}
	}
	return first
}

func (p *Pool) dropRange(r *Record) error {
	n := p.ranges[fromAddr(r.Prefix.Addr())]
	if n == nil || !r.equal(new(n.record())) {
		return stale(r)
	}
	if n.entries > 0 {
		return fmt.Errorf("%v: %w", r.Prefix, ErrInUse)
	}
	p.leave(n)
	p.dequeue(n)
	delete(p.ranges, n.base)
	f := familyOf(n.base)
	i, _ := slices.BinarySearchFunc(n.app.ranges[f], n, bySpan)
	n.app.ranges[f] = slices.Delete(n.app.ranges[f], i, i+1)
	p.tidy(n.app)
	return nil
}

// leave gives the space of n back.
func (p *Pool) leave(n *subrange) {
	if n.closed {
		p.closed = slices.DeleteFunc(p.closed, func(r *subrange) bool { return r == n })
		return
	}
	t := p.trieOf(n.span)
	t.set(n.span, unused)
	p.closeExcluded(t, n.span)
}

// updateRange changes the length, the release or the generation of a range.
func (p *Pool) updateRange(before, after *Record) error {
	n := p.ranges[fromAddr(before.Prefix.Addr())]
	if n == nil || !before.equal(new(n.record())) {
		return stale(before)
	}
	if !after.Released.IsZero() && n.live > 0 {
		return fmt.Errorf("%v: %w", before.Prefix, ErrInUse)
	}
	p.dequeue(n)
	if s := spanOf(after.Prefix); s != n.span {
		if err := p.resize(n, s); err != nil {
			p.enqueue(n)
			return err
		}
	}
	n.gen, n.released = after.Gen, after.releasedNano()
	p.seen = max(p.seen, n.released)
	p.enqueue(n)
	return nil
}

func (p *Pool) resize(n *subrange, to span) error {
	if to.ones > n.ones { // only to undo a growth
		for id := range p.inside(n) {
			if !to.contains(p.entries.at(id).at) {
				return fmt.Errorf("%v: %w", n.prefix(), ErrInUse)
			}
		}
	}
	t := p.trieOf(to)
	if t == nil || n.closed {
		return fmt.Errorf("%v: %w", to.prefix(), ErrNotInPool)
	}
	p.leave(n)
	if o := p.holder(t, to, n); o != nil {
		t.set(n.span, used)
		return &OverlapError{to.prefix(), o.prefix(), o.app.name}
	}
	t.set(to, used)
	*n = *p.resized(n, to.ones)
	return nil
}
