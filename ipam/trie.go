package ipam

import (
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
// Of several largest unused prefixes, that one is cut whose neighbour, the other
// half of its parent, has the largest unused prefix: a neighbour that is full
// has grown before, and would grow into it next.
type trie struct {
	span
	top   uint32
	nodes []node
	spare []uint32
}

type node struct {
	mask uint64
	kid  [2]uint32
	next uint8 // depth of the largest unused prefix in that neighbour; 64: none
}

const (
	unused uint32 = iota
	used
)

// maxDepth is what a 64-bit mask can tell apart.
const maxDepth = 63

func newTrie(s span) *trie { return &trie{span: s, nodes: make([]node, 2)} }

func (t *trie) clone() *trie {
	c := *t
	c.nodes, c.spare = slices.Clone(t.nodes), slices.Clone(t.spare)
	return &c
}

// set makes all of s used or unused. s must lie in t, at most maxDepth down.
func (t *trie) set(s span, to uint32) {
	t.top = t.put(t.top, 0, s, to)
}

// close makes what of s lies in t used, and what a node cannot tell apart from it.
func (t *trie) close(s span) {
	switch {
	case s.covers(t.span):
		t.set(t.span, used)
	case t.covers(s):
		ones := min(s.ones, t.ones+maxDepth)
		t.set(span{s.base.mask(ones), ones}, used)
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
	switch {
	case n.kid[0] == unused:
		n.next = top(m1)
	case n.kid[1] == unused:
		n.next = top(m0)
	default:
		n.next = t.nodes[n.kid[t.better(n.kid, m0, m1)]].next
	}
	return i
}

// top returns the depth of the largest unused prefix.
func top(mask uint64) uint8 {
	return uint8(bits.TrailingZeros64(mask)) //nolint:gosec // 0 to 64
}

// better returns the half from which to cut the largest unused prefix. Of the
// two, none is unused.
func (t *trie) better(kid [2]uint32, m0, m1 uint64) int {
	a, b := top(m0), top(m1)
	if a < b || a == b && t.nodes[kid[0]].next <= t.nodes[kid[1]].next {
		return 0
	}
	return 1
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
	return t.ones + int(top(m)), t.ones + int(t.nodes[t.top].next), true
}

// find returns the base of the prefix that fit has chosen.
func (t *trie) find(ones int, spread bool) u128 {
	base, i := t.base, t.top
	for d := t.ones; d < ones; d++ {
		k := t.nodes[i].kid
		m0, m1 := t.mask(k[0], d+1-t.ones), t.mask(k[1], d+1-t.ones)
		half := 1
		switch {
		case spread && k[0] > used && k[1] > used:
			half = t.better(k, m0, m1)
		case m0>>(ones-t.ones)&1 == 1:
			half = 0
		}
		if i = k[half]; half == 1 {
			base = base.withBit(d)
		}
	}
	return base
}
