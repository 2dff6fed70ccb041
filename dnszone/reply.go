package dnszone

import "encoding/binary"

// A Transport is how a query came.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP
)

// Sizes of messages in octets. MaxUDP passes a WireGuard interface with an MTU
// of 1280 or more in one piece; it is also what our OPT announces.
const (
	minUDP = 512 // RFC 1035 section 4.2.1
	MaxUDP = 1232
	maxTCP = 65535
	optLen = 11
)

// AppendReply appends to dst the reply to query. It allocates nothing as long as
// dst has room, and keeps neither of the two.
//
// The reply to a packet that is a query but makes no sense is an error code, as
// is that to a name outside of the zones (REFUSED), to another class, and to
// transfers. If a packet deserves no reply at all, AppendReply returns dst and
// [ErrDrop].
func (s *Set) AppendReply(dst, query []byte, via Transport) ([]byte, error) {
	if len(query) < headerLen || query[2]&bitQR != 0 {
		return dst, ErrDrop
	}
	r := reply{s: s, base: len(dst), via: via}
	return r.append(dst, query), nil
}

// AppendError appends to dst a reply to query that has no records, only an
// outcome; truncated tells the client to ask again over TCP. It is for servers
// that have no answer to give, and drops what [Set.AppendReply] drops.
func AppendError(dst, query []byte, rcode Rcode, truncated bool) ([]byte, error) {
	if len(query) < headerLen || query[2]&bitQR != 0 {
		return dst, ErrDrop
	}
	r := reply{base: len(dst)}
	if !r.q.parse(query) {
		rcode = FormErr
	}
	dst = append(dst, query[:r.q.end]...)
	return r.finish(dst, query, rcode, byte(b2i(truncated))*bitTC, &spot{}, MaxUDP), nil //nolint:gosec // 0 or 1
}

// reply is one answer in the making.
type reply struct {
	s      *Set
	q      query
	via    Transport
	base   int // where the message begins
	answer int
	auth   int
}

func (r *reply) append(dst, msg []byte) []byte {
	ok := r.q.parse(msg)
	q := &r.q
	head := q.end
	dst = append(dst, msg[:head]...)
	var rcode Rcode
	var flags byte
	var lost spot // a name that belongs to nobody
	switch {
	case !ok:
		rcode = FormErr
	case q.opcode != 0:
		rcode = NotImp
	case q.edns && q.vers > 0:
		rcode = BadVers
	case q.class != classIN || q.typ == TypeAXFR || q.typ == TypeIXFR:
		rcode = Refused
	default:
		z := r.s.zoneOf(q.name[:q.size])
		if z < 0 {
			rcode = Refused
			break
		}
		dst, rcode, lost = r.resolve(dst, z)
		flags = bitAA
	}
	limit := maxTCP
	if r.via == UDP {
		limit = min(q.udp, MaxUDP)
	}
	opt := optLen * b2i(q.edns)
	if len(dst)-r.base+opt > limit {
		dst = dst[:r.base+head]
		r.answer, r.auth, lost = 0, 0, spot{}
		flags |= bitTC
	}
	return r.finish(dst, msg, rcode, flags, &lost, limit)
}

// finish appends the OPT record and fills in the header.
func (r *reply) finish(dst, msg []byte, rcode Rcode, flags byte, lost *spot, limit int) []byte {
	if r.q.edns {
		dst = r.appendOPT(dst, rcode, lost, limit)
	}
	h := dst[r.base:]
	h[2] = bitQR | msg[2]&(opcodes|bitRD) | flags
	h[3] = byte(rcode & 15)
	put16(h[4:], b2i(r.q.end > headerLen))
	put16(h[6:], r.answer)
	put16(h[8:], r.auth)
	put16(h[10:], b2i(r.q.edns))
	return dst
}

// resolve appends the answer of zone z. lost is the name if it is withheld.
func (r *reply) resolve(dst []byte, z int) (reply []byte, rcode Rcode, lost spot) {
	s, q := r.s, &r.q
	name := q.name[:q.size]
	owner := headerLen // where the message has the owner of the records to come
	for range maxChain {
		var at spot
		if !s.look(&at, z, name[:len(name)-len(s.defs[z].origin)]) {
			return r.negative(dst, z, owner), NXDomain, lost
		}
		start, was := len(dst), r.answer
		switch {
		case q.typ == TypeANY:
			dst = r.appendAny(dst, &at)
		case q.typ == TypeSOA && at.apex:
			r.answer++
			dst = s.appendSOA(append(dst, ownerPtr>>8, ownerPtr&0xff), z)
		default:
			dst = s.appendSet(dst, &at, q.typ, &r.answer)
		}
		if r.answer > was {
			repoint(dst[start:], owner)
			return dst, NoError, lost
		}
		if dst = s.appendSet(dst, &at, TypeCNAME, &r.answer); r.answer == was {
			if at.lost {
				lost = at
			}
			return r.negative(dst, z, owner), NoError, lost
		}
		repoint(dst[start:], owner)
		owner = start + rrHead - r.base
		name = dst[start+rrHead : len(dst)-1]
		if z = s.zoneOf(name); z < 0 {
			return dst, NoError, lost // the resolver goes on from there
		}
	}
	return dst, NoError, lost
}

// appendAny appends one set of records over UDP (RFC 8482), all over TCP.
func (r *reply) appendAny(dst []byte, at *spot) []byte {
	was := r.answer
	if at.apex {
		r.answer++
		dst = r.s.appendSOA(append(dst, ownerPtr>>8, ownerPtr&0xff), at.z)
	}
	claimed := [...]Type{TypeA, TypePTR, TypeTXT, TypeAAAA}
	for _, t := range claimed {
		if len(at.n.claims) > 0 && (r.via != UDP || r.answer == was) {
			dst = r.s.appendSet(dst, at, t, &r.answer)
		}
	}
	if at.own == nil {
		return dst
	}
	for i := range at.own.sets {
		t := at.own.sets[i].typ
		done := len(at.n.claims) > 0 && (t == TypeA || t == TypePTR || t == TypeTXT || t == TypeAAAA)
		if !done && (r.via != UDP || r.answer == was) {
			dst = r.s.appendSet(dst, at, t, &r.answer)
		}
	}
	return dst
}

// repoint makes the records of rrs belong to the name at offset owner.
func repoint(rrs []byte, owner int) {
	for owner != headerLen && len(rrs) > 0 {
		put16(rrs, 0xc000|owner) // aliases stand first, far below 16 KiB
		rrs = rrs[rrHead+int(binary.BigEndian.Uint16(rrs[10:])):]
	}
}

// negative appends the SOA, which says how long "no" may be kept (RFC 2308
// section 3).
func (r *reply) negative(dst []byte, z, owner int) []byte {
	r.auth++
	origin := r.s.defs[z].origin
	if owner == headerLen {
		at := 0xc000 | headerLen + r.q.size - len(origin)
		dst = append(dst, byte(at>>8), byte(at)) //nolint:gosec // the octets of a number
	} else {
		dst = append(append(dst, origin...), 0)
	}
	return r.s.appendSOA(dst, z)
}

// appendSOA appends the SOA of zone z, from the type on.
func (s *Set) appendSOA(dst []byte, z int) []byte {
	dst = append(dst, s.defs[z].soa...)
	binary.BigEndian.PutUint32(dst[len(dst)-soaSerial:], s.serial)
	return dst
}

// appendOPT appends our OPT record (RFC 6891 section 6.1.2), with the reason if
// a name is withheld (RFC 8914).
func (r *reply) appendOPT(dst []byte, rcode Rcode, lost *spot, limit int) []byte {
	dst = append(dst, 0, 0, byte(typeOPT), MaxUDP>>8, MaxUDP&0xff, byte(rcode>>4), 0, byte(b2i(r.q.do)<<7), 0, 0, 0) //nolint:gosec // the octets of a number
	if !lost.lost {
		return dst
	}
	size := len(dst)
	dst = append(dst, 0, 15, 0, 0, 0, 0) // EDE, code 0: other error
	dst = append(dst, withheldText...)
	for i, listed := 0, 0; listed < maxListed; listed++ {
		h, next := r.s.listed(lost, i)
		if h == "" {
			break
		}
		dst = r.s.appendListed(append(dst, ' '), lost, h)
		i = next
	}
	if len(dst)-r.base > limit {
		return dst[:size]
	}
	n := len(dst) - size
	put16(dst[size-2:], n)
	put16(dst[size+2:], n-4)
	return dst
}
