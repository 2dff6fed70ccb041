package etcdstore_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

// endpointsEnv tells the child process that the kit kills where the cluster is.
const endpointsEnv = "ETCDSTORE_ENDPOINTS"

// TestStore runs the kit on a cluster with accidents in the middle of the
// history.
func TestStore(t *testing.T) {
	var c *cluster
	if os.Getenv(endpointsEnv) == "" {
		c = startCluster(t, 3, nil)
		t.Setenv(endpointsEnv, c.endpoints)
	}
	g := &gate{}
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := etcdstore.Open(tb.Context(), "etcd://"+os.Getenv(endpointsEnv)+"/"+strings.Trim(dir, "/"))
		require.NoError(tb, err)
		return gated{st, g}
	}, &storetest.Options{Remote: true, MaxBatch: 126, Kills: 3, Disturb: func(tb testing.TB) {
		tb.Helper()
		faults := []func() error{c.killLeader, c.isolateLeader, c.freezeLeader, c.moveLeader}
		if err := g.spread(960, faults); err != nil {
			tb.Error(err)
		}
		tb.Logf("%d of %d calls failed", g.failed.Load(), g.calls.Load())
	}})
}

// gate spreads the calls of a history over the faults in its middle, so that
// each of them meets its share.
type gate struct {
	tokens        atomic.Pointer[chan struct{}] // nil: all may pass
	calls, failed atomic.Int64
}

// spread runs the faults, and lets some of so many calls pass before each.
func (g *gate) spread(calls int, faults []func() error) error {
	tokens := make(chan struct{}, calls)
	g.calls.Store(0)
	g.failed.Store(0)
	g.tokens.Store(&tokens)
	defer func() {
		g.tokens.Store(nil)
		close(tokens)
	}()
	for _, fault := range faults {
		for range calls / (len(faults) + 1) {
			tokens <- struct{}{}
		}
		if err := fault(); err != nil {
			return err
		}
	}
	return nil
}

// pass waits for a token. Calls among faults do not wait for their answer as
// long as etcd does for that of a lost leader.
func (g *gate) pass(ctx context.Context) (context.Context, context.CancelFunc) {
	tokens := g.tokens.Load()
	if tokens == nil {
		return ctx, func() {}
	}
	select {
	case <-*tokens:
	case <-ctx.Done():
	}
	return context.WithTimeout(ctx, 200*time.Millisecond)
}

func (g *gate) count(err error) {
	g.calls.Add(1)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		g.failed.Add(1)
	}
}

type gated struct {
	*etcdstore.Store
	g *gate
}

func (s gated) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	ctx, stop := s.g.pass(ctx)
	defer stop()
	p, err := s.Store.Get(ctx, space, keys...)
	s.g.count(err)
	return p, err
}

func (s gated) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	ctx, stop := s.g.pass(ctx)
	defer stop()
	p, err := s.Store.List(ctx, space, prefix, after, limit)
	s.g.count(err)
	return p, err
}

func (s gated) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	ctx, stop := s.g.pass(ctx)
	defer stop()
	p, err := s.Store.Since(ctx, space, after, limit)
	s.g.count(err)
	return p, err
}

func (s gated) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	ctx, stop := s.g.pass(ctx)
	defer stop()
	rev, err := s.Store.Commit(ctx, space, b)
	s.g.count(err)
	return rev, err
}
