package ipam

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// Lookup returns the live assignment that a belongs to. A derived IPv6 address
// leads to the owner of its IPv4 address.
func (p *Pool) Lookup(a netip.Addr) (Assignment, bool) {
	at, ok := boundary(a)
	if !ok {
		return Assignment{}, false
	}
	if id, ok := p.entryAt(p.underived(at)); ok {
		if e := p.entries.at(id); e.released == 0 {
			return p.assignment(e), true
		}
	}
	return Assignment{}, false
}

// underived returns the IPv4 address of a derived IPv6 address, others as they are.
func (p *Pool) underived(at u128) u128 {
	if p.derive != nil && at.mask(96) == p.derive.base.mask(96) {
		return u128{0, mapped | at.lo&0xffffffff}
	}
	return at
}

// Assignment returns what owner holds in app. Resting addresses do not count.
func (p *Pool) Assignment(app, owner string) (Assignment, bool) {
	if a := p.apps[app]; a != nil {
		for _, e := range p.owned(a, owner) {
			if e.released == 0 {
				return p.assignment(e), true
			}
		}
	}
	return Assignment{}, false
}

// assignment returns the assignment that a live entry is part of.
func (p *Pool) assignment(e *entry) Assignment {
	a := p.ids[e.app]
	if !p.active(1) || !p.active(0) {
		var at [2]u128
		at[familyOf(e.at)] = e.at
		return Assignment{a.name, e.owner, p.addrsOf(at), e.gen}
	}
	h := p.holding(a, e.owner)
	return Assignment{a.name, e.owner, p.addrsOf(h.liveAddrs()), h.gen()}
}

func (h *holding) liveAddrs() (at [2]u128) {
	for f, e := range h.live {
		if e != nil {
			at[f] = e.at
		}
	}
	return at
}

// SubnetOf returns the subnet of app. A released one does not count.
func (p *Pool) SubnetOf(app string) (Subnet, bool) {
	a := p.apps[app]
	lists := [2][]span{spansOf(a.held(0)), spansOf(a.held(1))}
	if len(lists[0])+len(lists[1]) == 0 {
		return Subnet{}, false
	}
	return p.subnetOf(app, lists), true
}

// Subnets returns all subnets, sorted by app.
func (p *Pool) Subnets() iter.Seq[Subnet] {
	return func(yield func(Subnet) bool) {
		for _, name := range slices.Sorted(maps.Keys(p.apps)) {
			if s, ok := p.SubnetOf(name); ok && !yield(s) {
				return
			}
		}
	}
}

// Assignments returns the live assignments of app, sorted by address.
func (p *Pool) Assignments(app string) iter.Seq[Assignment] {
	return func(yield func(Assignment) bool) {
		a := p.apps[app]
		if a == nil {
			return
		}
		for f := range a.ranges {
			for _, r := range a.ranges[f] {
				for id := range p.inside(r) {
					e := p.entries.at(id)
					if e.released != 0 || f == 1 && p.hasLive(a, e.owner, 0) {
						continue
					}
					if !yield(p.assignment(e)) {
						return
					}
				}
			}
		}
	}
}

func (p *Pool) hasLive(a *app, owner string, f int) bool {
	for _, e := range p.owned(a, owner) {
		if e.released == 0 && familyOf(e.at) == f {
			return true
		}
	}
	return false
}

// Records returns the whole state, sorted by key: what [Load] takes.
func (p *Pool) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		ids := slices.AppendSeq(make([]uint32, 0, p.entries.len()), p.entries.all())
		slices.SortFunc(ids, p.byAddr)
		for _, id := range ids {
			if !yield(p.recordOf(p.entries.at(id))) {
				return
			}
		}
		for _, r := range slices.SortedFunc(maps.Values(p.ranges), bySpan) {
			if !yield(r.record()) {
				return
			}
		}
	}
}

// Record returns the record that is held under key: the Before of a [Step]
// for a row that was written elsewhere.
func (p *Pool) Record(key string) (Record, bool) {
	kind, at, ok := parseKey(key)
	switch {
	case !ok:
	case kind == 'r':
		if r := p.ranges[at]; r != nil {
			return r.record(), true
		}
	default:
		if id, ok := p.entryAt(at); ok {
			return p.recordOf(p.entries.at(id)), true
		}
	}
	return Record{}, false
}
