package ipam

import (
	"fmt"
	"time"
)

// Release decides to give the address of owner back; it rests for the cool-down.
// gen is the generation that the caller knows, 0 for any. Releasing twice, or
// what never was, is nil with an empty Change. If owner holds an address of
// another generation, the error wraps [ErrStale].
func (p *Pool) Release(now time.Time, app, owner string, gen uint64) (Change, error) {
	a := p.apps[app]
	if a == nil {
		return Change{}, nil
	}
	h := p.holding(a, owner)
	has := h.gen()
	if has == 0 {
		return Change{}, nil
	}
	if gen != 0 && gen != has {
		return Change{}, fmt.Errorf("ipam: release %q in %q: generation %d, now %d: %w", owner, app, gen, has, ErrStale)
	}
	var d draft
	for _, e := range h.live {
		if e != nil {
			p.release(&d, e, p.clock(now))
		}
	}
	return Change{d.steps}, nil
}

// release puts the release of a live entry into d.
func (p *Pool) release(d *draft, e *entry, now int64) {
	if p.ids[e.app].around(e.at) == nil {
		d.put(new(p.recordOf(e)), nil) // an orphan has no place to rest in
		return
	}
	r := [2]Record{p.recordOf(e)}
	r[1] = r[0]
	r[1].Released = fromNano(now)
	d.put(&r[0], &r[1])
}
