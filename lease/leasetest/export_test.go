package leasetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// recorder takes the place of *testing.T. It is not the test's own, so a failed
// check does not fail the test.
type recorder struct {
	ctx     context.Context //nolint:containedctx // what testing.T does
	failure string
}

type stop struct{}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(stop{})
}

// Failure runs the check of that name and returns what it reports, or nothing
// if it passes.
func Failure(t *testing.T, name string, b Bench) string {
	t.Helper()
	i := slices.IndexFunc(checks(), func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no check %s", name)
	}
	r := &recorder{ctx: t.Context()}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stop{}) {
				panic(p)
			}
		}()
		checks()[i].run(newKit(r, b))
	}()
	return r.failure
}

// Checks returns the names of all checks.
func Checks() []string {
	var list []string
	for _, c := range checks() {
		list = append(list, c.name)
	}
	return list
}
