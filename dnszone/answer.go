package dnszone

import (
	"bytes"
	"slices"
)

// A spot is where a name leads inside a zone.
type spot struct {
	z    int
	apex bool
	lost bool // claimed, and nobody's
	n    node
	own  *ownNode
}

// look sets at, which is zero, to what the name rel of zone z leads to. It
// reports false if neither the name nor a wildcard for it exists (RFC 4592).
func (s *Set) look(at *spot, z int, rel []byte) bool {
	return s.exact(at, z, rel) || (s.wild > 0 || s.defs[z].wild) && s.wildcard(at, z, rel)
}

func (s *Set) wildcard(at *spot, z int, rel []byte) bool {
	for len(rel) > 0 {
		rel = parent(rel)
		if s.exact(at, z, rel) {
			*at = spot{}
			var room [maxName + 2]byte
			return s.exact(at, z, append(append(room[:0], "\x01*"...), rel...))
		}
	}
	return false
}

// exact is look without wildcards. The apex always exists.
func (s *Set) exact(at *spot, z int, rel []byte) bool {
	d := s.defs[z]
	at.z, at.apex = z, len(rel) == 0
	found := s.tree(z).read(rel, &at.n)
	if len(at.n.claims) > 0 {
		at.lost = s.withheld(z, rel, at.n)
	}
	if at.apex || d.below {
		at.own = d.own[string(rel)]
	}
	return found || at.own != nil
}

// appendSet appends the records of type t at the spot, owner c00c, and adds
// their number to count.
func (s *Set) appendSet(dst []byte, at *spot, t Type, count *int) []byte {
	was := *count
	if len(at.n.claims) > 0 {
		dst = s.appendClaimed(dst, at, t, count)
	}
	if at.own == nil || *count > was || len(at.n.claims) > 0 && t == TypeCNAME {
		return dst
	}
	for i := range at.own.sets {
		if set := &at.own.sets[i]; set.typ == t {
			*count += int(set.n)
			dst = append(dst, set.rrs...)
		}
	}
	return dst
}

// appendClaimed appends what the hosts that claim the spot bring.
func (s *Set) appendClaimed(dst []byte, at *spot, t Type, count *int) []byte {
	switch {
	case t != TypeA && t != TypeAAAA && t != TypePTR && t != TypeTXT:
		return dst
	case at.lost:
		if t == TypeTXT {
			*count++
			dst = s.appendWithheld(dst, at)
		}
	case at.z >= s.forward:
		if t == TypePTR {
			*count++
			name, origin := s.claimant(at.n, 0).name(), s.defs[0].origin
			dst = appendRRHead(dst, TypePTR, s.ttl, len(name)+len(origin)+1)
			dst = append(append(append(dst, name...), origin...), 0)
		}
	case t == TypeA || t == TypeAAAA:
		if len(at.n.data) > 0 {
			b, size := ofType(at.n.data, t)
			for ; len(b) > 0; b = b[size:] {
				*count++
				dst = append(appendRRHead(dst, t, s.ttl, size), b[:size]...)
			}
			return dst
		}
		start := len(dst)
		for h := range s.claimants(at.n) {
			b, size := ofType(h.data(), t)
			for ; len(b) > 0; b = b[size:] {
				if !holds(dst[start:], b[:size]) {
					*count++
					dst = append(appendRRHead(dst, t, s.ttl, size), b[:size]...)
				}
			}
		}
	}
	return dst
}

// holds reports whether rrs, whose data all have the size of data, has a record
// with that data.
func holds(rrs []byte, data string) bool {
	for ; len(rrs) > 0; rrs = rrs[rrHead+len(data):] {
		if string(rrs[rrHead:rrHead+len(data)]) == data {
			return true
		}
	}
	return false
}

// A withheld name lists few of the names that do lead to a host, so that the
// answer fits into a UDP packet, and looks at few of the claims.
const (
	maxListed    = 8
	maxLooked    = 64
	withheldText = "withheld: not unique"
)

// appendWithheld appends the TXT record of a name that belongs to nobody: a
// string that says so, then the qualified names that do lead to a host.
func (s *Set) appendWithheld(dst []byte, at *spot) []byte {
	head := len(dst)
	dst = appendRRHead(dst, TypeTXT, s.ttl, 0)
	dst = appendShort(dst, withheldText)
	for i, listed := 0, 0; listed < maxListed; listed++ {
		h, next := s.listed(at, i)
		if h == "" {
			break
		}
		size := len(dst)
		dst = s.appendListed(append(dst, 0), at, h)
		setLen(dst, size)
		i = next
	}
	put16(dst[head+rrHead-2:], len(dst)-head-rrHead)
	return dst
}

// listed returns the first claimant from number i on whose qualified name leads
// to it, and where to go on; "" if there is none.
func (s *Set) listed(at *spot, i int) (h host, next int) {
	for ; i < min(maxLooked, len(at.n.claims)/4); i++ {
		if h := s.claimant(at.n, i); !s.blocked(h) {
			for i++; i < len(at.n.claims)/4 && s.claimant(at.n, i).name() == h.name(); i++ {
				continue
			}
			return h, i
		}
	}
	return "", i
}

// appendListed appends the qualified name of h as text, without the final dot.
func (s *Set) appendListed(dst []byte, at *spot, h host) []byte {
	origin := s.defs[0].origin
	if at.z < s.forward {
		origin = s.defs[at.z].origin
	}
	dst = appendName(dst, h.name())
	dst = appendName(dst, origin)
	return dst[:len(dst)-1]
}

// shadows reports whether a host's record keeps a record of type t from the
// Config out of the name rel of zone z, which n is the node of.
func (s *Set) shadows(z int, rel []byte, n node, t Type) bool {
	if len(n.claims) == 0 {
		return false
	}
	count := 0
	s.appendClaimed(nil, &spot{z: z, n: n, lost: s.withheld(z, rel, n)}, t, &count)
	return count > 0 || t == TypeCNAME
}

// appendAll appends all records at the spot, by type and then by data. Their
// data lies in buf, which it returns for the next time.
func (s *Set) appendAll(list []wireRR, buf []byte, at *spot) ([]wireRR, []byte) {
	var room [16]Type
	types := room[:0]
	if len(at.n.claims) > 0 {
		types = append(types, TypeA, TypePTR, TypeTXT, TypeAAAA)
	}
	if at.own != nil {
		for _, set := range at.own.sets {
			types = append(types, set.typ)
		}
		slices.Sort(types)
		types = slices.Compact(types)
	}
	for _, t := range types {
		start, begin, n := len(list), len(buf), 0
		buf = s.appendSet(buf, at, t, &n)
		for rrs := buf[begin:]; len(rrs) > 0; {
			var rr wireRR
			rr, rrs = cutRR(rrs)
			list = append(list, rr)
		}
		if n > 1 {
			slices.SortFunc(list[start:], func(a, b wireRR) int { return bytes.Compare(a.data, b.data) })
		}
	}
	return list, buf
}
