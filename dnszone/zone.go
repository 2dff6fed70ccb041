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
	if i < 0 {
		return nil, false
	}
	return &Zone{s, i}, true
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
			at := spot{z: z.z}
			name := n.read(&at.n)
			at.apex = len(name) == 0
			if len(at.n.claims) > 0 {
				at.lost = s.withheld(z.z, name, at.n)
			}
			if at.apex || d.below {
				at.own = d.own[string(name)]
			}
			owner = append(append(owner[:0], name...), d.origin...)
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
func (z *Zone) names() []sortName {
	t, d := z.s.tree(z.z), z.s.defs[z.z]
	list := make([]sortName, 0, t.nodes+len(d.own))
	for s, off := range t.places() {
		name, _ := s.node(off, &node{})
		list = append(list, sortName{canonicalStart(name), s, off})
	}
	for rel := range d.own {
		if name := []byte(rel); !t.read(name, &node{}) {
			// A shard of its own, for a name that no host claims.
			list = append(list, sortName{canonicalStart(name), &shard{blob: appendNode(nil, name, node{})}, 0})
		}
	}
	slices.SortFunc(list, sortName.compare)
	return list
}

// sortName is a name by where its node is, with what decides on its place in
// the canonical order unless it is long.
type sortName struct {
	start [3]uint64
	shard *shard
	off   int
}

func (n sortName) read(to *node) (name []byte) {
	name, _ = n.shard.node(n.off, to)
	return name
}

func (n sortName) compare(m sortName) int {
	for i := range n.start {
		if n.start[i] != m.start[i] {
			return 1 - 2*b2i(n.start[i] < m.start[i])
		}
	}
	return compareNames(n.read(&node{}), m.read(&node{}))
}

// canonicalStart packs the first octets that the canonical order looks at:
// labels from the last to the first, each ended by a zero.
func canonicalStart(name []byte) (start [3]uint64) {
	var starts [128]uint8
	var key [24]byte
	at := 0
	for i := labelStarts(&starts, name) - 1; i >= 0 && at < len(key); i-- {
		label := name[starts[i]:]
		at += copy(key[at:], label[1:1+int(label[0])]) + 1
	}
	for i := range start {
		start[i] = binary.BigEndian.Uint64(key[8*i:])
	}
	return start
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
