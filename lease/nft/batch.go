//go:build linux

package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"go4.org/netipx"

	"github.com/apnkit/apnkit/lease"
)

// batch is one transaction.
type batch struct {
	*nftables.Conn
	opts *Options
	now  time.Time
	err  error // the first
}

// The sets of the table, and their IDs within a transaction.
const (
	lease4 = iota + 1
	lease6
	rule4
	rule6
	net4
	net6
)

func setName(id uint32) string {
	return [...]string{lease4: "lease4", lease6: "lease6", rule4: "rule4", rule6: "rule6", net4: "net4", net6: "net6"}[id]
}

func (b *batch) set(id uint32) *nftables.Set {
	s := &nftables.Set{
		Table: b.opts.table(), ID: id, Name: setName(id),
		KeyType: nftables.TypeIPAddr, HasTimeout: id <= lease6, Interval: id > lease6,
	}
	if id%2 == 0 {
		s.KeyType = nftables.TypeIP6Addr
	}
	return s
}

// chunk is how many elements fit into one message, whose attributes end at
// 64 KiB.
const chunk = 1000

func (b *batch) elements(set uint32, write func(*nftables.Set, []nftables.SetElement) error, list []nftables.SetElement) {
	for part := range slices.Chunk(list, chunk) {
		if err := write(b.set(set), part); err != nil && b.err == nil {
			b.err = err
		}
	}
}

// replace writes the whole table. To delete it, there has to be one.
func (b *batch) replace(o lease.Openings) {
	table := b.opts.table()
	b.AddTable(table)
	b.DelTable(table)
	b.AddTable(table)
	for id := uint32(lease4); id <= net6; id++ {
		if err := b.AddSet(b.set(id), nil); err != nil && b.err == nil {
			b.err = err
		}
	}
	b.rules()
	v4, v6 := b.timed(o.Leases)
	b.elements(lease4, b.SetAddElements, v4)
	b.elements(lease6, b.SetAddElements, v6)
	b.intervals(rule4, rule6, o.Permanent)
	b.intervals(net4, net6, b.opts.Protected)
}

// change writes p. An element that is added first can always be deleted, even
// if it has just ended; and kernels before 6.12 ignore the timeout of one that
// they have already.
func (b *batch) change(p *plan, permanent []netip.Prefix) {
	for _, list := range [][]lease.Opening{b.forget(p.close), p.open} {
		v4, v6 := b.timed(list)
		for id, e := range map[uint32][]nftables.SetElement{lease4: v4, lease6: v6} {
			b.elements(id, b.SetAddElements, e)
			b.elements(id, b.SetDeleteElements, e)
		}
	}
	v4, v6 := b.timed(p.open)
	b.elements(lease4, b.SetAddElements, v4)
	b.elements(lease6, b.SetAddElements, v6)
	if p.permanent {
		b.FlushSet(b.set(rule4))
		b.FlushSet(b.set(rule6))
		b.intervals(rule4, rule6, permanent)
	}
}

// forget turns sources into leases to delete.
func (b *batch) forget(list []netip.Prefix) []lease.Opening {
	gone := make([]lease.Opening, len(list))
	for i, source := range list {
		gone[i] = lease.Opening{Source: source, ExpiresAt: b.now.Add(time.Minute)}
	}
	return gone
}

func (b *batch) timed(list []lease.Opening) (v4, v6 []nftables.SetElement) {
	for _, l := range list {
		e := nftables.SetElement{Key: l.Source.Addr().AsSlice(), Timeout: l.ExpiresAt.Sub(b.now)}
		if l.Source.Addr().Is4() {
			v4 = append(v4, e)
		} else {
			v6 = append(v6, e)
		}
	}
	return v4, v6
}

// intervals writes each range as its first address and the one behind its last.
func (b *batch) intervals(id4, id6 uint32, list []netip.Prefix) {
	var v4, v6 []nftables.SetElement
	for _, r := range ranges(list) {
		e := []nftables.SetElement{{Key: r.From().AsSlice()}}
		if end := r.To().Next(); end.IsValid() { // not the last address of all
			e = append(e, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
		if r.From().Is4() {
			v4 = append(v4, e...)
		} else {
			v6 = append(v6, e...)
		}
	}
	b.elements(id4, b.SetAddElements, v4)
	b.elements(id6, b.SetAddElements, v6)
}

// ranges joins prefixes that adjoin. list comes from merge.
func ranges(list []netip.Prefix) []netipx.IPRange {
	var set netipx.IPSetBuilder
	for _, p := range list {
		set.AddPrefix(p)
	}
	merged, err := set.IPSet()
	if err != nil { // only of prefixes that merge refuses
		return nil
	}
	return merged.Ranges()
}

func (b *batch) flush() error {
	if b.err != nil {
		return b.err
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
