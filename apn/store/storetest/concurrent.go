package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// cancel: a context that ends is an error of its own, never a conflict, and
// leaves no half of a batch behind.
func (k *kit) cancel() {
	st := k.store()
	rev := k.put(st, "s", "a", "1")
	done, stop := context.WithCancel(k.Context())
	stop()
	_, get := st.Get(done, "s", "a")
	_, list := st.List(done, "s", "", "", 0)
	_, since := st.Since(done, "s", 0, 0)
	_, good := st.Commit(done, "s", store.Batch{At: &rev})
	_, bad := st.Commit(done, "s", store.Batch{At: new(rev + 1), Checks: map[string]store.Rev{"a": 0}})
	for what, err := range map[string]error{
		"Get": get, "List": list, "Since": since, "Commit": good, "Commit that would conflict": bad,
	} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrConflict) {
			k.Errorf("%s with a cancelled context: got error %v, want context.Canceled", what, err)
		}
	}
	late, stop := context.WithDeadline(k.Context(), time.Unix(1, 0))
	defer stop()
	if _, err := st.Commit(late, "s", store.Batch{}); !errors.Is(err, context.DeadlineExceeded) {
		k.Errorf("Commit past its deadline: got error %v, want context.DeadlineExceeded", err)
	}

	// Cancelled on the way: all of a batch, or nothing.
	const clients, rounds = 8, 60
	acked := make([][rounds]bool, clients)
	k.parallel(clients, func(c int) error {
		rng := rand.New(rand.NewPCG(k.Seed, uint64(c))) //nolint:gosec // picks test cases
		for i := range rounds {
			ctx, stop := context.WithCancel(k.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				for range rng.IntN(50_000) {
					_ = ctx.Err() // a moment that the scheduler does not stretch
				}
				stop()
			})
			id := fmt.Sprintf("%d/%d", c, i)
			_, err := st.Commit(ctx, "s", store.Batch{Writes: writes("x/"+id, "v", "y/"+id, "v")})
			wg.Wait()
			stop()
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("Commit that is cancelled on the way: %w", err)
			}
			acked[c][i] = err == nil
		}
		return nil
	})
	rows := map[string]bool{}
	for _, key := range keysOf(k.list(st, "s", "", "", 0)) {
		rows[key] = true
	}
	for c := range clients {
		for i := range rounds {
			id := fmt.Sprintf("%d/%d", c, i)
			if x, y := rows["x/"+id], rows["y/"+id]; x != y || acked[c][i] && !x {
				k.Errorf("batch %s: acknowledged %t, halves there: %t and %t", id, acked[c][i], x, y)
			}
		}
	}
	k.put(st, "s", "still", "works")
}

// wait: a waiter hears of every commit, by whichever handle.
func (k *kit) wait() {
	list := k.stores()
	w, ok := list[0].(store.Waiter)
	if !ok {
		k.Skip("the adapter is no store.Waiter")
	}
	other := list[1]
	ctx, stop := context.WithTimeout(k.Context(), k.patience)
	defer stop()
	rev := k.put(other, "s", "a", "1")
	k.put(other, "s", "a", "2")
	for _, after := range []store.Rev{0, rev} {
		if err := w.Wait(ctx, "s", after); err != nil {
			k.Fatalf("Wait for what has already happened: %v", err)
		}
	}
	done, cancel := context.WithCancel(k.Context())
	cancel()
	for range 3 { // it may return early, but not for ever
		if err := w.Wait(done, "s", 1<<62); err != nil {
			if !errors.Is(err, context.Canceled) {
				k.Errorf("Wait with a cancelled context: got error %v, want context.Canceled", err)
			}
			break
		}
	}
	// Followers that read and wait in turns keep up, also in a space that does
	// not exist yet. Each commit waits until both have seen the one before, so
	// that none can make up for a wake-up that was missed.
	const commits = 100
	for _, space := range []string{"s", "new"} {
		heard := make(chan struct{})
		k.parallel(3, func(i int) error {
			if i < 2 {
				return follow(ctx, list[i], space, commits, heard)
			}
			for n := range commits {
				rev, err := other.Commit(ctx, space, store.Batch{Writes: writes("n", strconv.Itoa(n+1))})
				if err != nil {
					return err
				}
				for range 2 {
					select {
					case <-heard:
					case <-ctx.Done():
						return fmt.Errorf("revision %d of %q went unheard: %w", rev, space, ctx.Err())
					}
				}
			}
			return nil
		})
	}
}

// follow hears of each value of the row n up to commits by waiting.
func follow(ctx context.Context, st store.Store, space string, commits int, heard chan<- struct{}) error {
	for n := 0; n < commits; {
		p, err := st.Get(ctx, space, "n")
		if err != nil {
			return err
		}
		if len(p.Entries) > 0 && string(p.Entries[0].Value) != strconv.Itoa(n) {
			n++
			select {
			case heard <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if n == commits {
			break
		}
		if err := st.(store.Waiter).Wait(ctx, space, p.Rev); err != nil {
			return fmt.Errorf("waiting in %q after %d: %w", space, p.Rev, err)
		}
	}
	return nil
}

// lostUpdate: of many writers that read the same, one wins. It counts up a row
// under a check of the row, and under one of the space.
func (k *kit) lostUpdate() {
	list := k.stores()
	const clients, rounds = 8, 40
	for _, whole := range []bool{false, true} {
		space := fmt.Sprintf("whole=%t", whole)
		var revs sync.Map
		k.parallel(clients, func(c int) error {
			st := list[c%len(list)]
			for won := 0; won < rounds; {
				p, err := st.Get(k.Context(), space, "count")
				if err != nil {
					return err
				}
				n, at := 0, store.Rev(0)
				if len(p.Entries) > 0 {
					n, _ = strconv.Atoi(string(p.Entries[0].Value))
					at = p.Entries[0].Rev
				}
				b := store.Batch{Writes: writes("count", strconv.Itoa(n+1))}
				if whole {
					b.At = &p.Rev
				} else {
					b.Checks = map[string]store.Rev{"count": at}
				}
				rev, err := st.Commit(k.Context(), space, b)
				switch {
				case err == nil:
					won++
					if _, twice := revs.LoadOrStore(rev, true); twice {
						return fmt.Errorf("revision %d was given to two commits", rev)
					}
				case !errors.Is(err, store.ErrConflict):
					return err
				}
			}
			return nil
		})
		if p := k.get(list[0], space, "count"); len(p.Entries) != 1 || string(p.Entries[0].Value) != strconv.Itoa(clients*rounds) {
			k.Errorf("%s: %d acknowledged increments gave %v", space, clients*rounds, p.Entries)
		}
	}
}

// writeSkew: two who each look at both rows and change the other one do not
// both win. At most one row may be "on" at any time.
func (k *kit) writeSkew() {
	list := k.stores()
	const rounds = 60
	for round := range rounds {
		space := fmt.Sprintf("skew%d", round)
		k.put(list[0], space, "left", "off", "right", "off")
		var won atomic.Int32
		var ready sync.WaitGroup
		ready.Add(2)
		k.parallel(2, func(c int) error {
			p, err := list[c%len(list)].Get(k.Context(), space, "left", "right")
			ready.Done()
			ready.Wait() // both have read before either writes
			if err != nil {
				return err
			}
			_, err = list[c%len(list)].Commit(k.Context(), space, store.Batch{
				At: &p.Rev, Writes: writes([]string{"left", "right"}[c], "on"),
			})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
			return nil
		})
		if won.Load() != 1 {
			k.Fatalf("round %d: %d of two commits at the same revision won, want 1", round, won.Load())
		}
	}
}

// atomicRead: a page shows one revision, the one that it names.
func (k *kit) atomicRead() {
	list := k.stores()
	const commits = 150
	text := func(n int) string { return strconv.Itoa(n) }
	revs := make([]store.Rev, commits+1)
	var running atomic.Bool
	running.Store(true)
	type look struct {
		what string
		rev  store.Rev
		n    int
	}
	looks := make([][]look, 4)
	revs[0] = k.put(list[0], "s", "a/1", text(0), "b/1", text(0), "b/2", text(0), "c/1", text(0))
	k.parallel(1+len(looks), func(c int) error {
		if c == 0 {
			defer running.Store(false)
			for n := 1; n <= commits; n++ {
				var err error
				revs[n], err = list[0].Commit(k.Context(), "s", store.Batch{Writes: writes(
					"a/1", text(n), "b/1", text(n), "b/2", text(n), "c/1", text(n),
				)})
				if err != nil {
					return err
				}
			}
			return nil
		}
		st := list[c%len(list)]
		for i := 0; running.Load(); i++ {
			var p store.Page
			var err error
			what := []string{"Get", "List", "List with a prefix", "Since"}[i%4]
			switch i % 4 {
			case 0:
				p, err = st.Get(k.Context(), "s", "c/1", "a/1")
			case 1:
				p, err = st.List(k.Context(), "s", "", "", 0)
			case 2:
				p, err = st.List(k.Context(), "s", "b/", "", 2)
			case 3:
				p, err = st.Since(k.Context(), "s", 0, 2)
			}
			if err != nil {
				return err
			}
			for _, e := range p.Entries {
				if !slices.Equal(e.Value, p.Entries[0].Value) || e.Rev != p.Rev {
					return fmt.Errorf("%s at revision %d mixes commits: %v", what, p.Rev, p.Entries)
				}
			}
			if len(p.Entries) == 0 {
				return fmt.Errorf("%s at revision %d: empty", what, p.Rev)
			}
			n, _ := strconv.Atoi(string(p.Entries[0].Value))
			looks[c-1] = append(looks[c-1], look{what, p.Rev, n})
		}
		return nil
	})
	for _, l := range slices.Concat(looks...) {
		if revs[l.n] != l.rev {
			k.Fatalf("%s: a page with the rows of revision %d says %d", l.what, revs[l.n], l.rev)
		}
	}
}

// tail: followers that page through Since while others write end up with what
// List shows, at each revision exactly.
func (k *kit) tail() {
	list := k.stores()
	const writers, commits = 6, 50
	var running atomic.Int32
	running.Store(writers)
	var mu sync.Mutex
	history := map[store.Rev][]store.Write{}
	type page struct {
		after store.Rev
		store.Page
	}
	pages := make([][]page, 3)
	k.parallel(writers+len(pages), func(c int) error {
		st := list[c%len(list)]
		if c < writers {
			defer running.Add(-1)
			for n := range commits {
				value := fmt.Sprintf("%d-%d", c, n)
				if n%3 == 2 {
					value = "-"
				}
				w := writes(fmt.Sprintf("own/%d", c), value, fmt.Sprintf("shared/%d", n%4), value)
				rev, err := st.Commit(k.Context(), "s", store.Batch{Writes: w})
				if err != nil {
					return err
				}
				mu.Lock()
				history[rev] = w
				mu.Unlock()
			}
			return nil
		}
		after := store.Rev(0)
		for last := false; ; {
			p, err := st.Since(k.Context(), "s", after, 1+c%3)
			if err != nil {
				return err
			}
			pages[c-writers] = append(pages[c-writers], page{after, p})
			switch {
			case p.More && len(p.Entries) > 0:
				after = p.Entries[len(p.Entries)-1].Rev
			case p.More:
				return fmt.Errorf("Since %d: an empty page with more to come", after)
			case last:
				return nil
			default:
				after = p.Rev
				last = running.Load() == 0
			}
		}
	})
	var revs []store.Rev
	for rev := range history {
		revs = append(revs, rev)
	}
	slices.Sort(revs)
	if len(revs) != writers*commits {
		k.Fatalf("%d commits have %d revisions", writers*commits, len(revs))
	}
	for c, list := range pages {
		m, next := &model{rows: map[string]store.Entry{}}, 0
		for _, p := range list {
			for ; next < len(revs) && revs[next] <= p.Rev; next++ {
				m.apply(revs[next], history[revs[next]])
			}
			got := slices.SortedFunc(slices.Values(p.Entries), byRev)
			want := m.changed(p.after)
			if p.More && len(want) > len(got) {
				want = want[:len(got)]
			}
			if m.rev != p.Rev || !slices.EqualFunc(got, want, equalEntries) {
				k.Fatalf("follower %d, since %d: got %s\nwant %s", c, p.after, show(p.Page), show(store.Page{Entries: want, Rev: m.rev}))
			}
		}
	}
}

// manySpaces: spaces that appear and grow at the same time do not disturb each
// other, nor do two writers of different rows.
func (k *kit) manySpaces() {
	list := k.stores()
	const spaces, commits = 32, 10
	k.parallel(2*spaces, func(c int) error {
		st, space, row := list[c%len(list)], fmt.Sprintf("space/%d", c/2), fmt.Sprintf("row/%d", c%2)
		at := store.Rev(0)
		for n := range commits {
			rev, err := st.Commit(k.Context(), space, store.Batch{
				Checks: map[string]store.Rev{row: at},
				Writes: writes(row, strconv.Itoa(n), fmt.Sprintf("%s/%d", row, n), space),
			})
			if err != nil {
				return fmt.Errorf("the only writer of %q in %q, commit %d: %w", row, space, n, err)
			}
			at = rev
		}
		return nil
	})
	for i := range spaces {
		if p := k.list(list[0], fmt.Sprintf("space/%d", i), "", "", 0); len(p.Entries) != 2*(commits+1) {
			k.Errorf("space %d: got %s, want %d rows", i, show(p), 2*(commits+1))
		}
	}
}
