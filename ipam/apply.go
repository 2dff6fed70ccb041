package ipam

import (
	"cmp"
	"fmt"
	"slices"
)

// Apply makes c part of the state, after its commit. It also takes changes that
// were decided elsewhere, such as the rows of another replica, whose Before
// comes from [Pool.Record].
//
// Apply is all or nothing, and the order of c's steps does not matter.
// Apply(c.Inverse()) restores the state before c. If a Before is not what the
// Pool holds, the error wraps [ErrStale]; if the result would contradict
// itself, [ErrTaken], [ErrOverlap], [ErrInUse], [ErrNotInPool] or [ErrInvalid].
func (p *Pool) Apply(c Change) error {
	for _, s := range c.Steps {
		if err := s.check(); err != nil {
			return fmt.Errorf("ipam: apply: %w", err)
		}
	}
	for phase := range phases {
		for i, s := range c.Steps {
			if err := p.do(phase, s, false); err != nil {
				p.undo(phase, c.Steps, i)
				return fmt.Errorf("ipam: apply: %w", err)
			}
		}
	}
	return nil
}

// phase orders the steps of a change: what goes makes room for what comes, and
// addresses are only ever inside ranges. Phase 3-n undoes phase n.
type phase int

const (
	addressesGo phase = iota
	rangesGo
	rangesCome
	addressesCome
	phases
)

func (p *Pool) undo(at phase, steps []Step, n int) {
	for ph := at; ph >= 0; ph-- {
		for _, s := range slices.Backward(steps[:n]) {
			_ = p.do(addressesCome-ph, s.flip(), true) // the state that was there fits
		}
		n = len(steps)
	}
}

func (s Step) check() error {
	for _, r := range []*Record{s.Before, s.After} {
		if r == nil {
			continue
		}
		if err := r.check(); err != nil {
			return err
		}
	}
	if s.Before == nil && s.After == nil {
		return fmt.Errorf("empty step: %w", ErrInvalid)
	}
	if s.Before != nil && s.After != nil && s.Before.Key() != s.After.Key() {
		return fmt.Errorf("step from %s to %s: %w", s.Before.Key(), s.After.Key(), ErrInvalid)
	}
	return nil
}

// do runs the part of s that belongs to the phase.
func (p *Pool) do(ph phase, s Step, force bool) error {
	isRange := (s.After != nil && s.After.IsRange()) || (s.Before != nil && s.Before.IsRange())
	if isRange != (ph == rangesGo || ph == rangesCome) {
		return nil
	}
	if isRange && s.Before != nil && s.After != nil && s.Before.App == s.After.App {
		// A range that stays: it grows or revives with what comes.
		if comes := s.Before.compare(s.After) <= 0; comes == (ph == rangesCome) {
			return p.updateRange(s.Before, s.After)
		}
		return nil
	}
	goes := ph == addressesGo || ph == rangesGo
	switch {
	case goes && s.Before != nil && isRange:
		return p.dropRange(s.Before)
	case goes && s.Before != nil:
		return p.dropAddress(s.Before)
	case !goes && s.After != nil && isRange:
		return p.addRange(s.After, force)
	case !goes && s.After != nil:
		return p.addAddress(s.After, force)
	}
	return nil
}

// compare orders the states of one range by what they take.
func (r *Record) compare(o *Record) int {
	return cmp.Or(cmp.Compare(o.Prefix.Bits(), r.Prefix.Bits()), o.Released.Compare(r.Released), cmp.Compare(r.Gen, o.Gen))
}

func stale(r *Record) error { return fmt.Errorf("%s is not as given: %w", r.Key(), ErrStale) }

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
	p.rest(n)
	return nil
}

func bySpan(a, b *subrange) int { return a.cmp(b.span) }

func byRelease(a, b *subrange) int {
	return cmp.Or(cmp.Compare(a.released, b.released), a.base.cmp(b.base))
}

// rest puts a released range in line for the end of its cool-down.
func (p *Pool) rest(r *subrange) {
	if r.released != 0 {
		q := &p.resting[familyOf(r.base)]
		i, _ := slices.BinarySearchFunc(*q, r, byRelease)
		*q = slices.Insert(*q, i, r)
	}
}

// wake undoes rest.
func (p *Pool) wake(r *subrange) {
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
	if n == nil || !n.record().equal(r) {
		return stale(r)
	}
	if n.entries > 0 {
		return fmt.Errorf("%v: %w", r.Prefix, ErrInUse)
	}
	p.leave(n)
	p.wake(n)
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
	if n == nil || !n.record().equal(before) {
		return stale(before)
	}
	if !after.Released.IsZero() && n.live > 0 {
		return fmt.Errorf("%v: %w", before.Prefix, ErrInUse)
	}
	p.wake(n)
	if s := spanOf(after.Prefix); s != n.span {
		if err := p.resize(n, s); err != nil {
			p.rest(n)
			return err
		}
	}
	n.gen, n.released = after.Gen, after.releasedNano()
	p.seen = max(p.seen, n.released)
	p.rest(n)
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
	if n.closed {
		*n = *p.resized(n, to.ones)
		return nil
	}
	t := p.trieOf(to)
	if t == nil {
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

func (p *Pool) addAddress(r *Record, force bool) error {
	at := fromAddr(r.Addr)
	if _, ok := p.entryAt(at); ok {
		return stale(r)
	}
	if a := p.apps[r.App]; !force {
		if a == nil || a.around(at) == nil {
			return fmt.Errorf("%v has no range of app %q around it: %w", r.Addr, r.App, ErrNotInPool)
		}
		if r.Released.IsZero() {
			if a.around(at).released != 0 {
				return fmt.Errorf("%v is in a released range of app %q: %w", r.Addr, r.App, ErrNotInPool)
			}
			for e := range p.owned(a, r.Owner) {
				if e.released == 0 && familyOf(e.at) == familyOf(at) {
					return fmt.Errorf("owner %q of app %q holds %v: %w", r.Owner, r.App, e.at.addr(), ErrTaken)
				}
			}
		}
	}
	p.attach(p.insert(r))
	return nil
}

// insert puts r into the indexes.
func (p *Pool) insert(r *Record) uint32 {
	a, at := p.ensureApp(r.App), fromAddr(r.Addr)
	id := p.entries.add(entry{owner: r.Owner, at: at, gen: r.Gen, released: r.releasedNano(), app: a.id})
	p.owners.add(p.hashOwner(a, r.Owner), id)
	p.addrs.add(p.hashAddr(at), id)
	a.entries++
	if r.Released.IsZero() {
		a.live++
	}
	p.seen = max(p.seen, r.releasedNano())
	return id
}

// attach takes an inserted entry into its range.
func (p *Pool) attach(id uint32) {
	e := p.entries.at(id)
	r := p.ids[e.app].around(e.at)
	if r == nil {
		return
	}
	p.occupy(r, id)
	r.entries++
	if e.released == 0 {
		r.live++
	} else {
		r.resting.add(&p.entries, id)
	}
}

func (p *Pool) dropAddress(r *Record) error {
	id, ok := p.entryAt(fromAddr(r.Addr))
	if !ok {
		return stale(r)
	}
	e := p.entries.at(id)
	a := p.ids[e.app]
	if e.owner != r.Owner || e.gen != r.Gen || e.released != r.releasedNano() || a.name != r.App {
		return stale(r)
	}
	if n := a.around(e.at); n != nil {
		p.vacate(n, id)
		n.entries--
		if e.released == 0 {
			n.live--
		} else {
			n.resting.drop(&p.entries, id)
		}
	}
	p.owners.drop(p.hashOwner(a, e.owner), id)
	p.addrs.drop(p.hashAddr(e.at), id)
	a.entries--
	if e.released == 0 {
		a.live--
	}
	p.entries.drop(id)
	p.tidy(a)
	return nil
}
