package render

import (
	"hash/maphash"
	"net/netip"
	"sync"

	"github.com/apnkit/apnkit/keys"
)

// conflicts lists the parts of c that exclude each other: WireGuard merges peers
// with one key and moves a doubled prefix to the last peer without a word. c is
// in normal form, own its interface's public key or zero.
func (c *Config) conflicts(own keys.PublicKey) (errs []error) {
	t := tables.Get().(*table)
	defer tables.Put(t)
	t.reset(len(c.Peers))
	// Prefixes that rise from peer to peer, in each family, have no doubles. That
	// is how addresses are handed out, so a map is rarely needed.
	var last4, last6 netip.Prefix
	rising := true
	for k := range c.Peers {
		p := &c.Peers[k]
		if j := t.add(c.Peers, k); j >= 0 {
			errs = append(errs, &ConflictError{A: c.Peers[j].label(), B: p.label()})
		}
		if !own.IsZero() && p.PublicKey == own {
			errs = append(errs, &ConflictError{A: "interface", B: p.label()})
		}
		for _, a := range p.AllowedIPs {
			last := &last6
			if a.Addr().Is4() {
				last = &last4
			}
			rising = rising && (!last.IsValid() || last.Compare(a) < 0)
			*last = a
		}
	}
	if !rising {
		owner := make(map[netip.Prefix]int, len(c.Peers))
		for k := range c.Peers {
			for _, a := range c.Peers[k].AllowedIPs {
				if j, taken := owner[a]; taken {
					errs = append(errs, &ConflictError{Prefix: a, A: c.Peers[j].label(), B: c.Peers[k].label()})
				}
				owner[a] = k
			}
		}
	}
	return errs
}

// table finds doubled public keys: slots of peer indexes from 1, at most half
// full, probed in line. The hash is seeded, because peers choose their keys.
type table struct {
	seed  maphash.Seed
	slots []uint32
}

// tables keeps used tables, so that rendering allocates nothing.
//
//nolint:gochecknoglobals // a cache without meaning
var tables = sync.Pool{New: func() any { return &table{seed: maphash.MakeSeed()} }}

func (t *table) reset(n int) {
	size := 64
	for size < 2*n {
		size *= 2
	}
	if cap(t.slots) < size {
		t.slots = make([]uint32, size)
	}
	t.slots = t.slots[:size]
	clear(t.slots)
}

// add enters peer k and returns the index of an earlier one with its key, or -1.
func (t *table) add(peers []Peer, k int) int {
	mask := uint64(len(t.slots) - 1) //nolint:gosec // not empty
	for at := maphash.Bytes(t.seed, peers[k].PublicKey[:]) & mask; ; at = (at + 1) & mask {
		switch j := t.slots[at]; {
		case j == 0:
			t.slots[at] = uint32(k + 1) //nolint:gosec // a config of 2^32 peers does not fit into memory
			return -1
		case peers[j-1].PublicKey == peers[k].PublicKey:
			return int(j - 1)
		}
	}
}
