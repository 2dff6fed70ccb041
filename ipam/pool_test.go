package ipam_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestFirstSteps(t *testing.T) {
	t.Parallel()
	p, err := ipam.New(ipam.Config{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd12:3456:789a::/48")}})
	require.NoError(t, err)
	s, c, err := p.Subnet(start, "shop", nil)
	require.NoError(t, err)
	require.NoError(t, p.Apply(c))
	t.Log(s, c.Steps[0].After.Key())
	for _, o := range []string{"a", "b", "c"} {
		a, c, err := p.Acquire(start, "shop", o, nil)
		require.NoError(t, err)
		require.NoError(t, p.Apply(c))
		t.Log(a)
	}
	c, err = p.Release(start, "shop", "a", 0)
	require.NoError(t, err)
	require.NoError(t, p.Apply(c))
	t.Logf("%+v", p.Usage("shop"))
	t.Logf("%+v", p.Usage(""))
	require.Empty(t, p.Audit())
	_, c, err = p.Acquire(start, "shop", "z", nil)
	require.NoError(t, err)
	require.NoError(t, p.Apply(c))
	a, _, err := p.Acquire(start.Add(50*time.Hour), "shop", "y", nil)
	require.NoError(t, err)
	t.Log(a)
	s, c, err = p.Grow(start, "shop", 300)
	require.NoError(t, err)
	require.NoError(t, p.Apply(c))
	t.Log(s)
	for r := range p.Records() {
		t.Logf("%s %+v", r.Key(), r)
	}
}
