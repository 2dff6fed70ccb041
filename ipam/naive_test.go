package ipam_test

import (
	"cmp"
	"errors"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/ipam"
)

// naive decides like a Pool, from nothing but the records: every answer is a
// search through all addresses and all ranges. Settings that are zero in a
// Config have to be spelt out, and its prefixes are small.
type naive struct {
	cfg    ipam.Config
	addrs  map[netip.Addr]ipam.Record
	ranges map[netip.Addr]ipam.Record // by base
	seen   time.Time
}

// delta is a Change by key.
type delta map[string]ipam.Step

func newNaive(cfg ipam.Config) *naive {
	return &naive{cfg: cfg, addrs: map[netip.Addr]ipam.Record{}, ranges: map[netip.Addr]ipam.Record{}}
}

func (d delta) put(before, after *ipam.Record) {
	s := ipam.Step{Before: before, After: after}
	key := cmp.Or(before, after).Key()
	if old, ok := d[key]; ok {
		s.Before = old.Before
	}
	d[key] = s
}

func (n *naive) apply(d delta) {
	for _, s := range d {
		if b := s.Before; b != nil {
			if b.IsRange() {
				delete(n.ranges, b.Prefix.Addr())
			} else {
				delete(n.addrs, b.Addr)
			}
		}
		if a := s.After; a != nil {
			if a.IsRange() {
				n.ranges[a.Prefix.Addr()] = *a
			} else {
				n.addrs[a.Addr] = *a
			}
			if a.Released.After(n.seen) {
				n.seen = a.Released
			}
		}
	}
}

func (n *naive) clock(now time.Time) time.Time {
	if now.Before(n.seen) {
		return n.seen
	}
	return now
}

func (n *naive) rested(r ipam.Record, now time.Time) bool {
	return !r.Released.IsZero() && !now.Before(r.Released.Add(n.cfg.CoolDown))
}

// families returns the address lengths that are numbered, IPv4 first.
func (n *naive) families() []int {
	var list []int
	has := func(bits int) bool {
		return slices.ContainsFunc(n.cfg.Prefixes, func(p netip.Prefix) bool { return p.Addr().BitLen() == bits })
	}
	if has(32) {
		list = append(list, 32)
	}
	if has(128) && n.cfg.V6 != ipam.None && (n.cfg.V6 == ipam.Independent || !has(32)) {
		list = append(list, 128)
	}
	return list
}

func (n *naive) bits(f int) ipam.Bits {
	if f == 32 {
		return n.cfg.Subnet4
	}
	return n.cfg.Subnet6
}

// derived returns the IPv6 prefix that goes with an IPv4 one.
func (n *naive) derived(p netip.Prefix) (netip.Prefix, bool) {
	if n.cfg.V6 != ipam.Derived || !p.Addr().Is4() {
		return p, false
	}
	for _, base := range n.cfg.Prefixes {
		if base.Addr().Is6() {
			a, err := ipam.Derive6(base, p.Addr())
			return netip.PrefixFrom(a, p.Bits()+96), err == nil
		}
	}
	return p, false
}

func covers(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }

// meetsExclusion reports whether an exclusion overlaps p, or with all covers it.
func (n *naive) meetsExclusion(p netip.Prefix, all bool) bool {
	d, dual := n.derived(p)
	for _, x := range n.cfg.Exclude {
		if x.Prefix.Overlaps(p) && (!all || covers(x.Prefix, p)) || dual && x.Prefix.Overlaps(d) && (!all || covers(x.Prefix, d)) {
			return true
		}
	}
	return false
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func each(p netip.Prefix) []netip.Addr {
	var list []netip.Addr
	for a := p.Addr(); a.IsValid() && p.Contains(a); a = a.Next() {
		list = append(list, a)
	}
	return list
}

// usable returns the addresses of p that may be given out.
func (n *naive) usable(p netip.Prefix) []netip.Addr {
	var inner, list []netip.Addr
	all := each(p)
	for i, a := range all {
		edge := i == 0 || a.Is4() && i == len(all)-1
		if a.Is4() && p.Bits() <= 24 {
			edge = a.As4()[3] == 0 || a.As4()[3] == 255
		}
		if !edge || len(all) <= 2 {
			inner = append(inner, a)
		}
	}
	keep := min(max(n.cfg.Reserve, 0), len(inner)-1)
	for _, a := range inner[keep:] {
		if !n.meetsExclusion(single(a), false) {
			list = append(list, a)
		}
	}
	return list
}

// of returns the ranges of app with addresses of length f, in address order.
func (n *naive) of(app string, f int, live bool) []ipam.Record {
	var list []ipam.Record
	for _, r := range n.ranges {
		if r.App == app && r.Prefix.Addr().BitLen() == f && r.Released.IsZero() == live {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b ipam.Record) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return list
}

// restedRanges returns the ranges that app may take, the longest rested first.
func (n *naive) restedRanges(app string, f int, now time.Time) []ipam.Record {
	var list []ipam.Record
	for _, r := range n.ranges {
		if r.App != app && r.Prefix.Addr().BitLen() == f && n.rested(r, now) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, byRelease)
	return list
}

func byRelease(a, b ipam.Record) int {
	return cmp.Or(a.Released.Compare(b.Released), a.Addr.Compare(b.Addr), a.Prefix.Addr().Compare(b.Prefix.Addr()))
}

// unused returns the largest prefixes inside p that nothing meets.
func (n *naive) unused(p netip.Prefix, held []netip.Prefix) []netip.Prefix {
	if n.meetsExclusion(p, true) || slices.ContainsFunc(held, func(h netip.Prefix) bool { return covers(h, p) }) {
		return nil
	}
	if !n.meetsExclusion(p, false) && !slices.ContainsFunc(held, p.Overlaps) {
		return []netip.Prefix{p}
	}
	lower, upper := halves(p)
	return append(n.unused(lower, held), n.unused(upper, held)...)
}

func halves(p netip.Prefix) (lower, upper netip.Prefix) {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(a, p.Bits()+1)
}

// space is where app may put ranges.
type space struct {
	*naive
	f    int
	held []netip.Prefix
}

func (n *naive) space(app string, f int, now time.Time) *space {
	s := &space{naive: n, f: f}
	for _, r := range n.ranges {
		if r.Prefix.Addr().BitLen() == f && (r.App == app || !n.rested(r, now)) {
			s.held = append(s.held, r.Prefix)
		}
	}
	return s
}

func (s *space) free(p netip.Prefix) bool {
	return slices.ContainsFunc(s.cfg.Prefixes, func(q netip.Prefix) bool { return covers(q, p) }) &&
		!s.meetsExclusion(p, false) && !slices.ContainsFunc(s.held, p.Overlaps)
}

func (s *space) find(bits int) (netip.Prefix, bool) {
	prefixes := slices.Clone(s.cfg.Prefixes)
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var best netip.Prefix
	var rank int
	for _, p := range prefixes {
		if p.Addr().BitLen() != s.f {
			continue
		}
		for _, q := range s.unused(p, s.held) {
			if q.Bits() > bits {
				continue
			}
			// The largest unused prefix in its neighbour, then the smallest.
			r := p.Bits() * 255
			if q != p {
				r = (p.Bits()+64)*256 + 64 - p.Bits()
				lower, upper := halves(netip.PrefixFrom(q.Addr(), q.Bits()-1).Masked())
				var lengths []int
				for _, n := range append(s.unused(lower, s.held), s.unused(upper, s.held)...) {
					if n != q {
						lengths = append(lengths, n.Bits())
					}
				}
				if len(lengths) > 0 {
					r = slices.Min(lengths)*256 + 63 - slices.Max(lengths)
				}
			}
			if !best.IsValid() ||
				s.cfg.Placement == ipam.Spread && (q.Bits() < best.Bits() || q.Bits() == best.Bits() && r < rank) ||
				s.cfg.Placement == ipam.Pack && q.Bits() > best.Bits() {
				best, rank = q, r
			}
		}
	}
	if !best.IsValid() {
		return best, false
	}
	best = netip.PrefixFrom(best.Addr(), bits)
	s.held = append(s.held, best)
	return best, true
}

// finish adds what becomes of the app's ranges, and of rested ones, to d.
func (n *naive) finish(d delta, app string, f int, now time.Time, list []netip.Prefix) {
	changed := false
	for _, p := range list {
		old, ok := n.ranges[p.Addr()]
		changed = changed || !ok || old.App != app || old.Prefix != p
	}
	if !changed {
		return
	}
	others := 0
	for _, old := range n.restedRanges(app, f, now) {
		if !slices.ContainsFunc(list, old.Prefix.Overlaps) {
			if others++; others > 8 {
				continue
			}
		}
		d.put(&old, nil)
		for _, r := range n.addrs {
			if old.Prefix.Contains(r.Addr) {
				d.put(&r, nil)
			}
		}
	}
	for _, p := range list {
		r := ipam.Record{App: app, Prefix: p}
		old, ok := n.ranges[p.Addr()]
		switch {
		case ok && old.App == app:
			if r.Gen = old.Gen; old.Prefix != p {
				d.put(&old, &r)
			}
		case ok:
			d.put(&old, &r)
		default:
			d.put(nil, &r)
		}
	}
}

func prefixes(list []ipam.Record) []netip.Prefix {
	var ps []netip.Prefix
	for _, r := range list {
		ps = append(ps, r.Prefix)
	}
	return ps
}

func (n *naive) Subnet(now time.Time, app string, at []netip.Prefix, bits int) (delta, error) {
	now = n.clock(now)
	fams := n.families()
	for _, x := range at {
		f := x.Addr().BitLen()
		b := n.bits(f)
		switch {
		case x != x.Masked():
			return nil, ipam.ErrInvalid
		case !slices.Contains(fams, f), !slices.ContainsFunc(n.cfg.Prefixes, func(p netip.Prefix) bool { return covers(p, x) }):
			return nil, ipam.ErrNotInPool
		case x.Bits() < b.Min || x.Bits() > b.Max:
			return nil, ipam.ErrInvalid
		case n.meetsExclusion(x, false):
			return nil, ipam.ErrExcluded
		}
	}
	d := delta{}
	for i, f := range fams {
		list := prefixes(n.of(app, f, true))
		revived := len(list) == 0
		if revived {
			for _, r := range n.of(app, f, false) {
				live := r
				live.Released = time.Time{}
				d.put(&r, &live)
				list = append(list, r.Prefix)
			}
		}
		want := n.bits(f).Default
		if bits != 0 && i == 0 {
			if want = bits; bits < n.bits(f).Min || bits > n.bits(f).Max {
				return nil, ipam.ErrInvalid
			}
		}
		s := n.space(app, f, now)
		var spans []netip.Prefix
		for _, x := range at {
			if x.Addr().BitLen() != f || slices.ContainsFunc(list, func(p netip.Prefix) bool { return covers(p, x) }) {
				continue
			}
			if !s.free(x) {
				return nil, ipam.ErrOverlap
			}
			s.held = append(s.held, x)
			spans = append(spans, x)
		}
		enough := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Bits() <= want })
		if len(spans) == 0 && (len(list) == 0 || revived && i == 0 && bits > 0 && !enough) {
			missing := 1 << (n.bits(f).Max - want)
			for b := want; b <= n.bits(f).Max; b++ {
				for size := 1 << (n.bits(f).Max - b); size <= missing; missing -= size {
					p, ok := s.find(b)
					if !ok {
						break
					}
					spans = append(spans, p)
				}
			}
			if len(spans) == 0 || missing > 0 && bits > 0 {
				return nil, ipam.ErrExhausted
			}
		}
		if len(spans) > 0 {
			n.finish(d, app, f, now, append(list, spans...))
		}
	}
	return d, nil
}

// held reports whether an address has a record that does not go when app takes
// the place of a rested range.
func (n *naive) held(now time.Time, app string, a netip.Addr) bool {
	r, ok := n.addrs[a]
	if ok && r.App != app {
		for _, old := range n.of(r.App, a.BitLen(), false) {
			if old.Prefix.Contains(a) && n.rested(old, now) {
				return false
			}
		}
	}
	return ok
}

func (n *naive) room(now time.Time, app string, p netip.Prefix) uint64 {
	var sum uint64
	for _, a := range n.usable(p) {
		if !n.held(now, app, a) {
			sum++
		}
	}
	return sum
}

func (n *naive) Grow(now time.Time, app string, free uint64) (delta, error) {
	now = n.clock(now)
	d := delta{}
	err := ipam.ErrNotFound
	for _, f := range n.families() {
		if len(n.of(app, f, true)) == 0 {
			continue
		}
		err = nil
		list, ok := n.grow(now, app, f, free)
		if !ok {
			return nil, ipam.ErrExhausted
		}
		n.finish(d, app, f, now, list)
	}
	return d, err
}

func (n *naive) grow(now time.Time, app string, f int, free uint64) ([]netip.Prefix, bool) {
	s := n.space(app, f, now)
	list := prefixes(n.of(app, f, true))
	for {
		var have uint64
		for _, p := range list {
			have += n.room(now, app, p)
		}
		if have >= free {
			slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
			return list, true
		}
		// The largest first, then the lowest.
		slices.SortFunc(list, func(a, b netip.Prefix) int {
			return cmp.Or(a.Bits()-b.Bits(), a.Addr().Compare(b.Addr()))
		})
		i := slices.IndexFunc(list, func(p netip.Prefix) bool {
			if p.Bits() <= n.bits(f).Min {
				return false
			}
			twice := netip.PrefixFrom(p.Addr(), p.Bits()-1)
			_, upper := halves(twice.Masked())
			return twice == twice.Masked() && s.free(upper)
		})
		if i >= 0 {
			list[i] = netip.PrefixFrom(list[i].Addr(), list[i].Bits()-1)
			s.held = append(s.held, list[i])
			continue
		}
		found := false
		for b := list[0].Bits(); b <= n.bits(f).Max && !found; b++ {
			var p netip.Prefix
			if p, found = s.find(b); found {
				list = append(list, p)
			}
		}
		if !found {
			return nil, false
		}
	}
}

func (n *naive) ReleaseSubnet(now time.Time, app string) (delta, error) {
	d := delta{}
	for _, r := range n.addrs {
		if r.App == app && r.Released.IsZero() {
			return nil, ipam.ErrInUse
		}
	}
	for _, f := range n.families() {
		for _, r := range n.of(app, f, true) {
			gone := r
			gone.Released = n.clock(now).UTC()
			d.put(&r, &gone)
		}
	}
	return d, nil
}

// owned returns the records of an owner: the live one by family, the others
// with the highest generation first.
func (n *naive) owned(app, owner string) (live map[int]ipam.Record, rest []ipam.Record, gen uint64) {
	live = map[int]ipam.Record{}
	for _, r := range n.addrs {
		if r.App != app || r.Owner != owner {
			continue
		}
		gen = max(gen, r.Gen)
		if r.Released.IsZero() {
			live[r.Addr.BitLen()] = r
		} else {
			rest = append(rest, r)
		}
	}
	slices.SortFunc(rest, func(a, b ipam.Record) int {
		return cmp.Or(cmp.Compare(b.Gen, a.Gen), a.Addr.Compare(b.Addr))
	})
	return live, rest, gen
}

func (n *naive) start(owner, app string, p netip.Prefix) int {
	if n.cfg.Order == ipam.Lowest {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(n.cfg.Salt + "\x00" + app + "\x00" + owner))
	sum := h.Sum64()
	return int((sum ^ sum>>32) % uint64(len(each(p))))
}

// pick returns an address in one of list, the record that it replaces, and
// those that are forgotten beside it.
func (n *naive) pick(now time.Time, list []netip.Prefix, app, owner string) (got netip.Addr, forget []ipam.Record, ok bool) {
	for _, p := range list {
		var old []ipam.Record
		for _, r := range n.addrs {
			if r.App == app && p.Contains(r.Addr) && n.rested(r, now) {
				old = append(old, r)
			}
		}
		slices.SortFunc(old, byRelease)
		old = old[:min(len(old), 2)]
		all := each(p)
		ok := n.usable(p)
		from := n.start(owner, app, p)
		for i := range all {
			a := all[(from+i)%len(all)]
			held := n.held(now, app, a)
			if _, may := slices.BinarySearchFunc(ok, a, netip.Addr.Compare); !may {
				continue
			}
			if !held || slices.ContainsFunc(old, func(r ipam.Record) bool { return r.Addr == a }) {
				return a, old, true
			}
		}
	}
	return netip.Addr{}, nil, false
}

// pin says why owner cannot have at.
func (n *naive) pin(now time.Time, app, owner string, at netip.Addr) error {
	ranges := n.of(app, at.BitLen(), true)
	i := slices.IndexFunc(ranges, func(r ipam.Record) bool { return r.Prefix.Contains(at) })
	if i < 0 {
		return ipam.ErrNotInPool
	}
	if !slices.Contains(n.usable(ranges[i].Prefix), at) {
		return ipam.ErrExcluded
	}
	if r, held := n.addrs[at]; held && (r.Released.IsZero() || !n.rested(r, now) && r.Owner != owner) {
		return ipam.ErrTaken
	}
	return nil
}

func (n *naive) Acquire(now time.Time, app, owner string, at netip.Addr, autoGrow, move bool) (delta, error) {
	now = n.clock(now)
	fams := n.families()
	if len(n.of(app, fams[0], true)) == 0 {
		return nil, ipam.ErrNotFound
	}
	if at.IsValid() && !slices.Contains(fams, at.BitLen()) {
		return nil, ipam.ErrNotInPool
	}
	live, rest, gen := n.owned(app, owner)
	if move && len(live) == 0 {
		return nil, ipam.ErrNotFound
	}
	d := delta{}
	got := map[int]netip.Addr{}
	forget := map[int][]ipam.Record{}
	for _, f := range fams {
		want := at.IsValid() && at.BitLen() == f
		cur, has := live[f]
		list := prefixes(n.of(app, f, true))
		switch {
		case len(list) == 0 && !want,
			has && want && cur.Addr == at,
			has && !want && (!move || at.IsValid()):
			continue
		case has && !move:
			return nil, ipam.ErrInUse
		}
		if want {
			if err := n.pin(now, app, owner, at); err != nil {
				return nil, err
			}
			got[f] = at
			continue
		}
		back := slices.IndexFunc(rest, func(r ipam.Record) bool { return r.Addr.BitLen() == f })
		if back >= 0 && !move && n.pin(now, app, owner, rest[back].Addr) == nil {
			got[f] = rest[back].Addr
			continue
		}
		var ok bool
		if got[f], forget[f], ok = n.pick(now, list, app, owner); ok {
			continue
		}
		if !autoGrow {
			return nil, ipam.ErrExhausted
		}
		grown, ok := n.grow(now, app, f, 1)
		if !ok {
			return nil, ipam.ErrExhausted
		}
		n.finish(d, app, f, now, grown)
		if got[f], forget[f], ok = n.pick(now, grown, app, owner); !ok {
			return nil, ipam.ErrExhausted
		}
	}
	if len(got) == 0 {
		return d, nil
	}

	// What is forgotten about others lifts the range.
	added := len(live) > 0
	for f, a := range got {
		added = added && live[f].App == ""
		gone := slices.Clone(forget[f])
		if r, ok := n.addrs[a]; ok {
			gone = append(gone, r)
		}
		for _, r := range gone {
			if r.App != app || r.Owner == owner {
				continue
			}
			for _, old := range n.of(app, f, true) {
				now := old
				if s, ok := d[old.Key()]; ok {
					now = *s.After
				}
				if old.Prefix.Contains(r.Addr) && r.Gen > now.Gen {
					now.Gen = r.Gen
					d.put(&old, &now)
				}
			}
		}
	}
	if added {
		gen = 0
		for _, r := range live {
			gen = max(gen, r.Gen)
		}
	} else {
		after := maps.Clone(n.ranges)
		for _, s := range d {
			if s.After != nil {
				after[s.After.Prefix.Addr()] = *s.After
			}
		}
		for _, r := range after {
			if r.App == app {
				gen = max(gen, r.Gen)
			}
		}
		gen++
	}
	for f, a := range got {
		for _, r := range forget[f] {
			d.put(&r, nil)
		}
		var before *ipam.Record
		if r, ok := n.addrs[a]; ok {
			before = &r
		}
		d.put(before, &ipam.Record{App: app, Owner: owner, Addr: a, Gen: gen})
		if cur, has := live[f]; has {
			gone := cur
			gone.Released = now.UTC()
			d.put(&cur, &gone)
		}
	}
	return d, nil
}

func (n *naive) Release(now time.Time, app, owner string, gen uint64) (delta, error) {
	d := delta{}
	live, _, _ := n.owned(app, owner)
	var has uint64
	for _, r := range live {
		has = max(has, r.Gen)
	}
	if has != 0 && gen != 0 && gen != has {
		return nil, ipam.ErrStale
	}
	for _, r := range live {
		gone := r
		gone.Released = n.clock(now).UTC()
		d.put(&r, &gone)
	}
	return d, nil
}

// Usage counts one address after the other.
func (n *naive) Usage(app string) ipam.Usage {
	f := n.families()[0]
	var u ipam.Usage
	count := func(p netip.Prefix, excluded, reserved *uint64) {
		may := n.usable(p)
		for _, a := range each(p) {
			r, held := n.addrs[a]
			_, ok := slices.BinarySearchFunc(may, a, netip.Addr.Compare)
			switch {
			case held && r.Released.IsZero():
				u.Live++
			case held:
				u.Cooling++
			case n.meetsExclusion(single(a), false):
				*excluded++
			case !ok:
				*reserved++
			default:
				u.Free++
			}
		}
	}
	if app != "" {
		for _, r := range n.of(app, f, true) {
			u.Total += uint64(len(each(r.Prefix)))
			count(r.Prefix, &u.Excluded, &u.Reserved)
		}
		return u
	}
	for _, p := range n.cfg.Prefixes {
		if p.Addr().BitLen() == f {
			u.Total += uint64(len(each(p)))
		}
	}
	var inside, outside uint64
	for _, r := range n.ranges {
		switch {
		case r.Prefix.Addr().BitLen() != f:
		case r.Released.IsZero():
			count(r.Prefix, &u.Excluded, &u.Reserved)
		default:
			u.Cooling += uint64(len(each(r.Prefix)))
		}
		if r.Prefix.Addr().BitLen() == f {
			inside += uint64(len(each(r.Prefix)))
		}
	}
	u.Free += u.Total - inside
	for _, p := range n.cfg.Prefixes {
		if p.Addr().BitLen() != f {
			continue
		}
		for _, a := range each(p) {
			in := func(r ipam.Record) bool { return r.Prefix.Contains(a) }
			if n.meetsExclusion(single(a), false) && !slices.ContainsFunc(slices.Collect(maps.Values(n.ranges)), in) {
				outside++
			}
		}
	}
	u.Excluded += outside
	u.Free -= outside
	return u
}

// sentinel returns which of the package's errors err is.
func sentinel(err error) error {
	for _, s := range []error{
		ipam.ErrExhausted, ipam.ErrNotFound, ipam.ErrOverlap, ipam.ErrExcluded, ipam.ErrNotInPool,
		ipam.ErrInUse, ipam.ErrTaken, ipam.ErrStale, ipam.ErrInvalid,
	} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}
