package ipam

import "math"

// Usage counts addresses: Total is the sum of the others. Where there is IPv4
// it counts IPv4 addresses, else IPv6. Counts stop at 2^64-1.
type Usage struct {
	Total    uint64
	Live     uint64
	Cooling  uint64 // released, until somebody gets them or a later decision forgets them
	Reserved uint64 // kept free: Config.Reserve, network and broadcast addresses
	Excluded uint64
	Free     uint64
}

// Usage counts the live ranges of app; "" means the whole pool. Unknown apps
// have none.
func (p *Pool) Usage(app string) Usage {
	f := p.primary()
	var u Usage
	if app != "" {
		for _, r := range p.apps[app].held(f) {
			u.add(r.usage())
		}
		return u.settled()
	}
	for _, t := range p.fam[f].tries {
		u.Total = addSat(u.Total, t.size())
		for _, x := range p.holesOf(t.span) {
			u.Excluded = addSat(u.Excluded, min(x.size(), t.size()))
		}
	}
	for _, r := range p.ranges {
		if familyOf(r.base) != f || r.closed {
			continue
		}
		w := r.usage()
		for _, h := range r.holes { // counted above
			u.Excluded = subSat(u.Excluded, h.hi-h.lo)
		}
		if r.released != 0 {
			w = Usage{Total: w.Total, Cooling: w.Total}
		}
		w.Total = 0
		u.add(w)
	}
	return u.settled()
}

func (u *Usage) add(o Usage) {
	u.Total = addSat(u.Total, o.Total)
	u.Live = addSat(u.Live, o.Live)
	u.Cooling = addSat(u.Cooling, o.Cooling)
	u.Reserved = addSat(u.Reserved, o.Reserved)
	u.Excluded = addSat(u.Excluded, o.Excluded)
}

// settled fills in what is free. Where a count is too large for 64 bits the
// parts are cut so that they still add up.
func (u Usage) settled() Usage {
	u.Free = u.Total
	for _, part := range []*uint64{&u.Live, &u.Cooling, &u.Reserved, &u.Excluded} {
		*part = min(*part, u.Free)
		u.Free -= *part
	}
	return u
}

func (r *subrange) usage() Usage {
	size := r.size()
	u := Usage{Total: size, Live: r.live, Cooling: uint64(len(r.resting)), Reserved: r.ruled(0, min(size, math.MaxInt64))}
	for _, h := range r.holes {
		u.Excluded = addSat(u.Excluded, h.hi-h.lo)
		u.Reserved = subSat(u.Reserved, r.ruled(h.lo, h.hi))
	}
	u.Excluded = subSat(u.Excluded, r.count[excluded])
	u.Reserved = subSat(u.Reserved, r.count[reserved])
	return u
}
