package leasetest_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/leasetest"
)

// clock is an artificial one that moves on with every knock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(10 * time.Millisecond)
}

// firewall is what mutants replace parts of.
type firewall interface {
	lease.Firewall
	Lets(a netip.Addr) bool
}

func bench(c *clock, f firewall) leasetest.Bench {
	return leasetest.Bench{Firewall: f, Now: c.Now, Knock: func(from netip.Addr) bool {
		c.tick()
		return f.Lets(from)
	}}
}

func TestFake(t *testing.T) {
	t.Parallel()
	leasetest.Run(t, func(t *testing.T) leasetest.Bench {
		t.Helper()
		c := newClock()
		return bench(c, leasetest.NewFake(c.Now))
	})
}

func TestFakeFails(t *testing.T) {
	t.Parallel()
	f := leasetest.NewFake(nil)
	source := netip.MustParsePrefix("192.0.2.1/32")
	o := lease.Openings{Leases: []lease.Opening{{Source: source, ExpiresAt: time.Now().Add(time.Hour)}}}
	f.Fail(errors.New("no luck"))
	require.EqualError(t, f.Apply(t.Context(), o), "no luck")
	require.False(t, f.Lets(source.Addr()))
	f.Fail(nil)
	require.NoError(t, f.Apply(t.Context(), o))
	require.True(t, f.Lets(source.Addr()))
	got, n := f.Openings()
	require.Equal(t, o, got)
	require.Equal(t, 1, n)
}

// mutant is a Fake with a bug.
type mutant struct {
	*leasetest.Fake
	apply func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error // nil: the Fake's
	lets  func(f *leasetest.Fake, a netip.Addr) bool                           // nil: the Fake's
}

func (m *mutant) Apply(ctx context.Context, o lease.Openings) error {
	if m.apply == nil {
		return m.Fake.Apply(ctx, o)
	}
	return m.apply(m.Fake, ctx, o)
}

func (m *mutant) Lets(a netip.Addr) bool {
	if m.lets == nil {
		return m.Fake.Lets(a)
	}
	return m.lets(m.Fake, a)
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// TestMutants plants one bug each into a sound firewall and wants it caught by
// the check that is there for it.
func TestMutants(t *testing.T) {
	t.Parallel()
	edit := func(change func(f *leasetest.Fake, o *lease.Openings)) func(*leasetest.Fake, context.Context, lease.Openings) error {
		return func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
			o = lease.Openings{Permanent: slices.Clone(o.Permanent), Leases: slices.Clone(o.Leases)}
			change(f, &o)
			return f.Apply(ctx, o)
		}
	}
	tests := []struct {
		name   string
		want   string // check
		mutant func(c *clock) *mutant
	}{
		{"open at first", "StartsClosed", func(*clock) *mutant {
			return &mutant{lets: func(f *leasetest.Fake, a netip.Addr) bool {
				_, n := f.Openings()
				return n == 0 || f.Lets(a)
			}}
		}},
		{"lets in the whole subnet", "LetsInOneAddress", func(c *clock) *mutant {
			return &mutant{lets: func(f *leasetest.Fake, a netip.Addr) bool {
				o, _ := f.Openings()
				return f.Lets(a) || a.Is4() && slices.ContainsFunc(o.Leases, func(l lease.Opening) bool {
					return netip.PrefixFrom(l.Source.Addr(), 24).Masked().Contains(a) && c.Now().Before(l.ExpiresAt)
				})
			}}
		}},
		{"lets in one host of a site", "LetsInOneSite6", func(*clock) *mutant {
			return &mutant{lets: func(f *leasetest.Fake, a netip.Addr) bool {
				o, _ := f.Openings()
				return f.Lets(a) && (a.Is4() || contains(o.Permanent, a) || a.As16()[8] == 0)
			}}
		}},
		{"never ends", "EndsByItself", func(*clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				for i, l := range o.Leases {
					if l.Source.Addr().Is4() && !l.ExpiresAt.IsZero() {
						o.Leases[i].ExpiresAt = l.ExpiresAt.Add(24 * time.Hour)
					}
				}
			})}
		}},
		{"ends early", "EndsByItself6", func(*clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				for i, l := range o.Leases {
					if l.Source.Addr().Is6() {
						o.Leases[i].ExpiresAt = l.ExpiresAt.Add(-500 * time.Millisecond)
					}
				}
			})}
		}},
		{"ignores what it has", "Renews", func(*clock) *mutant { return &mutant{apply: edit(keepOld(true))} }},
		{"ignores less", "Shortens", func(*clock) *mutant { return &mutant{apply: edit(keepOld(false))} }},
		{"counts from each Apply", "DoesNotLengthen", func(c *clock) *mutant {
			granted := map[netip.Prefix]time.Duration{}
			ends := map[netip.Prefix]time.Time{}
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				for i, l := range o.Leases {
					if !ends[l.Source].Equal(l.ExpiresAt) {
						ends[l.Source], granted[l.Source] = l.ExpiresAt, l.ExpiresAt.Sub(c.Now())
					}
					o.Leases[i].ExpiresAt = c.Now().Add(granted[l.Source])
				}
			})}
		}},
		{"keeps what is gone", "Revokes", func(*clock) *mutant {
			return &mutant{apply: edit(func(f *leasetest.Fake, o *lease.Openings) {
				old, _ := f.Openings()
				for _, l := range old.Leases {
					if !slices.ContainsFunc(o.Leases, func(k lease.Opening) bool { return k.Source == l.Source }) {
						o.Leases = append(o.Leases, l)
					}
				}
			})}
		}},
		{"forgets IPv6 rules", "Permanent", func(*clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				o.Permanent = slices.DeleteFunc(o.Permanent, func(p netip.Prefix) bool { return p.Addr().Is6() })
			})}
		}},
		{"a lease hides a rule", "PermanentBesideLease", func(*clock) *mutant {
			var leased []netip.Prefix // ever
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				for _, l := range o.Leases {
					leased = append(leased, l.Source)
				}
				o.Permanent = slices.DeleteFunc(o.Permanent, func(p netip.Prefix) bool { return slices.Contains(leased, p) })
			})}
		}},
		{"wraps around at the last address", "PermanentForAll", func(*clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				o.Permanent = slices.DeleteFunc(o.Permanent, func(p netip.Prefix) bool { return p == netip.MustParsePrefix("128.0.0.0/1") })
			})}
		}},
		{"adds", "IsTheWholeSet", func(*clock) *mutant {
			return &mutant{apply: edit(func(f *leasetest.Fake, o *lease.Openings) {
				old, _ := f.Openings()
				o.Permanent = append(o.Permanent, old.Permanent...)
			})}
		}},
		{"takes no time left for no end", "EndedIsOut", func(c *clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) {
				for i, l := range o.Leases {
					if !l.ExpiresAt.IsZero() && l.ExpiresAt.Sub(c.Now()).Milliseconds() == 0 {
						o.Leases[i].ExpiresAt = c.Now().Add(24 * time.Hour)
					}
				}
			})}
		}},
		{"half applied", "FailsWhole", func(*clock) *mutant {
			return &mutant{apply: func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
				err := f.Apply(ctx, o)
				if err != nil && ctx.Err() == nil && len(o.Leases) > 0 {
					_ = f.Apply(ctx, lease.Openings{Leases: o.Leases[:1]})
				}
				return err
			}}
		}},
		{"takes anything", "FailsWhole", func(*clock) *mutant {
			return &mutant{apply: func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
				_ = f.Apply(ctx, o)
				return nil
			}}
		}},
		{"does not look at its context", "CancelledChangesNothing", func(*clock) *mutant {
			return &mutant{apply: func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
				return f.Apply(context.WithoutCancel(ctx), o)
			}}
		}},
		{"compares with the caller's memory", "KeepsNoSlice", func(*clock) *mutant {
			var last lease.Openings
			return &mutant{apply: func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
				if slices.Equal(o.Leases, last.Leases) && slices.Equal(o.Permanent, last.Permanent) {
					return nil
				}
				last = o
				return f.Apply(ctx, o)
			}}
		}},
		{"has room for a thousand", "Many", func(*clock) *mutant {
			return &mutant{apply: edit(func(_ *leasetest.Fake, o *lease.Openings) { o.Leases = o.Leases[:min(1000, len(o.Leases))] })}
		}},
		{"loses a handle with each Apply", "Concurrent", func(*clock) *mutant {
			return &mutant{apply: func(f *leasetest.Fake, ctx context.Context, o lease.Openings) error {
				if _, applied := f.Openings(); applied >= 64 {
					return errors.New("too many open files")
				}
				return f.Apply(ctx, o)
			}}
		}},
	}
	var caught []string
	for _, tt := range tests {
		caught = append(caught, tt.want)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			m := tt.mutant(c)
			m.Fake = leasetest.NewFake(c.Now)
			require.NotEmpty(t, leasetest.Failure(t, tt.want, bench(c, m)), "not caught")
			c = newClock()
			require.Empty(t, leasetest.Failure(t, tt.want, bench(c, leasetest.NewFake(c.Now))), "a sound one passes")
		})
	}
	slices.Sort(caught)
	all := leasetest.Checks()
	slices.Sort(all)
	require.Equal(t, all, slices.Compact(caught), "every check has a mutant")
}

// keepOld keeps the time of a lease that is there already, if the new one is
// later or earlier.
func keepOld(later bool) func(f *leasetest.Fake, o *lease.Openings) {
	return func(f *leasetest.Fake, o *lease.Openings) {
		old, _ := f.Openings()
		for i, l := range o.Leases {
			k := slices.IndexFunc(old.Leases, func(k lease.Opening) bool { return k.Source == l.Source })
			if k >= 0 && l.ExpiresAt.After(old.Leases[k].ExpiresAt) == later {
				o.Leases[i].ExpiresAt = old.Leases[k].ExpiresAt
			}
		}
	}
}
