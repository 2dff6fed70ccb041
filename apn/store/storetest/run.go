package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// OpenFunc opens a handle on the data that belong to the folder dir, and fails
// t if it cannot. A folder that is new to it means an empty store; the same
// folder means the same data, also from another process. An adapter over a
// database server derives a database name from dir and leaves the folder
// empty.
//
// A handle that is an [io.Closer] is closed by the kit.
type OpenFunc func(t testing.TB, dir string) store.Store

// Options are the optional settings of [Run].
type Options struct {
	// OneHandle says that a folder can be open only once at a time. False means
	// that the kit works through two handles, as two processes would.
	OneHandle bool
	// Volatile says that data end with the process, so that Reopen, Crash and
	// Sync are left out. False means that they run.
	Volatile bool
	// Remote says that another process writes to the disk, so that Sync, which
	// counts how often this one does, is left out. False means that it runs.
	Remote bool
	// MaxValue is the length in bytes of the longest value. Zero means 1 MiB;
	// less than [store.MaxValue] is a failure.
	MaxValue int
	// MaxBatch is how many writes fit into one batch. Zero means 10,000.
	MaxBatch int
	// Kills is how often Crash kills the process. Zero means 5.
	Kills int
	// Disturb, if it is not nil, is called in the middle of History: it breaks
	// a connection, stops a server, moves a leader. It may be called more than
	// once. Nil means that any error fails the test.
	Disturb func(t testing.TB)
	// Seed repeats a run. Zero means a new seed, which is logged.
	Seed uint64
}

// Run checks every promise of the contract in a subtest of its own, each on a
// fresh store. opts may be nil.
func Run(t *testing.T, open OpenFunc, opts *Options) {
	t.Helper()
	if inChild(t.Name()) {
		crashChild(t, open)
		return
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	name := t.Name()
	for _, s := range subtests() {
		t.Run(s.name, func(t *testing.T) {
			s.run(newKit(t, name, open, o))
		})
	}
}

type subtest struct {
	name string
	run  func(*kit)
}

func subtests() []subtest {
	return []subtest{
		{"Basic", (*kit).basic},
		{"At", (*kit).at},
		{"Checks", (*kit).checks},
		{"ABA", (*kit).aba},
		{"BigBatch", (*kit).bigBatch},
		{"Values", (*kit).values},
		{"Limits", (*kit).limits},
		{"Aliasing", (*kit).aliasing},
		{"KeyOrder", (*kit).keyOrder},
		{"Prefix", (*kit).prefix},
		{"Spaces", (*kit).spaces},
		{"Paging", (*kit).paging},
		{"Since", (*kit).since},
		{"Compact", (*kit).compact},
		{"Cancel", (*kit).cancel},
		{"Wait", (*kit).wait},
		{"LostUpdate", (*kit).lostUpdate},
		{"WriteSkew", (*kit).writeSkew},
		{"AtomicRead", (*kit).atomicRead},
		{"Tail", (*kit).tail},
		{"ManySpaces", (*kit).manySpaces},
		{"History", (*kit).history},
		{"Reopen", (*kit).reopen},
		{"Crash", (*kit).crash},
		{"Sync", (*kit).sync},
	}
}

// kit is what one subtest works with. It fails through the embedded TB, from
// the goroutine of the test only.
type kit struct {
	testing.TB
	Options
	open OpenFunc
	dir  string
	rng  *rand.Rand
	name string // of the test that called Run, to run it again in a child process
	// patience is for what should happen at once.
	patience time.Duration
}

func newKit(tb testing.TB, name string, open OpenFunc, o Options) *kit {
	tb.Helper()
	if o.Seed == 0 {
		o.Seed = rand.Uint64() //nolint:gosec // picks test cases
	}
	tb.Logf("storetest: seed %d", o.Seed)
	o.MaxValue = cmp.Or(o.MaxValue, 1<<20)
	o.MaxBatch = cmp.Or(o.MaxBatch, 10_000)
	o.Kills = cmp.Or(o.Kills, 5)
	rng := rand.New(rand.NewPCG(o.Seed, 0)) //nolint:gosec // picks test cases
	return &kit{TB: tb, Options: o, open: open, dir: tb.TempDir(), rng: rng, name: name, patience: 20 * time.Second}
}

// store opens a handle that is closed at the end of the test.
func (k *kit) store() store.Store {
	k.Helper()
	st := k.open(k.TB, k.dir)
	k.Cleanup(func() { closeStore(k.TB, st) })
	return st
}

// stores opens two handles, or one handle twice.
func (k *kit) stores() []store.Store {
	k.Helper()
	st := k.store()
	if k.OneHandle {
		return []store.Store{st, st}
	}
	return []store.Store{st, k.store()}
}

func closeStore(tb testing.TB, st store.Store) {
	tb.Helper()
	if c, ok := st.(io.Closer); ok {
		if err := c.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	}
}

// The methods below are the contract with failure as the end of the test.

func (k *kit) get(st store.Store, space string, keys ...string) store.Page {
	k.Helper()
	p, err := st.Get(k.Context(), space, keys...)
	if err != nil {
		k.Fatalf("Get %q %q: %v", space, keys, err)
	}
	return p
}

func (k *kit) list(st store.Store, space, prefix, after string, limit int) store.Page {
	k.Helper()
	p, err := st.List(k.Context(), space, prefix, after, limit)
	if err != nil {
		k.Fatalf("List %q %q after %q: %v", space, prefix, after, err)
	}
	return p
}

func (k *kit) changes(st store.Store, space string, after store.Rev, limit int) store.Page {
	k.Helper()
	p, err := st.Since(k.Context(), space, after, limit)
	if err != nil {
		k.Fatalf("Since %q %d: %v", space, after, err)
	}
	return p
}

func (k *kit) commit(st store.Store, space string, b store.Batch) store.Rev {
	k.Helper()
	rev, err := st.Commit(k.Context(), space, b)
	if err != nil {
		k.Fatalf("Commit to %q: %v", space, err)
	}
	return rev
}

// put commits pairs of key and value; "-" deletes.
func (k *kit) put(st store.Store, space string, pairs ...string) store.Rev {
	k.Helper()
	return k.commit(st, space, store.Batch{Writes: writes(pairs...)})
}

// conflict checks that b is refused by the space s with ErrConflict, and that
// nothing changes.
func (k *kit) conflict(st store.Store, b store.Batch) {
	k.Helper()
	before := k.list(st, "s", "", "", 0)
	if _, err := st.Commit(k.Context(), "s", b); !errors.Is(err, store.ErrConflict) {
		k.Errorf("Commit: got error %v, want ErrConflict", err)
	}
	if after := k.list(st, "s", "", "", 0); !equalPages(before, after) {
		k.Errorf("a conflict changed the space\nbefore %s\nafter  %s", show(before), show(after))
	}
}

// want compares the rows of a page with pairs of key and value, in order.
func (k *kit) want(p store.Page, pairs ...string) {
	k.Helper()
	var got []string
	for _, e := range p.Entries {
		value := string(e.Value)
		if e.Value == nil {
			value = "-"
		}
		got = append(got, e.Key, value)
	}
	if !slices.Equal(got, pairs) {
		k.Errorf("got rows %q, want %q", got, pairs)
	}
}

// parallel runs fn n times at once and fails with the first error of each.
func (k *kit) parallel(n int, fn func(i int) error) {
	k.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		k.Fatal(err)
	}
}

// writes makes writes of pairs of key and value; "-" deletes.
func writes(pairs ...string) []store.Write {
	var list []store.Write
	for pair := range slices.Chunk(pairs, 2) {
		w := store.Write{Key: pair[0]}
		if pair[1] != "-" {
			w.Value = []byte(pair[1])
		}
		list = append(list, w)
	}
	return list
}

func equalEntries(a, b store.Entry) bool {
	return a.Key == b.Key && a.Rev == b.Rev && (a.Value == nil) == (b.Value == nil) && string(a.Value) == string(b.Value)
}

func equalPages(a, b store.Page) bool {
	return a.Rev == b.Rev && a.More == b.More && slices.EqualFunc(a.Entries, b.Entries, equalEntries)
}

func show(p store.Page) string {
	s := fmt.Sprintf("rev %d more %t:", p.Rev, p.More)
	for i, e := range p.Entries {
		if i == 20 {
			return s + fmt.Sprintf(" ... %d entries", len(p.Entries))
		}
		s += fmt.Sprintf(" %s@%d", e.Key, e.Rev)
		if e.Value == nil {
			s += "(deleted)"
		}
	}
	return s
}
