package ipam

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"time"
)

// Pool is a network's address space with everything that is held in it. Create
// one with [New] or [Load].
//
// Any number of goroutines may decide and look up at the same time; [Pool.Apply]
// needs the Pool for itself, also while a loop over one of its iterators runs.
type Pool struct {
	fam      [2]family // IPv4, IPv6
	derive   *span     // the IPv6 prefix of derived addresses
	excluded []exclusion
	coolDown int64 // nanoseconds
	reserve  uint64
	spread   bool
	hashed   bool
	salt     string

	apps    map[string]*app
	ids     []*app
	spare   []uint32           // unused indexes of ids
	ranges  map[u128]*subrange // by base
	resting [2][]*subrange     // by time of release, then base
	closed  []*subrange
	strays  []Record // that Load could not place beside another one with their key

	entries slab
	owners  index
	addrs   index
	seed    maphash.Seed
	seen    int64 // the latest time of release
}

type app struct {
	name    string
	id      uint32
	ranges  [2][]*subrange // by base
	entries int
	live    int
}

// New returns a Pool in which nothing is held. If cfg cannot work, the error
// is a [*ConfigError].
func New(cfg Config) (*Pool, error) {
	p := &Pool{apps: map[string]*app{}, ranges: map[u128]*subrange{}, seed: maphash.MakeSeed()}
	if err := p.resolve(cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// Load returns the Pool whose state is records, in any order. count is how many
// there are, as far as it is known: the Pool makes room for them at once.
//
// Records that contradict each other or cfg do not fail: what they name stays
// held, and [Pool.Audit] reports them. A record that is malformed does: the
// error wraps [ErrInvalid].
func Load(cfg Config, count int, records iter.Seq[Record]) (*Pool, error) {
	p, err := New(cfg)
	if err != nil {
		return nil, err
	}
	count = min(count, 1<<20) // a wrong count costs little
	p.owners.reserve(count)
	p.addrs.reserve(count)
	var ranges []Record
	for r := range records {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("ipam: load: %w", err)
		}
		if r.IsRange() {
			ranges = append(ranges, r)
			continue
		}
		at := fromAddr(r.Addr)
		if _, ok := p.entryAt(at); ok {
			p.strays = append(p.strays, r)
			continue
		}
		p.insert(p.ensureApp(r.App), at, &r)
	}
	// Of two ranges that overlap, a live one is kept in use.
	slices.SortFunc(ranges, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.releasedNano(), b.releasedNano()), spanOf(a.Prefix).cmp(spanOf(b.Prefix)), cmp.Compare(a.App, b.App))
	})
	for _, r := range ranges {
		if _, ok := p.ranges[fromAddr(r.Prefix.Addr())]; ok {
			p.strays = append(p.strays, r)
			continue
		}
		_ = p.addRange(&r, true)
	}
	for id := range p.entries.all() {
		p.attach(p.home(id), id)
	}
	return p, nil
}

// clock returns now, or the latest time in the records if a clock went backwards.
func (p *Pool) clock(now time.Time) int64 { return max(toNano(now), p.seen) }

// rested reports whether somebody else may have what was released then.
func (p *Pool) rested(released, now int64) bool { return now-released >= p.coolDown }

func (p *Pool) ensureApp(name string) *app {
	if a := p.apps[name]; a != nil {
		return a
	}
	a := &app{name: name}
	if n := len(p.spare); n > 0 {
		a.id, p.spare = p.spare[n-1], p.spare[:n-1]
		p.ids[a.id] = a
	} else {
		a.id = uint32(len(p.ids)) //nolint:gosec // each app takes memory
		p.ids = append(p.ids, a)
	}
	p.apps[name] = a
	return a
}

// tidy forgets a when nothing is left of it.
func (p *Pool) tidy(a *app) {
	if a.entries == 0 && len(a.ranges[0]) == 0 && len(a.ranges[1]) == 0 {
		delete(p.apps, a.name)
		p.ids[a.id] = nil
		p.spare = append(p.spare, a.id)
	}
}

// around returns a's range that holds at, nil if none does.
func (a *app) around(at u128) *subrange {
	if a == nil {
		return nil
	}
	list := a.ranges[familyOf(at)]
	i, exact := slices.BinarySearchFunc(list, at, func(r *subrange, u u128) int { return r.base.cmp(u) })
	if exact {
		return list[i]
	}
	if i > 0 && list[i-1].contains(at) {
		return list[i-1]
	}
	return nil
}

// held returns the live ranges of a family.
func (a *app) held(f int) []*subrange {
	if a == nil {
		return nil
	}
	list := a.ranges[f]
	if i := slices.IndexFunc(list, resting); i >= 0 {
		list = slices.DeleteFunc(slices.Clone(list), resting)
	}
	return list
}

func resting(r *subrange) bool { return r.released != 0 }

func familyOf(at u128) int {
	if at.is4() {
		return 0
	}
	return 1
}

// active reports whether the pool numbers this family.
func (p *Pool) active(f int) bool { return len(p.fam[f].tries) > 0 }

// primary is the family that counts: IPv4 unless the pool has none.
func (p *Pool) primary() int {
	if p.active(0) {
		return 0
	}
	return 1
}

// trieOf returns the trie that s lies in, nil if s is outside the pool.
func (p *Pool) trieOf(s span) *trie {
	for _, t := range p.fam[familyOf(s.base)].tries {
		if t.covers(s) && s.ones-t.ones <= maxDepth {
			return t
		}
	}
	return nil
}

func (p *Pool) hashAddr(at u128) uint32 {
	h := (at.lo ^ at.hi*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	return uint32(h >> 32)
}

func (p *Pool) hashOwner(a *app, owner string) uint32 {
	h := maphash.String(p.seed, owner) + uint64(a.id)*0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

// entryAt finds the entry of an address.
func (p *Pool) entryAt(at u128) (uint32, bool) {
	hash := p.hashAddr(at)
	for id, i, ok := p.addrs.next(hash, uint64(hash)); ok; id, i, ok = p.addrs.next(hash, i) {
		if p.entries.at(id).at == at {
			return id, true
		}
	}
	return 0, false
}

// home returns the range that an entry is in, nil if it is an orphan.
func (p *Pool) home(id uint32) *subrange {
	e := p.entries.at(id)
	return p.ids[e.app].around(e.at)
}

// owned yields the entries of an owner.
func (p *Pool) owned(a *app, owner string) iter.Seq2[uint32, *entry] {
	return func(yield func(uint32, *entry) bool) {
		hash := p.hashOwner(a, owner)
		for id, i, ok := p.owners.next(hash, uint64(hash)); ok; id, i, ok = p.owners.next(hash, i) {
			if e := p.entries.at(id); e.app == a.id && e.owner == owner && !yield(id, e) {
				return
			}
		}
	}
}

func (p *Pool) recordOf(e *entry) Record {
	return Record{App: p.ids[e.app].name, Owner: e.owner, Addr: e.at.addr(), Gen: e.gen, Released: fromNano(e.released)}
}

// boundary brings an address from outside into the form that is held.
func boundary(a netip.Addr) (u128, bool) {
	a = a.Unmap()
	return fromAddr(a), a.IsValid() && a.Zone() == ""
}
