package dnszone

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
)

// A Type is the type of a record.
type Type uint16

// Types that this package knows by name. Others go by number (RFC 3597).
const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeIXFR  Type = 251
	TypeAXFR  Type = 252
	TypeANY   Type = 255

	typeOPT Type = 41
)

const (
	classIN  = 1
	maxSet   = 60_000 // octets of one RRset, so that it fits into a message
	rrHead   = 12     // octets before the data when the owner is a pointer
	ownerPtr = 0xc00c // the question's name (RFC 1035 section 4.1.4)
)

// String returns the mnemonic, or TYPE and the number.
func (t Type) String() string {
	switch t {
	case TypeA:
		return "A"
	case TypeNS:
		return "NS"
	case TypeCNAME:
		return "CNAME"
	case TypeSOA:
		return "SOA"
	case TypePTR:
		return "PTR"
	case TypeMX:
		return "MX"
	case TypeTXT:
		return "TXT"
	case TypeAAAA:
		return "AAAA"
	case TypeSRV:
		return "SRV"
	case TypeIXFR:
		return "IXFR"
	case TypeAXFR:
		return "AXFR"
	case TypeANY:
		return "ANY"
	case typeOPT:
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// A Record is one resource record of class IN. Records compare with ==.
type Record struct {
	Name string // owner, absolute, with the final dot
	Type Type
	TTL  uint32 // seconds
	Data string // RDATA as on the wire, names uncompressed
}

// AddrRecord returns an A or AAAA record, by the family of addr.
func AddrRecord(name string, addr netip.Addr) Record {
	addr = addr.Unmap()
	return Record{Name: name, Type: addrType(addr), Data: string(addr.AsSlice())}
}

// TXTRecord returns a TXT record of one or more strings of up to 255 octets;
// longer ones are split.
func TXTRecord(name string, texts ...string) Record {
	var data []byte
	for _, s := range texts {
		for len(s) > 255 {
			data = appendShort(data, s[:255])
			s = s[255:]
		}
		data = appendShort(data, s)
	}
	return Record{Name: name, Type: TypeTXT, Data: string(data)}
}

// CNAMERecord returns an alias of target. A target that is no name fails when
// the record is used.
func CNAMERecord(name, target string) Record {
	return Record{Name: name, Type: TypeCNAME, Data: wireName(target)}
}

// SRVRecord returns a service record (RFC 2782).
func SRVRecord(name string, priority, weight, port uint16, target string) Record {
	var b []byte
	for _, v := range [...]uint16{priority, weight, port} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return Record{Name: name, Type: TypeSRV, Data: string(b) + wireName(target)}
}

// wireName returns nothing for a bad name, which check then refuses.
func wireName(s string) string {
	name, err := parseName(s)
	if err != nil {
		return ""
	}
	return name + "\x00"
}

// String returns the record as a line of a master file.
func (r Record) String() string {
	name, err := parseName(r.Name)
	if err != nil {
		return strconv.Quote(r.Name)
	}
	return string(appendText(appendName(nil, name), r.Type, r.TTL, r.Data))
}

func addrType(a netip.Addr) Type {
	if a.Is4() {
		return TypeA
	}
	return TypeAAAA
}

// check refuses records that a zone of ours cannot hold: its own SOA and NS,
// types that are not data, and data that does not parse.
func (r Record) check() error {
	switch {
	case r.Type == TypeSOA, r.Type == TypeNS, r.Type == 0, r.Type == typeOPT, r.Type == 39,
		43 <= r.Type && r.Type <= 51 && r.Type != 44 && r.Type != 45 && r.Type != 49, r.Type == 24, r.Type == 25,
		128 <= r.Type && r.Type <= 255:
		return fmt.Errorf("%w: type %v", ErrBadRecord, r.Type)
	case len(r.Data) > maxSet-rrHead || r.TTL > 1<<31-1 || !r.dataOK():
		return fmt.Errorf("%w: data of %v", ErrBadRecord, r.Type)
	}
	return nil
}

// lowered returns the data with names in lower case (RFC 4034 section 6.2).
func (r Record) lowered() string {
	from, ok := map[Type]int{TypeCNAME: 0, TypePTR: 0, TypeMX: 2, TypeSRV: 6}[r.Type]
	if !ok {
		return r.Data
	}
	b := []byte(r.Data)
	for i := from; i < len(b); i++ {
		b[i] = lower(b[i])
	}
	return string(b)
}

func (r Record) dataOK() bool {
	d := r.Data
	switch r.Type {
	case TypeA:
		return len(d) == 4
	case TypeAAAA:
		return len(d) == 16
	case TypeCNAME, TypePTR:
		return wireNameLen(d) == len(d)
	case TypeMX:
		return len(d) > 2 && wireNameLen(d[2:]) == len(d)-2
	case TypeSRV:
		return len(d) > 6 && wireNameLen(d[6:]) == len(d)-6
	case TypeTXT:
		for ok := len(d) > 0; len(d) > 0; d = d[1+int(d[0]):] {
			if !ok || len(d) < 1+int(d[0]) {
				return false
			}
		}
		return r.Data != ""
	default:
		return true
	}
}

// wireNameLen returns the length of the uncompressed name that d starts with,
// or -1.
func wireNameLen(d string) int {
	for i := 0; i < len(d) && i < maxName; i += 1 + int(d[i]) {
		if d[i] == 0 {
			return i + 1
		}
		if d[i] > maxLabel {
			return -1
		}
	}
	return -1
}

// checkOwner wants printable names, and an asterisk only as a whole first
// label, where it means something.
func checkOwner(name string) error {
	for first := true; len(name) > 0; first = false {
		label := name[1 : 1+int(name[0])]
		for _, c := range []byte(label) {
			if c <= ' ' || c > '~' || c == '*' && (!first || label != "*") {
				return ErrBadName
			}
		}
		name = name[1+int(name[0]):]
	}
	return nil
}

// appendShort appends a label or a character string: its length, then itself.
func appendShort[S string | []byte](dst []byte, s S) []byte {
	return append(append(dst, byte(len(s))), s...) //nolint:gosec // callers keep to 255 octets
}

// setLen fills in the length at dst[at] of what follows.
func setLen(dst []byte, at int) { dst[at] = byte(len(dst) - at - 1) } //nolint:gosec // callers keep to 255 octets

func put16(b []byte, v int) { binary.BigEndian.PutUint16(b, uint16(v)) } //nolint:gosec // lengths and counts inside a message

func append32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

func appendRRHead(dst []byte, t Type, ttl uint32, size int) []byte {
	return append(dst, ownerPtr>>8, ownerPtr&0xff, byte(t>>8), byte(t), 0, classIN, //nolint:gosec // the octets of a number
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), byte(size>>8), byte(size)) //nolint:gosec // the octets of a number
}

func appendRR[S string | []byte](dst []byte, t Type, ttl uint32, data S) []byte {
	return append(appendRRHead(dst, t, ttl, len(data)), data...)
}

// wireRR is a record cut from a run of records whose owner is a pointer.
type wireRR struct {
	typ  Type
	ttl  uint32
	data []byte
}

// cutRR cuts the first record off rrs.
func cutRR(rrs []byte) (rr wireRR, rest []byte) {
	end := rrHead + int(binary.BigEndian.Uint16(rrs[10:]))
	return wireRR{
		typ:  Type(binary.BigEndian.Uint16(rrs[2:])),
		ttl:  binary.BigEndian.Uint32(rrs[6:]),
		data: rrs[rrHead:end:end],
	}, rrs[end:]
}

// appendText appends what follows the owner in a line of a master file. Data of
// unknown types goes as RFC 3597 section 5 says.
func appendText[S string | []byte](dst []byte, t Type, ttl uint32, data S) []byte {
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(ttl), 10)
	dst = append(dst, " IN "...)
	dst = append(dst, t.String()...)
	dst = append(dst, ' ')
	d := data
	switch t {
	case TypeA, TypeAAAA:
		a, _ := netip.AddrFromSlice([]byte(d))
		return a.AppendTo(dst)
	case TypeNS, TypeCNAME, TypePTR:
		return appendName(dst, d[:len(d)-1])
	case TypeMX:
		dst = strconv.AppendUint(dst, uint64(d[0])<<8|uint64(d[1]), 10)
		return appendName(append(dst, ' '), d[2:len(d)-1])
	case TypeSRV:
		for i := 0; i < 6; i += 2 {
			dst = strconv.AppendUint(dst, uint64(d[i])<<8|uint64(d[i+1]), 10)
			dst = append(dst, ' ')
		}
		return appendName(dst, d[6:len(d)-1])
	case TypeSOA:
		m := wireNameLen(string(d))
		n := m + wireNameLen(string(d[m:]))
		dst = append(appendName(dst, d[:m-1]), ' ')
		dst = appendName(dst, d[m:n-1])
		for i := n; i < len(d); i += 4 {
			dst = append(dst, ' ')
			dst = strconv.AppendUint(dst, uint64(d[i])<<24|uint64(d[i+1])<<16|uint64(d[i+2])<<8|uint64(d[i+3]), 10)
		}
		return dst
	case TypeTXT:
		for first := true; len(d) > 0; first = false {
			if !first {
				dst = append(dst, ' ')
			}
			dst = append(appendEscaped(append(dst, '"'), d[1:1+int(d[0])], `"\`), '"')
			d = d[1+int(d[0]):]
		}
		return dst
	default:
		dst = append(dst, `\# `...)
		dst = strconv.AppendInt(dst, int64(len(d)), 10)
		if len(d) > 0 {
			dst = append(dst, ' ')
		}
		return hex.AppendEncode(dst, []byte(d))
	}
}
