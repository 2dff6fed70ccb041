package ipam

import (
	"cmp"
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
	got, c, err := p.acquire(now, app, owner, opts, false)
	if err != nil {
		return Assignment{}, Change{}, fmt.Errorf("ipam: acquire %q in %q: %w", owner, app, err)
	}
	return got, c, nil
}

// Move decides another address for owner: to, or if to is zero any other. The
// address it had rests then. Moving to the address that owner holds is nil with
// an empty Change. Of an independent IPv6 and an IPv4 address, to moves the one
// of its family, zero both.
//
// If owner holds no address, the error wraps [ErrNotFound]; otherwise it fails
// as [Pool.Acquire] does.
func (p *Pool) Move(now time.Time, app, owner string, to netip.Addr) (Assignment, Change, error) {
	got, c, err := p.acquire(now, app, owner, &AcquireOptions{At: to}, true)
	if err != nil {
		return Assignment{}, Change{}, fmt.Errorf("ipam: move %q in %q: %w", owner, app, err)
	}
	return got, c, nil
}

// acquisition is the decision about one owner's addresses.
type acquisition struct {
	*Pool
	now   int64
	app   *app
	owner string
	at    u128 // the address that the caller wants, if chosen
	holding
	chosen, grow, move bool

	picks [2]pick // by family
	draft
	grown bool
}

// holding is what the entries of an owner say, by family.
type holding struct {
	live   [2]*entry
	rest   [2]*entry // the latest that rests
	latest uint64    // the highest generation so far
}

func (p *Pool) holding(a *app, owner string) (h holding) {
	for e := range p.owned(a, owner) {
		h.latest = max(h.latest, e.gen)
		of := &h.live[familyOf(e.at)]
		if e.released != 0 {
			of = &h.rest[familyOf(e.at)]
		}
		if old := *of; old == nil || e.gen > old.gen || e.gen == old.gen && e.at.cmp(old.at) < 0 {
			*of = e
		}
	}
	return h
}

// gen returns the generation of the live assignment, 0 if there is none.
func (h *holding) gen() uint64 {
	var gen uint64
	for _, e := range h.live {
		if e != nil {
			gen = max(gen, e.gen)
		}
	}
	return gen
}

// pick is an address that has been chosen; without a range, none.
type pick struct {
	at     u128
	in     *subrange
	reuse  *entry    // the resting entry that it replaces
	forget [2]*entry // rested entries that go with it
}

func (p *Pool) acquire(now time.Time, name, owner string, opts *AcquireOptions, move bool) (none Assignment, _ Change, _ error) {
	if err := cmp.Or(checkName("app", name), checkName("owner", owner)); err != nil {
		return none, Change{}, err
	}
	at, ok := boundary(opts.At)
	switch chosen := opts.At.IsValid(); {
	case chosen && !ok:
		return none, Change{}, fmt.Errorf("%v has a zone: %w", opts.At, ErrInvalid)
	case len(p.apps[name].held(p.primary())) == 0:
		return none, Change{}, fmt.Errorf("no subnet: %w", ErrNotFound)
	case chosen && !p.active(familyOf(at)):
		return none, Change{}, fmt.Errorf("%v: %w", opts.At, ErrNotInPool)
	}
	q := acquisition{
		Pool: p, now: p.clock(now), app: p.apps[name], owner: owner, at: at,
		chosen: opts.At.IsValid(), grow: opts.AutoGrow, move: move,
	}
	q.holding = p.holding(q.app, owner)
	if move && q.gen() == 0 {
		return none, Change{}, fmt.Errorf("no address: %w", ErrNotFound)
	}
	var got [2]u128
	for f := range q.picks {
		if e := q.live[f]; e != nil {
			got[f] = e.at
		}
		k, err := q.pick(f)
		if err != nil {
			return none, Change{}, err
		}
		if q.picks[f] = k; k.in != nil {
			got[f] = k.at
		}
	}
	gen := q.write()
	c := q.change()
	if q.grown {
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

// pick chooses the address of family f, none if it stays as it is.
func (q *acquisition) pick(f int) (pick, error) {
	list := q.app.held(f)
	has := q.live[f] != nil
	wants := q.chosen && familyOf(q.at) == f
	switch {
	case wants && has && q.at == q.live[f].at,
		!wants && has && (!q.move || q.chosen),
		!wants && len(list) == 0:
		return pick{}, nil
	case wants && has && !q.move:
		return pick{}, fmt.Errorf("it holds %v: %w", q.live[f].at.addr(), ErrInUse)
	case wants:
		return q.pin()
	}
	if k, ok := q.back(f); ok && !q.move {
		return k, nil
	}
	hash := q.hash()
	if k, ok := q.pickIn(list, nil, q.now, hash); ok {
		return k, nil
	}
	if q.grow {
		c := q.carve(q.now, q.app.name, f)
		if list, ok := c.grow(list, 1); ok {
			if k, ok := q.pickIn(list, c.rested, q.now, hash); ok {
				c.steps(&q.draft, spansOf(list))
				q.grown = true
				return k, nil
			}
		}
	}
	return pick{}, q.exhausted(q.app.name, f)
}

// pin chooses the address that the caller wants.
func (q *acquisition) pin() (pick, error) {
	r := q.app.around(q.at)
	if r == nil || r.released != 0 || r.closed {
		return pick{}, fmt.Errorf("%v is not in the app's subnet: %w", q.at.addr(), ErrNotInPool)
	}
	switch r.class(q.at.minus(r.base)) {
	case excluded:
		return pick{}, fmt.Errorf("%v (%s): %w", q.at.addr(), q.holesOf(span{q.at, 128})[0].reason, ErrExcluded)
	case reserved:
		return pick{}, fmt.Errorf("%v is reserved: %w", q.at.addr(), ErrExcluded)
	default:
	}
	k := pick{at: q.at, in: r}
	if id, ok := q.entryAt(q.at); ok {
		k.reuse = q.entries.at(id)
		own := q.ids[k.reuse.app] == q.app && k.reuse.owner == q.owner
		switch released := k.reuse.released; {
		case released == 0:
			return pick{}, fmt.Errorf("%v belongs to another owner: %w", q.at.addr(), ErrTaken)
		case !own && !q.rested(released, q.now):
			until := fromNano(released).Add(time.Duration(q.coolDown))
			return pick{}, fmt.Errorf("%v rests until %v: %w", q.at.addr(), until.Format(time.RFC3339), ErrTaken)
		}
	}
	return k, nil
}

// back chooses the address that the owner had last, if it still rests.
func (q *acquisition) back(f int) (pick, bool) {
	e := q.rest[f]
	if e == nil {
		return pick{}, false
	}
	r := q.app.around(e.at)
	ok := r != nil && r.released == 0 && !r.closed && r.class(e.at.minus(r.base)) == usable
	return pick{at: e.at, in: r, reuse: e}, ok
}

// pickIn picks in the first range of list that has an address. Candidates are
// the next one that nobody holds, and the two that have rested longest if their
// rest is over; of these, one that is not chosen is forgotten, so that rested
// ones do not pile up. What is in the ranges of gone does not count as held.
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
		k := pick{in: r, forget: p.forgettable(r, now)}
		for _, e := range k.forget {
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
		for i, e := range k.forget {
			if e == k.reuse {
				k.forget[i] = nil
			}
		}
		k.at = r.base.add(off)
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

// hash is 64-bit FNV-1a over Config.Salt, app and owner with a zero byte between
// them, the upper half folded onto the lower. With the order Lowest it is 0.
func (q *acquisition) hash() uint64 {
	if !q.hashed {
		return 0
	}
	h := uint64(14695981039346656037)
	for i, s := range [...]string{q.salt, q.app.name, q.owner} {
		if i > 0 {
			h *= 1099511628211
		}
		for j := range len(s) {
			h = (h ^ uint64(s[j])) * 1099511628211
		}
	}
	return h ^ h>>32
}

// start is the offset from which an owner's address is searched.
func (r *subrange) start(hash uint64) uint64 {
	n := r.window
	if !r.base.is4() {
		n = min(n, 1<<16) // the bitmap reaches up to the highest
	}
	return hash & (n - 1)
}

// write puts the picks into the draft and returns the assignment's generation.
//
// A new generation is higher than any that the owner has had. What is forgotten
// about others raises the range's generation, from which theirs go on.
func (q *acquisition) write() uint64 {
	gen := q.gen()
	anew := gen == 0
	for f, k := range q.picks {
		if k.in == nil {
			continue
		}
		anew = anew || q.live[f] != nil // else the network has got another family
		for _, e := range [...]*entry{k.reuse, k.forget[0], k.forget[1]} {
			if e != nil && e.owner != q.owner && e.gen > k.in.gen {
				q.raise(k.in, e.gen)
			}
		}
	}
	if anew {
		gen = max(q.highest(q.app), q.latest) + 1
	}
	for f, k := range q.picks {
		if k.in == nil {
			continue
		}
		var before *Record
		if k.reuse != nil {
			before = new(q.recordOf(k.reuse))
		}
		q.put(before, &Record{App: q.app.name, Owner: q.owner, Addr: k.at.addr(), Gen: gen})
		for _, e := range k.forget {
			if e != nil {
				q.put(new(q.recordOf(e)), nil)
			}
		}
		if e := q.live[f]; e != nil {
			q.release(&q.draft, e, q.now)
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
	d.put(new(r.record()), &after)
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
