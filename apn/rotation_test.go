package apn_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

func TestRotateDEK(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	addServers(t, n, "many", 0, 120)
	before, err := n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)

	// The network is in use meanwhile.
	var stop atomic.Bool
	var wg sync.WaitGroup
	added := 0
	wg.Go(func() {
		for ; !stop.Load() && added < 500; added++ {
			if _, err := n.AddServer(t.Context(), "shop", fmt.Sprintf("live-%d", added), nil); err != nil {
				t.Error(err)
			}
			if _, err := n.ServerConfig(t.Context(), "shop", "web-1"); err != nil {
				t.Error(err)
			}
		}
	})
	var steps []int
	require.NoError(t, n.RotateDEK(t.Context(), func(done, total int) { steps = append(steps, done*1000/total) }))
	stop.Store(true)
	wg.Wait()
	require.IsIncreasing(t, steps)
	require.Equal(t, 1000, steps[len(steps)-1])

	status := n.KeyStatus()
	require.Len(t, status.DEKs, 2)
	require.Equal(t, keys.DEKDestroyed, status.DEKs[0].State)
	require.Equal(t, keys.DEKActive, status.DEKs[1].State)
	require.Zero(t, status.Behind)
	require.Equal(t, 120+5+added, status.Records)

	fresh, err := open(t, st).Network(t.Context(), "acme")
	require.NoError(t, err)
	count, err := fresh.VerifyKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, status.Records, count)
	after, err := fresh.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	require.True(t, before.Interface.PrivateKey.Equal(after.Interface.PrivateKey))
}

// TestRotateDEKCutOff stops a rotation after each of its commits and finishes it
// in another process.
func TestRotateDEKCutOff(t *testing.T) {
	t.Parallel()
	for cut := 0; ; cut++ {
		st := store.NewMem()
		limited := &limitedStore{Mem: st}
		n, err := open(t, limited).CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		addServers(t, n, "many", 0, 120)
		ctx, cancel := context.WithCancel(t.Context())
		limited.after(cut, cancel)
		err = n.RotateDEK(ctx, nil)
		cancel()
		if err == nil {
			require.Greater(t, cut, 3)
			return
		}
		other, err := open(t, st).Network(t.Context(), "acme")
		require.NoError(t, err)
		_, err = other.VerifyKeys(t.Context())
		require.NoError(t, err, "readable at every moment")
		require.NoError(t, other.RotateDEK(t.Context(), nil))
		require.Zero(t, other.KeyStatus().Behind)
		_, err = other.VerifyKeys(t.Context())
		require.NoError(t, err)
	}
}

func TestRewrapKEK(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	ctl := open(t, st)
	n, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	require.NoError(t, n.RotateDEK(t.Context(), nil))
	pairs := func() map[string]store.Rev {
		page, err := st.List(t.Context(), "net/acme", "key/", "", 0)
		require.NoError(t, err)
		revs := map[string]store.Rev{}
		for _, e := range page.Entries {
			revs[e.Key] = e.Rev
		}
		return revs
	}
	before := pairs()

	old, next := &testKEK{id: "kek-1"}, &testKEK{id: "kek-2"}
	ids, err := apn.KEKIDs(t.Context(), st)
	require.NoError(t, err)
	require.Equal(t, []string{"kek-1"}, ids)
	require.NoError(t, ctl.SetKEK(keys.Multi(next, old)))
	require.Equal(t, "kek-2", n.KeyStatus().KEKID)
	moved, err := n.RewrapKEK(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, moved, "the destroyed key needs no KEK")
	require.Equal(t, before, pairs(), "no key pair is touched")
	ids, err = apn.KEKIDs(t.Context(), st)
	require.NoError(t, err)
	require.Equal(t, []string{"kek-2"}, ids)
	for _, d := range n.KeyStatus().DEKs {
		require.False(t, d.Stale)
	}
	again, err := n.RewrapKEK(t.Context())
	require.NoError(t, err)
	require.Zero(t, again)

	only, err := open(t, st, func(c *apn.Config) { c.KEK = keys.Multi(next) }).Network(t.Context(), "acme")
	require.NoError(t, err)
	_, err = only.VerifyKeys(t.Context())
	require.NoError(t, err)
	_, err = open(t, st).Network(t.Context(), "acme")
	require.ErrorIs(t, err, keys.ErrWrongKEK)
	require.ErrorIs(t, ctl.SetKEK(nil), apn.ErrInvalid)
}
