//go:build linux

package nft_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

func leases(n int, until time.Time) lease.Openings {
	var o lease.Openings
	for i := range n {
		a := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
		o.Leases = append(o.Leases, lease.Opening{Source: netip.PrefixFrom(a, 32), ExpiresAt: until})
	}
	return o
}

// BenchmarkApply has n leases installed and then all of them replaced, one
// opened and closed among them, and none changed.
func BenchmarkApply(b *testing.B) {
	bed := newBed(b)
	for _, n := range []int{1000, 10_000, 100_000} {
		o := leases(n, time.Now().Add(time.Hour))
		more := o
		more.Leases = append(o.Leases[:n:n], lease.Opening{Source: netip.MustParsePrefix("198.51.100.7/32"), ExpiresAt: time.Now().Add(time.Hour)})
		var table *nft.Table
		bed.do(func() {
			var err error
			table, err = nft.Open(b.Context(), nft.Options{Port: port})
			require.NoError(b, err)
		})
		apply := func(b *testing.B, o lease.Openings) {
			b.Helper()
			require.NoError(b, table.Apply(b.Context(), o))
		}
		run := func(name string, f func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) { bed.do(func() { f(b) }) })
		}
		run("all", func(b *testing.B) {
			b.Helper()
			for b.Loop() {
				apply(b, lease.Openings{})
				apply(b, o)
			}
		})
		run("one", func(b *testing.B) {
			b.Helper()
			for b.Loop() {
				apply(b, more)
				apply(b, o)
			}
		})
		run("none", func(b *testing.B) {
			b.Helper()
			for b.Loop() {
				apply(b, o)
			}
		})
	}
}
