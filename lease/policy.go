package lease

import (
	"cmp"
	"fmt"
	"time"
)

// DefaultDuration is how long a lease holds if nobody says otherwise: "Lease
// Now" opens the port for 24 hours.
const DefaultDuration = 24 * time.Hour

const (
	defaultMin       = time.Second
	defaultPerMember = 128
)

// Policy bounds leases. The zero Policy is the default.
type Policy struct {
	// Default is the duration of a lease that asks for none. Zero means
	// [DefaultDuration].
	Default time.Duration
	// Max is the longest duration. Keep it below the cool-down of addresses,
	// or an old lease outlives the owner of an address. Zero means 24 hours, or
	// Default if that is longer.
	Max time.Duration
	// Min is the shortest duration; kernels take a timeout below 1 ms for none
	// at all. Zero means 1 second.
	Min time.Duration
	// PerMember is how many active leases one member may hold in one network.
	// Zero means 128; a negative number means no limit.
	PerMember int
}

// Grant decides about a lease for k of duration d, and changes nothing: the
// caller stores the result.
//
// A d of zero means the default. have is the lease that is stored under k, nil
// if there is none; live is how many other leases of the member are active in
// the network.
//
// If have is active at now, it is renewed: the result ends at the later of the
// two times, so Grant never shortens a lease and repeating it is harmless.
//
// The error is a [*SourceError] if the source has not the shape of
// [SourcePrefix], a [*DurationError] if d is out of bounds, a [*LimitError] if
// a new lease would be one too many.
func (p Policy) Grant(k Key, d time.Duration, have *Lease, live int, now time.Time) (Lease, error) {
	if reason := leaseShape(k.Source); reason != "" {
		return Lease{}, &SourceError{Source: k.Source, Reason: reason}
	}
	p = p.filled()
	if d = cmp.Or(d, p.Default); d < p.Min || d > p.Max {
		return Lease{}, &DurationError{Duration: d, Min: p.Min, Max: p.Max}
	}
	now = now.UTC() // also drops the monotonic part, which no row keeps
	l := Lease{Key: k, IssuedAt: now, ExpiresAt: now.Add(d)}
	if have != nil && have.Active(now) {
		if !l.ExpiresAt.After(have.ExpiresAt) {
			return *have, nil
		}
		l.ID = have.ID
		return l, nil
	}
	if p.PerMember >= 0 && live >= p.PerMember {
		return Lease{}, &LimitError{Member: k.Member, Limit: p.PerMember}
	}
	l.ID = IDOf(k)
	return l, nil
}

// Renew decides about extending l by d from now, as [Policy.Grant] does for a
// lease that is active. If l has ended, the error wraps [ErrExpired].
func (p Policy) Renew(l Lease, d time.Duration, now time.Time) (Lease, error) {
	if !l.Active(now) {
		return Lease{}, fmt.Errorf("lease: renew %s: %w", l.ID, ErrExpired)
	}
	return p.Grant(l.Key, d, &l, 0, now)
}

// filled returns p with its defaults in place.
func (p Policy) filled() Policy {
	p.Default = cmp.Or(p.Default, DefaultDuration)
	p.Max = cmp.Or(p.Max, max(p.Default, DefaultDuration))
	p.Min = cmp.Or(p.Min, defaultMin)
	p.PerMember = cmp.Or(p.PerMember, defaultPerMember)
	return p
}
