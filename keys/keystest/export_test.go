package keystest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/apnkit/apnkit/keys"
)

// recorder takes the place of *testing.T. It is not the test's own, so a failed
// check does not fail the test.
type recorder struct {
	ctx     context.Context //nolint:containedctx // what testing.T does
	failure string
	skipped bool
}

type stop struct{}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(stop{})
}

func (r *recorder) Skip(...any) { r.skipped = true }

// failure runs the check of that name and returns what it reports, a panic
// included, or nothing if it passes.
func failure[E any](t *testing.T, checks []check[E], name string, e E) string {
	t.Helper()
	i := slices.IndexFunc(checks, func(c check[E]) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no check %s", name)
	}
	r := &recorder{ctx: t.Context()}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stop{}) {
				r.failure = fmt.Sprint("panic: ", p)
			}
		}()
		checks[i].run(r, e)
	}()
	if r.skipped {
		t.Fatalf("check %s was skipped", name)
	}
	return r.failure
}

// KEKFailure returns what the check of that name reports about k.
func KEKFailure(t *testing.T, name string, k, other, outage keys.KEK) string {
	t.Helper()
	return failure(t, kekChecks(), name, kekEnv{KEK: k, other: other, outage: outage})
}

// StoreFailure returns what the check of that name reports about s; again
// stands for the same data after a restart.
func StoreFailure(t *testing.T, name string, s keys.Store, again func() keys.Store) string {
	t.Helper()
	return failure(t, storeChecks(), name, &storeEnv{Store: s, open: again})
}

// KEKChecks and StoreChecks return the names of all checks.
func KEKChecks() []string   { return names(kekChecks()) }
func StoreChecks() []string { return names(storeChecks()) }

func names[E any](checks []check[E]) []string {
	var list []string
	for _, c := range checks {
		list = append(list, c.name)
	}
	return list
}
