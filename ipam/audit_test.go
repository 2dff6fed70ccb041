package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

// TestAudit plants one corruption after the other. Each is named, what it names
// stays held, and the rest goes on working.
func TestAudit(t *testing.T) {
	t.Parallel()
	shop, blog := rangeOf("shop", "10.0.0.0/24"), rangeOf("blog", "10.0.1.0/24")
	a := addrOf("shop", "a", "10.0.0.2", 1)
	cfg := ipam.Config{Prefixes: pfx("10.0.0.0/16"), Reserve: -1}
	excluding := cfg
	excluding.Exclude = []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Reason: "the printer"}}
	tests := []struct {
		name    string
		cfg     ipam.Config
		records []*ipam.Record
		want    []string
	}{
		{"sound", cfg, []*ipam.Record{shop, blog, a}, nil},
		{
			"two records of an address", cfg,
			[]*ipam.Record{shop, a, addrOf("shop", "b", "10.0.0.2", 1)},
			[]string{"duplicate a4-0a000002: a4-0a000002 has another record"},
		},
		{
			"two records of a range", cfg,
			[]*ipam.Record{shop, a, rangeOf("blog", "10.0.0.0/25")},
			[]string{"duplicate r4-0a000000: r4-0a000000 has another record"},
		},
		{
			"two addresses of an owner", cfg,
			[]*ipam.Record{shop, a, addrOf("shop", "a", "10.0.0.3", 2)},
			[]string{`duplicate a4-0a000002: owner "a" of app "shop" also holds 10.0.0.3`},
		},
		{
			"overlap", cfg,
			[]*ipam.Record{shop, a, rangeOf("blog", "10.0.0.128/25"), addrOf("blog", "x", "10.0.0.129", 1)},
			[]string{`overlap r4-0a000080: 10.0.0.128/25 overlaps 10.0.0.0/24 of app "shop"`},
		},
		{
			"overlap around", cfg,
			[]*ipam.Record{rangeOf("blog", "10.0.0.0/23"), rangeOf("shop", "10.0.1.0/24"), addrOf("shop", "a", "10.0.1.1", 1)},
			[]string{`overlap r4-0a000100: 10.0.1.0/24 overlaps 10.0.0.0/23 of app "blog"`},
		},
		{
			"orphan", cfg,
			[]*ipam.Record{shop, a, addrOf("gone", "x", "10.0.7.7", 1)},
			[]string{`orphan a4-0a000707: 10.0.7.7 lies in no range of app "gone"`},
		},
		{
			"orphan in the range of others", cfg,
			[]*ipam.Record{shop, a, blog, addrOf("blog", "x", "10.0.0.1", 1)},
			[]string{`orphan a4-0a000001: 10.0.0.1 lies in no range of app "blog"`},
		},
		{
			"live in a released range", cfg,
			[]*ipam.Record{released(shop, start), a},
			[]string{`orphan a4-0a000002: 10.0.0.2 lies in no range of app "shop"`},
		},
		{
			"outside the pool", cfg,
			[]*ipam.Record{shop, a, rangeOf("blog", "192.168.0.0/24"), addrOf("blog", "x", "192.168.0.1", 1)},
			[]string{"outside r4-c0a80000: 192.168.0.0/24 is outside the pool"},
		},
		{
			"a family that is not numbered", cfg,
			[]*ipam.Record{shop, a, rangeOf("shop", "fd00::/64"), addrOf("shop", "a", "fd00::2", 1)},
			[]string{"outside r6-fd000000000000000000000000000000: fd00::/64 is outside the pool"},
		},
		{
			"an orphan that rests", cfg,
			[]*ipam.Record{shop, a, released(addrOf("shop", "new-0", "10.0.7.7", 1), start)},
			[]string{`orphan a4-0a000707: 10.0.7.7 lies in no range of app "shop"`},
		},
		{
			"excluded since", excluding,
			[]*ipam.Record{shop, a},
			[]string{
				"excluded a4-0a000002: 10.0.0.2 meets 10.0.0.2/32 (the printer)",
				"excluded r4-0a000000: 10.0.0.0/24 meets 10.0.0.2/32 (the printer)",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var records []ipam.Record
			held := map[netip.Addr]bool{}
			for _, r := range tt.records {
				records = append(records, *r)
				held[r.Addr] = true
			}
			p := load(t, tt.cfg, records)
			var got []string
			for _, x := range p.Audit() {
				got = append(got, fmt.Sprintf("%s %s: %s", x.Kind, x.Record.Key(), x.Detail))
			}
			require.Equal(t, tt.want, got)
			for _, r := range records {
				if !r.IsRange() && r.Released.IsZero() {
					_, found := p.Lookup(r.Addr)
					require.True(t, found, "%v", r.Addr)
				}
			}

			// Fill all there is: no address and no range is given out twice.
			for _, app := range []string{"shop", "blog", "new"} {
				_, c, err := p.Subnet(start, app, nil)
				require.NoError(t, err)
				require.NoError(t, p.Apply(c))
				for _, s := range c.Steps {
					require.False(t, slices.ContainsFunc(records, func(r ipam.Record) bool {
						return r.IsRange() && r.App != app && r.Prefix.Overlaps(s.After.Prefix)
					}))
				}
				for i := range 300 {
					_, c, err := p.Acquire(start, app, fmt.Sprint("new-", i), &ipam.AcquireOptions{AutoGrow: i > 255})
					if err != nil {
						require.ErrorIs(t, err, ipam.ErrExhausted)
						continue
					}
					require.NoError(t, p.Apply(c))
					for _, s := range c.Steps {
						require.False(t, !s.After.IsRange() && held[s.After.Addr], "%v", s.After)
					}
				}
			}
		})
	}
}

// TestOverlapAround: of two ranges that meet the live one is used, and nothing
// new is put into the other one.
func TestOverlapAround(t *testing.T) {
	t.Parallel()
	p := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/22"), CoolDown: 1}, []ipam.Record{
		*released(rangeOf("old", "10.0.0.0/23"), start), *rangeOf("shop", "10.0.1.0/24"),
	})
	require.Len(t, p.Audit(), 1)
	got := must[ipam.Assignment](t, p)(p.Acquire(start, "shop", "a", nil))
	require.Equal(t, "10.0.1.2", got.Addrs[0].String())
	require.ErrorIs(t, p.Apply(ipam.Change{Steps: []ipam.Step{{After: rangeOf("x", "10.0.0.128/25")}}}), ipam.ErrOverlap)
	_, _, err := p.Subnet(start, "x", &ipam.SubnetOptions{At: pfx("10.0.0.128/25")})
	require.ErrorIs(t, err, ipam.ErrOverlap)
	s := must[ipam.Subnet](t, p)(p.Subnet(start, "x", &ipam.SubnetOptions{Bits: 23}))
	require.Equal(t, "[10.0.2.0/23]", fmt.Sprint(s.Prefixes))

	// Its rest is over: it goes, and with it the problem.
	must[ipam.Subnet](t, p)(p.Subnet(start.AddDate(0, 0, 1), "y", &ipam.SubnetOptions{At: pfx("10.0.0.128/25")}))
	require.Empty(t, p.Audit())
	require.NoError(t, ipam.Check(p))
}

// TestHeal releases what Audit names.
func TestHeal(t *testing.T) {
	t.Parallel()
	cfg := ipam.Config{Prefixes: pfx("10.0.0.0/16")}
	p := load(t, cfg, []ipam.Record{
		*rangeOf("shop", "10.0.0.0/24"), *addrOf("shop", "a", "10.0.0.2", 1),
		*rangeOf("blog", "10.0.0.128/25"), *addrOf("blog", "x", "10.0.0.129", 1),
		*addrOf("gone", "y", "10.0.0.7", 1),
	})
	require.Len(t, p.Audit(), 2)
	apply(t, p)(p.Release(start, "blog", "x", 0))
	apply(t, p)(p.ReleaseSubnet(start, "blog"))
	apply(t, p)(p.Release(start, "gone", "y", 0))

	later := start.AddDate(0, 0, 3)
	must[ipam.Subnet](t, p)(p.Subnet(later, "new", nil)) // collects what has rested
	require.Empty(t, p.Audit())
	p = load(t, cfg, state(p))
	require.Empty(t, p.Audit())
	require.NoError(t, ipam.Check(p))
	require.EqualValues(t, 256-3, p.Usage("shop").Free+p.Usage("shop").Live)
}
