package dnszone

import "encoding/binary"

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

// query is what an answer depends on.
type query struct {
	raw    []byte // header and question as sent
	name   [maxName]byte
	size   int // of name in use
	typ    Type
	class  uint16
	opcode byte
	edns   bool
	udp    int // size that the client takes
	vers   byte
	do     bool
}

// parse reads msg. A false result means FORMERR, or that raw has no question if
// size of raw is that of the header.
func (q *query) parse(msg []byte) bool {
	q.raw, q.opcode, q.udp = msg[:headerLen], msg[2]>>3&15, minUDP
	if binary.BigEndian.Uint16(msg[4:]) != 1 { // RFC 9619
		return false
	}
	i := headerLen
	for {
		if i >= len(msg) {
			return false
		}
		n := int(msg[i])
		if n == 0 {
			break
		}
		if n > maxLabel || q.size+n+2 > maxName || i+n >= len(msg) {
			return false
		}
		for _, c := range msg[i : i+1+n] {
			q.name[q.size] = lower(c) // a length is below 'A'
			q.size++
		}
		i += 1 + n
	}
	if i += 5; i > len(msg) {
		return false
	}
	q.raw = msg[:i]
	q.typ = Type(binary.BigEndian.Uint16(msg[i-4:]))
	q.class = binary.BigEndian.Uint16(msg[i-2:])
	rrs := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	extra := int(binary.BigEndian.Uint16(msg[10:]))
	return q.skipTo(msg, i, rrs, extra)
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
