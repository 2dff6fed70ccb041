package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

func rangeOf(app, prefix string) *ipam.Record {
	return &ipam.Record{App: app, Prefix: netip.MustParsePrefix(prefix)}
}

func addrOf(app, owner, addr string, gen uint64) *ipam.Record {
	return &ipam.Record{App: app, Owner: owner, Addr: netip.MustParseAddr(addr), Gen: gen}
}

func released(r *ipam.Record, at time.Time) *ipam.Record {
	c := *r
	c.Released = at
	return &c
}

// TestApplyForeign applies changes that were decided elsewhere, with their steps
// in every order: either all of it happens, or nothing.
func TestApplyForeign(t *testing.T) {
	t.Parallel()
	shop, blog, gone := rangeOf("shop", "10.0.0.0/24"), rangeOf("blog", "10.0.1.0/24"), released(rangeOf("old", "10.0.2.0/24"), start)
	a, b := addrOf("shop", "a", "10.0.0.2", 3), addrOf("shop", "b", "10.0.0.3", 1)
	resting := released(addrOf("shop", "r", "10.0.0.4", 1), start)
	old := released(addrOf("old", "o", "10.0.2.2", 1), start)
	base := []ipam.Record{*shop, *blog, *gone, *a, *b, *resting, *old}
	cfg := ipam.Config{Prefixes: pfx("10.0.0.0/16"), Exclude: []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.0.9.0/24")}}}

	type step = ipam.Step
	steps := func(s ...step) []step { return s }
	grown := rangeOf("shop", "10.0.0.0/23")
	tests := []struct {
		name  string
		steps []step
		want  error
	}{
		{"nothing", nil, nil},
		{"a new address", steps(step{nil, addrOf("shop", "c", "10.0.0.9", 1)}), nil},
		{"an app with its server", steps(step{nil, rangeOf("new", "10.0.4.0/24")}, step{nil, addrOf("new", "x", "10.0.4.2", 1)}), nil},
		{"two change places", steps(step{a, addrOf("shop", "b", "10.0.0.2", 4)}, step{b, addrOf("shop", "a", "10.0.0.3", 4)}), nil},
		{"a move", steps(step{a, released(a, start)}, step{nil, addrOf("shop", "a", "10.0.0.9", 4)}), nil},
		{"a range changes hands", steps(step{gone, rangeOf("new", "10.0.2.0/25")}, step{old, addrOf("new", "x", "10.0.2.2", 1)}), nil},
		{"a range grows over another", steps(step{blog, nil}, step{shop, grown}, step{nil, addrOf("shop", "c", "10.0.1.9", 1)}), nil},
		{"all is released", steps(step{a, released(a, start)}, step{b, released(b, start)}, step{shop, released(shop, start)}), nil},
		{"one comes back", steps(step{resting, addrOf("shop", "r", "10.0.0.4", 2)}), nil},
		{"an exclusion does not matter", steps(step{nil, rangeOf("new", "10.0.8.0/22")}, step{nil, addrOf("new", "x", "10.0.9.2", 1)}), nil},

		{"an empty step", steps(step{}), ipam.ErrInvalid},
		{"two keys", steps(step{a, addrOf("shop", "a", "10.0.0.9", 4)}), ipam.ErrInvalid},
		{"a range becomes an address", steps(step{blog, addrOf("shop", "a", "10.0.1.0", 4)}), ipam.ErrInvalid},
		{"no app", steps(step{nil, addrOf("", "a", "10.0.0.9", 4)}), ipam.ErrInvalid},
		{"no generation", steps(step{nil, addrOf("shop", "c", "10.0.0.9", 0)}), ipam.ErrInvalid},
		{"host bits", steps(step{nil, rangeOf("new", "10.0.4.7/24")}), ipam.ErrInvalid},
		{"an IPv4-mapped range", steps(step{nil, rangeOf("new", "::ffff:10.0.4.0/120")}), ipam.ErrInvalid},
		{"a zone", steps(step{nil, addrOf("shop", "c", "fe80::1%eth0", 1)}), ipam.ErrInvalid},
		{"an invalid Before", steps(step{&ipam.Record{}, nil}), ipam.ErrStale},

		{"another generation", steps(step{addrOf("shop", "a", "10.0.0.2", 2), nil}), ipam.ErrStale},
		{"another owner", steps(step{addrOf("shop", "z", "10.0.0.2", 3), nil}), ipam.ErrStale},
		{"another app", steps(step{addrOf("blog", "a", "10.0.0.2", 3), nil}), ipam.ErrStale},
		{"released since", steps(step{addrOf("shop", "r", "10.0.0.4", 1), nil}), ipam.ErrStale},
		{"not there", steps(step{addrOf("shop", "c", "10.0.0.9", 1), nil}), ipam.ErrStale},
		{"there already", steps(step{nil, addrOf("shop", "c", "10.0.0.2", 1)}), ipam.ErrStale},
		{"another length", steps(step{rangeOf("shop", "10.0.0.0/25"), nil}), ipam.ErrStale},
		{"no such range", steps(step{rangeOf("shop", "10.0.6.0/24"), rangeOf("shop", "10.0.6.0/23")}), ipam.ErrStale},
		{"a range there already", steps(step{nil, rangeOf("shop", "10.0.0.0/24")}), ipam.ErrStale},
		{"the same twice", steps(step{b, nil}, step{b, nil}), ipam.ErrStale},

		{"overlap", steps(step{nil, rangeOf("new", "10.0.0.128/25")}), ipam.ErrOverlap},
		{"overlap around", steps(step{nil, rangeOf("new", "10.0.0.0/20")}), ipam.ErrStale},
		{"overlap around, other base", steps(step{blog, nil}, step{gone, nil}, step{old, nil}, step{nil, rangeOf("new", "10.0.2.0/23")}, step{nil, rangeOf("x", "10.0.3.0/24")}), ipam.ErrOverlap},
		{"grows into another", steps(step{shop, grown}), ipam.ErrOverlap},
		{"outside", steps(step{nil, rangeOf("new", "11.0.0.0/24")}), ipam.ErrNotInPool},
		{"grows out of the pool", steps(step{shop, rangeOf("shop", "10.0.0.0/15")}), ipam.ErrNotInPool},
		{"no range around", steps(step{nil, addrOf("shop", "c", "10.0.5.2", 1)}), ipam.ErrNotInPool},
		{"in the range of others", steps(step{nil, addrOf("shop", "c", "10.0.1.2", 1)}), ipam.ErrNotInPool},
		{"in a released range", steps(step{nil, addrOf("old", "c", "10.0.2.9", 1)}), ipam.ErrNotInPool},
		{"live again in a released range", steps(step{old, addrOf("old", "o", "10.0.2.2", 2)}), ipam.ErrNotInPool},
		{"a second address", steps(step{nil, addrOf("shop", "a", "10.0.0.9", 4)}), ipam.ErrTaken},
		{"a range that is in use goes", steps(step{shop, nil}), ipam.ErrInUse},
		{"a range with addresses that rest goes", steps(step{gone, nil}), ipam.ErrInUse},
		{"a range in use is released", steps(step{a, released(a, start)}, step{shop, released(shop, start)}), ipam.ErrInUse},
		{"a range shrinks around its addresses", steps(step{shop, rangeOf("shop", "10.0.0.0/25")}), nil},
		{"a range shrinks below an address", steps(step{nil, addrOf("shop", "c", "10.0.0.200", 1)}, step{shop, rangeOf("shop", "10.0.0.0/25")}), ipam.ErrNotInPool},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := load(t, cfg, base)
			before, usage := state(p), p.Usage("")
			for turn := range max(1, len(tt.steps)) {
				c := ipam.Change{Steps: append(slices.Clone(tt.steps[turn:]), tt.steps[:turn]...)}
				for range 2 {
					err := p.Apply(c)
					require.Equal(t, tt.want, sentinel(err), "%v", err)
					require.NoError(t, ipam.Check(p))
					if err == nil {
						if len(c.Steps) > 0 {
							require.NotEqual(t, before, state(p))
						}
						require.NoError(t, p.Apply(c.Inverse()))
						require.NoError(t, ipam.Check(p))
					}
					require.Equal(t, before, state(p))
					require.Equal(t, usage, p.Usage(""))
					slices.Reverse(c.Steps)
				}
			}
		})
	}
}

// TestUndoGrowth takes a growth back that somebody already uses.
func TestUndoGrowth(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/29", ipam.Config{Prefixes: pfx("10.0.0.8/29", "10.0.0.16/28")})
	for i := range 5 {
		must[ipam.Assignment](t, p)(p.Acquire(start, "app", fmt.Sprint(i), nil))
	}
	q := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/27")}, state(p))
	_, grow, err := q.Grow(start, "app", 1)
	require.NoError(t, err)
	require.NoError(t, q.Apply(grow))
	seven := must[ipam.Assignment](t, q)(q.Acquire(start, "app", "5", nil))
	require.Equal(t, "10.0.0.7", seven.Addrs[0].String(), "the edge of the smaller range")
	nine := must[ipam.Assignment](t, q)(q.Acquire(start, "app", "6", nil))
	require.Equal(t, "10.0.0.8", nine.Addrs[0].String())

	require.ErrorIs(t, q.Apply(grow.Inverse()), ipam.ErrInUse)
	c, err := q.Release(start, "app", "6", 0)
	require.NoError(t, err)
	require.NoError(t, q.Apply(c))
	require.ErrorIs(t, q.Apply(grow.Inverse()), ipam.ErrInUse, "it rests there")
	require.NoError(t, ipam.Check(q))
}

// TestDecidersRace: decisions and lookups may run at the same time. The race
// detector is what fails.
func TestDecidersRace(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/28", ipam.Config{Prefixes: pfx("10.0.1.0/24", "fd00::/48"), CoolDown: time.Hour})
	for i := range 13 {
		must[ipam.Assignment](t, p)(p.Acquire(start, "app", fmt.Sprint(i), nil))
		if i%3 == 0 {
			apply(t, p)(p.Release(start, "app", fmt.Sprint(i), 0))
		}
	}
	must[ipam.Subnet](t, p)(p.Subnet(start, "gone", &ipam.SubnetOptions{Bits: 28}))
	apply(t, p)(p.ReleaseSubnet(start, "gone"))
	before := state(p)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				now := start.Add(time.Duration(j) * time.Minute)
				_, _, err1 := p.Acquire(now, "app", fmt.Sprint("new-", i, j%3), &ipam.AcquireOptions{AutoGrow: true})
				_, _, err2 := p.Move(now, "app", "1", netip.Addr{})
				_, _, err3 := p.Subnet(now, fmt.Sprint("app-", i), nil)
				_, _, err4 := p.Grow(now, "app", 20)
				_, err5 := p.Release(now, "app", "2", 0)
				for _, err := range []error{err1, err2, err3, err4, err5} {
					if err != nil && !errors.Is(err, ipam.ErrExhausted) {
						t.Error(err)
					}
				}
				p.Lookup(netip.MustParseAddr("10.0.0.2"))
				p.Usage("")
				p.Audit()
				for range p.Records() {
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, before, state(p))
}
