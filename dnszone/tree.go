package dnszone

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// A tree maps keys to the hosts that claim them. Most trees hold the names below
// one origin; then a key that has names below it exists too, as an empty
// non-terminal if nobody claims it.
//
// A tree is immutable. apply derives a new one that shares all shards without a
// changed key.
type tree struct {
	seed   maphash.Seed
	flat   bool // keys are no names, nothing is below anything
	shards []*shard
	mask   uint64 // number of shards - 1
	nodes  int
	multi  int // nodes with more than one claim
}

// A shard is a hash table of nodes in one block of memory: few objects for the
// garbage collector, and a copy is a memmove.
type shard struct {
	slots []uint32 // 1 + offset in blob, 0 if free; a power of two, linear probing
	blob  []byte
	nodes int
	dead  int // octets of blob that no slot names any more
}

// A node is one key of a shard, in the form
//
//	uvarint len(key), key, uvarint kids, uvarint claims, 4 octets per claim
type node struct {
	kids   uint64 // direct children that exist
	claims []byte // host numbers
}

const (
	shardNodes = 128 // aimed at when a tree is laid out
	maxShards  = 1024
)

func newTree(nodes int, flat bool) *tree {
	t := &tree{seed: maphash.MakeSeed(), flat: flat}
	return t.sized(nodes)
}

// sized returns an empty tree like t with shards for that many nodes.
func (t *tree) sized(nodes int) *tree {
	n := 1
	for n < maxShards && n*shardNodes < nodes {
		n *= 2
	}
	shards := make([]*shard, n)
	empty := &shard{}
	for i := range shards {
		shards[i] = empty
	}
	return &tree{seed: t.seed, flat: t.flat, shards: shards, mask: uint64(n) - 1}
}

func (t *tree) shard(hash uint64) *shard { return t.shards[hash&t.mask] }

// find returns the node of key; ok is false if it does not exist.
func (t *tree) find(key []byte) (n node, ok bool) {
	hash := maphash.Bytes(t.seed, key)
	s := t.shard(hash)
	off := s.find(hash, key)
	if off < 0 {
		return node{}, false
	}
	_, n, _ = s.node(off)
	return n, true
}

func (s *shard) find(hash uint64, key []byte) int {
	if len(s.slots) == 0 {
		return -1
	}
	mask := len(s.slots) - 1
	for i := int(hash>>32) & mask; s.slots[i] != 0; i = (i + 1) & mask {
		off := int(s.slots[i] - 1)
		if b := s.blob[off:]; b[0] < 0x80 {
			if int(b[0]) == len(key) && string(b[1:1+len(key)]) == string(key) {
				return off
			}
		} else if k, _, _ := s.node(off); bytes.Equal(k, key) {
			return off
		}
	}
	return -1
}

func uvarint(b []byte) (uint64, int) {
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// node decodes the node at off and returns where the next one begins.
func (s *shard) node(off int) (key []byte, n node, next int) {
	b := s.blob[off:]
	size, at := uvarint(b)
	end := at + int(size) //nolint:gosec // written by appendNode
	key = b[at:end:end]
	n.kids, at = uvarint(b[end:])
	end += at
	size, at = uvarint(b[end:])
	end += at
	at, end = end, end+int(size)*4 //nolint:gosec // written by appendNode
	n.claims = b[at:end:end]
	return key, n, off + end
}

func appendNode(dst, key []byte, n node) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	dst = binary.AppendUvarint(dst, n.kids)
	return append(binary.AppendUvarint(dst, uint64(len(n.claims)/4)), n.claims...)
}

// all yields every node, in no order that means anything.
func (t *tree) all() iter.Seq2[[]byte, node] {
	return func(yield func([]byte, node) bool) {
		for _, s := range t.shards {
			for _, slot := range s.slots {
				if slot == 0 {
					continue
				}
				if key, n, _ := s.node(int(slot - 1)); !yield(key, n) {
					return
				}
			}
		}
	}
}

// A batch collects changes to a tree.
type batch struct {
	keys []byte
	ops  []op
}

// op is one change. It holds no pointer, so that a large batch costs the
// garbage collector nothing.
type op struct {
	hash   uint64
	off    uint32 // of the key in batch.keys
	size   uint32
	host   uint32 // or the number of kids
	action action
}

type action uint8

const (
	claim action = iota
	unclaim
	addKid
	dropKid
)

func (b *batch) put(key []byte, a action, host uint32) {
	b.ops = append(b.ops, op{off: uint32(len(b.keys)), size: uint32(len(key)), host: host, action: a}) //nolint:gosec // keys stay below 4 GiB
	b.keys = append(b.keys, key...)
}

func (b *batch) key(o op) []byte { return b.keys[o.off : o.off+o.size] }

// apply returns the tree after b. order sorts the claims of one key.
func (t *tree) apply(b *batch, order func(a, b uint32) int) *tree {
	var next *tree
	if grown := t.nodes + len(b.ops); len(t.shards) < maxShards && grown > 2*shardNodes*len(t.shards) {
		next = t.sized(grown)
		moved := &batch{}
		for key, n := range t.all() {
			moved.move(key, n)
		}
		next.run(moved, order, nil)
	} else {
		clone := *t
		next = &clone
		next.shards = slices.Clone(t.shards)
	}
	for len(b.ops) > 0 {
		up := &batch{}
		next.run(b, order, up)
		b = up
	}
	return next
}

// move puts a whole node.
func (b *batch) move(key []byte, n node) {
	for c := n.claims; len(c) > 0; c = c[4:] {
		b.put(key, claim, binary.LittleEndian.Uint32(c))
	}
	if n.kids > 0 {
		b.put(key, addKid, uint32(n.kids)) //nolint:gosec // no more kids than hosts
	}
}

// run applies b to t, whose shard list nobody else has. What becomes of parents
// goes to up, unless that is nil.
func (t *tree) run(b *batch, order func(a, b uint32) int, up *batch) {
	mask := t.mask
	starts := make([]int, len(t.shards)+1)
	for i := range b.ops {
		o := &b.ops[i]
		o.hash = maphash.Bytes(t.seed, b.key(*o))
		starts[o.hash&mask+1]++
	}
	for i := range len(t.shards) {
		starts[i+1] += starts[i]
	}
	sorted := make([]op, len(b.ops))
	fill := slices.Clone(starts)
	for _, o := range b.ops {
		sorted[fill[o.hash&mask]] = o
		fill[o.hash&mask]++
	}
	e := editor{t: t, b: b, up: up, order: order}
	for i, s := range t.shards {
		if ops := sorted[starts[i]:starts[i+1]]; len(ops) > 0 {
			t.shards[i] = e.edit(s, ops)
		}
	}
}

// editor holds what the edits of one run share.
type editor struct {
	t     *tree
	b, up *batch
	order func(a, b uint32) int

	fresh   []byte // new nodes
	changes []change
	nums    []uint32
	claims  []byte
}

// change is a node that differs: at is its offset in fresh, or -1 if it is
// gone; old its offset in the old blob, or -1 if it is new.
type change struct {
	hash    uint64
	old, at int
}

// edit returns s after ops, s itself if they change nothing.
func (e *editor) edit(s *shard, ops []op) *shard {
	slices.SortFunc(ops, func(a, b op) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return bytes.Compare(e.b.key(a), e.b.key(b))
	})
	e.fresh, e.changes = e.fresh[:0], e.changes[:0]
	for len(ops) > 0 {
		key, n := e.b.key(ops[0]), 1
		for n < len(ops) && ops[n].hash == ops[0].hash && bytes.Equal(e.b.key(ops[n]), key) {
			n++
		}
		e.editKey(s, key, ops[:n])
		ops = ops[n:]
	}
	if len(e.changes) == 0 {
		return s
	}
	return s.with(e.t.seed, e.fresh, e.changes)
}

func (e *editor) editKey(s *shard, key []byte, ops []op) {
	var was node
	off := s.find(ops[0].hash, key)
	size := 0
	if off >= 0 {
		var end int
		_, was, end = s.node(off)
		size = end - off
	}
	now := node{kids: was.kids, claims: e.edited(was.claims, ops)}
	for _, o := range ops {
		switch o.action {
		case addKid:
			now.kids += uint64(o.host)
		case dropKid:
			now.kids -= uint64(o.host)
		case claim, unclaim:
		}
	}
	at := len(e.fresh)
	if now.kids > 0 || len(now.claims) > 0 {
		e.fresh = appendNode(e.fresh, key, now)
		if off >= 0 && bytes.Equal(e.fresh[at:], s.blob[off:off+size]) {
			e.fresh = e.fresh[:at]
			return
		}
	} else {
		at = -1
	}
	if off < 0 && at < 0 {
		return
	}
	e.changes = append(e.changes, change{ops[0].hash, off, at})
	e.t.multi += b2i(len(now.claims) > 4) - b2i(len(was.claims) > 4)
	e.t.nodes += b2i(at >= 0) - b2i(off >= 0)
	if (at < 0) == (off < 0) || e.up == nil || e.t.flat || len(key) == 0 {
		return
	}
	if up := parent(key); len(up) > 0 {
		e.up.put(up, [2]action{addKid, dropKid}[b2i(at < 0)], 1)
	}
}

// edited returns claims after ops, in order. The result lives until the next
// call.
func (e *editor) edited(claims []byte, ops []op) []byte {
	if len(claims) == 0 && len(ops) == 1 && ops[0].action == claim {
		e.claims = binary.LittleEndian.AppendUint32(e.claims[:0], ops[0].host)
		return e.claims
	}
	nums := e.nums[:0]
	for c := claims; len(c) > 0; c = c[4:] {
		nums = append(nums, binary.LittleEndian.Uint32(c))
	}
	touched := false
	gone := map[uint32]bool(nil)
	for _, o := range ops {
		if o.action == unclaim {
			if gone == nil {
				gone = map[uint32]bool{}
			}
			gone[o.host] = true
		}
	}
	if gone != nil {
		nums = slices.DeleteFunc(nums, func(n uint32) bool { return gone[n] })
		touched = true
	}
	for _, o := range ops {
		if o.action == claim {
			nums = append(nums, o.host)
			touched = true
		}
	}
	e.nums = nums
	if !touched {
		return claims
	}
	if len(nums) > 1 {
		slices.SortFunc(nums, e.order)
		nums = slices.Compact(nums)
	}
	e.claims = e.claims[:0]
	for _, n := range nums {
		e.claims = binary.LittleEndian.AppendUint32(e.claims, n)
	}
	return e.claims
}

// with returns a copy of s with changes. Insertions and replacements append to
// a copied blob; a removal, or too much waste, lays the shard out again.
func (s *shard) with(seed maphash.Seed, fresh []byte, changes []change) *shard {
	next := &shard{nodes: s.nodes, dead: s.dead}
	renew := len(s.slots) == 0
	for _, c := range changes {
		next.nodes += b2i(c.at >= 0) - b2i(c.old >= 0)
		if c.old >= 0 {
			_, _, end := s.node(c.old)
			next.dead += end - c.old
			renew = renew || c.at < 0
		}
	}
	size := len(s.blob) + len(fresh)
	if renew = renew || next.nodes*3 > len(s.slots)*2 || next.dead*4 > size; !renew {
		next.slots = slices.Clone(s.slots)
		next.blob = append(append(make([]byte, 0, size), s.blob...), fresh...)
		for _, c := range changes {
			next.set(c.hash, c.old, len(s.blob)+c.at)
		}
		return next
	}
	if next.nodes == 0 {
		return &shard{}
	}
	next.slots = make([]uint32, 1<<bits.Len(uint(next.nodes*3/2)))
	next.blob = append(make([]byte, 0, size-next.dead), fresh...)
	next.dead = 0
	for _, c := range changes {
		if c.at >= 0 {
			next.set(c.hash, -1, c.at)
		}
	}
	for _, slot := range s.slots {
		off := int(slot) - 1
		if off < 0 || slices.ContainsFunc(changes, func(c change) bool { return c.old == off }) {
			continue
		}
		key, _, end := s.node(off)
		next.set(maphash.Bytes(seed, key), -1, len(next.blob))
		next.blob = append(next.blob, s.blob[off:end]...)
	}
	return next
}

// set makes the slot that names the offset old name at instead; -1 is a free
// slot.
func (s *shard) set(hash uint64, old, at int) {
	mask := len(s.slots) - 1
	i := int(hash>>32) & mask
	for int(s.slots[i])-1 != old {
		i = (i + 1) & mask
	}
	s.slots[i] = uint32(at + 1) //nolint:gosec // shards stay far below 4 GiB
}
