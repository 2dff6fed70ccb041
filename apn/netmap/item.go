package netmap

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Kinds of items, in the order of their keys.
const (
	kindLease = "lease/"
	kindPeer  = "peer/"
	kindRoute = "route/"
	kindRule  = "rule/"
)

// item is one peer, opening or route as it is signed. Items are never changed.
type item struct {
	key string
	raw []byte
	sum [sha256.Size]byte

	// What raw says, by the kind that key names; nothing for an unknown kind.
	peer   *Peer
	lease  *Opening
	prefix netip.Prefix // of a route or rule
}

// seal computes the item's digest once key and raw are there.
func (it *item) seal() *item {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(it.key)))) //nolint:gosec // keys are short
	h.Write([]byte(it.key))
	h.Write(it.raw)
	h.Sum(it.sum[:0])
	return it
}

// parseItem reads an item of the wire.
func parseItem(key string, raw []byte) (*item, error) {
	it := &item{key: key, raw: raw}
	kind, name, _ := strings.Cut(key, "/")
	var err error
	switch kind + "/" {
	case kindPeer:
		it.peer = new(Peer)
		err = json.Unmarshal(raw, it.peer)
		it.peer.ID = name
	case kindLease:
		it.lease = new(Opening)
		if err = json.Unmarshal(raw, it.lease); err == nil {
			it.lease.Source, err = netip.ParsePrefix(name)
		}
	case kindRoute, kindRule:
		it.prefix, err = netip.ParsePrefix(name)
	}
	if err != nil || !plain(key) { // the decoder's own text may quote the value
		return nil, fmt.Errorf("item %.64q is malformed", key)
	}
	return it.seal(), nil
}

// itemsOf returns the items of m sorted by key. Those that are equal to one in
// old, which is sorted too, are taken from there.
func itemsOf(m *Map, old []*item) ([]*item, error) {
	l := lister{old: old, out: make([]*item, 0, len(m.Peers)+len(m.Openings.Leases)+len(m.Openings.Permanent)+len(m.Routes))}
	leases := slices.Clone(m.Openings.Leases)
	slices.SortFunc(leases, func(a, b Opening) int { return strings.Compare(a.Source.String(), b.Source.String()) })
	for i := range leases {
		v := &leases[i]
		name := v.Source.String()
		if !l.take(kindLease, name, func(was *item) bool { return was.lease.equal(v) }) {
			l.add(&item{key: kindLease + name, lease: v}, Opening{IssuedAt: v.IssuedAt.UTC(), ExpiresAt: v.ExpiresAt.UTC()})
		}
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		if !l.take(kindPeer, p.ID, func(was *item) bool { return was.peer.equal(p) }) {
			bare := *p
			bare.ID = "" // the key has it
			l.add(&item{key: kindPeer + p.ID, peer: p}, bare)
		}
	}
	l.prefixes(kindRoute, m.Routes)
	l.prefixes(kindRule, m.Openings.Permanent)
	for i := 1; i < len(l.out) && l.err == nil; i++ {
		if l.out[i-1].key >= l.out[i].key {
			l.err = fmt.Errorf("%w: %q is out of order or there twice", ErrInvalid, l.out[i].key)
		}
	}
	return l.out, l.err
}

// lister makes a list of items, in the order of their keys.
type lister struct {
	old, out []*item
	err      error // the first
}

// take appends the old item under kind and name if same agrees, and reports
// whether it did.
func (l *lister) take(kind, name string, same func(*item) bool) bool {
	for len(l.old) > 0 {
		was := l.old[0]
		c := compareKey(was.key, kind, name)
		if c > 0 {
			return false
		}
		l.old = l.old[1:]
		if c == 0 {
			if same(was) {
				l.out = append(l.out, was)
				return true
			}
			return false
		}
	}
	return false
}

// compareKey is strings.Compare(key, kind+name) without the sum.
func compareKey(key, kind, name string) int {
	if rest, ok := strings.CutPrefix(key, kind); ok {
		return strings.Compare(rest, name)
	}
	return strings.Compare(key, kind)
}

func (l *lister) add(it *item, value any) {
	raw, err := json.Marshal(value)
	if l.err == nil && (err != nil || !plain(it.key)) {
		l.err = fmt.Errorf("%w: item %q cannot be encoded", ErrInvalid, it.key)
	}
	it.raw = raw
	l.out = append(l.out, it.seal())
}

func (l *lister) prefixes(kind string, prefixes []netip.Prefix) {
	sorted := slices.SortedFunc(slices.Values(prefixes), func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	for _, p := range sorted {
		if !l.take(kind, p.String(), func(*item) bool { return true }) {
			l.add(&item{key: kind + p.String(), prefix: p}, struct{}{})
		}
	}
}

// collect puts what items say into m.
func collect(m *Map, items []*item) {
	for _, it := range items {
		switch {
		case it.peer != nil:
			if m.Peers == nil {
				m.Peers = make([]Peer, 0, len(items))
			}
			m.Peers = append(m.Peers, *it.peer)
		case it.lease != nil:
			m.Openings.Leases = append(m.Openings.Leases, *it.lease)
		case strings.HasPrefix(it.key, kindRoute):
			m.Routes = append(m.Routes, it.prefix)
		case strings.HasPrefix(it.key, kindRule):
			m.Openings.Permanent = append(m.Openings.Permanent, it.prefix)
		}
	}
	slices.SortFunc(m.Routes, netip.Prefix.Compare)
	slices.SortFunc(m.Openings.Permanent, netip.Prefix.Compare)
	slices.SortFunc(m.Openings.Leases, func(a, b Opening) int { return a.Source.Compare(b.Source) })
}
