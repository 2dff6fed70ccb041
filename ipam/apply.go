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
	switch {
	case s.Before == nil && s.After == nil:
		return fmt.Errorf("empty step: %w", ErrInvalid)
	case s.Before != nil && s.After != nil && (s.Before.IsRange() != s.After.IsRange() || s.Before.base() != s.After.base()):
		return fmt.Errorf("step from %s to %s: %w", s.Before.Key(), s.After.Key(), ErrInvalid)
	case s.After != nil:
		return s.After.check()
	}
	return nil // a Before is compared with what is held
}

// do runs the part of s that belongs to the phase. With force, nothing is
// refused that was there before.
func (p *Pool) do(ph phase, s Step, force bool) error {
	r := cmp.Or(s.After, s.Before)
	if r.IsRange() != (ph == rangesGo || ph == rangesCome) {
		return nil
	}
	goes := ph == addressesGo || ph == rangesGo
	switch {
	case s.Before != nil && s.After != nil && s.Before.App == s.After.App && s.Before.Owner == s.After.Owner:
		if goes != (s.Before.compare(s.After) > 0) {
			return nil
		}
		if r.IsRange() {
			return p.updateRange(s.Before, s.After)
		}
		return p.updateAddress(s.Before, s.After, force)
	case goes && s.Before != nil && r.IsRange():
		return p.dropRange(s.Before)
	case goes && s.Before != nil:
		return p.dropAddress(s.Before)
	case !goes && s.After != nil && r.IsRange():
		return p.addRange(s.After, force)
	case !goes && s.After != nil:
		return p.addAddress(s.After, force)
	}
	return nil
}

// compare orders the states of one range or address by what they take.
func (r *Record) compare(o *Record) int {
	return cmp.Or(cmp.Compare(o.Prefix.Bits(), r.Prefix.Bits()), o.Released.Compare(r.Released), cmp.Compare(r.Gen, o.Gen))
}

func stale(r *Record) error { return fmt.Errorf("%s is not as given: %w", r.Key(), ErrStale) }
