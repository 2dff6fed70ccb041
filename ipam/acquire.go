package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
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
	for _, e := range p.owned(a, owner) {
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

func (p *Pool) acquire(now time.Time, name, owner string, opts *AcquireOptions, move bool) (none Assignment, _ Change, _ error) {
	if err := cmp.Or(checkName("app", name), checkName("owner", owner)); err != nil {
		return none, Change{}, err
	}
	at, ok := boundary(opts.At)
	a := p.apps[name]
	switch chosen := opts.At.IsValid(); {
	case chosen && !ok:
		return none, Change{}, fmt.Errorf("%v has a zone: %w", opts.At, ErrInvalid)
	case len(a.held(p.primary())) == 0:
		return none, Change{}, fmt.Errorf("no subnet: %w", ErrNotFound)
	case chosen && !p.active(familyOf(at)):
		return none, Change{}, fmt.Errorf("%v: %w", opts.At, ErrNotInPool)
	}
	q := acquisition{
		Pool: p, now: p.clock(now), app: a, owner: owner, at: at,
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
	c := Change{q.steps}
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
