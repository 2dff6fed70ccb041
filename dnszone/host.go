package dnszone

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// MaxAddrs is how many addresses a host may have, and MaxMerge how many hosts
// may share a name under [CollisionMerge]: together they keep every answer
// inside one DNS message.
const (
	MaxAddrs = 16
	MaxMerge = 32
)

// A Host is a server as DNS sees it.
type Host struct {
	// ID names the host in reports and changes. It appears in no record.
	ID string
	// App and Name are free text that [NormalizeLabel] makes labels of. The host
	// is Name.App below each suffix, and Name alone if no other application has
	// that label.
	App, Name string
	// Addrs are 1 to [MaxAddrs] addresses of either family. An address inside
	// [Config.Reverse] gets a PTR record, if it is this host's alone.
	Addrs []netip.Addr
	// Wildcard lets every name below Name.App lead to the host as well.
	Wildcard bool
}

// host is a Host in the form that a Set keeps:
//
//	flag, count of IPv4, count of IPv6, the addresses in order,
//	the name Name.App in wire form, len(ID) as uvarint, ID,
//	what App was if that is not the label itself
type host string

const hostHead = 3

func (h host) wildcard() bool { return h[0] == 1 }

// data is what an answer with addresses needs.
func (h host) data() string { return string(h[1:h.nameAt()]) }

// ofType returns the addresses that records of type t, A or AAAA, hold, and the
// size of one. data begins at the counts of addresses.
func ofType[S string | []byte](data S, t Type) (addrs S, size int) {
	four := 2 + 4*int(data[0])
	if t == TypeA {
		return data[2:four], 4
	}
	return data[four : four+16*int(data[1])], 16
}

func (h host) nameAt() int { return hostHead + 4*int(h[1]) + 16*int(h[2]) }

// name is the qualified name, below the suffix.
func (h host) name() string {
	b := h[h.nameAt():]
	n := 1 + int(b[0])
	return string(b[:n+1+int(b[n])])
}

// short is the first label of name, as a name.
func (h host) short() string {
	b := h[h.nameAt():]
	return string(b[:1+int(b[0])])
}

// app is the second label of name, as a name.
func (h host) app() string { return h.name()[len(h.short()):] }

func (h host) tail() (id, app string) {
	b := h[h.nameAt()+len(h.name()):]
	n, at := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
	end := at + int(n) //nolint:gosec // written by appendHost
	return string(b[at:end]), string(b[end:])
}

func (h host) id() string { id, _ := h.tail(); return id }

// rawApp is the application as the caller wrote it.
func (h host) rawApp() string {
	if _, raw := h.tail(); raw != "" {
		return raw
	}
	return h.app()[1:]
}

func (h host) addrs() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, t := range [...]Type{TypeA, TypeAAAA} {
			b, size := ofType(h.data(), t)
			for ; b != ""; b = b[size:] {
				var a netip.Addr
				if t == TypeA {
					a = netip.AddrFrom4([4]byte([]byte(b[:4])))
				} else {
					a = netip.AddrFrom16([16]byte([]byte(b[:16])))
				}
				if !yield(a) {
					return
				}
			}
		}
	}
}

// appendHost checks h and appends its stored form.
func (p *plan) appendHost(dst []byte, h Host) ([]byte, error) {
	if h.ID == "" {
		return nil, ErrNoID
	}
	name, err := NormalizeLabel(h.Name, p.labels)
	if err != nil {
		return nil, err
	}
	app, err := NormalizeLabel(h.App, p.labels)
	if err != nil {
		return nil, err
	}
	for _, d := range p.defs[:p.forward] {
		if len(name)+len(app)+2+2*b2i(h.Wildcard)+len(d.origin)+1 > maxName {
			return nil, ErrNameTooLong
		}
	}
	var buf [MaxAddrs]netip.Addr
	addrs, err := appendAddrs(buf[:0], h.Addrs)
	if err != nil {
		return nil, err
	}
	four := 0
	for four < len(addrs) && addrs[four].Is4() {
		four++
	}
	dst = append(dst, byte(b2i(h.Wildcard)), byte(four), byte(len(addrs)-four)) //nolint:gosec // at most MaxAddrs
	for _, a := range addrs[:four] {
		b := a.As4()
		dst = append(dst, b[:]...)
	}
	for _, a := range addrs[four:] {
		b := a.As16()
		dst = append(dst, b[:]...)
	}
	dst = appendShort(appendShort(dst, name), app)
	dst = append(binary.AppendUvarint(dst, uint64(len(h.ID))), h.ID...)
	if h.App != app {
		dst = append(dst, h.App...)
	}
	return dst, nil
}

func checkAddrs(addrs []netip.Addr) ([]netip.Addr, error) { return appendAddrs(nil, addrs) }

// appendAddrs appends addrs in order, IPv4 first, each once.
func appendAddrs(dst, addrs []netip.Addr) ([]netip.Addr, error) {
	for _, a := range addrs {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return nil, ErrBadAddr
		}
		i, found := slices.BinarySearchFunc(dst, a, netip.Addr.Compare)
		if found {
			continue
		}
		if len(dst) == MaxAddrs {
			return nil, ErrAddrCount
		}
		dst = slices.Insert(dst, i, a)
	}
	if len(dst) == 0 {
		return nil, ErrAddrCount
	}
	return dst, nil
}

// A roster numbers hosts. It is immutable but for its maker; rosters of a chain
// share pages.
type roster struct {
	pages []*page
	next  uint32 // lowest number never used
	free  *freeNumber
	size  int
}

const pageHosts = 256

type page [pageHosts]host

type freeNumber struct {
	number uint32
	next   *freeNumber
}

func (r *roster) host(n uint32) host { return r.pages[n/pageHosts][n%pageHosts] }
