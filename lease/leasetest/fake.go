package leasetest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/lease"
)

// Fake is a [lease.Firewall] in memory. It is safe for concurrent use.
type Fake struct {
	now func() time.Time

	mu       sync.Mutex
	openings lease.Openings
	err      error
	applied  int
}

// NewFake returns a Fake that lets nobody in. now is its clock; nil means
// time.Now.
func NewFake(now func() time.Time) *Fake {
	if now == nil {
		now = time.Now
	}
	return &Fake{now: now}
}

// Apply implements [lease.Firewall].
func (f *Fake) Apply(ctx context.Context, o lease.Openings) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.err != nil {
		return f.err
	}
	for _, p := range o.Permanent {
		if !plain(p) {
			return fmt.Errorf("leasetest: rule %v: %w", p, lease.ErrSource)
		}
	}
	sources := make(map[netip.Prefix]bool, len(o.Leases))
	for _, l := range o.Leases {
		if !plain(l.Source) || l.Source.Bits() != bits(l.Source.Addr()) {
			return fmt.Errorf("leasetest: lease %v: %w", l.Source, lease.ErrSource)
		}
		if l.ExpiresAt.IsZero() {
			return fmt.Errorf("leasetest: lease %v has no end: %w", l.Source, lease.ErrDuration)
		}
		if sources[l.Source] {
			return fmt.Errorf("leasetest: lease %v twice: %w", l.Source, lease.ErrSource)
		}
		sources[l.Source] = true
	}
	f.openings = lease.Openings{Permanent: slices.Clone(o.Permanent), Leases: slices.Clone(o.Leases)}
	f.applied++
	return nil
}

// Lets reports whether a datagram from a would get in now.
func (f *Fake) Lets(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	return slices.ContainsFunc(f.openings.Permanent, func(p netip.Prefix) bool { return p.Contains(a) }) ||
		slices.ContainsFunc(f.openings.Leases, func(l lease.Opening) bool { return l.Source.Contains(a) && now.Before(l.ExpiresAt) })
}

// Fail makes Apply fail with err from now on; nil ends that.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Openings returns what was applied last, and how many times Apply succeeded.
func (f *Fake) Openings() (o lease.Openings, applied int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return lease.Openings{Permanent: slices.Clone(f.openings.Permanent), Leases: slices.Clone(f.openings.Leases)}, f.applied
}

func plain(p netip.Prefix) bool {
	return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6()
}

func bits(a netip.Addr) int {
	if a.Is4() {
		return 32
	}
	return 64
}
