package keys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// slowKEK is a KMS that takes 20 ms, and gives up with its caller.
type slowKEK struct{ *keystest.FakeKEK }

func (k slowKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
	return k.FakeKEK.Unwrap(ctx, wrapped, aad)
}

func TestRingsMaxAge(t *testing.T) {
	t.Parallel()
	a := kek("a")
	rec := newDEK(t, keys.Multi(a), "acme")
	rings := keys.NewRings(keys.Multi(a), nil)
	ring := func(at time.Duration) (*keys.Ring, error) {
		return rings.Ring(t.Context(), "acme", now.Add(at), load(rec))
	}
	for at := time.Duration(0); at < time.Hour; at += time.Minute {
		r, err := ring(at)
		require.NoError(t, err)
		require.Equal(t, now, r.Proven())
	}
	require.Equal(t, 1, a.Unwraps(), "warm: none but the first call")

	r, err := ring(time.Hour)
	require.NoError(t, err)
	require.Equal(t, 2, a.Unwraps(), "use did not extend the age")
	require.Equal(t, now.Add(time.Hour), r.Proven())

	a.Fail(errors.New("key disabled"))
	_, err = ring(2*time.Hour - 1)
	require.NoError(t, err)
	_, err = ring(2 * time.Hour)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable, "a revoked KEK bites")
	_, err = ring(3 * time.Hour)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable)
	a.Fail(nil)
	_, err = ring(3 * time.Hour)
	require.NoError(t, err)

	_, err = ring(0) // the clock was set back by more than the age
	require.NoError(t, err)
	require.Equal(t, 6, a.Unwraps())
	_, err = ring(-time.Second) // callers a little apart
	require.NoError(t, err)
	require.Equal(t, 6, a.Unwraps())
}

func TestRingsStaleReads(t *testing.T) {
	t.Parallel()
	a := kek("a")
	rec := newDEK(t, keys.Multi(a), "acme")
	rings := keys.NewRings(keys.Multi(a), &keys.RingsOptions{MaxAge: time.Minute, StaleReads: time.Hour})
	ring := func(at time.Duration) (*keys.Ring, error) {
		return rings.Ring(t.Context(), "acme", now.Add(at), load(rec))
	}
	fresh, err := ring(0)
	require.NoError(t, err)
	sealed, err := fresh.Seal(nil, owner("x"), []byte("plain"))
	require.NoError(t, err)

	a.Fail(errors.New("connection refused"))
	stale, err := ring(time.Minute)
	require.NoError(t, err)
	plain, err := stale.Open(nil, owner("x"), sealed)
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain))
	_, err = stale.Seal(nil, owner("x"), nil)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable, "stale rings seal nothing")
	require.Equal(t, now, stale.Proven())

	_, err = ring(time.Hour + time.Minute)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable, "stale reads end too")

	a.Fail(nil)
	fresh, err = ring(time.Hour)
	require.NoError(t, err)
	_, err = fresh.Seal(nil, owner("x"), nil)
	require.NoError(t, err)

	a.Fail(keys.ErrWrongKEK)
	_, err = ring(2 * time.Hour)
	require.ErrorIs(t, err, keys.ErrWrongKEK, "a refusal is not an outage")
	a.Fail(errors.New("connection refused"))
	_, err = ring(2 * time.Hour)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable, "and ends stale reads")
}

func TestRingsOneCallForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := kek("a")
		rec := newDEK(t, keys.Multi(a), "acme")
		rings := keys.NewRings(keys.Multi(slowKEK{a}), nil)
		got := make([]*keys.Ring, 64)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				var err error
				got[i], err = rings.Ring(t.Context(), "acme", now.Add(time.Duration(i)), load(rec))
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, a.Unwraps())
		for _, r := range got {
			require.Same(t, got[0], r)
		}
	})
}

// TestRingsErrorForAll wants one attempt for all who wait: 64 callers must not
// hammer a KMS that is down.
func TestRingsErrorForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := kek("a")
		rec := newDEK(t, keys.Multi(a), "acme")
		a.Fail(errors.New("down"))
		rings := keys.NewRings(keys.Multi(slowKEK{a}), nil)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				_, err := rings.Ring(t.Context(), "acme", now, load(rec))
				if !errors.Is(err, keys.ErrKEKUnavailable) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, a.Unwraps())
	})
}

// TestRingsWaiterGivesUp cancels the caller that does the work, then others
// that wait: nobody else notices.
func TestRingsWaiterGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := kek("a")
		rec := newDEK(t, keys.Multi(a), "acme")
		rings := keys.NewRings(keys.Multi(slowKEK{a}), nil)
		errs := make([]error, 10)
		var wg sync.WaitGroup
		cancels := make([]context.CancelFunc, len(errs))
		for i := range errs {
			ctx, cancel := context.WithCancel(t.Context())
			cancels[i] = cancel
			wg.Go(func() { _, errs[i] = rings.Ring(ctx, "acme", now, load(rec)) })
			synctest.Wait() // the first one is at work before the second comes
		}
		for _, cancel := range cancels[:3] {
			cancel()
			synctest.Wait()
		}
		wg.Wait()
		for i, err := range errs {
			if i < 3 {
				require.ErrorIs(t, err, context.Canceled)
			} else {
				require.NoError(t, err)
			}
		}
		require.GreaterOrEqual(t, a.Unwraps(), 2, "one was given up, another took over")
		require.LessOrEqual(t, a.Unwraps(), 4, "one call at a time, and none for those who wait")
		for _, cancel := range cancels {
			cancel()
		}
	})
}

func TestRingsWaitersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := kek("a")
		rec := newDEK(t, keys.Multi(a), "acme")
		rings := keys.NewRings(keys.Multi(a), nil)
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := rings.Ring(t.Context(), "acme", now, func(context.Context) ([]keys.DEKRecord, error) {
				<-release // a store that hangs and ignores its context
				return []keys.DEKRecord{rec}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := rings.Ring(ctx, "acme", now, load(rec))
		require.ErrorIs(t, err, context.DeadlineExceeded, "others leave when they want")
		close(release)
		wg.Wait()
	})
}

func TestRingsPanic(t *testing.T) {
	t.Parallel()
	a := kek("a")
	rec := newDEK(t, keys.Multi(a), "acme")
	rings := keys.NewRings(keys.Multi(a), nil)
	require.Panics(t, func() {
		_, _ = rings.Ring(t.Context(), "acme", now, func(context.Context) ([]keys.DEKRecord, error) { panic("bug") })
	})
	_, err := rings.Ring(t.Context(), "acme", now, load(rec))
	require.NoError(t, err, "nobody waits for one who is gone")
}

func TestRingsFlush(t *testing.T) {
	t.Parallel()
	a := kek("a")
	set := keys.Multi(a)
	rec := newDEK(t, set, "acme")
	rings := keys.NewRings(set, nil)
	first, err := rings.Ring(t.Context(), "acme", now, load(rec))
	require.NoError(t, err)
	next, err := first.NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	rings.Flush("acme")
	rings.Flush("nobody")
	second, err := rings.Ring(t.Context(), "acme", now, load(rec.Demote(), next))
	require.NoError(t, err)
	require.Equal(t, uint32(2), second.Version())

	// A flush while a ring is being opened from older records: it is not kept.
	rings.Flush("acme")
	_, err = rings.Ring(t.Context(), "acme", now, func(context.Context) ([]keys.DEKRecord, error) {
		rings.Flush("acme")
		return []keys.DEKRecord{rec}, nil
	})
	require.NoError(t, err)
	third, err := rings.Ring(t.Context(), "acme", now, load(rec.Demote(), next))
	require.NoError(t, err)
	require.Equal(t, uint32(2), third.Version())
}

func TestRingsSize(t *testing.T) {
	t.Parallel()
	a := kek("a")
	set := keys.Multi(a)
	rings := keys.NewRings(set, &keys.RingsOptions{Size: 3})
	recs := map[string]keys.DEKRecord{}
	for i := range 5 {
		recs[fmt.Sprint(i)] = newDEK(t, set, fmt.Sprint(i))
	}
	// Digits open a network; the count is the KEK calls so far.
	for _, step := range []struct {
		network string
		calls   int
	}{{"0", 1}, {"1", 2}, {"2", 3}, {"0", 3}, {"3", 4}, {"0", 4}, {"2", 4}, {"1", 5}, {"3", 6}, {"4", 7}, {"3", 7}} {
		_, err := rings.Ring(t.Context(), step.network, now, load(recs[step.network]))
		require.NoError(t, err)
		require.Equal(t, step.calls, a.Unwraps(), "network %s", step.network)
	}
}

func TestRingsLoad(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	rings := keys.NewRings(set, nil)
	cause := errors.New("disk on fire")
	_, err := rings.Ring(t.Context(), "acme", now, func(context.Context) ([]keys.DEKRecord, error) { return nil, cause })
	require.ErrorIs(t, err, cause)
	_, err = rings.Ring(t.Context(), "acme", now, load())
	require.ErrorIs(t, err, keys.ErrUnknownDEK)
	_, err = rings.Ring(t.Context(), "acme", now, load(newDEK(t, set, "other")))
	require.ErrorIs(t, err, keys.ErrWrongOwner)
	_, err = rings.Ring(t.Context(), "acme", now, load(newDEK(t, set, "acme")))
	require.NoError(t, err, "no error is kept")
}

// TestRingsInParallel mixes everything under the race detector.
func TestRingsInParallel(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	rings := keys.NewRings(set, &keys.RingsOptions{Size: 4})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				network := fmt.Sprint((w + i) % 6)
				if i%10 == w {
					rings.Flush(network)
					continue
				}
				ring, err := rings.Ring(t.Context(), network, now.Add(time.Duration(i)*time.Minute), func(ctx context.Context) ([]keys.DEKRecord, error) {
					rec, err := keys.NewDEK(ctx, set, network, 1, now)
					return []keys.DEKRecord{rec}, err
				})
				if err != nil || ring.Network() != network {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
