package ipam

import (
	"math"
	"math/bits"
	"slices"
)

// trie is a buddy allocator over one prefix of the pool. A node's mask has bit
// d set when a maximal unused prefix at depth d lies below it, so the search
// for the largest or the best fitting one never backtracks.
//
// Wholly unused and wholly used subtrees have no nodes: they are the numbers
// unused and used. Two equal ones merge into their parent.
//
// Of several largest unused prefixes, the one is cut whose neighbour, the other
// half of its parent, is the least likely to need it: who holds little there has
// not grown yet, and who fills it would grow into the prefix next.
type trie struct {
	span
	top   uint32
	nodes []node
	spare []uint32
}

type node struct {
	mask uint64
	kid  [2]uint32
	best uint32 // where to cut: depth of the largest unused prefix, then rank of its neighbour
}

const (
	unused uint32 = iota
	used
)

// maxDepth is what a 64-bit mask can tell apart.
const maxDepth = 63

func newTrie(s span) *trie {
	return &trie{span: s, nodes: []node{unused: {}, used: {best: math.MaxUint32}}}
}

func (t *trie) clone() *trie {
	c := *t
	c.nodes, c.spare = slices.Clone(t.nodes), slices.Clone(t.spare)
	return &c
}

// set makes all of s, which must lie in t, used or unused. What is unused more
// than maxDepth down is not found any more.
func (t *trie) set(s span, to uint32) {
	t.top = t.put(t.top, 0, s, to)
}

// close makes what of s lies in t used, however deep.
func (t *trie) close(s span) {
	switch {
	case s.covers(t.span):
		t.set(t.span, used)
	case t.covers(s):
		t.set(s, used)
	}
}

func (t *trie) put(i uint32, depth int, s span, to uint32) uint32 {
	if i == to {
		return to
	}
	if t.ones+depth == s.ones {
		t.drop(i)
		return to
	}
	if i <= used {
		i = t.add(i)
	}
	b := s.base.bit(t.ones + depth)
	k := t.put(t.nodes[i].kid[b], depth+1, s, to)
	n := &t.nodes[i]
	n.kid[b] = k
	if k <= used && n.kid[1-b] == k {
		t.spare = append(t.spare, i)
		return k
	}
	m0, m1 := t.mask(n.kid[0], depth+1), t.mask(n.kid[1], depth+1)
	n.mask = m0 | m1
	switch here := uint32(depth+1) << 16; { //nolint:gosec // at most maxDepth
	case n.kid[0] == unused:
		n.best = here | rank(m1)
	case n.kid[1] == unused:
		n.best = here | rank(m0)
	default:
		n.best = min(t.nodes[n.kid[0]].best, t.nodes[n.kid[1]].best)
	}
	return i
}

// rank orders neighbours by the largest unused prefix in them, then by the
// smallest, which is as large as what is held beside it.
func rank(mask uint64) uint32 {
	return uint32(bits.TrailingZeros64(mask)<<8 | bits.LeadingZeros64(mask)) //nolint:gosec // 0 to 64 each
}

func (t *trie) add(kid uint32) uint32 {
	if n := len(t.spare); n > 0 {
		i := t.spare[n-1]
		t.spare = t.spare[:n-1]
		t.nodes[i].kid = [2]uint32{kid, kid}
		return i
	}
	t.nodes = append(t.nodes, node{kid: [2]uint32{kid, kid}})
	return uint32(len(t.nodes) - 1) //nolint:gosec // 2^32 nodes are 64 GiB
}

func (t *trie) drop(i uint32) {
	if i <= used {
		return
	}
	t.drop(t.nodes[i].kid[0])
	t.drop(t.nodes[i].kid[1])
	t.spare = append(t.spare, i)
}

func (t *trie) mask(i uint32, depth int) uint64 {
	switch i {
	case unused:
		return 1 << depth
	case used:
		return 0
	}
	return t.nodes[i].mask
}

// unused reports whether no part of s is used.
func (t *trie) unused(s span) bool {
	i := t.top
	for d := t.ones; i > used && d < s.ones; d++ {
		i = t.nodes[i].kid[s.base.bit(d)]
	}
	return i == unused
}

// fit returns the length of the unused prefix from which one of length ones
// is best cut: the smallest that is enough, or with spread the largest. The
// lower rank, the better is it among those of its length.
func (t *trie) fit(ones int, spread bool) (length, rank int, ok bool) {
	if ones < t.ones {
		return 0, 0, false
	}
	m := t.mask(t.top, 0) & (1<<(min(ones-t.ones, maxDepth)+1) - 1)
	switch {
	case m == 0:
		return 0, 0, false
	case !spread:
		return t.ones + bits.Len64(m) - 1, 0, true
	}
	best := t.nodes[t.top].best
	return t.ones + int(best>>16), t.ones*255 + int(best&math.MaxUint16), true
}

// find returns the base of the prefix that fit has chosen.
func (t *trie) find(ones int, spread bool) u128 {
	base, i := t.base, t.top
	for d := t.ones; d < ones; d++ {
		k := t.nodes[i].kid
		var upper bool
		if spread && k[0] > used && k[1] > used {
			upper = t.nodes[k[1]].best < t.nodes[k[0]].best
		} else {
			upper = t.mask(k[0], d+1-t.ones)>>(ones-t.ones)&1 == 0
		}
		i = k[0]
		if upper {
			base, i = base.withBit(d), k[1]
		}
	}
	return base
}
