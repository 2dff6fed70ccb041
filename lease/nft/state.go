//go:build linux

package nft

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"go4.org/netipx"

	"github.com/apnkit/apnkit/lease"
)

// State is what the kernel says of the table. Packets are counted since the
// table was last installed as a whole.
type State struct {
	// Installed is false if somebody has deleted the table: the port is open to
	// everybody.
	Installed bool
	Knocks    uint64 // packets to our port that no opening let in
	Answers   uint64 // packets from our port that no opening let out
	Spoofed   uint64 // packets with addresses of the private network, from elsewhere
	Strays    uint64 // packets out of the tunnel on their way to another network
}

// State reads the state of the table. It takes the same time however many
// openings there are.
func (t *Table) State(ctx context.Context) (State, error) {
	c, opts, err := t.reader(ctx)
	if err != nil {
		return State{}, failed("state", err)
	}
	defer func() { _ = c.CloseLasting() }()
	s := State{Installed: true}
	for name, sum := range map[string]*uint64{chainKnock: &s.Knocks, chainAnswer: &s.Answers, chainSpoof: &s.Spoofed, chainStray: &s.Strays} {
		rules, err := c.GetRules(opts.table(), &nftables.Chain{Name: name})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return State{}, failed("state", err)
		}
		if len(rules) == 0 && (name == chainKnock || name == chainAnswer) {
			return State{}, nil
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if count, ok := e.(*expr.Counter); ok {
					*sum += count.Packets
				}
			}
		}
	}
	return s, nil
}

// Openings reads what the kernel lets in, in the order of [lease.Openings]. It
// is slow: 100,000 leases take seconds.
func (t *Table) Openings(ctx context.Context) (lease.Openings, error) {
	c, opts, err := t.reader(ctx)
	if err != nil {
		return lease.Openings{}, failed("list", err)
	}
	defer func() { _ = c.CloseLasting() }()
	b := &batch{Conn: c.Conn, opts: &opts}
	var o lease.Openings
	for id := uint32(lease4); id <= rule6; id++ {
		elements, err := c.GetSetElements(b.set(id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return lease.Openings{}, failed("list", err)
		}
		if id >= rule4 {
			for _, r := range joined(elements) {
				o.Permanent = append(o.Permanent, r.Prefixes()...)
			}
			continue
		}
		now := opts.Now()
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				o.Leases = append(o.Leases, lease.Opening{Source: netip.PrefixFrom(a, leaseBits(a)), ExpiresAt: now.Add(e.Expires)})
			}
		}
	}
	slices.SortFunc(o.Leases, bySource)
	return o, nil
}

// reader is a connection of its own, so that a long list holds up no Apply.
func (t *Table) reader(ctx context.Context) (*link, Options, error) {
	t.mu.Lock()
	opts := t.opts
	t.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, opts, err
	}
	l, err := connect(opts.Namespace)
	if err != nil {
		return nil, opts, err
	}
	return l, opts, l.raw.SetDeadline(time.Now().Add(patience))
}

// joined turns the elements of an interval set into ranges. An interval without
// an end reaches to the last address.
func joined(elements []nftables.SetElement) []netipx.IPRange {
	slices.SortFunc(elements, byKey)
	var list []netipx.IPRange
	for i, e := range elements {
		first, ok := netip.AddrFromSlice(e.Key)
		if !ok || e.IntervalEnd {
			continue
		}
		last := netipx.RangeOfPrefix(netip.PrefixFrom(first, 0).Masked()).To()
		if i+1 < len(elements) {
			if next, ok := netip.AddrFromSlice(elements[i+1].Key); ok {
				last = next.Prev()
			}
		}
		list = append(list, netipx.IPRangeFrom(first, last))
	}
	return list
}

// byKey sorts the end of an interval before the start of one that adjoins it.
func byKey(a, b nftables.SetElement) int {
	if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
		return c
	}
	if a.IntervalEnd {
		return -1
	}
	return 1
}
