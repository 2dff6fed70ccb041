package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Subnet is what an app holds of the pool: IPv4 ranges first, then IPv6, each
// in address order. With derived IPv6 every IPv4 range has its IPv6 one.
type Subnet struct {
	App      string
	Prefixes []netip.Prefix
}

// SubnetOptions are the optional settings of [Pool.Subnet].
type SubnetOptions struct {
	// At are ranges that the caller has chosen, without host bits, each at
	// least and at most as long as the Config says. Empty: the Pool chooses.
	At []netip.Prefix
	// Bits is the prefix length of a range that the Pool chooses, of the IPv4
	// one where there is IPv4. Zero means the Config's default.
	Bits int
}

// Subnet decides the ranges of app. opts may be nil.
//
// Subnet is idempotent by app: an app that holds a subnet keeps it, and the
// Change is empty unless opts.At has a range that the subnet does not cover, or
// the network has got another family since; these are added. A released subnet
// that still rests comes back to its app as it was. A range that cannot be had
// in one piece is given as several. With opts.Bits the subnet has that many
// addresses or the call fails; without, the last app gets what the pool has left.
//
// If the pool has no room, the error wraps [ErrExhausted]; for a prefix in
// opts.At it is a [*OverlapError], or wraps [ErrExcluded], [ErrNotInPool] or
// [ErrInvalid].
func (p *Pool) Subnet(now time.Time, app string, opts *SubnetOptions) (Subnet, Change, error) {
	s, c, err := p.subnet(p.clock(now), app, opts)
	if err != nil {
		return Subnet{}, Change{}, fmt.Errorf("ipam: subnet of %q: %w", app, err)
	}
	return s, c, nil
}

func (p *Pool) subnet(now int64, name string, opts *SubnetOptions) (Subnet, Change, error) {
	if err := checkName("app", name); err != nil {
		return Subnet{}, Change{}, err
	}
	if opts == nil {
		opts = &SubnetOptions{}
	}
	var at [2][]span
	for _, x := range opts.At {
		s, err := p.chosen(x)
		if err != nil {
			return Subnet{}, Change{}, err
		}
		at[familyOf(s.base)] = append(at[familyOf(s.base)], s)
	}
	var d draft
	var lists [2][]span
	a := p.apps[name]
	for f := range p.fam {
		if !p.active(f) {
			continue
		}
		ones, err := p.length(f, opts.Bits)
		if err != nil {
			return Subnet{}, Change{}, err
		}
		list := spansOf(a.held(f))
		want := len(list) == 0
		if want && a != nil && len(a.ranges[f]) > 0 {
			for _, r := range a.ranges[f] {
				live := r.record()
				live.Released = time.Time{}
				d.put(new(r.record()), &live)
			}
			list = spansOf(a.ranges[f])
			enough := func(s span) bool { return s.ones <= ones }
			want = f == p.primary() && opts.Bits > 0 && !slices.ContainsFunc(list, enough)
		}

		c := carving{p: p, now: now, app: name, f: f}
		if err := c.choose(list, at[f]); err != nil {
			return Subnet{}, Change{}, err
		}
		if want && len(c.taken) == 0 {
			if all := c.fill(ones); len(c.taken) == 0 || (!all && opts.Bits > 0) {
				return Subnet{}, Change{}, p.exhausted(name, f)
			}
		}
		if len(c.taken) > 0 {
			list = append(c.taken, list...)
			slices.SortFunc(list, span.cmp)
			c.steps(&d, list)
		}
		lists[f] = list
	}
	return p.subnetOf(name, lists), Change{d.steps}, nil
}

func spansOf(list []*subrange) []span {
	spans := make([]span, len(list))
	for i, r := range list {
		spans[i] = r.span
	}
	return spans
}

// chosen checks a range that a caller has chosen.
func (p *Pool) chosen(x netip.Prefix) (span, error) {
	if why := malformed(x); why != "" {
		return span{}, fmt.Errorf("%s: %w", why, ErrInvalid)
	}
	s := spanOf(x)
	fam := p.fam[familyOf(s.base)]
	switch {
	case p.trieOf(s) == nil:
		return span{}, fmt.Errorf("%v: %w", x, ErrNotInPool)
	case s.ones < fam.min || s.ones > fam.max:
		n := x.Bits() - s.ones
		return span{}, fmt.Errorf("%v is not between /%d and /%d: %w", x, fam.min+n, fam.max+n, ErrInvalid)
	}
	if holes := p.holesOf(s); len(holes) > 0 {
		return span{}, fmt.Errorf("%v meets %v (%s): %w", x, holes[0].prefix(), holes[0].reason, ErrExcluded)
	}
	return s, nil
}

// length returns the length of a new range of family f over 128 bits.
func (p *Pool) length(f, bits int) (int, error) {
	fam := p.fam[f]
	if bits == 0 || f != p.primary() {
		return fam.def, nil
	}
	shift := 0
	if f == 0 {
		shift = 96
	}
	if n := bits + shift; n >= fam.min && n <= fam.max {
		return n, nil
	}
	return 0, fmt.Errorf("/%d is not between /%d and /%d: %w", bits, fam.min-shift, fam.max-shift, ErrInvalid)
}

// choose takes those of want that list does not cover.
func (c *carving) choose(list, want []span) error {
	for _, s := range want {
		if slices.ContainsFunc(list, func(o span) bool { return o.covers(s) }) {
			continue
		}
		if i := slices.IndexFunc(c.taken, s.overlaps); i >= 0 {
			return &OverlapError{Want: s.prefix(), Have: c.taken[i].prefix()}
		}
		if !c.unused(s) {
			r := c.p.holder(nil, s, c.rested...)
			return &OverlapError{s.prefix(), r.prefix(), r.app.name}
		}
		c.take(s)
	}
	return nil
}

// Grow decides more room for app, until at least minFree addresses can be
// picked; resting ones do not count. Ranges double in place, upward, so no
// address and no base changes; where the space above is held, further ranges
// are added. The Change is empty if there is room already.
//
// If app has no subnet, the error wraps [ErrNotFound]; if the pool has not
// that much room, it is an [*ExhaustedError], and nothing is to be done.
func (p *Pool) Grow(now time.Time, app string, minFree uint64) (Subnet, Change, error) {
	var d draft
	var lists [2][]span
	err := ErrNotFound
	for f := range p.fam {
		list := p.apps[app].held(f)
		if len(list) == 0 {
			continue
		}
		c := carving{p: p, now: p.clock(now), app: app, f: f}
		grown, ok := c.grow(list, minFree)
		if !ok {
			err = p.exhausted(app, f)
			break
		}
		lists[f], err = spansOf(grown), nil
		c.steps(&d, lists[f])
	}
	if err != nil {
		return Subnet{}, Change{}, fmt.Errorf("ipam: grow %q: %w", app, err)
	}
	return p.subnetOf(app, lists), Change{d.steps}, nil
}

// ReleaseSubnet decides to give the subnet of app back. Its ranges rest for the
// cool-down, with the addresses that rest in them: other people's AllowedIPs
// still name them. Releasing twice, or what never was, is nil with an empty
// Change. If an address is live, the error wraps [ErrInUse].
func (p *Pool) ReleaseSubnet(now time.Time, app string) (Change, error) {
	a := p.apps[app]
	if a != nil && a.live > 0 {
		return Change{}, fmt.Errorf("ipam: release subnet of %q: %d live addresses: %w", app, a.live, ErrInUse)
	}
	var d draft
	for f := range p.fam {
		for _, r := range a.held(f) {
			gone := r.record()
			gone.Released = fromNano(p.clock(now))
			d.put(new(r.record()), &gone)
		}
	}
	return Change{d.steps}, nil
}

// subnetOf returns the public form of an app's ranges.
func (p *Pool) subnetOf(app string, lists [2][]span) Subnet {
	s := Subnet{App: app, Prefixes: make([]netip.Prefix, 0, 2*len(lists[0])+len(lists[1]))}
	for _, list := range lists {
		for _, r := range list {
			s.Prefixes = append(s.Prefixes, r.prefix())
		}
	}
	if p.derive != nil {
		for _, r := range lists[0] {
			r.base = p.derived(r.base)
			s.Prefixes = append(s.Prefixes, r.prefix())
		}
	}
	return s
}

// derived returns the IPv6 address that goes with an IPv4 one.
func (p *Pool) derived(at u128) u128 {
	return u128{p.derive.base.hi, p.derive.base.lo | at.lo&0xffffffff}
}

// exhausted tells how full app is, or the pool if app has no subnet.
func (p *Pool) exhausted(app string, f int) *ExhaustedError {
	list := p.apps[app].held(f)
	e := &ExhaustedError{App: app}
	var next int64
	for _, r := range list {
		u := r.usage()
		e.Live, e.Cooling, e.Reserved = e.Live+u.Live, e.Cooling+u.Cooling, addSat(e.Reserved, u.Reserved)
		if len(r.resting) > 0 {
			if t := p.entries.at(r.resting[0]).released; next == 0 || t < next {
				next = t
			}
		}
	}
	if len(list) == 0 && len(p.resting[f]) > 0 {
		next = p.resting[f][0].released
	}
	if next != 0 {
		e.NextFree = fromNano(next).Add(time.Duration(p.coolDown))
	}
	return e
}

// draft collects the steps of a decision.
type draft struct{ steps []Step }

// put adds the step from before to after, with copies of them. The first step is
// one allocation with its records; most decisions have no other.
func (d *draft) put(before, after *Record) {
	var first []Step
	var s Step
	if before != nil && after != nil {
		w := &struct {
			first         [1]Step
			before, after Record
		}{before: *before, after: *after}
		first, s = w.first[:0], Step{&w.before, &w.after}
	} else {
		w := &struct {
			first [1]Step
			only  Record
		}{only: *cmp.Or(before, after)}
		first, s.After = w.first[:0], &w.only
		if before != nil {
			s = s.flip()
		}
	}
	if d.steps == nil {
		d.steps = first
	}
	d.steps = append(d.steps, s)
}
