package render

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync"

	"github.com/apnkit/apnkit/keys"
)

// conflicts lists the parts of c that exclude each other: WireGuard merges peers
// with one key and moves a doubled prefix to the last peer without a word. c is
// in normal form, plainly so or not (see [Config.survey]), and own its
// interface's public key or zero.
func (c *Config) conflicts(own keys.PublicKey, plain bool) (errs []error) {
	t := tables.Get().(*table)
	defer tables.Put(t)
	t.reset(c.Peers, own)
	for k := range c.Peers {
		if j := t.add(k); j == len(c.Peers) {
			errs = append(errs, &ConflictError{A: "interface", B: c.Peers[k].label()})
		} else if j >= 0 {
			errs = append(errs, &ConflictError{A: c.Peers[j].label(), B: c.Peers[k].label()})
		}
	}
	t.peers = nil
	if plain {
		return errs
	}
	owner := make(map[netip.Prefix]int, len(c.Peers))
	for k := range c.Peers {
		for _, a := range c.Peers[k].AllowedIPs {
			if j, taken := owner[a]; taken {
				errs = append(errs, &ConflictError{Prefix: a, A: c.Peers[j].label(), B: c.Peers[k].label()})
			}
			owner[a] = k
		}
	}
	return errs
}

// table finds doubled public keys. It is at most half full and probed in line; a
// slot holds the upper half of the key's hash and, from 1, the peer's index.
type table struct {
	seed  [4]uint64 // peers choose their keys, so the hash is a secret one
	slots []uint64
	peers []Peer
	own   keys.PublicKey // has the index behind the last peer
}

// tables keeps used tables, so that rendering allocates nothing.
//
//nolint:gochecknoglobals // a cache without meaning
var tables = sync.Pool{New: func() any {
	t, seed := new(table), maphash.MakeSeed()
	for i := range t.seed {
		t.seed[i] = maphash.Comparable(seed, i)
	}
	return t
}}

func (t *table) reset(peers []Peer, own keys.PublicKey) {
	size := 64
	for size < 2*(len(peers)+1) {
		size *= 2
	}
	if cap(t.slots) < size {
		t.slots = make([]uint64, size)
	}
	t.slots = t.slots[:size]
	clear(t.slots)
	t.peers, t.own = peers, own
	if !own.IsZero() {
		t.add(len(peers))
	}
}

func (t *table) key(k int) *keys.PublicKey {
	if k == len(t.peers) {
		return &t.own
	}
	return &t.peers[k].PublicKey
}

// add enters the key of an index and returns the index that entered it before,
// or -1.
func (t *table) add(k int) int {
	key := t.key(k)
	h := t.hash(key)
	tag := h &^ (1<<32 - 1)
	mask := uint64(len(t.slots) - 1) //nolint:gosec // not empty
	for at := h & mask; ; at = (at + 1) & mask {
		slot := t.slots[at]
		if slot == 0 {
			t.slots[at] = tag | uint64(k+1) //nolint:gosec // below 2^32: more peers do not fit into memory
			return -1
		}
		if j := int(slot&(1<<32-1)) - 1; slot&^(1<<32-1) == tag && *t.key(j) == *key {
			return j
		}
	}
}

func (t *table) hash(k *keys.PublicKey) uint64 {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(k[8*i:]) ^ t.seed[i] }
	a, b := bits.Mul64(word(0), word(1))
	c, d := bits.Mul64(word(2), word(3))
	a, b = bits.Mul64(a^d^t.seed[0], b^c^t.seed[3])
	return a ^ b
}
