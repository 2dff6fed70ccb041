package leasetest

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/apnkit/apnkit/lease"
)

// Bench is a firewall under test, with senders around it.
type Bench struct {
	// Firewall lets nobody in yet.
	Firewall lease.Firewall
	// Knock sends a datagram to the guarded port from one of [Senders] and
	// reports whether it got in. What has not arrived within a moment has not.
	Knock func(from netip.Addr) bool
	// Now is the clock of the firewall. Nil means time.Now. Time has to pass
	// while the kit knocks, on an artificial clock too.
	Now func() time.Time
}

// Run runs the kit: each check with a firewall of its own, all at once.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(newKit(t, open(t)))
		})
	}
}

// check is one sentence of the contract.
type check struct {
	name string
	run  func(k *kit)
}

// reporter is the part of *testing.T that a check uses. The tests of this
// package run the checks against firewalls that are wrong, and read what is
// reported.
type reporter interface {
	Context() context.Context
	Fatalf(format string, args ...any)
}

type kit struct {
	reporter
	Bench
}

func newKit(r reporter, b Bench) *kit {
	if b.Now == nil {
		b.Now = time.Now
	}
	return &kit{reporter: r, Bench: b}
}

const (
	late     = 100 * time.Millisecond // after which nobody gets in
	patience = 2 * time.Second        // a busy host loses some datagrams
	attempts = 4                      // of those who should not get in
	streak   = 8                      // of datagrams that a busy host does not lose
)

// apply makes the leases and rules all there is.
func (k *kit) apply(list ...any) {
	if err := k.Firewall.Apply(k.Context(), openings(list)); err != nil {
		k.Fatalf("Apply: %v", err)
	}
}

// refused wants Apply to fail.
func (k *kit) refused(ctx context.Context, why string, o lease.Openings) {
	if err := k.Firewall.Apply(ctx, o); err == nil {
		k.Fatalf("Apply takes %s", why)
	}
}

// openings puts leases and prefixes in order.
func openings(list []any) (o lease.Openings) {
	for _, e := range list {
		switch e := e.(type) {
		case lease.Opening:
			o.Leases = append(o.Leases, e)
		case netip.Prefix:
			o.Permanent = append(o.Permanent, e)
		}
	}
	slices.SortFunc(o.Leases, func(a, b lease.Opening) int { return a.Source.Compare(b.Source) })
	slices.SortFunc(o.Permanent, netip.Prefix.Compare)
	return o
}

// lease is one for the source that a is in, for d from now.
func (k *kit) lease(a netip.Addr, d time.Duration) lease.Opening {
	return lease.Opening{Source: netip.PrefixFrom(a, bits(a)).Masked(), ExpiresAt: k.Now().Add(d)}
}

func (k *kit) in(list ...netip.Addr) {
	for _, a := range list {
		for start := k.Now(); !k.Knock(a); {
			if k.Now().After(start.Add(patience)) {
				k.Fatalf("%v does not get in", a)
			}
		}
	}
}

func (k *kit) out(list ...netip.Addr) {
	for _, a := range list {
		for range attempts {
			if k.Knock(a) {
				k.Fatalf("%v gets in", a)
			}
		}
	}
}

// ends knocks until a is shut out for good, which has to be at the given time.
func (k *kit) ends(a netip.Addr, at time.Time) {
	for misses := 0; ; {
		before := k.Now()
		switch in := k.Knock(a); {
		case in && before.After(at.Add(late)):
			k.Fatalf("%v gets in %v after the end", a, before.Sub(at))
		case in:
			misses = 0
		case before.After(at.Add(late)):
			return
		case k.Now().Before(at):
			if misses++; misses == streak {
				k.Fatalf("%v is shut out %v before the end", a, at.Sub(before))
			}
		}
	}
}
