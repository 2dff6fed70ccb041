package apn_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

// TestFaults lets several replicas work on a store that fails, answers late and
// loses acknowledgements. What was acknowledged must be there, what was refused
// must not, and no server may be without its address, key or name.
func TestFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) { runFaults(t, seed) })
}

func runFaults(t *testing.T, seed uint64) {
	t.Helper()
	mem := store.NewMem()
	n, err := open(t, mem).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)

	chaos := storetest.NewChaos(mem, seed, storetest.Faults{
		Read: 0.05, Compacted: 0.02, Conflict: 0.1, Before: 0.05, After: 0.1, Late: 0.05,
	})
	const replicas, callers, each = 3, 4, 12
	var mu sync.Mutex
	added, unknown := map[string]bool{}, map[string]bool{}
	var wg sync.WaitGroup
	for r := range replicas {
		ctl := open(t, chaos)
		replica := openPatiently(t, ctl)
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("s%d-%d-%d", r, c, i)
					_, err := replica.AddServer(t.Context(), "shop", name, nil)
					mu.Lock()
					switch {
					case err == nil:
						added[name] = true
					case errors.Is(err, apn.ErrUnavailable):
						unknown[name] = true
					default:
						t.Errorf("seed %d: %s: %v", seed, name, err)
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	chaos.Calm(t.Context())

	fresh, err := open(t, mem).Network(t.Context(), "acme")
	require.NoError(t, err)
	list, _, err := fresh.Servers("shop", nil)
	require.NoError(t, err)
	for _, s := range list {
		require.True(t, added[s.Name] || unknown[s.Name], "seed %d: %s was refused", seed, s.Name)
		delete(added, s.Name)
		_, err := fresh.ServerConfig(t.Context(), "shop", s.Name)
		require.NoError(t, err)
	}
	require.Empty(t, added, "seed %d: acknowledged and lost", seed)
	requireSound(t, fresh, len(list))
}

func openPatiently(tb testing.TB, ctl *apn.Control) *apn.Network {
	tb.Helper()
	for {
		n, err := ctl.Network(tb.Context(), "acme")
		if err == nil {
			return n
		}
		require.ErrorIs(tb, err, apn.ErrUnavailable)
	}
}

// TestStoreDown answers in bounded time while the store fails, and works again
// when it does not.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := store.NewMem()
		down := &brokenStore{Mem: mem}
		n, err := open(t, down).CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		down.set(errTest)
		began := time.Now()
		_, err = n.AddApp(t.Context(), "shop", nil)
		require.ErrorIs(t, err, apn.ErrUnavailable)
		require.ErrorIs(t, err, errTest)
		require.Less(t, time.Since(began), 15*time.Second)
		_, err = n.App("shop")
		require.ErrorIs(t, err, apn.ErrNotFound, "what is not durable is not shown")
		down.set(nil)
		_, err = n.AddApp(t.Context(), "shop", nil)
		require.NoError(t, err)
		_, err = n.VerifyAudit(t.Context())
		require.NoError(t, err)
	})
}

// TestLeaseEndsBySchedule runs a day and more on the real clock of a bubble.
func TestLeaseEndsBySchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := network(t)
		shop(t, n)
		l, err := n.Lease(t.Context(), "shop", "ada", []netip.Addr{addr("198.51.100.9")}, nil)
		require.NoError(t, err)
		time.Sleep(24*time.Hour - time.Nanosecond)
		_, err = n.LeaseByID("shop", l[0].ID)
		require.NoError(t, err)
		time.Sleep(time.Nanosecond)
		_, err = n.LeaseByID("shop", l[0].ID)
		require.ErrorIs(t, err, apn.ErrNotFound)
	})
}

// TestClockGoesBack sets the clock back by days: nothing that holds ends early,
// and no address is given twice.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	clk := newClock()
	st := store.NewMem()
	n, err := open(t, st, withClock(clk)).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	before, err := n.Lease(t.Context(), "shop", "ada", addrs("198.51.100.9"), nil)
	require.NoError(t, err)
	gone, err := n.Server("shop", "web-2")
	require.NoError(t, err)
	require.NoError(t, n.RemoveServer(t.Context(), "shop", "web-2", nil))

	clk.advance(-5 * 24 * time.Hour)
	after, err := n.Lease(t.Context(), "shop", "ada", addrs("198.51.100.9"), nil)
	require.NoError(t, err)
	require.Equal(t, before[0].ID, after[0].ID)
	require.False(t, after[0].ExpiresAt.Before(before[0].ExpiresAt), "a lease is never shortened")
	other, err := n.AddServer(t.Context(), "shop", "new", nil)
	require.NoError(t, err)
	require.NotEqual(t, gone.Addresses, other.Addresses, "a released address rests")
	_, err = n.Compact(t.Context(), apn.Retention{Audit: time.Hour, Deletions: time.Hour})
	require.NoError(t, err)
	clk.advance(10 * 24 * time.Hour)
	_, err = n.AddServer(t.Context(), "shop", "newer", nil)
	require.NoError(t, err)
	requireWhole(t, st, 5)
}
