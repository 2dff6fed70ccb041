package storetest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Failures runs one subtest of the kit and returns what it complains about.
func Failures(t *testing.T, subtest string, open OpenFunc, o Options) string {
	t.Helper()
	if inChild(t.Name()) {
		crashChild(t, open)
		t.SkipNow() // the parent judges
	}
	r := &recorder{TB: t}
	for _, s := range subtests() {
		if s.name == subtest {
			var wg sync.WaitGroup
			wg.Go(func() {
				k := newKit(r, t.Name(), open, o)
				k.patience = time.Second
				s.run(k)
			})
			wg.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			return strings.Join(r.failures, "\n")
		}
	}
	t.Fatalf("no subtest %q", subtest)
	return ""
}

// recorder is a test that fails without consequences.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Logf(string, ...any)       {}
func (r *recorder) Error(args ...any)         { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any)         { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) FailNow()                  { r.fail("FailNow"); runtime.Goexit() }

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

// The history checker, for histories that no run would produce.

type Op struct {
	Client       int
	Began, Ended int64
	Commit       bool
	Batch        store.Batch
	ID           string
	Rev          store.Rev
	Since        bool
	After        store.Rev
	Page         store.Page
	Err          error
}

func CheckHistory(list []Op, marks store.Page) error {
	var ops []op
	for _, o := range list {
		kind := readList
		if o.Commit {
			kind = writeCommit
		} else if o.Since {
			kind = readSince
		}
		ops = append(ops, op{
			client: o.Client, kind: kind, began: o.Began, ended: o.Ended, err: o.Err,
			after: o.After, page: o.Page, batch: o.Batch, id: o.ID, rev: o.Rev,
		})
	}
	return checkHistory(ops, marks)
}
