package lease

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"
)

// Opening lets one source in until a time.
type Opening struct {
	Source    netip.Prefix `json:"source"` // IPv4 /32 or IPv6 /64
	ExpiresAt time.Time    `json:"expires_at"`
}

// Openings is what a firewall must let in: all of it, each time. The zero
// Openings lets nobody in.
type Openings struct {
	// Permanent is sorted and merged: no prefix overlaps or adjoins another.
	Permanent []netip.Prefix `json:"permanent,omitempty"`
	// Leases is sorted by source, each source once.
	Leases []Opening `json:"leases,omitempty"`
}

// Firewall lets in what Openings say, and nobody else.
type Firewall interface {
	// Apply makes o the whole set of openings. It is idempotent. Each lease ends
	// at its time even if Apply is never called again. If Apply fails, the
	// openings are what they were before.
	Apply(ctx context.Context, o Openings) error
}

// OpeningsOf sums up leases and rules for the servers of one app. The port is
// open to a source for as long as the longest lease of any member holds, so
// revoking one does not close that of another. Either sequence may be nil.
//
// Leases that have ended at now are left out. So is a source of the wrong
// shape, which [Policy.Grant] and [RulePrefix] refuse: it opens nothing.
func OpeningsOf(leases iter.Seq[Lease], rules iter.Seq[Rule], now time.Time) Openings {
	until := map[netip.Prefix]time.Time{}
	if leases != nil {
		for l := range leases {
			if l.Active(now) && leaseShape(l.Source) == "" && l.ExpiresAt.After(until[l.Source]) {
				until[l.Source] = l.ExpiresAt
			}
		}
	}
	var o Openings
	for source, at := range until {
		o.Leases = append(o.Leases, Opening{Source: source, ExpiresAt: at})
	}
	slices.SortFunc(o.Leases, func(a, b Opening) int { return a.Source.Compare(b.Source) })

	if rules != nil {
		var set netipx.IPSetBuilder
		for r := range rules {
			if ruleShape(r.Source) == "" {
				set.AddPrefix(r.Source)
			}
		}
		if merged, err := set.IPSet(); err == nil { // fails on invalid input only
			o.Permanent = merged.Prefixes()
		}
	}
	return o
}
