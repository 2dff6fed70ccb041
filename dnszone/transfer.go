package dnszone

import (
	"encoding/binary"
	"iter"
)

// transferSize is where a message of a transfer ends if another record would go
// past it.
const transferSize = 16 << 10

// AXFR yields the messages that answer query with the whole zone (RFC 5936),
// to be sent over TCP in that order. A message is valid until the next one.
// query has a question for the zone's name, and the caller decides who may ask.
func (z *Zone) AXFR(query []byte) iter.Seq[[]byte] {
	return z.transfer(query, func(t *transfer) bool {
		for owner, rr := range z.records() {
			if !t.add(owner, rr) {
				return false
			}
		}
		return t.add([]byte(z.s.defs[z.z].origin), z.soa())
	})
}

// IXFR yields the messages that answer query with deltas, each of which begins
// where the one before ends and the last of which ends at this zone (RFC 1995).
// No delta at all tells the client that it is up to date.
func (z *Zone) IXFR(query []byte, deltas ...Delta) iter.Seq[[]byte] {
	return z.transfer(query, func(t *transfer) bool {
		apex := []byte(z.s.defs[z.z].origin)
		ok := t.add(apex, z.soa())
		for _, d := range deltas {
			ok = ok && t.add(apex, d.was) && t.addAll(d.Removed) && t.add(apex, d.is) && t.addAll(d.Added)
		}
		if len(deltas) > 0 {
			ok = ok && t.add(apex, z.soa())
		}
		return ok
	})
}

// TransferSerial returns the serial that the client of an IXFR query has, from
// the SOA in its authority section.
func TransferSerial(msg []byte) (serial uint32, ok bool) {
	var q query
	if len(msg) < headerLen || !q.parse(msg) || q.typ != TypeIXFR || binary.BigEndian.Uint16(msg[8:]) != 1 {
		return 0, false
	}
	// Answers do not occur in queries, so the SOA is the first record.
	i := q.end
	for i < len(msg) && msg[i] != 0 && msg[i] < 0xc0 {
		i += 1 + int(msg[i])
	}
	if i += 1 + b2i(i < len(msg) && msg[i] >= 0xc0); i+10 > len(msg) {
		return 0, false
	}
	end := i + 10 + int(binary.BigEndian.Uint16(msg[i+8:]))
	if Type(binary.BigEndian.Uint16(msg[i:])) != TypeSOA || end > len(msg) || end-i < 10+soaSerial+2 {
		return 0, false
	}
	return binary.BigEndian.Uint32(msg[end-soaSerial:]), true
}

// transfer packs records into messages.
type transfer struct {
	origin string
	head   int // octets before the answer
	buf    []byte
	n      int
	yield  func([]byte) bool
}

func (z *Zone) transfer(query []byte, fill func(*transfer) bool) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		r := reply{s: z.s, via: TCP}
		if len(query) < headerLen || !r.q.parse(query) || string(r.q.name[:r.q.size]) != z.s.defs[z.z].origin {
			return
		}
		t := transfer{origin: z.s.defs[z.z].origin, head: r.q.end, yield: yield}
		t.buf = append(t.buf, query[:t.head]...)
		t.buf[2] = bitQR | bitAA | query[2]&bitRD
		t.buf[3] = 0
		clear(t.buf[6:headerLen])
		if fill(&t) && t.n > 0 {
			t.flush()
		}
	}
}

// add appends one record. Its owner ends in a pointer to the zone's name, which
// every message has as the question.
func (t *transfer) add(owner []byte, rr wireRR) bool {
	rel := owner[:len(owner)-len(t.origin)]
	if t.n > 0 && len(t.buf)+len(rel)+rrHead+len(rr.data) > transferSize && !t.flush() {
		return false
	}
	t.n++
	t.buf = appendRR(append(t.buf, rel...), rr.typ, rr.ttl, rr.data)
	return true
}

func (t *transfer) addAll(list []Record) bool {
	for _, r := range list {
		owner, err := parseName(r.Name)
		if err != nil || !t.add([]byte(owner), wireRR{r.Type, r.TTL, []byte(r.Data)}) {
			return false
		}
	}
	return true
}

func (t *transfer) flush() bool {
	put16(t.buf[6:], t.n)
	ok := t.yield(t.buf)
	t.buf, t.n = t.buf[:t.head], 0
	return ok
}
