package nft

import (
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/lease"
)

// shortest is what the kernel can count. An element without a timeout, or with
// one that is rounded to zero, would stay for ever.
const shortest = time.Millisecond

// normal checks o and returns what of it holds at now: leases sorted by source,
// permanent prefixes sorted and merged. It shares nothing with o.
func normal(o lease.Openings, now time.Time) (lease.Openings, error) {
	permanent, err := merge(o.Permanent)
	if err != nil {
		return lease.Openings{}, err
	}
	leases := make([]lease.Opening, 0, len(o.Leases))
	for _, l := range o.Leases {
		switch a := l.Source.Addr(); {
		case !l.Source.IsValid() || a.Is4In6() || a.Zone() != "" || l.Source != l.Source.Masked() || l.Source.Bits() != leaseBits(a):
			return lease.Openings{}, &OpeningError{Source: l.Source, Err: ErrInvalid}
		case l.ExpiresAt.IsZero():
			return lease.Openings{}, &OpeningError{Source: l.Source, Err: ErrNoTimeout}
		case l.ExpiresAt.Sub(now) > MaxTimeout:
			return lease.Openings{}, &OpeningError{Source: l.Source, Err: ErrTimeout}
		case l.ExpiresAt.Sub(now) < shortest: // it has ended
		default:
			leases = append(leases, l)
		}
	}
	if !slices.IsSortedFunc(leases, bySource) {
		slices.SortFunc(leases, bySource)
	}
	for i := 1; i < len(leases); i++ {
		if leases[i].Source == leases[i-1].Source {
			return lease.Openings{}, &OpeningError{Source: leases[i].Source, Err: ErrInvalid}
		}
	}
	return lease.Openings{Permanent: permanent, Leases: leases}, nil
}

func bySource(a, b lease.Opening) int { return a.Source.Compare(b.Source) }

// leaseBits is the length of the source of a lease.
func leaseBits(a netip.Addr) int {
	if a.Is4() {
		return 32
	}
	return 64
}

// plan says what to write so that a table that holds have holds want. Both are
// normal.
type plan struct {
	close     []netip.Prefix  // leases to end
	open      []lease.Opening // leases to begin, or to end at another time
	permanent bool            // write all of them
}

func newPlan(have, want lease.Openings, now time.Time) plan {
	p := plan{permanent: !slices.Equal(have.Permanent, want.Permanent)}
	i := 0
	ended := func(l lease.Opening) {
		if l.ExpiresAt.After(now) { // else the kernel has closed it
			p.close = append(p.close, l.Source)
		}
	}
	for _, w := range want.Leases {
		for i < len(have.Leases) && have.Leases[i].Source.Compare(w.Source) < 0 {
			ended(have.Leases[i])
			i++
		}
		if i < len(have.Leases) && have.Leases[i].Source == w.Source {
			i++
			if have.Leases[i-1].ExpiresAt.Equal(w.ExpiresAt) {
				continue
			}
		}
		p.open = append(p.open, w)
	}
	for _, l := range have.Leases[i:] {
		ended(l)
	}
	return p
}

func (p *plan) empty() bool { return len(p.close) == 0 && len(p.open) == 0 && !p.permanent }

// small reports whether p costs less than a new table with n leases.
func (p *plan) small(n int) bool {
	changes := len(p.close) + len(p.open)
	return changes <= 64 || changes <= n/4
}
