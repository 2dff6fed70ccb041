package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

func TestSubnet(t *testing.T) {
	t.Parallel()
	cfg := func(prefixes ...string) ipam.Config {
		return ipam.Config{Prefixes: pfx(prefixes...), CoolDown: time.Hour}
	}
	with := func(c ipam.Config, change func(*ipam.Config)) ipam.Config {
		change(&c)
		return c
	}
	exclude := func(prefixes ...string) func(*ipam.Config) {
		return func(c *ipam.Config) {
			for _, p := range pfx(prefixes...) {
				c.Exclude = append(c.Exclude, ipam.Exclusion{Prefix: p, Reason: "a test"})
			}
		}
	}
	pack := func(c *ipam.Config) { c.Placement = ipam.Pack }
	// Steps: "shop" carves, "shop/26" with that length, "shop@10.0.5.0/24" that
	// range, "-shop" releases, "shop+300" grows to that many free addresses,
	// "1h" lets time pass.
	tests := []struct {
		name  string
		cfg   ipam.Config
		steps string
		want  string // of the last step; an error if it is not a list of prefixes
	}{
		{"default /24", cfg("10.0.0.0/8"), "a", "10.0.0.0/24"},
		{"idempotent", cfg("10.0.0.0/8"), "a b a", "10.0.0.0/24"},
		{"idempotent, whatever its length", cfg("10.0.0.0/8"), "a a/20", "10.0.0.0/24"},
		{"spread", cfg("10.0.0.0/8"), "a b c d", "10.192.0.0/24"},
		{"pack", with(cfg("10.0.0.0/8"), pack), "a b c d", "10.0.3.0/24"},
		{"spread cuts beside the smaller neighbour", cfg("10.0.0.0/23"), "a/25 b/26 c/26", "10.0.1.128/26"},
		{"spread over prefixes: the largest", cfg("10.0.0.0/24", "10.1.0.0/16"), "a", "10.1.0.0/24"},
		{"pack over prefixes: the smallest", with(cfg("10.1.0.0/16", "10.0.0.0/24"), pack), "a", "10.0.0.0/24"},
		{"length", cfg("10.0.0.0/8"), "a/26", "10.0.0.0/26"},
		{"length out of bounds", cfg("10.0.0.0/8"), "a/31", "invalid"},
		{"small pool", cfg("10.0.0.0/30"), "a", "10.0.0.0/30"},
		{"pool of one address", cfg("10.0.0.1/32"), "a", "10.0.0.1/32"},
		{"pool of one subnet, once", cfg("10.0.0.0/24"), "a b", "exhausted"},
		{"the rest of the pool", cfg("10.0.0.0/25"), "a/26 b", "10.0.0.64/26"},
		{"no less than asked for", cfg("10.0.0.0/25"), "a/26 b/25", "exhausted"},
		{"in pieces", cfg("10.0.0.0/24"), "a@10.0.0.64/26 b@10.0.0.128/26 c/25", "10.0.0.0/26 10.0.0.192/26"},
		{"around an exclusion", with(cfg("10.0.0.0/24"), exclude("10.0.0.77/32")), "a/25", "10.0.0.128/25"},
		{"in pieces around an exclusion", with(cfg("10.0.0.0/25"), exclude("10.0.0.77/32")), "a", "10.0.0.0/26 10.0.0.64/29 10.0.0.72/30 10.0.0.80/28 10.0.0.96/27"},
		{"all excluded", with(cfg("192.168.0.0/24"), exclude("192.168.0.0/16")), "a", "exhausted"},
		{"exclusions elsewhere", with(cfg("10.0.0.0/24"), exclude("192.168.0.0/16", "fd00::/8")), "a", "10.0.0.0/24"},

		{"chosen", cfg("10.0.0.0/8"), "a@10.0.5.0/24", "10.0.5.0/24"},
		{"chosen, several", cfg("10.0.0.0/8"), "a@10.0.5.0/24,10.0.3.0/24", "10.0.3.0/24 10.0.5.0/24"},
		{"chosen, added", cfg("10.0.0.0/8"), "a a@10.0.5.0/24", "10.0.0.0/24 10.0.5.0/24"},
		{"chosen, covered already", cfg("10.0.0.0/8"), "a@10.0.5.0/24 a@10.0.5.64/26", "10.0.5.0/24"},
		{"chosen with host bits", cfg("10.0.0.0/8"), "a@10.0.5.7/24", "invalid"},
		{"chosen, IPv4-mapped", cfg("10.0.0.0/8"), "a@::ffff:10.0.5.0/120", "invalid"},
		{"chosen, too long", cfg("10.0.0.0/8"), "a@10.0.5.0/31", "invalid"},
		{"chosen outside", cfg("10.0.0.0/8"), "a@11.0.5.0/24", "not in the pool"},
		{"chosen larger than the pool", cfg("10.0.0.0/16"), "a@10.0.0.0/15", "not in the pool"},
		{"chosen in the other family", cfg("10.0.0.0/8", "fd00::/48"), "a@fd00::/64", "not in the pool"},
		{"chosen twice", cfg("10.0.0.0/8"), "a@10.0.5.0/24,10.0.5.128/25", "prefixes overlap"},
		{"chosen and held", cfg("10.0.0.0/8"), "a b@10.0.0.0/25", "prefixes overlap"},
		{"chosen around what is held", cfg("10.0.0.0/8"), "a b@10.0.0.0/16", "prefixes overlap"},
		{"chosen and resting", cfg("10.0.0.0/8"), "a -a b@10.0.0.0/24", "prefixes overlap"},
		{"chosen and rested", cfg("10.0.0.0/8"), "a -a 1h b@10.0.0.0/25", "10.0.0.0/25"},
		{"chosen around what has rested", cfg("10.0.0.0/8"), "a@10.0.5.0/24 -a 1h b@10.0.0.0/16", "10.0.0.0/16"},
		{"chosen and excluded", with(cfg("10.0.0.0/8"), exclude("10.0.5.77/32")), "a@10.0.5.0/24", "excluded"},
		{"chosen in an exclusion", with(cfg("10.0.0.0/8"), exclude("10.0.0.0/16")), "a@10.0.5.0/24", "excluded"},
		{"derived and excluded", with(cfg("10.0.0.0/8", "fd7a:115c:a1e0::/48"), exclude("fd7a:115c:a1e0::a00:535/128")), "a@10.0.5.0/24", "excluded"},

		{"rests", cfg("10.0.0.0/24"), "a -a b", "exhausted"},
		{"rest ends", cfg("10.0.0.0/24"), "a -a 1h b", "10.0.0.0/24"},
		{"comes back", cfg("10.0.0.0/8"), "a b -a a", "10.0.0.0/24"},
		{"comes back after its rest", cfg("10.0.0.0/8"), "a b -a 9h a", "10.0.0.0/24"},
		{"comes back, too small", cfg("10.0.0.0/8"), "a -a a/20", "10.0.0.0/24 10.128.0.0/20"},
		{"comes back after its rest, too small", cfg("10.0.0.0/8"), "a -a 9h a/20", "10.0.0.0/24 10.128.0.0/20"},
		{"comes back, large enough", cfg("10.0.0.0/8"), "a -a a/26", "10.0.0.0/24"},
		{"taken by others", cfg("10.0.0.0/24"), "a -a 1h b a", "exhausted"},
		{"rested ranges merge", cfg("10.0.0.0/24"), "a/26 b/26 c/26 d/26 -a -b -c -d 1h e", "10.0.0.0/24"},
		{"some still rest", cfg("10.0.0.0/24"), "a/26 b/26 c/26 d/26 -a -c 1h -b -d e/25", "10.0.0.0/25"},
		{"released twice", cfg("10.0.0.0/24"), "a -a -a", ""},
		{"released, never held", cfg("10.0.0.0/24"), "-a", ""},

		{"grows in place", cfg("10.0.0.0/8"), "a a+300", "10.0.0.0/23"},
		{"grows a lot", cfg("10.0.0.0/8"), "a a+3000", "10.0.0.0/20"},
		{"has room", cfg("10.0.0.0/8"), "a a+250", "10.0.0.0/24"},
		{"grows upward only", cfg("10.0.0.0/8"), "a@10.0.1.0/24 a+300", "10.0.1.0/24 10.128.0.0/24"},
		{"grows elsewhere", cfg("10.0.0.0/8"), "a b@10.0.1.0/24 a+300", "10.0.0.0/24 10.128.0.0/24"},
		{"grows elsewhere, then there", cfg("10.0.0.0/8"), "a b@10.0.1.0/24 a+900", "10.0.0.0/24 10.128.0.0/22"},
		{"grows over what has rested", cfg("10.0.0.0/8"), "a b@10.0.1.0/24 -b 1h a+300", "10.0.0.0/23"},
		{"not over what rests", cfg("10.0.0.0/8"), "a b@10.0.1.0/24 -b a+300", "10.0.0.0/24 10.128.0.0/24"},
		{"not over an exclusion", with(cfg("10.0.0.0/22"), exclude("10.0.1.7/32")), "a@10.0.0.0/24 a+300", "10.0.0.0/24 10.0.2.0/24"},
		{"grows to the last piece", cfg("10.0.0.0/25"), "a/26 b@10.0.0.64/27 a+70", "10.0.0.0/26 10.0.0.96/27"},
		{"grows to the end", cfg("10.0.0.0/24"), "a a+300", "exhausted"},
		{"grows as far as it may", with(cfg("10.0.0.0/8"), func(c *ipam.Config) { c.Subnet4.Min = 23 }), "a a+700", "10.0.0.0/23 10.128.0.0/23"},
		{"the largest grows", cfg("10.0.0.0/8"), "a@10.0.0.0/26,10.1.0.0/25,10.2.0.0/26 a+300", "10.0.0.0/26 10.1.0.0/24 10.2.0.0/26"},
		{"of equal ones the lowest", cfg("10.0.0.0/8"), "a@10.0.0.0/26,10.1.0.0/26 a+150", "10.0.0.0/25 10.1.0.0/26"},
		{"grows what is not there", cfg("10.0.0.0/8"), "a+1", "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := ipam.New(tt.cfg)
			require.NoError(t, err)
			now := start
			var got string
			for step := range strings.FieldsSeq(tt.steps) {
				if d, err := time.ParseDuration(step); err == nil {
					now = now.Add(d)
					continue
				}
				var s ipam.Subnet
				var c ipam.Change
				var err error
				name := step[:strings.IndexAny(step+"/", "/@+")]
				opts := &ipam.SubnetOptions{}
				switch rest := step[len(name):]; {
				case step[0] == '-':
					c, err = p.ReleaseSubnet(now, step[1:])
				case strings.HasPrefix(rest, "+"):
					var n uint64
					_, _ = fmt.Sscan(rest[1:], &n)
					s, c, err = p.Grow(now, name, n)
				case strings.HasPrefix(rest, "@"):
					opts.At = pfx(strings.Split(rest[1:], ",")...)
					s, c, err = p.Subnet(now, name, opts)
				default:
					_, _ = fmt.Sscanf(rest, "/%d", &opts.Bits)
					s, c, err = p.Subnet(now, name, opts)
				}
				got = strings.Trim(fmt.Sprint(s.Prefixes), "[]")
				if err != nil {
					got = sentinel(err).Error()
				}
				require.NoError(t, p.Apply(c))
			}
			require.Equal(t, tt.want, got)
			require.NoError(t, ipam.Check(p))
			require.Empty(t, p.Audit())
			require.Equal(t, state(p), state(load(t, tt.cfg, state(p))))
		})
	}
}

func TestSubnetErrors(t *testing.T) {
	t.Parallel()
	p, err := ipam.New(ipam.Config{
		Prefixes: pfx("10.0.0.0/16"), CoolDown: time.Hour,
		Exclude: []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.0.77.0/24"), Reason: "the printer"}},
	})
	require.NoError(t, err)
	must[ipam.Subnet](t, p)(p.Subnet(start, "shop", &ipam.SubnetOptions{At: pfx("10.0.4.0/22")}))

	_, _, err = p.Subnet(start, "blog", &ipam.SubnetOptions{At: pfx("10.0.5.0/24")})
	var overlap *ipam.OverlapError
	require.ErrorAs(t, err, &overlap)
	require.Equal(t, ipam.OverlapError{Want: pfx("10.0.5.0/24")[0], Have: pfx("10.0.4.0/22")[0], Holder: "shop"}, *overlap)
	require.EqualError(t, err, `ipam: subnet of "blog": 10.0.5.0/24 overlaps 10.0.4.0/22 of app "shop"`)

	_, _, err = p.Subnet(start, "blog", &ipam.SubnetOptions{At: pfx("10.0.76.0/23")})
	require.EqualError(t, err, `ipam: subnet of "blog": 10.0.76.0/23 meets 10.0.77.0/24 (the printer): excluded`)

	must[ipam.Assignment](t, p)(p.Acquire(start, "shop", "a", nil))
	_, err = p.ReleaseSubnet(start, "shop")
	require.ErrorIs(t, err, ipam.ErrInUse)

	// Resting addresses do not block; the subnet rests with them.
	apply(t, p)(p.Release(start, "shop", "a", 0))
	apply(t, p)(p.ReleaseSubnet(start.Add(time.Minute), "shop"))
	_, ok := p.SubnetOf("shop")
	require.False(t, ok)
	_, _, err = p.Subnet(start.Add(time.Hour), "blog", &ipam.SubnetOptions{At: pfx("10.0.0.0/18")})
	require.ErrorIs(t, err, ipam.ErrOverlap)
	_, c, err := p.Subnet(start.Add(time.Hour+time.Minute), "blog", &ipam.SubnetOptions{At: pfx("10.0.4.0/24")})
	require.NoError(t, err)
	require.Len(t, c.Steps, 2, "the range changes hands, the address that rested in it goes")
	require.NoError(t, p.Apply(c))
	require.Len(t, state(p), 1)

	full, err := ipam.New(ipam.Config{Prefixes: pfx("10.0.0.0/24"), CoolDown: time.Hour})
	require.NoError(t, err)
	must[ipam.Subnet](t, full)(full.Subnet(start, "shop", nil))
	apply(t, full)(full.ReleaseSubnet(start, "shop"))
	_, _, err = full.Subnet(start, "blog", nil)
	var exhausted *ipam.ExhaustedError
	require.ErrorAs(t, err, &exhausted)
	require.Equal(t, start.Add(time.Hour), exhausted.NextFree)
}

// TestRevive: a released app finds its subnet, its addresses and their rest as
// they were.
func TestRevive(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/24", ipam.Config{CoolDown: time.Hour})
	a := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
	apply(t, p)(p.Release(start, "app", "a", 0))
	apply(t, p)(p.ReleaseSubnet(start, "app"))
	_, _, err := p.Acquire(start, "app", "a", nil)
	require.ErrorIs(t, err, ipam.ErrNotFound)

	must[ipam.Subnet](t, p)(p.Subnet(start, "app", nil))
	b := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "b", nil))
	require.NotEqual(t, a.Addrs, b.Addrs)
	again := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
	require.Equal(t, a.Addrs, again.Addrs)
	require.Greater(t, again.Gen, a.Gen)
}

// TestGrowAfterChange grows a range that is larger than the settings now allow.
func TestGrowAfterChange(t *testing.T) {
	t.Parallel()
	p := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/8"), Subnet4: ipam.Bits{Min: 20}}, []ipam.Record{*rangeOf("a", "10.0.0.0/16")})
	s := must[ipam.Subnet](t, p)(p.Grow(start, "a", 66000))
	require.Equal(t, "[10.0.0.0/16 10.128.0.0/20]", fmt.Sprint(s.Prefixes))
}

// TestGrowOverRested gives out an address that rests in a range which the growth
// takes over: the old record and the new one are one step.
func TestGrowOverRested(t *testing.T) {
	t.Parallel()
	p, err := ipam.New(ipam.Config{Prefixes: pfx("10.0.0.0/28"), CoolDown: time.Hour})
	require.NoError(t, err)
	for app, at := range map[string]string{"shop": "10.0.0.0/30", "wall": "10.0.0.4/30", "blog": "10.0.0.8/30"} {
		must[ipam.Subnet](t, p)(p.Subnet(start, app, &ipam.SubnetOptions{At: pfx(at)}))
		must[ipam.Assignment](t, p)(p.Acquire(start, app, "a", nil))
	}
	apply(t, p)(p.Release(start, "blog", "a", 0))
	apply(t, p)(p.ReleaseSubnet(start, "blog"))
	before := state(p)
	got, c, err := p.Acquire(start.Add(time.Hour), "shop", "b", &ipam.AcquireOptions{AutoGrow: true})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.10", got.Addrs[0].String())
	require.Len(t, c.Steps, 2)
	require.NoError(t, p.Apply(c))
	require.NoError(t, ipam.Check(p))
	require.Empty(t, p.Audit())
	require.NoError(t, p.Apply(c.Inverse()))
	require.Equal(t, before, state(p))
}

// TestDeepExclusion excludes one address of a prefix that is larger than the
// levels that can be told apart.
func TestDeepExclusion(t *testing.T) {
	t.Parallel()
	p, err := ipam.New(ipam.Config{Prefixes: pfx("fd00::/8"), Placement: ipam.Pack, Exclude: []ipam.Exclusion{
		{Prefix: netip.MustParsePrefix("fd00::53/128"), Reason: "a name server"},
	}})
	require.NoError(t, err)
	s := must[ipam.Subnet](t, p)(p.Subnet(start, "a", nil))
	require.Equal(t, "fd00:0:0:1::/64", s.Prefixes[0].String())
	_, _, err = p.Subnet(start, "b", &ipam.SubnetOptions{At: pfx("fd00::/64")})
	require.ErrorIs(t, err, ipam.ErrExcluded)
	s = must[ipam.Subnet](t, p)(p.Subnet(start, "b", &ipam.SubnetOptions{At: pfx("fd00:0:0:0:8000::/65")}))
	require.Len(t, s.Prefixes, 1)
	require.NoError(t, ipam.Check(p))
}

// TestWholePool takes every address that there is, and gets everything back.
func TestWholePool(t *testing.T) {
	t.Parallel()
	cfg := ipam.Config{Prefixes: pfx("10.0.0.0/22"), CoolDown: time.Hour, Subnet4: ipam.Bits{Default: 28}}
	p, err := ipam.New(cfg)
	require.NoError(t, err)
	now := start
	for round := range 3 {
		held := 0
		grow := &ipam.AcquireOptions{AutoGrow: true}
		for i := 0; ; i++ {
			app := fmt.Sprint("app-", i%7)
			_, c, err := p.Subnet(now, app, nil)
			require.NoError(t, err)
			require.NoError(t, p.Apply(c))
			_, c, err = p.Acquire(now, app, fmt.Sprint("owner-", i), grow)
			if err != nil {
				require.ErrorIs(t, err, ipam.ErrExhausted)
				break
			}
			require.NoError(t, p.Apply(c))
			held++
		}
		// One app is full, others may not be yet.
		for i := range 7 {
			for j := 0; ; j++ {
				_, c, err := p.Acquire(now, fmt.Sprint("app-", i), fmt.Sprint("more-", j), grow)
				if err != nil {
					require.ErrorIs(t, err, ipam.ErrExhausted)
					break
				}
				require.NoError(t, p.Apply(c))
				held++
			}
		}
		u := p.Usage("")
		require.Zero(t, u.Free, "round %d", round)
		require.EqualValues(t, held, u.Live)
		require.EqualValues(t, 1024, u.Live+u.Reserved)

		for _, s := range slices.Collect(p.Subnets()) {
			for _, a := range slices.Collect(p.Assignments(s.App)) {
				apply(t, p)(p.Release(now, a.App, a.Owner, a.Gen))
			}
			apply(t, p)(p.ReleaseSubnet(now, s.App))
		}
		require.Equal(t, ipam.Usage{Total: 1024, Cooling: 1024}, p.Usage(""))
		now = now.Add(time.Hour)
	}
	s := must[ipam.Subnet](t, p)(p.Subnet(now, "heir", &ipam.SubnetOptions{Bits: 22}))
	require.Equal(t, cfg.Prefixes, s.Prefixes)
	require.Len(t, state(p), 1)
	require.NoError(t, ipam.Check(p))
}

// TestCollect: what has rested goes a few ranges at a time.
func TestCollect(t *testing.T) {
	t.Parallel()
	p, err := ipam.New(ipam.Config{Prefixes: pfx("10.0.0.0/8"), CoolDown: time.Hour})
	require.NoError(t, err)
	for i := range 12 {
		app := fmt.Sprint("app-", i)
		must[ipam.Subnet](t, p)(p.Subnet(start, app, nil))
		apply(t, p)(p.ReleaseSubnet(start.Add(time.Duration(i)), app))
	}
	later := start.Add(2 * time.Hour)
	must[ipam.Subnet](t, p)(p.Subnet(later, "a", nil))
	require.Len(t, state(p), 1+12-1-8, "one had what it needs, eight went with it")
	must[ipam.Subnet](t, p)(p.Subnet(later, "b", nil))
	require.Len(t, state(p), 2)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{
		"10.0.0.0/32", "10.0.0.0/31", "10.0.0.0/30", "10.0.0.0/27", "10.0.0.0/25", "10.0.0.0/24", "10.0.0.0/22",
		"fd00::/128", "fd00::/127", "fd00::/126", "fd00::/119",
	} {
		for _, reserve := range []int{-1, 1, 3, 200, 300} {
			for _, excluded := range []string{"", "10.0.0.0/30", "10.0.0.0/28", "10.0.0.255/32", "10.0.0.128/26", "10.0.0.0/8", "fd00::/127", "fd00::40/122", "fd00::/8"} {
				p := one(t, prefix, ipam.Config{Reserve: reserve, Subnet4: ipam.Bits{Max: 32}, Subnet6: ipam.Bits{Max: 128}})
				for i := range 7 {
					if _, c, err := p.Acquire(start, "app", fmt.Sprint(i), nil); err == nil {
						require.NoError(t, p.Apply(c))
					}
				}
				apply(t, p)(p.Release(start, "app", "0", 0))

				cfg := ipam.Config{Prefixes: pfx(prefix), Reserve: reserve}
				if excluded != "" {
					cfg.Exclude = []ipam.Exclusion{{Prefix: netip.MustParsePrefix(excluded)}, {Prefix: netip.MustParsePrefix(excluded)}}
				}
				p = load(t, cfg, state(p))
				twin := newNaive(spelt(cfg))
				for _, r := range state(p) {
					twin.apply(delta{r.Key(): {After: &r}})
				}
				require.Equal(t, twin.Usage("app"), p.Usage("app"), "%s without %s, reserve %d", prefix, excluded, reserve)
				require.Equal(t, twin.Usage(""), p.Usage(""), "%s without %s, reserve %d", prefix, excluded, reserve)
				require.NoError(t, ipam.Check(p))
			}
		}
	}

	// Counts of IPv6 stop at 2^64-1, and still add up.
	p := one(t, "fd00::/48", ipam.Config{Prefixes: pfx("fd01::/48")})
	must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
	for _, app := range []string{"", "app"} {
		u := p.Usage(app)
		require.Equal(t, ipam.Usage{Total: 1<<64 - 1, Live: 1, Reserved: 2, Free: 1<<64 - 4}, u)
	}
	require.Zero(t, p.Usage("nobody"))
}
