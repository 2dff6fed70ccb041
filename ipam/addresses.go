package ipam

import "fmt"

// addAddress takes the address of r into the state. With force it is kept even
// where it cannot be.
func (p *Pool) addAddress(r *Record, force bool) error {
	at := fromAddr(r.Addr)
	if _, ok := p.entryAt(at); ok {
		return stale(r)
	}
	a := p.apps[r.App]
	if a == nil && force {
		a = p.ensureApp(r.App)
	}
	home := a.around(at)
	if !force {
		if home == nil {
			return fmt.Errorf("%v has no range of app %q around it: %w", r.Addr, r.App, ErrNotInPool)
		}
		if err := p.mayLive(home, at, r); err != nil {
			return err
		}
	}
	p.attach(home, p.insert(a, at, r))
	return nil
}

// mayLive says why r, which lies at at in home, cannot be live.
func (p *Pool) mayLive(home *subrange, at u128, r *Record) error {
	if !r.Released.IsZero() {
		return nil
	}
	if home.released != 0 {
		return fmt.Errorf("%v is in a released range of app %q: %w", r.Addr, r.App, ErrNotInPool)
	}
	for _, e := range p.owned(home.app, r.Owner) {
		if e.released == 0 && e.at != at && familyOf(e.at) == familyOf(at) {
			return fmt.Errorf("owner %q of app %q holds %v: %w", r.Owner, r.App, e.at.addr(), ErrTaken)
		}
	}
	return nil
}

// insert puts r into the indexes.
func (p *Pool) insert(a *app, at u128, r *Record) uint32 {
	id := p.entries.add(entry{owner: r.Owner, at: at, gen: r.Gen, released: r.releasedNano(), app: a.id})
	p.owners.add(p.hashOwner(a, r.Owner), id)
	p.addrs.add(p.hashAddr(at), id)
	a.entries++
	return id
}

// attach takes an inserted entry into its range, if it has one.
func (p *Pool) attach(r *subrange, id uint32) {
	if r != nil {
		p.occupy(r, id)
		r.entries++
	}
	p.enter(r, id)
}

// enter counts an entry as live or puts it in line for the end of its rest.
func (p *Pool) enter(r *subrange, id uint32) {
	e := p.entries.at(id)
	p.seen = max(p.seen, e.released)
	if e.released == 0 {
		p.ids[e.app].live++
	}
	switch {
	case r == nil: // an orphan
	case e.released == 0:
		r.live++
	default:
		r.resting.add(&p.entries, id)
	}
}

// exit undoes enter.
func (p *Pool) exit(r *subrange, id uint32) {
	e := p.entries.at(id)
	if e.released == 0 {
		p.ids[e.app].live--
	}
	switch {
	case r == nil:
	case e.released == 0:
		r.live--
	default:
		r.resting.drop(&p.entries, id)
	}
}

// entryOf finds the entry that r describes, the way that the decision took: what
// it has read is still in the processor's cache.
func (p *Pool) entryOf(r *Record) (uint32, error) {
	if a, at := p.apps[r.App], fromAddr(r.Addr); a != nil {
		for id, e := range p.owned(a, r.Owner) {
			if e.at == at && e.gen == r.Gen && e.released == r.releasedNano() {
				return id, nil
			}
		}
	}
	return 0, stale(r)
}

func (p *Pool) dropAddress(r *Record) error {
	id, err := p.entryOf(r)
	if err != nil {
		return err
	}
	e, home := p.entries.at(id), p.home(id)
	a := p.ids[e.app]
	p.exit(home, id)
	if home != nil {
		p.vacate(home, id)
		home.entries--
	}
	p.owners.drop(p.hashOwner(a, e.owner), id)
	p.addrs.drop(p.hashAddr(e.at), id)
	a.entries--
	p.entries.drop(id)
	p.tidy(a)
	return nil
}

// updateAddress changes the release or the generation of an address.
func (p *Pool) updateAddress(before, after *Record, force bool) error {
	id, err := p.entryOf(before)
	if err != nil {
		return err
	}
	e, home := p.entries.at(id), p.home(id)
	if home != nil && !force {
		if err := p.mayLive(home, e.at, after); err != nil {
			return err
		}
	}
	p.exit(home, id)
	e.gen, e.released = after.Gen, after.releasedNano()
	p.enter(home, id)
	return nil
}
