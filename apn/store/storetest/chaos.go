package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/apnkit/apnkit/apn/store"
)

// ErrInjected is the error of calls that a [Chaos] lets fail.
var ErrInjected = errors.New("storetest: injected fault")

// Faults says how often which fault happens, each from 0 (never) to 1 (always).
// The zero Faults has none.
type Faults struct {
	Read      float64 // Get, List and Since fail
	Wait      float64 // Wait fails
	Compacted float64 // Since says ErrCompacted
	Conflict  float64 // Commit says ErrConflict, and writes nothing
	Before    float64 // Commit fails, and writes nothing
	After     float64 // Commit fails after it has written
	Late      float64 // Commit fails, and writes before a later call of the Chaos
	// Delay, if it is not nil, is called before each call and after each
	// Commit, with the name of the method. It may block; an error of it is that
	// of the call.
	Delay func(ctx context.Context, method string) error
}

// Chaos is a [store.Store] and [store.Waiter] over another one that keeps the
// contract and is as unpleasant as the contract allows. It is safe for
// concurrent use. The same seed gives the same faults to the same sequence of
// calls.
type Chaos struct {
	st     waitingStore
	faults Faults

	mu   sync.Mutex
	rng  *rand.Rand
	calm bool
	late []lateCommit
}

type waitingStore interface {
	store.Store
	store.Waiter
}

type lateCommit struct {
	space string
	batch store.Batch
}

// NewChaos returns a Chaos over st, which has to be a [store.Waiter] too.
func NewChaos(st waitingStore, seed uint64, f Faults) *Chaos {
	return &Chaos{st: st, faults: f, rng: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // picks faults
}

// Calm ends the faults for good, so that a test can look whether its subject
// recovers. Late commits that are still due happen now.
func (c *Chaos) Calm(ctx context.Context) {
	c.mu.Lock()
	c.calm = true
	c.mu.Unlock()
	c.arrive(ctx, 1)
}

// Get implements [store.Store].
func (c *Chaos) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	if err := c.before(ctx, "Get", c.faults.Read); err != nil {
		return store.Page{}, err
	}
	return c.st.Get(ctx, space, keys...)
}

// List implements [store.Store].
func (c *Chaos) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	if err := c.before(ctx, "List", c.faults.Read); err != nil {
		return store.Page{}, err
	}
	return c.st.List(ctx, space, prefix, after, limit)
}

// Since implements [store.Store].
func (c *Chaos) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	err := c.before(ctx, "Since", c.faults.Read)
	if err == nil && c.happens(c.faults.Compacted) {
		err = store.ErrCompacted
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("since %d: %w", after, err)
	}
	return c.st.Since(ctx, space, after, limit)
}

// Commit implements [store.Store].
func (c *Chaos) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if err := c.before(ctx, "Commit", c.faults.Before); err != nil {
		return 0, err
	}
	if (b.At != nil || b.Checks != nil) && c.happens(c.faults.Conflict) {
		return 0, fmt.Errorf("spurious: %w", store.ErrConflict)
	}
	if c.happens(c.faults.Late) {
		c.mu.Lock()
		c.late = append(c.late, lateCommit{space, clone(b)})
		c.mu.Unlock()
		return 0, fmt.Errorf("late: %w", ErrInjected)
	}
	rev, err := c.st.Commit(ctx, space, b)
	if err == nil && c.happens(c.faults.After) {
		err = fmt.Errorf("after the commit: %w", ErrInjected)
	}
	if err == nil && c.faults.Delay != nil {
		err = c.faults.Delay(ctx, "Commit")
	}
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// Wait implements [store.Waiter].
func (c *Chaos) Wait(ctx context.Context, space string, after store.Rev) error {
	if err := c.before(ctx, "Wait", c.faults.Wait); err != nil {
		return err
	}
	return c.st.Wait(ctx, space, after)
}

// before delays a call, lets late commits happen, and fails with probability p.
func (c *Chaos) before(ctx context.Context, method string, p float64) error {
	if c.faults.Delay != nil {
		if err := c.faults.Delay(ctx, method); err != nil {
			return err
		}
	}
	c.arrive(ctx, 0.5)
	if c.happens(p) {
		return ErrInjected
	}
	return nil
}

// arrive lets the late commits happen, all of them with probability p.
func (c *Chaos) arrive(ctx context.Context, p float64) {
	c.mu.Lock()
	var due []lateCommit
	if len(c.late) > 0 && (p == 1 || c.rng.Float64() < p) {
		due, c.late = c.late, nil
	}
	c.mu.Unlock()
	for _, l := range due {
		_, _ = c.st.Commit(context.WithoutCancel(ctx), l.space, l.batch) // nobody waits for the outcome
	}
}

func (c *Chaos) happens(p float64) bool {
	if p == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.calm && c.rng.Float64() < p
}

// clone copies b, whose caller may be gone when it is needed.
func clone(b store.Batch) store.Batch {
	c := store.Batch{Checks: maps.Clone(b.Checks), Writes: slices.Clone(b.Writes)}
	if b.At != nil {
		c.At = new(*b.At)
	}
	for i, w := range c.Writes {
		c.Writes[i].Value = bytes.Clone(w.Value)
	}
	return c
}
