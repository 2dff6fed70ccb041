package dnszone

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A Set is the zones of one network at one serial. It is immutable and safe for
// concurrent use. [Build] and [Set.Update] make Sets.
type Set struct {
	*plan
	serial  uint32
	roster  roster
	ids     *tree   // host ID -> number
	apps    *tree   // names raw.label, one per application; kids count its hosts
	fwd     *tree   // names below every suffix
	rev     []*tree // names below defs[forward:]
	shared  int     // application labels that several applications want
	wild    int     // hosts with a wildcard
	skipped map[string]Skip

	self, parent *byte // tell which Set an Update came from
	touched      []zoneName
}

// zoneName is a name below the origin of zone z, or of all forward zones if z is
// one of them.
type zoneName struct {
	z   int
	rel string
}

// A Change replaces, adds or removes one host.
type Change struct {
	// Host is the host as it is from now on. Its ID finds the one to replace.
	Host Host
	// Remove takes the host out; only the ID counts then. Removing an unknown
	// host is no error.
	Remove bool
}

// Build returns the zones of hosts at serial, and a report of all names that
// cannot be published. hosts may be nil and may come in any order.
//
// Hosts must be those of the whole network, even where one server may see only
// a part: a name that is unique in a part may be ambiguous in the whole.
//
// A host that cannot be named is left out and reported. The error is a
// [*ConfigError] for a bad cfg, or under [CollisionReject] a [*CollisionError]
// for the first collision, with the full report beside it.
func Build(cfg Config, serial uint32, hosts iter.Seq[Host]) (*Set, *Report, error) {
	p, err := newPlan(cfg)
	if err != nil {
		return nil, nil, err
	}
	s := &Set{plan: p, serial: serial, skipped: map[string]Skip{}, self: new(byte)}
	var list []host
	if hosts != nil {
		list = s.collect(hosts)
	}
	s.ids = newTree(true)
	s.apps = newTree(false)
	s.fwd = newTree(false)
	for range p.defs[p.forward:] {
		s.rev = append(s.rev, newTree(false))
	}
	list = s.enrol(list)

	t := s.begin()
	t.fwd.grow(2*len(list), 64*len(list))
	for n, h := range list {
		if h != "" {
			t.enter(uint32(n), h)
		}
	}
	t.finish()
	r := s.Report()
	if p.policy == CollisionReject && len(r.Withheld) > 0 {
		return nil, r, &CollisionError{r.Withheld[0]}
	}
	return s, r, nil
}

// collect brings hosts into their stored form. Neighbours share one block of
// memory, page by page.
func (s *Set) collect(hosts iter.Seq[Host]) []host {
	var list []host
	var buf []byte
	var ends []int
	flush := func() {
		block, at := host(buf), 0
		for _, end := range ends {
			list = append(list, block[at:end])
			at = end
		}
		buf, ends = buf[:0], ends[:0]
	}
	for h := range hosts {
		grown, err := s.appendHost(buf, h)
		if err != nil {
			s.skip(h, err)
			continue
		}
		buf = grown
		if ends = append(ends, len(buf)); len(ends) == pageHosts {
			flush()
		}
	}
	flush()
	return list
}

func (s *Set) skip(h Host, err error) {
	s.skipped[h.ID] = Skip{Host: h.ID, Name: strings.TrimPrefix(h.Name+"."+h.App, "."), Reason: reason(err), Err: err}
}

// enrol numbers the hosts of list by their place and takes those out that share
// an ID, or have that of a host left out before.
func (s *Set) enrol(list []host) []host {
	var e editor
	var b batch
	b.grow(len(list), 16*len(list))
	for n, h := range list {
		put(&b, h.id(), claim, uint32(n), "")
	}
	s.ids = e.apply(s.ids, &b, rules{order: cmp.Compare[uint32]})
	b = batch{}
	if s.ids.multi > 0 {
		for id, n := range s.ids.all() {
			for c := n.claims; len(n.claims) > 4 && len(c) > 0; c = c[4:] {
				num := binary.LittleEndian.Uint32(c)
				put(&b, id, unclaim, num, "")
				list[num] = ""
			}
			if len(n.claims) > 4 {
				s.skipped[string(id)] = Skip{Host: string(id), Reason: reason(ErrSameID), Err: ErrSameID}
			}
		}
	}
	for id := range s.skipped {
		if n := s.ids.find([]byte(id)); len(n.claims) == 4 {
			num := binary.LittleEndian.Uint32(n.claims)
			put(&b, id, unclaim, num, "")
			list[num] = ""
			s.skipped[id] = Skip{Host: id, Reason: reason(ErrSameID), Err: ErrSameID}
		}
	}
	s.ids = e.apply(s.ids, &b, rules{order: cmp.Compare[uint32]})
	for at := 0; at < len(list); at += pageHosts {
		pg := &page{}
		copy(pg[:], list[at:])
		s.roster.pages = append(s.roster.pages, pg)
	}
	s.roster.next = uint32(len(list)) //nolint:gosec // fewer than 4 Gi hosts
	for n, h := range list {
		if h == "" {
			s.roster.free = &freeNumber{uint32(n), s.roster.free}
		}
	}
	return list
}

// Update returns the Set after changes, at serial, in the order given. s stays
// as it is and shares what did not change, so the cost is that of the names
// touched. The report lists only names that the changes touched; [Set.Report]
// lists all.
//
// serial must follow that of s in the order of RFC 1982 or the error wraps
// [ErrSerialNotNewer]. Under [CollisionReject] the error is a [*CollisionError].
func (s *Set) Update(serial uint32, changes ...Change) (*Set, *Report, error) {
	if !newer(serial, s.serial) {
		return nil, nil, fmt.Errorf("dnszone: update %d to %d: %w", s.serial, serial, ErrSerialNotNewer)
	}
	next := *s
	next.serial, next.self, next.parent = serial, new(byte), s.self
	last := map[string]int{}
	for i, c := range changes {
		last[c.Host.ID] = i
	}
	t := next.begin()
	for i, c := range changes {
		if last[c.Host.ID] == i {
			t.change(c)
		}
	}
	t.finish()
	next.touched = t.touched(s)
	r := t.report()
	if s.policy == CollisionReject && len(r.Withheld) > 0 {
		return nil, r, &CollisionError{r.Withheld[0]}
	}
	return &next, r, nil
}

// txn gathers what a Set that is being made changes.
type txn struct {
	s              *Set
	ids, apps, fwd batch
	rev            []batch
	hosts          []host   // entered or left
	changed        []string // IDs
	owned          map[uint32]bool
	last           netip.Prefix // where the last address was found, and
	lastZone       int          // its zone
	key            []byte
}

func (s *Set) begin() *txn { return &txn{s: s, rev: make([]batch, len(s.rev))} }

func (t *txn) change(c Change) {
	s := t.s
	id := c.Host.ID
	t.changed = append(t.changed, id)
	num, had := s.number(id)
	if had {
		t.leave(num, s.roster.host(num))
	}
	if _, ok := s.skipped[id]; ok {
		s.skipped = maps.Clone(s.skipped)
		delete(s.skipped, id)
	}
	var h host
	if !c.Remove {
		b, err := s.appendHost(nil, c.Host)
		if err != nil {
			s.skipped = maps.Clone(s.skipped)
			s.skip(c.Host, err)
		}
		h = host(b)
	}
	switch {
	case h != "" && !had:
		num = t.take()
		put(&t.ids, id, claim, num, "")
	case h == "" && had:
		put(&t.ids, id, unclaim, num, "")
		s.roster.free = &freeNumber{num, s.roster.free}
	}
	if h != "" || had {
		t.own(num)[num%pageHosts] = h
	}
	if h != "" {
		t.enter(num, h)
	}
}

// number returns the number of the host with id.
func (s *Set) number(id string) (uint32, bool) {
	n := s.ids.find([]byte(id))
	if len(n.claims) == 0 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(n.claims), true
}

// take returns a number that no host has.
func (t *txn) take() uint32 {
	r := &t.s.roster
	if f := r.free; f != nil {
		r.free = f.next
		return f.number
	}
	n := r.next
	r.next++
	return n
}

// own returns the page of number n for writing.
func (t *txn) own(n uint32) *page {
	r := &t.s.roster
	at := n / pageHosts
	if t.owned == nil {
		t.owned = map[uint32]bool{}
		r.pages = slices.Clone(r.pages)
	}
	if int(at) == len(r.pages) {
		r.pages = append(r.pages, &page{})
		t.owned[at] = true
	}
	if !t.owned[at] {
		pg := *r.pages[at]
		r.pages[at] = &pg
		t.owned[at] = true
	}
	return r.pages[at]
}

func (t *txn) enter(n uint32, h host) {
	t.names(n, h, claim, addKid)
	t.s.wild += b2i(h.wildcard())
	t.s.roster.size++
}

func (t *txn) leave(n uint32, h host) {
	t.names(n, h, unclaim, dropKid)
	t.s.wild -= b2i(h.wildcard())
	t.s.roster.size--
}

// names makes h claim, or give up, all its names. Names that stay are given up
// and claimed again, for the order among the claims of a name may change.
func (t *txn) names(n uint32, h host, a, kid action) {
	t.hosts = append(t.hosts, h)
	name, data := h.name(), h.data()
	put(&t.fwd, name, a, n, data)
	put(&t.fwd, h.short(), a, n, data)
	if h.wildcard() {
		put(&t.fwd, "\x01*"+name, a, n, data)
	}
	t.key = appendAppKey(t.key[:0], h)
	t.apps.putKid(t.key, kid)
	if len(t.rev) == 0 {
		return
	}
	for addr := range h.addrs() {
		if z := t.zone(addr); z >= 0 {
			d := t.s.defs[z]
			t.key = appendReverse(t.key[:0], addr, d.prefix.Bits(), addr.BitLen())
			put(&t.rev[z-t.s.forward], t.key, a, n, "")
		}
	}
}

// appendAppKey appends the name that stands for the application of h. The first
// label tells apart applications of one label.
func appendAppKey(dst []byte, h host) []byte {
	raw := h.rawApp()
	if len(raw) > 255 {
		raw = longKey(raw)
	}
	return append(appendShort(dst, raw), h.app()...)
}

// zone returns the reverse zone of addr, or -1.
func (t *txn) zone(addr netip.Addr) int {
	if t.last.IsValid() && t.last.Contains(addr) {
		return t.lastZone
	}
	z := t.s.reverseZone(addr)
	if z >= 0 {
		t.last, t.lastZone = t.s.defs[z].prefix, z
	}
	return z
}

func (p *plan) reverseZone(addr netip.Addr) int {
	zones := p.defs[p.forward:]
	i, found := slices.BinarySearchFunc(zones, addr, func(d *zoneDef, a netip.Addr) int {
		return d.prefix.Addr().Compare(a)
	})
	if !found {
		i--
	}
	if i >= 0 && zones[i].prefix.Contains(addr) {
		return p.forward + i
	}
	return -1
}

// order is that of qualified names, then IDs.
func (s *Set) order(a, b uint32) int {
	x, y := s.roster.host(a), s.roster.host(b)
	if c := compareNames(x.name(), y.name()); c != 0 {
		return c
	}
	return cmp.Compare(x.id(), y.id())
}

// finish applies the gathered changes.
func (t *txn) finish() {
	s := t.s
	var e editor
	apps, last := map[string]bool{}, ""
	for _, h := range t.hosts {
		if app := h.app(); app != last {
			apps[app], last = true, app
		}
	}
	count := func(weight int) {
		for app := range apps {
			s.shared += weight * b2i(s.appShared(app))
		}
	}
	count(-1)
	s.ids = e.apply(s.ids, &t.ids, rules{order: cmp.Compare[uint32]})
	s.apps = e.apply(s.apps, &t.apps, rules{})
	count(+1)
	s.fwd = e.apply(s.fwd, &t.fwd, rules{s.order, func(n uint32) string { return s.roster.host(n).data() }})
	s.rev = slices.Clone(s.rev)
	for i := range s.rev {
		s.rev[i] = e.apply(s.rev[i], &t.rev[i], rules{order: s.order})
	}
}

// touched returns the names that t may have changed, or nil for all of them.
func (t *txn) touched(old *Set) []zoneName {
	list := []zoneName{}
	add := func(z int, b *batch) {
		for _, o := range b.ops {
			list = append(list, zoneName{z, string(b.key(o))})
		}
	}
	add(0, &t.fwd)
	for i := range t.rev {
		add(t.s.forward+i, &t.rev[i])
	}
	for _, h := range t.hosts {
		if old.appShared(h.app()) != t.s.appShared(h.app()) {
			return nil
		}
		// Whether a qualified name is somebody's decides on what else its
		// claimants show.
		before, after := old.fwd.find([]byte(h.name())), t.s.fwd.find([]byte(h.name()))
		if old.tooMany(before) == t.s.tooMany(after) {
			continue
		}
		for s, n := range map[*Set]node{old: before, t.s: after} {
			for h := range s.claimants(n) {
				if h.wildcard() {
					list = append(list, zoneName{0, "\x01*" + h.name()})
				}
				for a := range h.addrs() {
					if z := s.reverseZone(a); z >= 0 {
						list = append(list, zoneName{z, string(appendReverse(nil, a, s.defs[z].prefix.Bits(), a.BitLen()))})
					}
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b zoneName) int {
		return cmp.Or(cmp.Compare(a.z, b.z), compareNames(a.rel, b.rel))
	})
	return slices.Compact(list)
}

// appShared reports whether several applications want the label app.
func (s *Set) appShared(app string) bool {
	return s.apps.find([]byte(app)).kids > 1
}

// blocked reports whether the qualified name of h belongs to nobody.
func (s *Set) blocked(h host) bool {
	if s.shared > 0 && s.appShared(h.app()) {
		return true
	}
	return s.tooMany(s.fwd.find([]byte(h.name())))
}

// tooMany reports whether n, all of whose claims are of one qualified name, has
// more claims than may share it.
func (s *Set) tooMany(n node) bool {
	if s.policy == CollisionMerge {
		return len(n.claims) > 4*MaxMerge
	}
	return len(n.claims) > 4
}

// withheld reports whether the name rel of zone z, which n is the node of,
// belongs to nobody. n has at least one claim.
func (s *Set) withheld(z int, rel []byte, n node) bool {
	if len(n.claims) > 4 && (s.tooMany(n) || s.claimant(n, len(n.claims)/4-1).name() != s.claimant(n, 0).name()) {
		return true // claims are in the order of qualified names
	}
	switch {
	case z >= s.forward || rel[1] == '*':
		return s.blocked(s.claimant(n, 0))
	case len(rel) == 1+int(rel[0]):
		return false
	}
	return s.shared > 0 && s.appShared(s.claimant(n, 0).app())
}

func (s *Set) claimant(n node, i int) host {
	return s.roster.host(binary.LittleEndian.Uint32(n.claims[4*i:]))
}

func (s *Set) claimants(n node) iter.Seq[host] {
	return func(yield func(host) bool) {
		for i := range len(n.claims) / 4 {
			if !yield(s.claimant(n, i)) {
				return
			}
		}
	}
}

// tree returns the names of hosts below zone z.
func (s *Set) tree(z int) *tree {
	if z < s.forward {
		return s.fwd
	}
	return s.rev[z-s.forward]
}

// Serial returns the serial of all zones of s.
func (s *Set) Serial() uint32 { return s.serial }

// Len returns the number of hosts that s holds.
func (s *Set) Len() int { return s.roster.size }

// Names returns the names that lead to the host, without the final dot: the
// short name unless it is withheld, then the qualified one, below each suffix in
// turn. They lead to no other host, but for those that share them under
// [CollisionMerge]. It returns nil for a host that s does not know.
func (s *Set) Names(hostID string) []string {
	num, ok := s.number(hostID)
	if !ok {
		return nil
	}
	h := s.roster.host(num)
	var names []string
	for z := range s.forward {
		for _, rel := range []string{h.short(), h.name()} {
			if !s.withheld(z, []byte(rel), s.fwd.find([]byte(rel))) {
				names = append(names, hostText(rel+s.defs[z].origin))
			}
		}
	}
	return names
}

// reason is the text of err for people and JSON.
func reason(err error) string {
	if l, ok := errors.AsType[*LabelError](err); ok {
		return strings.TrimPrefix(l.Error(), "dnszone: ")
	}
	return err.Error()
}
