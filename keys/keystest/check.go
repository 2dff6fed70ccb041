package keystest

import (
	"context"
	"testing"
	"time"
)

// reporter is the part of *testing.T that a check uses. The tests of this
// package run the checks against adapters that break them, and read what is
// reported.
type reporter interface {
	Context() context.Context
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// check is one sentence of a contract.
type check[E any] struct {
	name string
	run  func(t reporter, e E)
}

func runAll[E any](t *testing.T, checks []check[E], open func(t *testing.T) E) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// withEnded calls do with a cancelled context and with one past its deadline.
func withEnded(ctx context.Context, do func(ctx context.Context)) {
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	do(cancelled)
	expired, cancel := context.WithDeadline(ctx, time.Unix(1, 0))
	defer cancel()
	do(expired)
}
