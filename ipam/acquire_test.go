package ipam_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// must applies a decision.
func must[T any](tb testing.TB, p *ipam.Pool) func(T, ipam.Change, error) T {
	tb.Helper()
	return func(got T, c ipam.Change, err error) T {
		tb.Helper()
		require.NoError(tb, err)
		require.NoError(tb, p.Apply(c))
		return got
	}
}

func apply(tb testing.TB, p *ipam.Pool) func(ipam.Change, error) {
	tb.Helper()
	return func(c ipam.Change, err error) {
		tb.Helper()
		require.NoError(tb, err)
		require.NoError(tb, p.Apply(c))
	}
}

// one returns a Pool with app "app" on the whole of prefix.
func one(tb testing.TB, prefix string, cfg ipam.Config) *ipam.Pool {
	tb.Helper()
	cfg.Prefixes = append(pfx(prefix), cfg.Prefixes...)
	p, err := ipam.New(cfg)
	require.NoError(tb, err)
	must[ipam.Subnet](tb, p)(p.Subnet(start, "app", &ipam.SubnetOptions{At: pfx(prefix)}))
	return p
}

func TestAcquire(t *testing.T) {
	t.Parallel()
	hour := ipam.Config{CoolDown: time.Hour}
	bare := ipam.Config{CoolDown: time.Hour, Reserve: -1}
	// Steps: "+a" acquires for a, "+a@10.0.0.9" that address, "-a" releases,
	// ">a" and ">a@10.0.0.9" move, "1h" lets time pass.
	tests := []struct {
		name   string
		prefix string
		cfg    ipam.Config
		steps  string
		want   string // of the last step; an error if it is not an address
	}{
		{"lowest first, one reserved", "10.0.0.0/24", hour, "+a", "10.0.0.2"},
		{"none reserved", "10.0.0.0/24", bare, "+a", "10.0.0.1"},
		{"three reserved", "10.0.0.0/24", ipam.Config{Reserve: 3}, "+a", "10.0.0.4"},
		{"idempotent", "10.0.0.0/24", hour, "+a +b +a", "10.0.0.2"},
		{"idempotent at its own address", "10.0.0.0/24", hour, "+a +a@10.0.0.2", "10.0.0.2"},
		{"holds another", "10.0.0.0/24", hour, "+a +a@10.0.0.9", "in use"},
		{"released rests", "10.0.0.0/24", hour, "+a -a +b", "10.0.0.3"},
		{"rests to the last", "10.0.0.0/24", hour, "+a -a 59m59s +b", "10.0.0.3"},
		{"rest ends", "10.0.0.0/24", hour, "+a -a 1h +b", "10.0.0.2"},
		{"48 hours by default", "10.0.0.0/30", ipam.Config{}, "+a -a 47h59m +b", "exhausted"},
		{"and then", "10.0.0.0/30", ipam.Config{}, "+a -a 48h +b", "10.0.0.2"},
		{"no rest", "10.0.0.0/24", ipam.Config{CoolDown: -1}, "+a -a +b", "10.0.0.2"},
		{"former owner at once", "10.0.0.0/24", hour, "+a +b -a +a", "10.0.0.2"},
		{"former owner, its last one", "10.0.0.0/24", hour, "+a >a 1m -a +a", "10.0.0.3"},
		{"former owner, long after", "10.0.0.0/24", hour, "+a -a 9000h +a", "10.0.0.2"},
		{"former owner too late", "10.0.0.0/24", hour, "+a -a 1h +b +a", "10.0.0.3"},
		{"a clock that goes back", "10.0.0.0/30", hour, "+a -a -30m +b", "exhausted"},
		{"full", "10.0.0.0/29", hour, "+a +b +c +d +e +f", "exhausted"},
		{"wraps: short-lived owners", "10.0.0.0/29", hour, "+a -a +b -b +c -c +d -d +e -e 1h +f -f +g", "10.0.0.3"},
		{"/30", "10.0.0.0/30", bare, "+a +b", "10.0.0.2"},
		{"/30 ends", "10.0.0.0/30", bare, "+a +b +c", "exhausted"},
		{"/31 uses both (RFC 3021)", "10.0.0.0/31", bare, "+a +b", "10.0.0.1"},
		{"/31 reserves the first", "10.0.0.0/31", hour, "+a +b", "exhausted"},
		{"/32", "10.0.0.0/32", hour, "+a", "10.0.0.0"},
		{".255 and .0 of every /24", "10.0.0.0/23", bare, "+a@10.0.0.254 +b@10.0.0.255", "excluded"},
		{".0 in the middle", "10.0.0.0/23", bare, "+a@10.0.1.0", "excluded"},
		{"edges of a small range", "10.0.0.64/26", bare, "+a@10.0.0.127", "excluded"},
		{"ipv6 skips the all-zero address", "fd00::/64", bare, "+a", "fd00::1"},
		{"/127 uses both (RFC 6164)", "fd00::/127", bare, "+a +b", "fd00::1"},
		{"/128", "fd00::/128", hour, "+a", "fd00::"},
		{"ipv6 far away", "fd00::/64", hour, "+a@fd00::ffff:ffff:ffff:ffff", "fd00::ffff:ffff:ffff:ffff"},
		{"far away, twice", "fd00::/64", hour, "+a@fd00::ffff:0:0:1 +b@fd00::ffff:0:0:1", "taken"},
		{"far away, released", "fd00::/64", hour, "+a@fd00::ffff:0:0:1 -a 1h +b@fd00::ffff:0:0:1", "fd00::ffff:0:0:1"},
		{"very far away", "fd00::/48", hour, "+a@fd00:0:0:ffff::1 +b@fd00:0:0:fffe::1 -a >b@fd00:0:0:ffff::2", "fd00:0:0:ffff::2"},
		{"chosen", "10.0.0.0/24", hour, "+a@10.0.0.77", "10.0.0.77"},
		{"chosen, IPv4-mapped", "10.0.0.0/24", hour, "+a@::ffff:10.0.0.77", "10.0.0.77"},
		{"chosen, with a zone", "fd00::/64", hour, "+a@fd00::7%eth0", "invalid"},
		{"chosen and taken", "10.0.0.0/24", hour, "+a +b@10.0.0.2", "taken"},
		{"chosen and resting", "10.0.0.0/24", hour, "+a -a +b@10.0.0.2", "taken"},
		{"chosen and rested", "10.0.0.0/24", hour, "+a -a 1h +b@10.0.0.2", "10.0.0.2"},
		{"chosen and reserved", "10.0.0.0/24", hour, "+a@10.0.0.1", "excluded"},
		{"chosen elsewhere", "10.0.0.0/24", hour, "+a@10.0.1.1", "not in the pool"},
		{"the network address is never given out", "10.0.0.0/29", bare, "+a +b +c +d +e +f -a -b -c -d -e -f 1h +g@10.0.0.0", "excluded"},
		{"moves", "10.0.0.0/24", hour, "+a >a", "10.0.0.3"},
		{"moves to", "10.0.0.0/24", hour, "+a >a@10.0.0.9", "10.0.0.9"},
		{"moves nowhere", "10.0.0.0/24", hour, "+a >a@10.0.0.2", "10.0.0.2"},
		{"moves back", "10.0.0.0/24", hour, "+a >a >a@10.0.0.2", "10.0.0.2"},
		{"moves away from what rests then", "10.0.0.0/24", hour, "+a >a +b", "10.0.0.4"},
		{"moves what is not there", "10.0.0.0/24", hour, ">a", "not found"},
		{"moves in a full range", "10.0.0.0/30", hour, "+a >a", "exhausted"},
		{"excluded are skipped", "10.0.0.0/24", ipam.Config{Exclude: []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.9.0.0/16")}}}, "+a", "10.0.0.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Subnet4.Max, tt.cfg.Subnet6.Max = 32, 0
			if tt.prefix[0] == 'f' {
				tt.cfg.Subnet6.Max = min(128, netip.MustParsePrefix(tt.prefix).Bits()+63)
			}
			p := one(t, tt.prefix, tt.cfg)
			now := start
			var got string
			for step := range strings.FieldsSeq(tt.steps) {
				if d, err := time.ParseDuration(step); err == nil {
					now = now.Add(d)
					continue
				}
				owner, text, chosen := strings.Cut(step[1:], "@")
				var at netip.Addr
				if chosen {
					at = netip.MustParseAddr(text)
				}
				var a ipam.Assignment
				var c ipam.Change
				var err error
				switch step[0] {
				case '+':
					a, c, err = p.Acquire(now, "app", owner, &ipam.AcquireOptions{At: at})
				case '>':
					a, c, err = p.Move(now, "app", owner, at)
				default:
					c, err = p.Release(now, "app", owner, 0)
				}
				if got = fmt.Sprint(sentinel(err)); err == nil {
					require.NoError(t, p.Apply(c))
					if len(a.Addrs) > 0 {
						got = a.Addrs[0].String()
					}
				}
			}
			require.Equal(t, tt.want, got)
			require.NoError(t, ipam.Check(p))
			require.Empty(t, p.Audit())
		})
	}
}

func TestAcquireArguments(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/24", ipam.Config{})
	long := strings.Repeat("x", 513)
	for _, tt := range []struct {
		app, owner string
		want       error
	}{
		{"", "a", ipam.ErrInvalid},
		{"app", "", ipam.ErrInvalid},
		{long, "a", ipam.ErrInvalid},
		{"app", long, ipam.ErrInvalid},
		{"app", "a\xff", ipam.ErrInvalid}, // would come back from JSON as another owner
		{"nobody's", "a", ipam.ErrNotFound},
		{"app", long[1:], nil},
		{"app", "../\n\x00 \u202e", nil},
	} {
		_, c, err := p.Acquire(start, tt.app, tt.owner, nil)
		require.ErrorIs(t, err, tt.want)
		require.Equal(t, tt.want != nil, c.Empty())
	}
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	for name, coolDown := range map[string]time.Duration{"rest": time.Hour, "no rest": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := one(t, "10.0.0.0/24", ipam.Config{CoolDown: coolDown})
			first := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
			require.EqualValues(t, 1, first.Gen)
			apply(t, p)(p.Release(start, "app", "a", first.Gen))

			// Somebody else gets the address, and what was known of it goes.
			later := start.Add(time.Hour)
			must[ipam.Assignment](t, p)(p.Acquire(later, "app", "b", &ipam.AcquireOptions{At: first.Addrs[0]}))
			again := must[ipam.Assignment](t, p)(p.Acquire(later, "app", "a", nil))
			require.Greater(t, again.Gen, first.Gen)

			_, err := p.Release(later, "app", "a", first.Gen)
			require.ErrorIs(t, err, ipam.ErrStale)
			_, err = p.Release(later, "app", "a", again.Gen+1)
			require.ErrorIs(t, err, ipam.ErrStale)

			moved := must[ipam.Assignment](t, p)(p.Move(later, "app", "a", netip.Addr{}))
			require.Greater(t, moved.Gen, again.Gen)
			apply(t, p)(p.Release(later, "app", "a", moved.Gen))
			for _, gen := range []uint64{0, first.Gen, moved.Gen} {
				c, err := p.Release(later, "app", "a", gen)
				require.NoError(t, err)
				require.True(t, c.Empty())
			}
		})
	}
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/29", ipam.Config{CoolDown: time.Hour})
	for i := range 5 {
		must[ipam.Assignment](t, p)(p.Acquire(start, "app", fmt.Sprint(i), nil))
	}
	apply(t, p)(p.Release(start.Add(time.Minute), "app", "3", 0))
	apply(t, p)(p.Release(start.Add(2*time.Minute), "app", "1", 0))

	_, _, err := p.Acquire(start.Add(time.Hour), "app", "new", nil)
	require.ErrorIs(t, err, ipam.ErrExhausted)
	var full *ipam.ExhaustedError
	require.ErrorAs(t, err, &full)
	require.Equal(t, ipam.ExhaustedError{
		App: "app", Live: 3, Cooling: 2, Reserved: 3, NextFree: start.Add(time.Minute + time.Hour),
	}, *full)
	require.EqualError(t, err, `ipam: acquire "new" in "app": app "app" exhausted: 3 live, 2 cooling, 3 reserved, next free at 2026-01-02T04:05:05Z`)

	// At that time it is.
	a := must[ipam.Assignment](t, p)(p.Acquire(full.NextFree, "app", "new", nil))
	require.Equal(t, "10.0.0.5", a.Addrs[0].String())
}

func TestDualStack(t *testing.T) {
	t.Parallel()
	v4, v6 := "10.0.0.0/16", "fd12:3456:789a::/48"
	for _, tt := range []struct {
		name     string
		cfg      ipam.Config
		subnet   string
		addrs    string
		explicit string // for an address that a caller chooses
	}{
		{"derived", ipam.Config{Prefixes: pfx(v4, v6)}, "[10.0.0.0/24 fd12:3456:789a::a00:0/120]", "[10.0.0.2 fd12:3456:789a::a00:2]", "10.0.0.9"},
		{"derived, other order", ipam.Config{Prefixes: pfx(v6, v4)}, "[10.0.0.0/24 fd12:3456:789a::a00:0/120]", "[10.0.0.2 fd12:3456:789a::a00:2]", "10.0.0.9"},
		{"independent", ipam.Config{Prefixes: pfx(v4, v6), V6: ipam.Independent}, "[10.0.0.0/24 fd12:3456:789a::/64]", "[10.0.0.2 fd12:3456:789a::2]", "fd12:3456:789a::9"},
		{"none", ipam.Config{Prefixes: pfx(v4, v6), V6: ipam.None}, "[10.0.0.0/24]", "[10.0.0.2]", "10.0.0.9"},
		{"IPv4 only", ipam.Config{Prefixes: pfx(v4)}, "[10.0.0.0/24]", "[10.0.0.2]", "10.0.0.9"},
		{"IPv6 only", ipam.Config{Prefixes: pfx(v6)}, "[fd12:3456:789a::/64]", "[fd12:3456:789a::2]", "fd12:3456:789a::9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := ipam.New(tt.cfg)
			require.NoError(t, err)
			s := must[ipam.Subnet](t, p)(p.Subnet(start, "app", nil))
			require.Equal(t, tt.subnet, fmt.Sprint(s.Prefixes))
			a := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
			require.Equal(t, tt.addrs, fmt.Sprint(a.Addrs))
			for _, addr := range a.Addrs {
				got, ok := p.Lookup(addr)
				require.True(t, ok)
				require.Equal(t, a, got)
			}
			at := netip.MustParseAddr(tt.explicit)
			b := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "b", &ipam.AcquireOptions{At: at}))
			require.Contains(t, b.Addrs, at)
			require.Len(t, b.Addrs, len(a.Addrs))
			m := must[ipam.Assignment](t, p)(p.Move(start, "app", "b", netip.Addr{}))
			for i := range m.Addrs {
				require.NotEqual(t, b.Addrs[i], m.Addrs[i])
			}
			apply(t, p)(p.Release(start, "app", "a", a.Gen))
			_, ok := p.Lookup(a.Addrs[0])
			require.False(t, ok)
			require.NoError(t, ipam.Check(p))
			require.Empty(t, p.Audit())
		})
	}

	t.Run("derived addresses are not chosen", func(t *testing.T) {
		t.Parallel()
		p := one(t, v4, ipam.Config{Prefixes: pfx(v6)})
		_, _, err := p.Acquire(start, "app", "a", &ipam.AcquireOptions{At: netip.MustParseAddr("fd12:3456:789a::a00:9")})
		require.ErrorIs(t, err, ipam.ErrNotInPool)
		_, ok := p.Lookup(netip.MustParseAddr("fd12:3456:789a:1::a00:2"))
		require.False(t, ok)
	})
}

// TestSecondFamily adds IPv6 to a network that has servers.
func TestSecondFamily(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/24", ipam.Config{})
	a := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))

	t.Run("derived", func(t *testing.T) {
		t.Parallel()
		q := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/24", "fd00:1::/48")}, state(p))
		got, c, err := q.Acquire(start, "app", "a", nil)
		require.NoError(t, err)
		require.True(t, c.Empty())
		require.Equal(t, "[10.0.0.2 fd00:1::a00:2]", fmt.Sprint(got.Addrs))
		require.Equal(t, a.Gen, got.Gen)
	})
	t.Run("independent", func(t *testing.T) {
		t.Parallel()
		q := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/24", "fd00:1::/48"), V6: ipam.Independent}, state(p))
		s := must[ipam.Subnet](t, q)(q.Subnet(start, "app", nil))
		require.Equal(t, "[10.0.0.0/24 fd00:1::/64]", fmt.Sprint(s.Prefixes))
		got := must[ipam.Assignment](t, q)(q.Acquire(start, "app", "a", nil))
		require.Equal(t, "[10.0.0.2 fd00:1::2]", fmt.Sprint(got.Addrs))
		require.Equal(t, a.Gen, got.Gen)
		require.Empty(t, q.Audit())
	})
}

// TestHashed pins the hash: other versions and replicas have to agree.
func TestHashed(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, salt := range []string{"", "acme"} {
		p := one(t, "10.0.0.0/20", ipam.Config{Prefixes: pfx("fd00::/48"), V6: ipam.Independent, Order: ipam.Hashed, Salt: salt})
		for _, owner := range []string{"web-1", "web-2", "web-3", "db", "größe", "@ada/laptop"} {
			a := must[ipam.Assignment](t, p)(p.Acquire(start, "app", owner, nil))
			fmt.Fprintf(&out, "%q %q %v\n", salt, owner, a.Addrs)

			// Alone and later, it gets the same.
			q := one(t, "10.0.0.0/20", ipam.Config{Prefixes: pfx("fd00::/48"), V6: ipam.Independent, Order: ipam.Hashed, Salt: salt})
			require.Equal(t, a, must[ipam.Assignment](t, q)(q.Acquire(start, "app", owner, nil)))
		}
	}
	golden(t, "hashed.txt", out.String())
}

// TestJoin imports 1,000 servers as one change.
func TestJoin(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/16", ipam.Config{Prefixes: pfx("10.1.0.0/16")})
	before := state(p)
	var done []ipam.Change
	s, c, err := p.Subnet(start, "shop", nil)
	require.NoError(t, err)
	require.Equal(t, "10.1.0.0/24", s.Prefixes[0].String())
	for i := 0; ; i++ {
		require.NoError(t, p.Apply(c))
		done = append(done, c)
		if i == 1000 {
			break
		}
		_, c, err = p.Acquire(start, "shop", fmt.Sprint("server-", i), &ipam.AcquireOptions{AutoGrow: true})
		require.NoError(t, err)
	}
	c, err = p.Release(start, "shop", "server-7", 0)
	require.NoError(t, err)
	require.NoError(t, p.Apply(c))
	after := state(p)

	bulk := ipam.Join(append(done, c)...)
	require.Len(t, bulk.Steps, 1+1000, "the range grew under way, and is one step")
	require.NoError(t, p.Apply(bulk.Inverse()))
	require.Equal(t, before, state(p))
	require.NoError(t, p.Apply(bulk))
	require.Equal(t, after, state(p))

	require.True(t, ipam.Join(bulk, bulk.Inverse()).Empty())
	require.True(t, ipam.Join().Empty())
	text, err := json.Marshal(bulk)
	require.NoError(t, err)
	var back ipam.Change
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, bulk, back)
}

// TestAllocations pins what a decision allocates: its answer, nothing else.
func TestAllocations(t *testing.T) { // not parallel: testing.AllocsPerRun forbids it
	p := one(t, "10.0.0.0/16", ipam.Config{Prefixes: pfx("fd00::/48")})
	a := must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
	for _, tt := range []struct {
		name string
		want float64
		f    func()
	}{
		{"acquire", 2, func() { _, _, _ = p.Acquire(start, "app", "new", nil) }}, // addresses, change
		{"acquire again", 1, func() { _, _, _ = p.Acquire(start, "app", "a", nil) }},
		{"release", 1, func() { _, _ = p.Release(start, "app", "a", 0) }},
		{"release nothing", 0, func() { _, _ = p.Release(start, "app", "b", 0) }},
		{"lookup", 1, func() { p.Lookup(a.Addrs[1]) }},
		{"lookup nothing", 0, func() { p.Lookup(netip.IPv6Loopback()) }},
		{"usage", 0, func() { p.Usage("app") }},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, tt.f), tt.want, tt.name)
	}
}

// TestOrder: everything comes in a known order, and may be left early.
func TestOrder(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/24", ipam.Config{Prefixes: pfx("10.1.0.0/16", "fd00::/48"), V6: ipam.Independent})
	for i, at := range []string{"10.0.0.77", "10.0.0.9", "fd00::ffff:ffff:ffff:fff0", ""} {
		a, _ := netip.ParseAddr(at)
		must[ipam.Assignment](t, p)(p.Acquire(start, "app", fmt.Sprint(i), &ipam.AcquireOptions{At: a}))
	}
	must[ipam.Subnet](t, p)(p.Subnet(start, "a", nil))
	must[ipam.Subnet](t, p)(p.Subnet(start, "z", nil))

	var got []string
	for a := range p.Assignments("app") {
		got = append(got, a.Owner)
		if len(got) == 3 {
			break
		}
	}
	require.Equal(t, []string{"2", "3", "1"}, got)
	got = nil
	for s := range p.Subnets() {
		got = append(got, s.App)
		if len(got) == 2 {
			break
		}
	}
	require.Equal(t, []string{"a", "app"}, got)
	all := state(p)
	require.True(t, slices.IsSortedFunc(all, func(a, b ipam.Record) int { return strings.Compare(a.Key(), b.Key()) }))
	for n := 1; n <= len(all); n++ {
		var some []ipam.Record
		for r := range p.Records() {
			if some = append(some, r); len(some) == n {
				break
			}
		}
		require.Equal(t, all[:n], some)
	}
	for range p.Assignments("nobody") {
		t.Fail()
	}
	_, ok := p.Assignment("nobody", "1")
	require.False(t, ok)
	_, ok = p.Lookup(netip.Addr{})
	require.False(t, ok)
	_, ok = p.Lookup(netip.MustParseAddr("fe80::1%eth0"))
	require.False(t, ok)
	_, ok = p.Lookup(netip.MustParseAddr("::ffff:10.0.0.9"))
	require.True(t, ok, "addresses are unmapped at the boundary")
	got1, ok := p.Lookup(netip.MustParseAddr("FD00::FFFF:FFFF:FFFF:FFF0"))
	require.True(t, ok, "spelling does not matter")
	require.Equal(t, "2", got1.Owner)
}
