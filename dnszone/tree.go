package dnszone

import (
	"bytes"
	"cmp"
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
	groups []*group
	mask   uint64 // number of shards - 1
	nodes  int
	multi  int // nodes with more than one claim
}

// A group keeps the list short that every new tree copies.
type group [groupShards]*shard

const groupShards = 32

// A shard is a hash table of nodes in one block of memory: few objects for the
// garbage collector, and a copy is a memmove.
type shard struct {
	slots []uint32 // 1 + offset in blob, 0 if free; linear probing
	blob  []byte
	nodes int
	gone  int // slots of nodes that are no more
	dead  int // octets of blob that no slot names any more
}

// goneSlot marks a slot that a search passes over.
const goneSlot = 1<<32 - 1

// A node is one key of a shard, in the form
//
//	uvarint len(key), key, uvarint kids,
//	uvarint claims, 4 octets per claim, uvarint len(data), data
type node struct {
	kids   uint64 // direct children that exist
	claims []byte // host numbers
	data   []byte // what an answer needs of the one claimant
}

// rules are what a tree asks about hosts.
type rules struct {
	order func(a, b uint32) int        // sorts the claims of one key
	data  func(claimant uint32) string // of the one claimant; nil for none
}

const (
	shardNodes = 64 // aimed at when a tree is laid out
	maxShards  = 2048
)

func newTree(flat bool) *tree {
	t := &tree{seed: maphash.MakeSeed(), flat: flat}
	return t.sized(0)
}

// sized returns an empty tree like t with shards for that many nodes.
func (t *tree) sized(nodes int) *tree {
	n := groupShards
	for n < maxShards && n*shardNodes < nodes {
		n *= 2
	}
	groups := make([]*group, n/groupShards)
	empty := &shard{}
	for i := range groups {
		groups[i] = &group{}
		for j := range groups[i] {
			groups[i][j] = empty
		}
	}
	return &tree{seed: t.seed, flat: t.flat, groups: groups, mask: uint64(n) - 1}
}

func (t *tree) shard(i uint64) *shard { return t.groups[i/groupShards][i%groupShards] }

// read sets n, which is zero, to the node of key and reports whether there is
// one.
func (t *tree) read(key []byte, n *node) bool {
	hash := maphash.Bytes(t.seed, key)
	s := t.shard(hash & t.mask)
	off := s.find(hash, key)
	if off >= 0 {
		s.node(off, n)
	}
	return off >= 0
}

// find returns the node of key, or a zero one.
func (t *tree) find(key []byte) (n node) {
	t.read(key, &n)
	return n
}

func (s *shard) find(hash uint64, key []byte) int {
	if len(s.slots) == 0 {
		return -1
	}
	for i := s.home(hash); s.slots[i] != 0; i = s.after(i) {
		if s.slots[i] == goneSlot {
			continue
		}
		off := int(s.slots[i] - 1)
		if b := s.blob[off:]; b[0] < 0x80 {
			if int(b[0]) == len(key) && string(b[1:1+len(key)]) == string(key) {
				return off
			}
		} else if k, _ := s.node(off, &node{}); bytes.Equal(k, key) {
			return off
		}
	}
	return -1
}

// home is where a search for a key with that hash begins.
func (s *shard) home(hash uint64) int {
	i, _ := bits.Mul64(hash, uint64(len(s.slots))) // the low bits chose the shard
	return int(i)                                  //nolint:gosec // less than the number of slots
}

func (s *shard) after(i int) int {
	if i++; i == len(s.slots) {
		return 0
	}
	return i
}

func uvarint(b []byte) (uint64, int) {
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// node sets n to the node at off and returns where the next one begins.
func (s *shard) node(off int, n *node) (key []byte, next int) {
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
	size, at = uvarint(b[end:])
	at, end = end+at, end+at+int(size) //nolint:gosec // written by appendNode
	n.data = b[at:end:end]
	return key, off + end
}

func appendNode(dst, key []byte, n node) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	dst = binary.AppendUvarint(dst, n.kids)
	dst = append(binary.AppendUvarint(dst, uint64(len(n.claims)/4)), n.claims...)
	return append(binary.AppendUvarint(dst, uint64(len(n.data))), n.data...)
}

// places yields where every node is, in no order that means anything.
func (t *tree) places() iter.Seq2[*shard, int] {
	return func(yield func(*shard, int) bool) {
		for i := range t.mask + 1 {
			s := t.shard(i)
			for _, slot := range s.slots {
				if slot != 0 && slot != goneSlot && !yield(s, int(slot-1)) {
					return
				}
			}
		}
	}
}

// all yields every node.
func (t *tree) all() iter.Seq2[[]byte, node] {
	return func(yield func([]byte, node) bool) {
		for s, off := range t.places() {
			var n node
			if key, _ := s.node(off, &n); !yield(key, n) {
				return
			}
		}
	}
}

// A batch collects changes to a tree.
type batch struct {
	text []byte // keys, each followed by its data
	ops  []op
}

// op is one change. It holds no pointer, so that a large batch costs the
// garbage collector nothing.
type op struct {
	hash   uint64
	off    uint32 // of the key in batch.text
	size   uint32 // of the key
	host   uint32 // or the number of kids
	data   uint16 // size of the node's data should the host be the one claimant
	action action
}

type action uint8

const (
	claim action = iota
	unclaim
	addKid
	dropKid
)

func put[S string | []byte](b *batch, key S, a action, host uint32, data string) {
	b.ops = append(b.ops, op{
		off: uint32(len(b.text)), size: uint32(len(key)), host: host, data: uint16(len(data)), action: a, //nolint:gosec // a batch stays below 4 GiB, data below 64 KiB
	})
	b.text = append(append(b.text, key...), data...)
}

// putKid puts an addKid or a dropKid. Neighbours of one key become one op.
func (b *batch) putKid(key []byte, a action) {
	if n := len(b.ops); n > 0 && b.ops[n-1].action == a && bytes.Equal(b.key(b.ops[n-1]), key) {
		b.ops[n-1].host++
		return
	}
	put(b, key, a, 1, "")
}

func (b *batch) grow(ops, text int) {
	b.ops, b.text = slices.Grow(b.ops, ops), slices.Grow(b.text, text)
}

func (b *batch) key(o op) []byte  { return b.text[o.off : o.off+o.size] }
func (b *batch) data(o op) []byte { return b.text[o.off+o.size:][:o.data] }

// apply returns the tree after b.
func (e *editor) apply(t *tree, b *batch, r rules) *tree {
	if len(b.ops) == 0 {
		return t
	}
	e.rules, e.old = r, nil
	switch n := len(t.groups) * groupShards; {
	case t.nodes == 0:
		e.t = t.sized(len(b.ops))
	case n < maxShards && t.nodes > 2*shardNodes*n:
		e.t = t.sized(t.nodes)
		moved := &batch{}
		for key, n := range t.all() {
			moved.move(key, n)
		}
		e.run(moved, nil)
	default:
		clone := *t
		e.t, e.old = &clone, t
		e.t.groups = slices.Clone(t.groups)
	}
	for i := 0; len(b.ops) > 0; i = 1 - i {
		up := &e.ups[i]
		up.ops, up.text = up.ops[:0], up.text[:0]
		e.run(b, up)
		b = up
	}
	return e.t
}

// move puts a whole node.
func (b *batch) move(key []byte, n node) {
	for c := n.claims; len(c) > 0; c = c[4:] {
		put(b, key, claim, binary.LittleEndian.Uint32(c), string(n.data))
	}
	if n.kids > 0 {
		put(b, key, addKid, uint32(n.kids), "") //nolint:gosec // no more kids than hosts
	}
}

// run applies b to e.t. What becomes of parents goes to up, unless that is nil.
func (e *editor) run(b, up *batch) {
	t := e.t
	e.b, e.up = b, up
	for i := range b.ops {
		o := &b.ops[i]
		o.hash = maphash.Bytes(t.seed, b.key(*o))
	}
	for ops := t.sorted(b.ops); len(ops) > 0; {
		i, n := ops[0].hash&t.mask, 1
		for n < len(ops) && ops[n].hash&t.mask == i {
			n++
		}
		was := t.shard(i)
		if now := e.edit(was, ops[:n]); now != was {
			g := &t.groups[i/groupShards]
			if e.old != nil && e.old.groups[i/groupShards] == *g {
				own := **g
				*g = &own
			}
			(*g)[i%groupShards] = now
		}
		ops = ops[n:]
	}
}

// sorted returns ops ordered by shard.
func (t *tree) sorted(ops []op) []op {
	if uint64(len(ops)) <= t.mask {
		slices.SortFunc(ops, func(a, b op) int { return cmp.Compare(a.hash&t.mask, b.hash&t.mask) })
		return ops
	}
	fill := make([]int, t.mask+2)
	for _, o := range ops {
		fill[o.hash&t.mask+1]++
	}
	for i := range t.mask + 1 {
		fill[i+1] += fill[i]
	}
	sorted := make([]op, len(ops))
	for _, o := range ops {
		sorted[fill[o.hash&t.mask]] = o
		fill[o.hash&t.mask]++
	}
	return sorted
}

// An editor makes trees out of trees. It holds what its steps can use again.
type editor struct {
	t   *tree // being made; nobody else has it
	old *tree // that t shares groups with; nil for none
	rules
	b, up *batch
	ups   [2]batch

	fresh   []byte // new nodes
	changes []change
	heads   []int32 // hash table of keys: 1 + the last op on it
	next    []int32 // op before on the same key, 1 + its place
	group   []op
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
	e.fresh, e.changes = e.fresh[:0], e.changes[:0]
	e.chain(ops)
	for _, last := range e.heads {
		if last == 0 {
			continue
		}
		group := ops[last-1 : last]
		if e.next[last-1] != 0 {
			e.group = e.group[:0]
			for ; last != 0; last = e.next[last-1] {
				e.group = append(e.group, ops[last-1])
			}
			group = e.group
		}
		e.editKey(s, group)
	}
	if len(e.changes) == 0 {
		return s
	}
	return s.with(e.t.seed, e.fresh, e.changes)
}

// chain links the ops on each key.
func (e *editor) chain(ops []op) {
	size := 1 << bits.Len(uint(len(ops)))
	e.heads = slices.Grow(e.heads[:0], size)[:size]
	clear(e.heads)
	e.next = slices.Grow(e.next[:0], len(ops))[:len(ops)]
	for n, o := range ops {
		i := int(o.hash>>32) & (size - 1)
		for e.heads[i] != 0 {
			if have := ops[e.heads[i]-1]; have.hash == o.hash && bytes.Equal(e.b.key(have), e.b.key(o)) {
				break
			}
			i = (i + 1) & (size - 1)
		}
		e.next[n] = e.heads[i]
		e.heads[i] = int32(n + 1)
	}
}

func (e *editor) editKey(s *shard, ops []op) {
	var was node
	key := e.b.key(ops[0])
	off := s.find(ops[0].hash, key)
	size := 0
	if off >= 0 {
		var end int
		_, end = s.node(off, &was)
		size = end - off
	}
	now := node{kids: was.kids}
	now.claims, now.data = e.edited(was, ops)
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
		e.up.putKid(up, [2]action{addKid, dropKid}[b2i(at < 0)])
	}
}

// edited returns the claims of was after ops, in order, and the data of the one
// claimant. The claims live until the next call.
func (e *editor) edited(was node, ops []op) (claims, data []byte) {
	if len(was.claims) == 0 && len(ops) == 1 && ops[0].action == claim {
		e.claims = binary.LittleEndian.AppendUint32(e.claims[:0], ops[0].host)
		return e.claims, e.b.data(ops[0])
	}
	nums := e.nums[:0]
	for c := was.claims; len(c) > 0; c = c[4:] {
		nums = append(nums, binary.LittleEndian.Uint32(c))
	}
	var gone map[uint32]bool
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
	}
	few := len(ops)*8 < len(nums)
	for _, o := range ops {
		switch {
		case o.action != claim:
		case few: // what is there stays in order
			i, _ := slices.BinarySearchFunc(nums, o.host, e.order)
			nums = slices.Insert(nums, i, o.host)
		default:
			nums = append(nums, o.host)
		}
	}
	if !few && len(nums) > 1 {
		slices.SortFunc(nums, e.order)
	}
	nums = slices.Compact(nums)
	e.nums, e.claims = nums, e.claims[:0]
	for _, n := range nums {
		e.claims = binary.LittleEndian.AppendUint32(e.claims, n)
	}
	if len(nums) == 1 && e.data != nil {
		data = []byte(e.data(nums[0]))
	}
	return e.claims, data
}

// with returns a copy of s with changes. They append to a copied blob; too much
// waste lays the shard out again.
func (s *shard) with(seed maphash.Seed, fresh []byte, changes []change) *shard {
	next := &shard{nodes: s.nodes, dead: s.dead, gone: s.gone}
	for _, c := range changes {
		next.nodes += b2i(c.at >= 0) - b2i(c.old >= 0)
		next.gone += b2i(c.at < 0)
		if c.old >= 0 {
			_, end := s.node(c.old, &node{})
			next.dead += end - c.old
		}
	}
	size := len(s.blob) + len(fresh)
	renew := (next.nodes+next.gone)*5 > len(s.slots)*4 || next.dead*4 > size
	if !renew {
		next.slots = slices.Clone(s.slots)
		next.blob = bytes.Join([][]byte{s.blob, fresh}, nil)
	} else {
		next.slots = make([]uint32, next.nodes*3/2+1)
		next.blob = append(make([]byte, 0, size-next.dead), fresh...)
		next.dead, next.gone = 0, 0
		for _, slot := range s.slots {
			off := int(slot) - 1
			if slot == 0 || slot == goneSlot || slices.ContainsFunc(changes, func(c change) bool { return c.old == off }) {
				continue
			}
			key, end := s.node(off, &node{})
			next.set(maphash.Bytes(seed, key), 0, uint32(len(next.blob)+1)) //nolint:gosec // shards stay far below 4 GiB
			next.blob = append(next.blob, s.blob[off:end]...)
		}
	}
	for _, c := range changes {
		slot := uint32(goneSlot)
		switch {
		case c.at >= 0 && renew:
			slot = uint32(c.at + 1) //nolint:gosec // shards stay far below 4 GiB
		case c.at >= 0:
			slot = uint32(len(s.blob) + c.at + 1) //nolint:gosec // shards stay far below 4 GiB
		case renew:
			continue
		}
		old := uint32(0)
		if !renew {
			old = uint32(c.old + 1) //nolint:gosec // shards stay far below 4 GiB
		}
		next.set(c.hash, old, slot)
	}
	return next
}

// set replaces the slot old, or a free one if that is 0.
func (s *shard) set(hash uint64, old, slot uint32) {
	i := s.home(hash)
	for s.slots[i] != old {
		i = s.after(i)
	}
	s.slots[i] = slot
}
