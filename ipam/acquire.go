package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Assignment is what an owner holds: the IPv4 address, then its IPv6 address,
// as far as the network has both.
type Assignment struct {
	App, Owner string
	Addrs      []netip.Addr
	// Gen is the generation. It rises whenever the owner gets an address
	// anew, and tells an assignment from an earlier one of the same owner.
	Gen uint64
}

// AcquireOptions are the optional settings of [Pool.Acquire].
type AcquireOptions struct {
	// At is the address that the owner shall get, one that the app's ranges
	// hold: IPv4, or IPv6 unless that is derived. Zero: the Pool chooses.
	At netip.Addr
	// AutoGrow lets the app's subnet grow when no address is left in it.
	// False: the call fails with ErrExhausted then.
	AutoGrow bool
}

// Acquire decides the address of owner in app. opts may be nil.
//
// Acquire is idempotent: an owner that holds an address keeps it, with the same
// generation and an empty Change. One that has released its address gets it
// back as long as nobody else has it; others get it after the cool-down. The
// network and the broadcast address of every range, .0 and .255 of every IPv4
// /24, what is reserved and what is excluded are never given out.
//
// If app has no subnet, the error wraps [ErrNotFound]; if no address is left,
// it is an [*ExhaustedError]. For opts.At it wraps [ErrNotInPool],
// [ErrExcluded], [ErrTaken] (also while it rests for another owner), [ErrInUse]
// (owner holds another address, see [Pool.Move]) or [ErrInvalid].
func (p *Pool) Acquire(now time.Time, app, owner string, opts *AcquireOptions) (Assignment, Change, error) {
	if opts == nil {
		opts = &AcquireOptions{}
	}
	a, c, err := p.acquire(p.clock(now), app, owner, opts, false)
	if err != nil {
		return Assignment{}, Change{}, fmt.Errorf("ipam: acquire %q in %q: %w", owner, app, err)
	}
	return a, c, nil
}

// Move decides another address for owner: to, or if to is zero any other. The
// address it had rests then. Moving to the address that owner holds is nil with
// an empty Change. Of an independent IPv6 and an IPv4 address, to moves the one
// of its family, zero both.
//
// If owner holds no address, the error wraps [ErrNotFound]; otherwise it fails
// as [Pool.Acquire] does.
func (p *Pool) Move(now time.Time, app, owner string, to netip.Addr) (Assignment, Change, error) {
	a, c, err := p.acquire(p.clock(now), app, owner, &AcquireOptions{At: to}, true)
	if err != nil {
		return Assignment{}, Change{}, fmt.Errorf("ipam: move %q in %q: %w", owner, app, err)
	}
	return a, c, nil
}

// holding is what the entries of an owner say, by family.
type holding struct {
	live [2]*entry
	rest [2]*entry // released last
	gen  uint64    // the highest so far
}

func (p *Pool) holding(a *app, owner string) (h holding) {
	for e := range p.owned(a, owner) {
		f := familyOf(e.at)
		h.gen = max(h.gen, e.gen)
		switch old := h.rest[f]; {
		case e.released == 0:
			if h.live[f] == nil || e.at.cmp(h.live[f].at) < 0 {
				h.live[f] = e
			}
		case old == nil || e.released > old.released || (e.released == old.released && e.at.cmp(old.at) < 0):
			h.rest[f] = e
		}
	}
	return h
}

func (p *Pool) acquire(now int64, name, owner string, opts *AcquireOptions, move bool) (Assignment, Change, error) {
	var none Assignment
	if err := checkName("app", name); err != nil {
		return none, Change{}, err
	}
	if err := checkName("owner", owner); err != nil {
		return none, Change{}, err
	}
	at, ok := boundary(opts.At)
	chosen := opts.At.IsValid()
	if chosen && !ok {
		return none, Change{}, fmt.Errorf("%v has a zone: %w", opts.At, ErrInvalid)
	}
	a := p.apps[name]
	if a == nil || len(a.held(p.primary())) == 0 {
		return none, Change{}, fmt.Errorf("no subnet: %w", ErrNotFound)
	}
	if chosen && !p.active(familyOf(at)) {
		return none, Change{}, fmt.Errorf("%v: %w", opts.At, ErrNotInPool)
	}
	h := p.holding(a, owner)
	if move && h.live[0] == nil && h.live[1] == nil {
		return none, Change{}, fmt.Errorf("no address: %w", ErrNotFound)
	}

	d := draft{steps: make([]Step, 0, 1)}
	var got [2]u128
	var picks [2]*pick
	for f := range p.fam {
		list := a.held(f)
		if h.live[f] != nil {
			got[f] = h.live[f].at
		}
		want := chosen && familyOf(at) == f
		if len(list) == 0 && !want {
			continue
		}
		switch {
		case h.live[f] != nil && want && at == got[f], h.live[f] != nil && !want && (!move || chosen):
			continue
		case h.live[f] != nil && !move:
			return none, Change{}, fmt.Errorf("it holds %v: %w", got[f].addr(), ErrInUse)
		}
		var k pick
		var err error
		switch {
		case want:
			k, err = p.pin(a, owner, at, now)
		case !move && p.sticky(a, h.rest[f]):
			k = pick{at: h.rest[f].at, in: a.around(h.rest[f].at), reuse: h.rest[f]}
		default:
			k, err = p.pick(&d, now, a, f, list, owner, opts.AutoGrow)
		}
		if err != nil {
			return none, Change{}, err
		}
		got[f], picks[f] = k.at, &k
	}

	gen := h.gen
	if picks[0] != nil || picks[1] != nil {
		gen = p.write(&d, now, a, owner, h, picks)
	}
	c := d.change()
	if opts.AutoGrow {
		c = Join(c) // an address of a rested range may both go and come
	}
	return Assignment{name, owner, p.addrsOf(got), gen}, c, nil
}

// addrsOf returns the public form of an address per family.
func (p *Pool) addrsOf(at [2]u128) []netip.Addr {
	addrs := make([]netip.Addr, 0, 2)
	if at[0] != (u128{}) {
		addrs = append(addrs, at[0].addr())
	}
	switch {
	case at[1] != (u128{}):
		addrs = append(addrs, at[1].addr())
	case at[0] != (u128{}) && p.derive != nil:
		addrs = append(addrs, p.derived(at[0]).addr())
	}
	return addrs
}

// sticky reports whether a former owner's address can come back to it.
func (p *Pool) sticky(a *app, e *entry) bool {
	if e == nil {
		return false
	}
	r := a.around(e.at)
	return r != nil && r.released == 0 && !r.closed && r.class(e.at.minus(r.base)) == usable
}

// pick is an address that has been chosen.
type pick struct {
	at     u128
	in     *subrange
	reuse  *entry    // the resting entry that it replaces
	forget [2]*entry // rested entries that go with it
}

// pin chooses the address that the caller wants.
func (p *Pool) pin(a *app, owner string, at u128, now int64) (pick, error) {
	r := a.around(at)
	if r == nil || r.released != 0 || r.closed {
		return pick{}, fmt.Errorf("%v is not in the app's subnet: %w", at.addr(), ErrNotInPool)
	}
	switch r.class(at.minus(r.base)) {
	case excluded:
		return pick{}, fmt.Errorf("%v (%s): %w", at.addr(), p.holesOf(span{at, 128})[0].reason, ErrExcluded)
	case reserved:
		return pick{}, fmt.Errorf("%v is reserved: %w", at.addr(), ErrExcluded)
	default:
	}
	k := pick{at: at, in: r}
	if id, ok := p.entryAt(at); ok {
		e := p.entries.at(id)
		switch own := p.ids[e.app] == a && e.owner == owner; {
		case e.released == 0:
			return pick{}, fmt.Errorf("%v belongs to another owner: %w", at.addr(), ErrTaken)
		case !own && !p.rested(e.released, now):
			return pick{}, fmt.Errorf("%v rests until %v: %w", at.addr(),
				fromNano(e.released).Add(time.Duration(p.coolDown)), ErrTaken)
		}
		k.reuse = e
	}
	return k, nil
}

// pick chooses an address in the order of the Config. The two entries of a
// range that have rested longest are candidates too once their rest is over;
// of these, one that is not chosen is forgotten.
func (p *Pool) pick(d *draft, now int64, a *app, f int, list []*subrange, owner string, autoGrow bool) (pick, error) {
	var hash uint64
	if p.hashed {
		hash = hashOf(p.salt, a.name, owner)
	}
	if k, ok := p.pickIn(list, nil, now, hash); ok {
		return k, nil
	}
	if autoGrow {
		c := p.carve(now, a.name, f)
		if list, ok := c.grow(list, 1); ok {
			if k, ok := p.pickIn(list, c.rested, now, hash); ok {
				c.steps(d, spansOf(list))
				return k, nil
			}
		}
	}
	return pick{}, p.exhausted(a.name, f)
}

// pickIn picks in the first range of list that has an address. Entries in the
// ranges of gone do not count.
func (p *Pool) pickIn(list, gone []*subrange, now int64, hash uint64) (pick, bool) {
	for _, r := range list {
		if r.closed {
			continue
		}
		start := r.start(hash)
		off, ok := p.vacant(r, gone, start)
		if !ok && start > 0 {
			off, ok = p.vacant(r, gone, 0)
		}
		var k pick
		forget := p.forgettable(r, now)
		for _, e := range forget {
			if e == nil {
				continue
			}
			o := e.at.minus(r.base)
			if o < r.window && r.class(o) == usable && (!ok || (o-start)%r.window < (off-start)%r.window) {
				off, ok, k.reuse = o, true, e
			}
		}
		if !ok {
			continue
		}
		k.at, k.in, k.forget = r.base.add(off), r, forget
		for i, e := range k.forget {
			if e == k.reuse {
				k.forget[i] = nil
			}
		}
		return k, true
	}
	return pick{}, false
}

// vacant returns the lowest usable offset from off on that nobody holds, not
// even a record that is misplaced.
func (p *Pool) vacant(r *subrange, gone []*subrange, off uint64) (uint64, bool) {
	off, ok := r.next(off)
	for ok {
		id, held := p.entryAt(r.base.add(off))
		if !held || slices.Contains(gone, p.home(id)) {
			break
		}
		off, ok = r.next(off + 1)
	}
	return off, ok
}

// forgettable returns the two entries of r that have rested longest, if their
// rest is over.
func (p *Pool) forgettable(r *subrange, now int64) (list [2]*entry) {
	if len(r.resting) == 0 {
		return list
	}
	if e := p.entries.at(r.resting[0]); p.rested(e.released, now) {
		list[0] = e
		if id, ok := r.resting.second(&p.entries); ok && p.rested(p.entries.at(id).released, now) {
			list[1] = p.entries.at(id)
		}
	}
	return list
}

// start is the offset from which an owner's address is searched.
func (r *subrange) start(hash uint64) uint64 {
	n := r.window
	if !r.base.is4() {
		n = min(n, 1<<16)
	}
	return hash & (n - 1)
}

// hashOf is 64-bit FNV-1a over the three texts with a zero byte between them,
// the upper half folded onto the lower.
func hashOf(salt, app, owner string) uint64 {
	h := uint64(14695981039346656037)
	for i, s := range [...]string{salt, app, owner} {
		if i > 0 {
			h *= 1099511628211
		}
		for j := range len(s) {
			h = (h ^ uint64(s[j])) * 1099511628211
		}
	}
	return h ^ h>>32
}

// write puts the picks of an assignment into d and returns its generation.
//
// A new generation is higher than any that the owner has had. What is forgotten
// about others raises the range's generation, from which theirs go on.
func (p *Pool) write(d *draft, now int64, a *app, owner string, h holding, picks [2]*pick) uint64 {
	gen := h.liveGen()
	added := gen > 0
	for f, k := range picks {
		if k == nil {
			continue
		}
		added = added && h.live[f] == nil // a family that the network has got since
		for _, e := range [...]*entry{k.reuse, k.forget[0], k.forget[1]} {
			if e != nil && e.owner != owner && e.gen > k.in.gen {
				d.raise(k.in, e.gen)
			}
		}
	}
	if !added {
		gen = max(d.highest(a), h.gen) + 1
	}
	for f, k := range picks {
		if k == nil {
			continue
		}
		var before *Record
		if k.reuse != nil {
			before = p.recordOf(k.reuse)
		}
		d.put(before, &Record{App: a.name, Owner: owner, Addr: k.at.addr(), Gen: gen})
		for _, e := range k.forget {
			if e != nil {
				d.put(p.recordOf(e), nil)
			}
		}
		if e := h.live[f]; e != nil {
			p.release(d, e, now)
		}
	}
	return gen
}

// raise lifts the generation of r to at least gen.
func (d *draft) raise(r *subrange, gen uint64) {
	for _, s := range d.steps {
		if s.After != nil && s.After.IsRange() && s.After.Prefix.Addr() == r.base.addr() {
			s.After.Gen = max(s.After.Gen, gen)
			return
		}
	}
	after := r.record()
	after.Gen = gen
	d.put(r.record(), after)
}

// highest returns the highest generation of a's ranges after d.
func (d *draft) highest(a *app) (gen uint64) {
	for _, list := range a.ranges {
		for _, r := range list {
			gen = max(gen, r.gen)
		}
	}
	for _, s := range d.steps {
		if s.After != nil && s.After.IsRange() {
			gen = max(gen, s.After.Gen)
		}
	}
	return gen
}
