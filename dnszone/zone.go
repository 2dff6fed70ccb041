package dnszone

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
)

// A Zone is one zone of a [Set].
type Zone struct {
	s *Set
	z int
}

// Zones yields the forward zones in the order of [Config.Suffixes], then the
// reverse zones in address order.
func (s *Set) Zones() iter.Seq[*Zone] {
	return func(yield func(*Zone) bool) {
		for z := range s.defs {
			if !yield(&Zone{s, z}) {
				return
			}
		}
	}
}

// Zone returns the zone that name, with or without the final dot, lies in.
func (s *Set) Zone(name string) (z *Zone, ok bool) {
	wire, err := parseName(name)
	if err != nil {
		return nil, false
	}
	i := s.zoneOf([]byte(wire))
	return &Zone{s, i}, i >= 0
}

// Name returns the zone's apex, with the final dot.
func (z *Zone) Name() string { return z.s.defs[z.z].name }

// Serial returns the zone's serial.
func (z *Zone) Serial() uint32 { return z.s.serial }

// Records yields all records: the SOA first, then by name in the canonical
// order of RFC 4034 section 6.1, by type and by data.
func (z *Zone) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for owner, rr := range z.records() {
			if !yield(Record{Name: nameText(owner), Type: rr.typ, TTL: rr.ttl, Data: string(rr.data)}) {
				return
			}
		}
	}
}

// Digest is the SHA-256 of all records but for the serial: two zones of one
// digest hold the same.
func (z *Zone) Digest() [32]byte {
	sum := sha256.New()
	var buf []byte
	for owner, rr := range z.records() {
		data := rr.data
		if rr.typ == TypeSOA {
			data = slices.Clone(data)
			binary.BigEndian.PutUint32(data[len(data)-soaSerial:], 0)
		}
		buf = append(append(buf[:0], owner...), 0)
		buf = appendRR(buf, rr.typ, rr.ttl, data)
		sum.Write(buf)
	}
	return [32]byte(sum.Sum(nil))
}

// records yields the wire form of what Records yields. The owner is valid until
// the next one.
func (z *Zone) records() iter.Seq2[[]byte, wireRR] {
	return func(yield func([]byte, wireRR) bool) {
		s, d := z.s, z.s.defs[z.z]
		owner := []byte(d.origin)
		if !yield(owner, z.soa()) {
			return
		}
		var list []wireRR
		var buf []byte
		for _, n := range z.names() {
			at := spot{z: z.z, n: n.node, apex: len(n.name) == 0}
			if len(at.n.claims) > 0 {
				at.lost = s.withheld(z.z, n.name, at.n)
			}
			at.own = d.own[string(n.name)]
			owner = append(append(owner[:0], n.name...), d.origin...)
			list, buf = s.appendAll(list[:0], buf[:0], &at)
			for _, rr := range list {
				if !yield(owner, rr) {
					return
				}
			}
		}
	}
}

func (z *Zone) soa() wireRR {
	rr, _ := cutRR(z.s.appendSOA([]byte{ownerPtr >> 8, ownerPtr & 0xff}, z.z))
	return rr
}

// names returns the apex and all names below it in canonical order.
func (z *Zone) names() []*sortName {
	t, d := z.s.tree(z.z), z.s.defs[z.z]
	all := make([]sortName, 0, t.nodes+len(d.own))
	for rel, n := range t.all() {
		all = append(all, newSortName(rel, n))
	}
	for rel := range d.own {
		if !t.read([]byte(rel), &node{}) {
			all = append(all, newSortName([]byte(rel), node{}))
		}
	}
	list := make([]*sortName, len(all))
	for i := range all {
		list[i] = &all[i]
	}
	slices.SortFunc(list, (*sortName).compare)
	return list
}

// sortName is a name with the first octets that the canonical order looks at:
// labels from the last to the first, each ended by a zero.
type sortName struct {
	high, low uint64
	name      []byte
	node      node
}

func newSortName(name []byte, n node) sortName {
	var starts [128]uint8
	var key [16]byte
	at := 0
	for i := labelStarts(&starts, name) - 1; i >= 0 && at < len(key); i-- {
		label := name[starts[i]:]
		at += copy(key[at:], label[1:1+int(label[0])]) + 1
	}
	return sortName{binary.BigEndian.Uint64(key[:]), binary.BigEndian.Uint64(key[8:]), name, n}
}

func (n *sortName) compare(m *sortName) int {
	switch {
	case n.high != m.high:
		return 1 - 2*b2i(n.high < m.high)
	case n.low != m.low:
		return 1 - 2*b2i(n.low < m.low)
	}
	return compareNames(n.name, m.name)
}

// Answer is what a name leads to.
type Answer struct {
	Rcode   Rcode
	Records []Record // of the type asked for, and the aliases that lead there
}

// Lookup answers like [Set.AppendReply] does over TCP, in Go values. name may
// lack the final dot. An Answer without records and with [NoError] means that
// the name exists without records of type t.
func (s *Set) Lookup(name string, t Type) Answer {
	if _, err := parseName(name); err != nil {
		return Answer{Rcode: FormErr}
	}
	msg := AppendQuestion([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name, t)
	r := reply{s: s, via: TCP}
	msg = r.append(nil, msg)
	a := Answer{Rcode: Rcode(msg[3] & 15)}
	rest := msg[r.q.end:]
	for range r.answer {
		// Owners are pointers to a name that is written out.
		owner := msg[binary.BigEndian.Uint16(rest)&0x3fff:]
		owner = owner[:wireNameLen(string(owner[:min(len(owner), maxName)]))-1]
		var rr wireRR
		rr, rest = cutRR(rest)
		a.Records = append(a.Records, Record{strings.ToLower(nameText(owner)), rr.typ, rr.ttl, string(rr.data)})
	}
	return a
}
