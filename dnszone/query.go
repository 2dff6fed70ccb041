package dnszone

import (
	"encoding/binary"
	"strconv"
)

// Parts of a header (RFC 1035 section 4.1.1).
const (
	headerLen = 12
	bitQR     = 1 << 7 // octet 2
	bitAA     = 1 << 2
	bitTC     = 1 << 1
	bitRD     = 1
	opcodes   = 15 << 3
)

// A Rcode is the outcome of a query.
type Rcode uint16

// Outcomes (RFC 1035 section 4.1.1, RFC 6891 section 9).
const (
	NoError  Rcode = 0
	FormErr  Rcode = 1
	ServFail Rcode = 2
	NXDomain Rcode = 3
	NotImp   Rcode = 4
	Refused  Rcode = 5
	BadVers  Rcode = 16
)

// String returns the mnemonic, or RCODE and the number.
func (r Rcode) String() string {
	switch r {
	case NoError:
		return "NOERROR"
	case FormErr:
		return "FORMERR"
	case ServFail:
		return "SERVFAIL"
	case NXDomain:
		return "NXDOMAIN"
	case NotImp:
		return "NOTIMP"
	case Refused:
		return "REFUSED"
	case BadVers:
		return "BADVERS"
	}
	return "RCODE" + strconv.Itoa(int(r))
}

// A Question is what a query asks.
type Question struct {
	Name  string // with the final dot, in lower case
	Type  Type
	Class uint16
	RD    bool // recursion desired
	EDNS  bool // the query has an OPT record
	DO    bool // DNSSEC records wanted
	Size  int  // octets that the client takes over UDP, at most [MaxUDP]
	Len   int  // octets of header and question
}

// ParseQuestion reads the question of query. It reports false for whatever
// [Set.AppendReply] drops or finds malformed, and for other opcodes than QUERY.
func ParseQuestion(msg []byte) (Question, bool) {
	var q query
	if len(msg) < headerLen || msg[2]&bitQR != 0 || !q.parse(msg) || q.opcode != 0 {
		return Question{}, false
	}
	return Question{
		Name: nameText(q.name[:q.size]), Type: q.typ, Class: q.class, RD: msg[2]&bitRD != 0,
		EDNS: q.edns, DO: q.do, Size: min(q.udp, MaxUDP), Len: q.end,
	}, true
}

// AppendQuestion appends a question for the records of type t of name, which is
// the root if it is no domain name.
func AppendQuestion(dst []byte, name string, t Type) []byte {
	wire, _ := parseName(name)
	return append(append(dst, wire...), 0, byte(t>>8), byte(t), 0, classIN) //nolint:gosec // the octets of a number
}

// query is what an answer depends on.
type query struct {
	end    int // of the question; that of the header if there is none to speak of
	name   [maxName + 1]byte
	size   int // of name in use
	typ    Type
	class  uint16
	opcode byte
	edns   bool
	udp    int // size that the client takes
	vers   byte
	do     bool
}

// parse reads msg. A false result means FORMERR.
func (q *query) parse(msg []byte) bool {
	q.end, q.opcode, q.udp = headerLen, msg[2]>>3&15, minUDP
	if binary.BigEndian.Uint16(msg[4:]) != 1 { // RFC 9619
		return false
	}
	i := headerLen
	for i < len(msg) && msg[i] != 0 {
		if msg[i] > maxLabel {
			return false
		}
		i += 1 + int(msg[i])
	}
	if q.size = i - headerLen; i >= len(msg) || q.size >= maxName {
		return false
	}
	copy(q.name[:], msg[headerLen:i])
	lowerAll(q.name[:q.size])
	if i += 5; i > len(msg) {
		return false
	}
	q.end = i
	q.typ = Type(binary.BigEndian.Uint16(msg[i-4:]))
	q.class = binary.BigEndian.Uint16(msg[i-2:])
	rrs := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	extra := int(binary.BigEndian.Uint16(msg[10:]))
	return q.skipTo(msg, i, rrs, extra)
}

// lowerAll turns upper case into lower case, eight octets at a time. Lengths of
// labels are below 'A'. It may touch up to seven octets behind name.
func lowerAll(name []byte) {
	const ones = 0x0101010101010101
	name = name[:(len(name)+7)&^7]
	for ; len(name) > 0; name = name[8:] {
		x := binary.LittleEndian.Uint64(name)
		low7 := x &^ (0x80 * ones)
		fromA, afterZ := low7+(0x80-'A')*ones, low7+(0x7f-'Z')*ones
		upper := (fromA ^ afterZ) &^ x & (0x80 * ones)
		binary.LittleEndian.PutUint64(name, x|upper>>2)
	}
}

// skipTo walks over the records behind the question and reads the OPT.
func (q *query) skipTo(msg []byte, i, rrs, extra int) bool {
	for n := range rrs + extra {
		start := i
		for {
			if i >= len(msg) {
				return false
			}
			c := int(msg[i])
			i++
			if c >= 0xc0 {
				i++
				break
			}
			if c > maxLabel {
				return false
			}
			if c == 0 {
				break
			}
			if i += c; i-start > maxName {
				return false
			}
		}
		if i+10 > len(msg) {
			return false
		}
		head := msg[i:]
		if i += 10 + int(binary.BigEndian.Uint16(head[8:])); i > len(msg) {
			return false
		}
		if n < rrs || Type(binary.BigEndian.Uint16(head)) != typeOPT {
			continue
		}
		if q.edns || msg[start] != 0 { // RFC 6891 section 6.1.1
			return false
		}
		q.edns = true
		q.udp = max(minUDP, int(binary.BigEndian.Uint16(head[2:])))
		q.vers = head[5]
		q.do = head[6]&0x80 != 0
	}
	return true
}
