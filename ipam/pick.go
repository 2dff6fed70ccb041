package ipam

import (
	"fmt"
	"slices"
	"time"
)

// pick is an address that has been chosen; without a range, none.
type pick struct {
	at     u128
	in     *subrange
	reuse  *entry    // the resting entry that it replaces
	forget [2]*entry // rested entries that go with it
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
		c := carving{p: q.Pool, now: q.now, app: q.app.name, f: f}
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
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i, s := range [...]string{q.salt, q.app.name, q.owner} {
		if i > 0 {
			h *= prime
		}
		for j := range len(s) {
			h = (h ^ uint64(s[j])) * prime
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
