package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// leased returns the sources that a port is open for.
func (w *world) leased(t *testing.T) []string {
	t.Helper()
	var leases []struct{ Source netip.Prefix }
	require.NoError(t, json.Unmarshal([]byte(w.must(t, "leases", "-json")), &leases))
	all := []string{}
	for _, l := range leases {
		all = append(all, l.Source.String())
	}
	return all
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		w.as(t, "ada")
		ctx, cancel := context.WithCancel(t.Context())
		out, errs, done := w.begin(ctx, "lease", "shop", "-for", "2h", "-end")
		pass := func(d time.Duration) string {
			time.Sleep(d)
			synctest.Wait()
			require.Empty(t, errs.take())
			return out.take()
		}
		require.Contains(t, pass(time.Second), "opened for 198.51.100.7/32 until 2000-01-01 02:00:00")
		require.Empty(t, pass(59*time.Minute))
		require.Contains(t, pass(2*time.Minute), "renewed for 198.51.100.7/32 until 2000-01-01 03:0")
		require.Empty(t, pass(50*time.Minute), "not before half of the time is over")
		w.set(func() { w.from = "2001:db8:1:2::99" })
		require.Contains(t, pass(time.Minute), "moved for 2001:db8:1:2::/64")
		require.Equal(t, []string{"198.51.100.7/32", "2001:db8:1:2::/64"}, sorted(w.leased(t)))
		cancel()
		require.Zero(t, <-done)
		require.Contains(t, out.take(), "ended for 2001:db8:1:2::/64")
		require.Equal(t, []string{"198.51.100.7/32"}, w.leased(t))
	})
}

// TestLeaseCountdown looks over the shoulder of somebody at a terminal whose
// clock is wrong.
func TestLeaseCountdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		w.tty, w.ahead = true, 0
		ctx, cancel := context.WithCancel(t.Context())
		out, _, done := w.begin(ctx, "lease", "shop", "-member", "ada", "-for", "1h")
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		shown := out.take()
		require.Contains(t, shown, "\rshop: 59m50s left")
		cancel()
		require.Zero(t, <-done)
		require.True(t, strings.HasSuffix(out.take(), "\r\x1b[K"))
		require.Len(t, w.leased(t), 1, "it stays until its end")

		w.ahead = -time.Hour
		require.Contains(t, w.must(t, "leases"), "1h59m", "the server's clock counts")
	})
}

// TestLeaseLost ends when the member may no more.
func TestLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		_, errs, done := w.begin(t.Context(), "lease", "shop", "-member", "ada", "-for", "10m")
		time.Sleep(time.Second)
		w.must(t, "roles", "rm", "ada", "shop", "-yes")
		time.Sleep(10 * time.Minute)
		require.Equal(t, 1, <-done)
		require.Contains(t, errs.take(), "Forbidden")
	})
}

func TestAuditFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		ctx, cancel := context.WithCancel(t.Context())
		out, _, done := w.begin(ctx, "audit", "-f", "-last", "1")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, out.take(), "device.add")
		w.must(t, "apps", "add", "blog")
		time.Sleep(auditEvery)
		synctest.Wait()
		shown := out.take()
		require.Contains(t, shown, "app.add")
		require.NotContains(t, shown, "device.add")
		cancel()
		require.Zero(t, <-done)
	})
}
