//go:build linux

package nft_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go4.org/netipx"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

// TestModel applies random openings, some of them twice, next to somebody who
// changes the ruleset, and reads after each step what the kernel holds.
func TestModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	b := newBed(t)
	table, err := nft.Open(t.Context(), nft.Options{Port: port, Namespace: b.fd})
	require.NoError(t, err)
	other, err := nft.Open(t.Context(), nft.Options{Port: port, Name: "other", Namespace: b.fd})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(seed, 0))
	steps := fmt.Sprintf("seed %d:", seed)
	until := map[netip.Prefix]time.Time{}
	permanent := map[netip.Prefix]bool{}
	for i := range 150 {
		// One change mostly, many sometimes.
		changes := 1
		if rng.IntN(10) == 0 {
			changes = rng.IntN(300)
		}
		steps += fmt.Sprintf(" %d", changes)
		for range changes {
			source := randomSource(rng)
			switch rng.IntN(4) {
			case 0:
				delete(until, source)
			case 1:
				p, _ := source.Addr().Prefix(source.Bits() - rng.IntN(8))
				if permanent[p] = !permanent[p]; !permanent[p] {
					delete(permanent, p)
				}
			default:
				until[source] = time.Now().Add(time.Minute + time.Duration(rng.Int64N(int64(time.Hour))))
			}
		}
		if rng.IntN(10) == 0 {
			steps += " other"
			require.NoError(t, other.Apply(t.Context(), let(time.Hour, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))), steps)
		}
		var want lease.Openings
		for source, at := range until {
			want.Leases = append(want.Leases, lease.Opening{Source: source, ExpiresAt: at})
		}
		for p := range permanent {
			want.Permanent = append(want.Permanent, p)
		}
		require.NoError(t, table.Apply(t.Context(), want), steps)
		got, err := table.Openings(t.Context())
		require.NoError(t, err, steps)
		require.Equal(t, merged(t, want.Permanent), merged(t, got.Permanent), steps)
		require.True(t, slices.IsSortedFunc(got.Leases, func(a, b lease.Opening) int { return a.Source.Compare(b.Source) }), steps)
		require.Len(t, got.Leases, len(until), steps)
		for _, l := range got.Leases {
			require.Contains(t, until, l.Source, steps)
			require.WithinDuration(t, until[l.Source], l.ExpiresAt, 5*time.Second, steps)
		}
	}
}

// randomSource is one of few, so that they meet again.
func randomSource(rng *rand.Rand) netip.Prefix {
	n := byte(rng.IntN(200))
	if rng.IntN(2) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 32)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, n}), 64)
}

func merged(t *testing.T, list []netip.Prefix) []netipx.IPRange {
	t.Helper()
	var set netipx.IPSetBuilder
	for _, p := range list {
		set.AddPrefix(p)
	}
	got, err := set.IPSet()
	require.NoError(t, err)
	return got.Ranges()
}
