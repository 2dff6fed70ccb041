package dnszone

import "slices"

// A spot is where a name leads inside a zone.
type spot struct {
	z   int
	rel []byte // the name below the origin, or the wildcard that stands for it
	n   node
	own *ownNode
}

// look returns what the name rel of zone z leads to. ok is false if neither the
// name nor a wildcard for it exists (RFC 4592). buf is room for a wildcard.
func (s *Set) look(z int, rel, buf []byte) (at spot, ok bool) {
	if at, ok = s.exact(z, rel); ok || s.wild == 0 && !s.defs[z].wild {
		return at, ok
	}
	for len(rel) > 0 {
		rel = parent(rel)
		if _, ok := s.exact(z, rel); ok {
			return s.exact(z, append(append(buf[:0], "\x01*"...), rel...))
		}
	}
	return at, false
}

// exact finds a name that exists by itself. The apex always does.
func (s *Set) exact(z int, rel []byte) (at spot, ok bool) {
	d := s.defs[z]
	at = spot{z: z, rel: rel}
	if at.n, ok = s.tree(z).find(rel); ok && !d.below && len(rel) > 0 {
		return at, true
	}
	if len(rel) == 0 || d.below {
		at.own = d.own[string(rel)]
	}
	return at, ok || at.own != nil
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
	case s.withheld(at.z, at.rel, at.n):
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
		start := len(dst)
		for i := range len(at.n.claims) / 4 {
			h := s.claimant(at.n, i)
			b, size := h.v4(), 4
			if t == TypeAAAA {
				b, size = h.v6(), 16
			}
			for ; len(b) > 0; b = b[size:] {
				if i > 0 && holds(dst[start:], b[:size]) {
					continue
				}
				*count++
				dst = append(appendRRHead(dst, t, s.ttl, size), b[:size]...)
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
	s.appendClaimed(nil, &spot{z: z, rel: rel, n: n}, t, &count)
	return count > 0 || t == TypeCNAME
}

// eachSet calls f for every set of records at the spot, by type.
func (s *Set) eachSet(at *spot, f func(t Type, rrs []byte, n int)) {
	var types [8]Type
	list := types[:0]
	if len(at.n.claims) > 0 {
		list = append(list, TypeA, TypePTR, TypeTXT, TypeAAAA)
	}
	if at.own != nil {
		for _, set := range at.own.sets {
			list = append(list, set.typ)
		}
	}
	slices.Sort(list)
	var buf []byte
	for _, t := range slices.Compact(list) {
		n := 0
		if buf = s.appendSet(buf[:0], at, t, &n); n > 0 {
			f(t, buf, n)
		}
	}
}
