package lease_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func key(member, source string) lease.Key {
	return lease.Key{Network: "acme", App: "shop", Member: member, Source: netip.MustParsePrefix(source)}
}

func TestPolicyGrant(t *testing.T) {
	t.Parallel()
	k := key("ada", "203.0.113.7/32")
	until := func(d time.Duration) *lease.Lease {
		return &lease.Lease{ID: lease.IDOf(k), Key: k, IssuedAt: start.Add(-time.Hour), ExpiresAt: start.Add(d)}
	}
	tests := []struct {
		name   string
		policy lease.Policy
		d      time.Duration
		have   *lease.Lease
		live   int
		want   time.Duration // from start
		issued time.Duration // from start
		err    error
	}{
		{name: "default", want: 24 * time.Hour},
		{name: "own default", policy: lease.Policy{Default: time.Hour}, want: time.Hour},
		{name: "asked for", d: 90 * time.Minute, want: 90 * time.Minute},
		{name: "shortest", d: time.Second, want: time.Second},
		{name: "longest", d: 24 * time.Hour, want: 24 * time.Hour},
		{name: "longest follows the default", policy: lease.Policy{Default: 36 * time.Hour}, want: 36 * time.Hour},
		{name: "own longest", policy: lease.Policy{Max: 72 * time.Hour}, d: 72 * time.Hour, want: 72 * time.Hour},
		{name: "renewed", have: until(time.Hour), want: 24 * time.Hour},
		{name: "never shortened", d: time.Minute, have: until(time.Hour), want: time.Hour, issued: -time.Hour},
		{name: "the same end is no change", d: time.Hour, have: until(time.Hour), want: time.Hour, issued: -time.Hour},
		{name: "last moment", d: time.Hour, have: until(1), want: time.Hour},
		{name: "ended", d: time.Minute, have: until(0), want: time.Minute},
		{name: "one below the limit", policy: lease.Policy{PerMember: 3}, live: 2, want: 24 * time.Hour},
		{name: "no limit", policy: lease.Policy{PerMember: -1}, live: 1 << 30, want: 24 * time.Hour},
		{name: "renewed at the limit", policy: lease.Policy{PerMember: 3}, live: 3, have: until(1), want: 24 * time.Hour},

		{name: "too short", d: time.Second - 1, err: &lease.DurationError{Duration: time.Second - 1, Min: time.Second, Max: 24 * time.Hour}},
		{name: "negative", d: -time.Hour, err: &lease.DurationError{Duration: -time.Hour, Min: time.Second, Max: 24 * time.Hour}},
		{name: "too long", d: 24*time.Hour + 1, err: &lease.DurationError{Duration: 24*time.Hour + 1, Min: time.Second, Max: 24 * time.Hour}},
		{
			name: "default over the longest", policy: lease.Policy{Max: time.Hour},
			err: &lease.DurationError{Duration: 24 * time.Hour, Min: time.Second, Max: time.Hour},
		},
		{name: "own shortest", policy: lease.Policy{Min: time.Hour}, d: time.Minute, err: &lease.DurationError{Duration: time.Minute, Min: time.Hour, Max: 24 * time.Hour}},
		{name: "too long to renew", d: 25 * time.Hour, have: until(time.Hour), err: &lease.DurationError{Duration: 25 * time.Hour, Min: time.Second, Max: 24 * time.Hour}},
		{name: "at the limit", policy: lease.Policy{PerMember: 3}, live: 3, err: &lease.LimitError{Member: "ada", Limit: 3}},
		{name: "at the default limit", live: 128, err: &lease.LimitError{Member: "ada", Limit: 128}},
		{name: "ended, at the limit", policy: lease.Policy{PerMember: 3}, live: 3, have: until(0), err: &lease.LimitError{Member: "ada", Limit: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.policy.Grant(k, tt.d, tt.have, tt.live, start)
			if tt.err != nil {
				require.Equal(t, tt.err, err)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, lease.Lease{
				ID: lease.IDOf(k), Key: k, IssuedAt: start.Add(tt.issued), ExpiresAt: start.Add(tt.want),
			}, got)
		})
	}
}

func TestPolicyGrantSource(t *testing.T) {
	t.Parallel()
	for source, reason := range map[netip.Prefix]string{
		{}:                                       "no prefix",
		netip.MustParsePrefix("203.0.113.0/24"):  "neither an IPv4 /32 nor an IPv6 /64",
		netip.MustParsePrefix("2001:db8::1/128"): "neither an IPv4 /32 nor an IPv6 /64",
		netip.MustParsePrefix("2001:db8::/48"):   "neither an IPv4 /32 nor an IPv6 /64",
		netip.MustParsePrefix("0.0.0.0/0"):       "neither an IPv4 /32 nor an IPv6 /64",
		netip.MustParsePrefix("2001:db8::1/64"):  "host bits set",
		netip.PrefixFrom(netip.MustParseAddr("::ffff:203.0.113.7"), 64): "IPv4-mapped prefix",
	} {
		_, err := lease.Policy{}.Grant(lease.Key{Source: source}, 0, nil, 0, start)
		require.Equal(t, &lease.SourceError{Source: source, Reason: reason}, err)
	}
}

func TestPolicyRenew(t *testing.T) {
	t.Parallel()
	p := lease.Policy{PerMember: 1}
	l, err := p.Grant(key("ada", "203.0.113.7/32"), time.Hour, nil, 0, start)
	require.NoError(t, err)
	again, err := p.Renew(l, time.Hour, start.Add(30*time.Minute))
	require.NoError(t, err)
	require.Equal(t, l.ID, again.ID)
	require.Equal(t, start.Add(90*time.Minute), again.ExpiresAt)
	require.Equal(t, start.Add(30*time.Minute), again.IssuedAt)
	_, err = p.Renew(l, time.Hour, l.ExpiresAt)
	require.ErrorIs(t, err, lease.ErrExpired)
	_, err = p.Renew(lease.Lease{}, time.Hour, start)
	require.ErrorIs(t, err, lease.ErrExpired)
}

// TestGrantDropsMonotonic keeps what only one process knows out of the rows.
func TestGrantDropsMonotonic(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("CET", 3600)
	l, err := lease.Policy{}.Grant(key("ada", "203.0.113.7/32"), 0, nil, 0, time.Now().In(zone))
	require.NoError(t, err)
	text, err := json.Marshal(l)
	require.NoError(t, err)
	var back lease.Lease
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, l, back) // no monotonic part, no location
}

func TestLeaseJSON(t *testing.T) {
	t.Parallel()
	l, err := lease.Policy{}.Grant(key("ada", "2001:db8::/64"), 0, nil, 0, start)
	require.NoError(t, err)
	text, err := json.Marshal(l)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"id": "v3xtlnlsybhzhyoq7e6yx46wje", "network": "acme", "app": "shop", "member": "ada", "source": "2001:db8::/64",
		"issued_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-03T03:04:05Z"
	}`, string(text))
	rule, err := json.Marshal(lease.Rule{App: "shop", Source: netip.MustParsePrefix("198.51.100.0/24"), Note: "office"})
	require.NoError(t, err)
	require.JSONEq(t, `{"app": "shop", "source": "198.51.100.0/24", "note": "office"}`, string(rule))
}

func TestIDOf(t *testing.T) {
	t.Parallel()
	seen := map[string]lease.Key{}
	for _, k := range []lease.Key{
		{},
		key("ada", "203.0.113.7/32"), key("ada", "203.0.113.8/32"), key("bob", "203.0.113.7/32"),
		{Network: "a", App: "bc"},
		{Network: "ab", App: "c"},
		{Network: "abc"},
		{App: "abc"},
		{Member: "abc"},
	} {
		id := lease.IDOf(k)
		require.Regexp(t, "^[a-z2-7]{26}$", id)
		require.Equal(t, id, lease.IDOf(k))
		require.NotContains(t, seen, id)
		seen[id] = k
	}
	// Rows and links hold these: they stay.
	require.Equal(t, "b4words7sg55o5gxbxx5us6guq", lease.IDOf(key("ada", "203.0.113.7/32")))
}

func TestOpeningsOf(t *testing.T) {
	t.Parallel()
	l := func(member, source string, d time.Duration) lease.Lease {
		return lease.Lease{Key: key(member, source), ExpiresAt: start.Add(d)}
	}
	r := func(source string) lease.Rule { return lease.Rule{App: "shop", Source: netip.MustParsePrefix(source)} }
	leases := []lease.Lease{
		l("ada", "203.0.113.7/32", time.Hour),
		l("bob", "203.0.113.7/32", 3*time.Hour), // the same source, longer
		l("cy", "203.0.113.7/32", 2*time.Hour),
		l("ada", "2001:db8::/64", time.Hour),
		l("ada", "198.51.100.1/32", 0),        // over
		l("ada", "203.0.113.0/24", time.Hour), // no lease grants that
		{ExpiresAt: start.Add(time.Hour)},
	}
	rules := []lease.Rule{
		r("198.51.100.128/25"), r("198.51.100.0/25"), r("198.51.100.7/32"), r("192.0.2.0/24"), r("2001:db8:1::/48"),
		{Source: netip.MustParsePrefix("192.0.2.1/16")}, // host bits: opens nothing, least of all the /16
		{},
	}
	got := lease.OpeningsOf(slices.Values(leases), slices.Values(rules), start)
	require.Equal(t, lease.Openings{
		Permanent: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:1::/48"),
		},
		Leases: []lease.Opening{
			{Source: netip.MustParsePrefix("203.0.113.7/32"), ExpiresAt: start.Add(3 * time.Hour)},
			{Source: netip.MustParsePrefix("2001:db8::/64"), ExpiresAt: start.Add(time.Hour)},
		},
	}, got)

	// Without bob's, the source stays open for cy.
	got = lease.OpeningsOf(slices.Values(slices.Delete(slices.Clone(leases), 1, 2)), nil, start)
	require.Equal(t, start.Add(2*time.Hour), got.Leases[0].ExpiresAt)
	require.Empty(t, got.Permanent)
	require.Zero(t, lease.OpeningsOf(nil, nil, start))
	wide := []lease.Rule{r("0.0.0.0/0"), r("::/0"), r("10.0.0.0/8")}
	require.Equal(t, []netip.Prefix{wide[0].Source, wide[1].Source}, lease.OpeningsOf(nil, slices.Values(wide), start).Permanent)
}

func ExamplePolicy_Grant() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	k := lease.Key{Network: "acme", App: "shop", Member: "ada", Source: netip.MustParsePrefix("203.0.113.7/32")}
	var p lease.Policy

	l, err := p.Grant(k, 0, nil, 0, now) // Lease Now
	fmt.Println(l.ExpiresAt, err)

	again, err := p.Grant(k, 0, &l, 1, now.Add(6*time.Hour)) // and again: renewed
	fmt.Println(again.ExpiresAt, again.ID == l.ID, err)

	_, err = p.Grant(k, 1000*time.Hour, nil, 0, now)
	fmt.Println(err)
	// Output:
	// 2026-01-03 03:04:05 +0000 UTC <nil>
	// 2026-01-03 09:04:05 +0000 UTC true <nil>
	// lease: duration 1000h0m0s: want 1s to 24h0m0s
}

func ExampleOpeningsOf() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	book := lease.NewBook(lease.Policy{})
	for _, member := range []string{"ada", "bob"} { // behind the same NAT
		k := lease.Key{App: "shop", Member: member, Source: netip.MustParsePrefix("203.0.113.7/32")}
		if _, err := book.Grant(k, 0, now); err != nil {
			fmt.Println(err)
		}
		now = now.Add(time.Hour)
	}
	office := lease.Rule{App: "shop", Source: netip.MustParsePrefix("198.51.100.0/24"), Note: "office"}
	o := lease.OpeningsOf(book.Active(now), slices.Values([]lease.Rule{office}), now)
	fmt.Println("for good:", o.Permanent)
	for _, opening := range o.Leases {
		fmt.Println(opening.Source, "until", opening.ExpiresAt)
	}
	// Output:
	// for good: [198.51.100.0/24]
	// 203.0.113.7/32 until 2026-01-03 04:04:05 +0000 UTC
}
