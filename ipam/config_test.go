package ipam_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	ten := pfx("10.0.0.0/8")
	tests := []struct {
		name   string
		cfg    ipam.Config
		field  string
		reason string
	}{
		{"empty", ipam.Config{}, "Prefixes", "empty"},
		{"zero prefix", ipam.Config{Prefixes: make([]netip.Prefix, 1)}, "Prefixes[0]", "not a valid prefix"},
		{"too long", ipam.Config{Prefixes: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33)}}, "Prefixes[0]", "not a valid prefix"},
		{"host bits", ipam.Config{Prefixes: pfx("10.0.0.0/8", "10.0.0.7/24")}, "Prefixes[1]", "10.0.0.7/24 has host bits, the prefix is 10.0.0.0/24"},
		{"IPv4-mapped", ipam.Config{Prefixes: pfx("::ffff:10.0.0.0/104")}, "Prefixes[0]", "::ffff:10.0.0.0/104 is an IPv4-mapped IPv6 prefix"},
		{"all of IPv6", ipam.Config{Prefixes: pfx("::/0")}, "Prefixes[0]", "::/0 holds the IPv4-mapped addresses"},
		{"reserved", ipam.Config{Prefixes: pfx("64:ff9b::/96")}, "Prefixes[0]", "64:ff9b::/96 meets 0000::/8, which is reserved (RFC 4291)"},
		{"overlap", ipam.Config{Prefixes: pfx("10.0.0.0/8", "10.1.0.0/16")}, "Prefixes[1]", "10.1.0.0/16 overlaps 10.0.0.0/8"},
		{"twice", ipam.Config{Prefixes: pfx("fd00::/48", "fd00::/48")}, "Prefixes[1]", "fd00::/48 overlaps fd00::/48"},
		{"only IPv6 and none wanted", ipam.Config{Prefixes: pfx("fd00::/48"), V6: ipam.None}, "Prefixes", "no prefix to number from"},
		{"too long to derive", ipam.Config{Prefixes: pfx("10.0.0.0/8", "fd00::/97")}, "Prefixes", "fd00::/97 is longer than /96, so no address can be derived in it"},
		{"exclusion with host bits", ipam.Config{Prefixes: ten, Exclude: []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.0.0.7/24")}}}, "Exclude[0].Prefix", "10.0.0.7/24 has host bits, the prefix is 10.0.0.0/24"},
		{"zero exclusion", ipam.Config{Prefixes: ten, Exclude: make([]ipam.Exclusion, 1)}, "Exclude[0].Prefix", "not a valid prefix"},
		{"placement", ipam.Config{Prefixes: ten, Placement: "best"}, "Placement", `"best" is not one of its values`},
		{"order", ipam.Config{Prefixes: ten, Order: "random"}, "Order", `"random" is not one of its values`},
		{"v6", ipam.Config{Prefixes: ten, V6: "derived"}, "V6", `"derived" is not one of its values`},
		{"default longer than max", ipam.Config{Prefixes: ten, Subnet4: ipam.Bits{Default: 28, Max: 26}}, "Subnet4.Default", "/28 is not between /8 and /26"},
		{"default shorter than min", ipam.Config{Prefixes: ten, Subnet4: ipam.Bits{Default: 16, Min: 20}}, "Subnet4.Default", "/16 is not between /20 and /30"},
		{"default larger than the pool", ipam.Config{Prefixes: pfx("10.0.0.0/24"), Subnet4: ipam.Bits{Default: 20}}, "Subnet4.Default", "/20 is not between /24 and /30"},
		{"min and max", ipam.Config{Prefixes: ten, Subnet4: ipam.Bits{Min: 28, Max: 26}}, "Subnet4.Default", "/26 is not between /28 and /26"},
		{"no such length", ipam.Config{Prefixes: ten, Subnet4: ipam.Bits{Max: 33}}, "Subnet4.Max", "/33 is not between /8 and /32"},
		{"negative", ipam.Config{Prefixes: ten, Subnet4: ipam.Bits{Min: -1}}, "Subnet4.Min", "/-1 is not between /1 and /32"},
		{"too deep", ipam.Config{Prefixes: pfx("fd00::/8"), Subnet6: ipam.Bits{Max: 80}}, "Subnet6.Max", "/80 is not between /32 and /71"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ipam.New(tt.cfg)
			var bad *ipam.ConfigError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, ipam.ConfigError{Field: tt.field, Reason: tt.reason}, *bad)
			require.ErrorIs(t, err, ipam.ErrInvalid)
			require.EqualError(t, err, "ipam: config "+tt.field+": "+tt.reason)
			_, err = ipam.Load(tt.cfg, 0, func(func(ipam.Record) bool) {})
			require.ErrorAs(t, err, &bad)
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		prefixes []netip.Prefix
		bits     ipam.Bits
		want     string // the first subnet, or an error
	}{
		{pfx("10.0.0.0/8"), ipam.Bits{}, "10.0.0.0/24"},
		{pfx("10.0.0.0/25"), ipam.Bits{}, "10.0.0.0/25"},
		{pfx("10.0.0.0/32"), ipam.Bits{}, "10.0.0.0/32"},
		{pfx("10.0.0.0/8"), ipam.Bits{Min: 26}, "10.0.0.0/26"},
		{pfx("10.0.0.0/8"), ipam.Bits{Max: 20}, "10.0.0.0/20"},
		{pfx("10.0.0.0/8"), ipam.Bits{Default: 6, Min: 4}, "invalid"},
		{pfx("0.0.0.0/0"), ipam.Bits{Default: 4, Min: 4}, "0.0.0.0/4"},
		{pfx("fd00::/48"), ipam.Bits{}, "fd00::/64"},
		{pfx("fd00::/64"), ipam.Bits{}, "fd00::/80"},
		{pfx("fd00::/120"), ipam.Bits{}, "fd00::/120"},
		{pfx("fd00::/8"), ipam.Bits{}, "fd00::/64"},
		{pfx("fd00::/8"), ipam.Bits{Default: 71}, "fd00::/71"},
	} {
		p, err := ipam.New(ipam.Config{Prefixes: tt.prefixes, Subnet4: tt.bits, Subnet6: tt.bits})
		if err != nil {
			require.Equal(t, tt.want, sentinel(err).Error(), "%v", tt.prefixes)
			continue
		}
		s := must[ipam.Subnet](t, p)(p.Subnet(start, "a", nil))
		require.Equal(t, tt.want, s.Prefixes[0].String())
		must[ipam.Assignment](t, p)(p.Acquire(start, "a", "x", nil))
	}
}

// TestReserve: however large, one address is left to give.
func TestReserve(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"10.0.0.0/32", "10.0.0.0/31", "10.0.0.0/30", "10.0.0.0/25", "10.0.0.0/24", "10.0.0.0/22", "fd00::/64", "fd00::/126", "fd00::/127", "fd00::/128"} {
		for _, reserve := range []int{-1, 0, 1, 2, 250, 253, 254, 255, 508, 1 << 40} {
			cfg := ipam.Config{Reserve: reserve, Subnet4: ipam.Bits{Max: 32}}
			if prefix[0] == 'f' {
				cfg.Subnet6.Max = max(64, netip.MustParsePrefix(prefix).Bits())
			}
			p := one(t, prefix, cfg)
			want := uint64(max(reserve, 0))
			if reserve == 0 {
				want = 1
			}
			usable := min(ipam.Usable(netip.MustParsePrefix(prefix)), 1<<24-1)
			want = usable - min(want, usable-1)
			if usable < 1<<20 {
				require.Equal(t, want, p.Usage("app").Free, "%s %d", prefix, reserve)
			}
			must[ipam.Assignment](t, p)(p.Acquire(start, "app", "x", nil))
			require.NoError(t, ipam.Check(p), "%s %d", prefix, reserve)
		}
	}
}

// TestStoredForms freezes what callers keep: a Config and records.
func TestStoredForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value any
		want  string
	}{
		{ipam.Config{Prefixes: pfx("10.0.0.0/8")}, `{"prefixes":["10.0.0.0/8"]}`},
		{
			ipam.Config{
				Prefixes: pfx("10.0.0.0/8", "fd12:3456:789a::/48"),
				Exclude:  []ipam.Exclusion{{Prefix: netip.MustParsePrefix("10.96.0.0/12"), Reason: "Kubernetes"}},
				Subnet4:  ipam.Bits{Default: 26, Min: 20, Max: 28}, Subnet6: ipam.Bits{Default: 64},
				Placement: ipam.Pack, Order: ipam.Hashed, Salt: "acme", CoolDown: time.Hour, Reserve: -1, V6: ipam.Independent,
			},
			`{"prefixes":["10.0.0.0/8","fd12:3456:789a::/48"],"exclude":[{"prefix":"10.96.0.0/12","reason":"Kubernetes"}],` +
				`"subnet4":{"default":26,"min":20,"max":28},"subnet6":{"default":64},"placement":"pack","order":"hashed","salt":"acme",` +
				`"coolDown":3600000000000,"reserve":-1,"v6":"independent"}`,
		},
		{*rangeOf("shop", "10.0.0.0/24"), `{"app":"shop","prefix":"10.0.0.0/24"}`},
		{*addrOf("shop", "web-1", "10.0.0.2", 1), `{"app":"shop","owner":"web-1","addr":"10.0.0.2","gen":1}`},
		{*released(addrOf("shop", "web-1", "fd00::2", 7), start), `{"app":"shop","owner":"web-1","addr":"fd00::2","gen":7,"released":"2026-01-02T03:04:05.000000006Z"}`},
	} {
		text, err := json.Marshal(tt.value)
		require.NoError(t, err)
		require.Equal(t, tt.want, string(text))
	}
	// A caller embeds a record in a row of its own.
	text, err := json.Marshal(struct {
		V int `json:"v"`
		ipam.Record
	}{1, *rangeOf("shop", "10.0.0.0/24")})
	require.NoError(t, err)
	require.JSONEq(t, `{"v":1,"app":"shop","prefix":"10.0.0.0/24"}`, string(text))
}

func TestKeys(t *testing.T) {
	t.Parallel()
	want := []struct {
		record *ipam.Record
		key    string
	}{
		{addrOf("a", "x", "0.0.0.1", 1), "a4-00000001"},
		{addrOf("a", "x", "10.0.0.9", 1), "a4-0a000009"},
		{addrOf("a", "x", "10.0.0.10", 1), "a4-0a00000a"},
		{addrOf("a", "x", "255.255.255.254", 1), "a4-fffffffe"},
		{addrOf("a", "x", "2001:db8::1", 1), "a6-20010db8000000000000000000000001"},
		{addrOf("a", "x", "fd00::9", 1), "a6-fd000000000000000000000000000009"},
		{rangeOf("a", "10.0.0.0/8"), "r4-0a000000"},
		{rangeOf("a", "10.0.0.10/32"), "r4-0a00000a"},
		{rangeOf("a", "fd00::/64"), "r6-fd000000000000000000000000000000"},
	}
	for i, tt := range want {
		require.Equal(t, tt.key, tt.record.Key())
		if i > 0 {
			require.Less(t, want[i-1].key, tt.key)
		}
	}
	p := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/8")}, []ipam.Record{*want[6].record, *want[1].record})
	for _, key := range []string{"a4-0a000009", "r4-0a000000"} {
		r, ok := p.Record(key)
		require.True(t, ok)
		require.Equal(t, key, r.Key())
	}
	for _, key := range []string{"", "a4-", "a4-0a00000", "a4-0a0000009", "a4-0a00000a", "r4-0a000009", "a4-0A000009x", "a6-0a000009", "x4-0a000009", "a4-+a000009", "a6-00000000000000000000ffff0a000009", "net"} {
		_, ok := p.Record(key)
		require.False(t, ok, key)
	}
}

// TestTime: releases keep their full precision, whatever the zone, and a clock
// outside of what can be stored does no harm.
func TestTime(t *testing.T) {
	t.Parallel()
	p := one(t, "10.0.0.0/24", ipam.Config{CoolDown: time.Hour})
	must[ipam.Assignment](t, p)(p.Acquire(start, "app", "a", nil))
	local := start.In(time.FixedZone("far", 5*3600))
	c, err := p.Release(local, "app", "a", 0)
	require.NoError(t, err)
	require.Equal(t, start, c.Steps[0].After.Released)

	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1<<40, 0), time.Unix(1<<40, 0)} {
		q := load(t, ipam.Config{Prefixes: pfx("10.0.0.0/24"), CoolDown: time.Hour}, state(p))
		apply(t, q)(q.Release(now, "app", "a", 0))
		_, held := q.Assignment("app", "a")
		require.False(t, held)
		records := state(q)
		text, err := json.Marshal(records)
		require.NoError(t, err)
		var back []ipam.Record
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, records, state(load(t, ipam.Config{Prefixes: pfx("10.0.0.0/24")}, back)))
	}
}

func TestErrorsAreDistinct(t *testing.T) {
	t.Parallel()
	all := []error{
		ipam.ErrExhausted, ipam.ErrNotFound, ipam.ErrOverlap, ipam.ErrExcluded, ipam.ErrNotInPool,
		ipam.ErrInUse, ipam.ErrTaken, ipam.ErrStale, ipam.ErrInvalid,
	}
	for i, a := range all {
		for j, b := range all {
			require.Equal(t, i == j, errors.Is(a, b))
		}
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	both := *rangeOf("shop", "10.0.0.0/24")
	both.Addr = netip.MustParseAddr("10.0.0.2")
	other := *addrOf("shop", "a", "10.0.0.2", 1)
	other.Prefix = pfx("10.0.0.0/24")[0]
	for _, tt := range []struct {
		record ipam.Record
		want   string
	}{
		{ipam.Record{}, "ipam: load: empty app: invalid"},
		{ipam.Record{App: "shop"}, "ipam: load: range: not a valid prefix: invalid"},
		{*rangeOf("shop", "10.0.0.7/24"), "ipam: load: range: 10.0.0.7/24 has host bits, the prefix is 10.0.0.0/24: invalid"},
		{both, "ipam: load: range 10.0.0.0/24 has an address: invalid"},
		{other, "ipam: load: address 10.0.0.2 has a prefix: invalid"},
		{*addrOf("shop", "\xff", "10.0.0.2", 1), "ipam: load: owner is not UTF-8: invalid"},
		{*addrOf("shop", "a", "10.0.0.2", 0), "ipam: load: address 10.0.0.2 has no generation: invalid"},
		{*addrOf("shop", "a", "::ffff:10.0.0.2", 1), "ipam: load: address ::ffff:10.0.0.2: invalid"},
		{ipam.Record{App: "shop", Owner: "a", Gen: 1}, "ipam: load: address invalid IP: invalid"},
		{*released(rangeOf("shop", "10.0.0.0/24"), time.Unix(0, 0)), "ipam: load: released at 1970-01-01 00:00:00 +0000 UTC: invalid"},
	} {
		tt.record.Released = tt.record.Released.UTC()
		_, err := ipam.Load(ipam.Config{Prefixes: pfx("10.0.0.0/8")}, -1, func(yield func(ipam.Record) bool) { yield(tt.record) })
		require.EqualError(t, err, tt.want)
		require.ErrorIs(t, err, ipam.ErrInvalid)
	}
	p, err := ipam.New(ipam.Config{Prefixes: pfx("10.0.0.0/8")})
	require.NoError(t, err)
	_, _, err = p.Subnet(start, "", nil)
	require.ErrorIs(t, err, ipam.ErrInvalid)
}

// TestDerivedExclusions: an IPv4 address is not given out if the IPv6 address
// that comes with it is excluded.
func TestDerivedExclusions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		exclude string
		want    string
	}{
		{"fd12:3456:789a::a00:2/128", "10.0.0.3"},
		{"fd12:3456:789a::a00:0/125", "10.0.0.8"},
		{"fd12:3456:789a:1::/64", "10.0.0.2"}, // beside the derived ones
		{"fd00::/8", "exhausted"},
		{"fd12:3456:789a::/48", "exhausted"},
		{"fd12:3456:789a::/96", "exhausted"},
		{"fd13::/16", "10.0.0.2"},
	} {
		p := one(t, "10.0.0.0/24", ipam.Config{Prefixes: pfx("fd12:3456:789a::/48")})
		p = load(t, ipam.Config{
			Prefixes: pfx("10.0.0.0/24", "fd12:3456:789a::/48"),
			Exclude:  []ipam.Exclusion{{Prefix: netip.MustParsePrefix(tt.exclude)}},
		}, state(p))
		a, _, err := p.Acquire(start, "app", "a", nil)
		if err != nil {
			require.Equal(t, tt.want, sentinel(err).Error())
			continue
		}
		require.Equal(t, tt.want, a.Addrs[0].String(), tt.exclude)
	}
}
