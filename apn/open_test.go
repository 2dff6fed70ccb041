package apn_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

// countingStore counts how often networks are loaded.
type countingStore struct {
	*store.Mem
	lists atomic.Int64
}

func (s *countingStore) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	if prefix == "" && after == "" {
		s.lists.Add(1)
	}
	return s.Mem.List(ctx, space, prefix, after, limit)
}

func TestIdleNetworksLeaveMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &countingStore{Mem: store.NewMem()}
		ctl := open(t, st, func(cfg *apn.Config) { cfg.Idle = time.Minute })
		_, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		held, err := ctl.CreateNetwork(t.Context(), "held", testPool())
		require.NoError(t, err)
		loads := st.lists.Load()

		time.Sleep(30 * time.Second)
		_, err = ctl.Network(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, loads, st.lists.Load(), "from memory")

		time.Sleep(2 * time.Minute)
		for range 3 { // a sync.Pool lets go after two
			runtime.GC()
		}
		again, err := ctl.Network(t.Context(), "held")
		require.NoError(t, err)
		require.Same(t, held, again, "somebody holds it")
		_, err = ctl.Network(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, loads+1, st.lists.Load(), "read anew")

		_, err = held.AddApp(t.Context(), "shop", nil)
		require.NoError(t, err)
		runtime.KeepAlive(held)
	})
}

// smallStore takes few rows per commit.
type smallStore struct {
	*store.Mem
	tb   testing.TB
	most int
}

func (s *smallStore) MaxWrites() int { return s.most }

func (s *smallStore) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if len(b.Writes) > s.most {
		s.tb.Errorf("%d rows in a commit, want at most %d", len(b.Writes), s.most)
	}
	return s.Mem.Commit(ctx, space, b)
}

func TestBoundedCommits(t *testing.T) {
	t.Parallel()
	st := &smallStore{store.NewMem(), t, 127}
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	addServers(t, n, "many", 0, 300)
	requireWhole(t, st.Mem, 304)
	underLoad(t, st, func() {
		for range 20 {
			require.NoError(t, n.RotateDEK(t.Context(), nil))
		}
	})
	require.NoError(t, n.RemoveApp(t.Context(), "shop", &apn.RemoveAppOptions{Servers: true}))
	require.NoError(t, n.RemoveApp(t.Context(), "many", &apn.RemoveAppOptions{Servers: true}))
	requireWhole(t, st.Mem, 1)

	st.most = 6 // what no command fits into is refused
	n, err = open(t, st).Network(t.Context(), "acme")
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "new", nil)
	require.NoError(t, err)
	_, err = n.AddServer(t.Context(), "new", "s1", nil)
	require.ErrorIs(t, err, apn.ErrTooLarge)
	requireWhole(t, st.Mem, 1)
}

// TestRefusalsAreUpToDate asks a replica that has not yet heard what another
// one did.
func TestRefusalsAreUpToDate(t *testing.T) {
	t.Parallel()
	st := &deafStore{store.NewMem()}
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	other, err := open(t, st).Network(t.Context(), "acme")
	require.NoError(t, err)

	_, err = n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)
	_, err = other.AddServer(t.Context(), "shop", "web-1", nil)
	require.NoError(t, err)
	var plan apn.Plan
	_, err = n.AddServer(t.Context(), "shop", "web-1", &apn.ServerOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}})
	require.ErrorIs(t, err, apn.ErrExists)
	require.NoError(t, other.RemoveApp(t.Context(), "shop", &apn.RemoveAppOptions{Servers: true}))
	_, err = n.AddServer(t.Context(), "shop", "web-1", nil)
	require.ErrorIs(t, err, apn.ErrNotFound)
}

// deafStore never tells of commits.
type deafStore struct{ store.Store }

func (s *deafStore) Wait(ctx context.Context, _ string, _ store.Rev) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestCutOffCreations leaves names without a network in the directory: lists
// pass over them, however many there are.
func TestCutOffCreations(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	var b store.Batch
	for i := range 1500 {
		b.Writes = append(b.Writes, store.Write{Key: fmt.Sprintf("net/a%04d", i), Value: []byte(`{"v":1}`)})
	}
	_, err := st.Commit(t.Context(), "dir", b)
	require.NoError(t, err)
	ctl := open(t, st)
	_, err = ctl.CreateNetwork(t.Context(), "real", testPool())
	require.NoError(t, err)

	names, more, err := ctl.Networks(t.Context(), "", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"real"}, names)
	require.False(t, more)
	ids, err := apn.KEKIDs(t.Context(), st)
	require.NoError(t, err)
	require.Equal(t, []string{"kek-1"}, ids)
}
