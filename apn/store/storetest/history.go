package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/apnkit/apnkit/apn/store"
)

// history: random clients record what they ask and hear; afterwards all of it
// must fit one order of commits that respects real time.
func (k *kit) history() {
	list := k.stores()
	const clients, rounds = 8, 60
	var clock atomic.Int64
	var mu sync.Mutex
	var ops []op
	record := func(o op, run func(o *op)) op {
		o.began = clock.Add(1)
		run(&o)
		o.ended = clock.Add(1)
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, o)
		return o
	}
	var disturb sync.WaitGroup
	if k.Disturb != nil {
		disturb.Go(func() { k.Disturb(k.TB) })
	}
	keys := []string{"row/0", "row/1", "row/2", "row/3"}
	k.parallel(clients, func(c int) error {
		st := list[c%len(list)]
		rng := rand.New(rand.NewPCG(k.Seed, uint64(c))) //nolint:gosec // picks test cases
		var after store.Rev
		for i := range rounds {
			read := record(op{kind: verb(rng.IntN(3)), after: after, client: c}, func(o *op) {
				switch o.kind {
				case readGet:
					o.page, o.err = st.Get(k.Context(), "s", keys...)
				case readList:
					o.page, o.err = st.List(k.Context(), "s", "row/", "", 0)
				default:
					o.page, o.err = st.Since(k.Context(), "s", after, 0)
				}
			})
			if read.err != nil {
				if k.Disturb == nil {
					return read.err
				}
				continue
			}
			if rng.IntN(4) > 0 {
				after = read.page.Rev
			}
			id := fmt.Sprintf("op/%d/%d", c, i)
			b := store.Batch{Writes: writes(id, "v")} // tells later whether it happened
			for range 1 + rng.IntN(2) {
				w := store.Write{Key: keys[rng.IntN(len(keys))]}
				if rng.IntN(4) > 0 {
					w.Value = []byte(id)
				}
				if !slices.ContainsFunc(b.Writes, func(x store.Write) bool { return x.Key == w.Key }) {
					b.Writes = append(b.Writes, w)
				}
			}
			switch n := rng.IntN(8); {
			case n < 4:
				b.At = &read.page.Rev
			case n < 6 && read.kind != readSince:
				key := keys[rng.IntN(len(keys))]
				b.Checks = map[string]store.Rev{key: revOf(read.page, key)}
			case n == 6 && k.Disturb == nil: // an unknown outcome would leave no trace
				b.Writes = nil
			}
			commit := record(op{kind: writeCommit, batch: b, id: id, client: c}, func(o *op) {
				o.rev, o.err = st.Commit(k.Context(), "s", b)
			})
			if commit.err != nil && !errors.Is(commit.err, store.ErrConflict) && k.Disturb == nil {
				return commit.err
			}
		}
		return nil
	})
	disturb.Wait()
	if err := checkHistory(ops, k.list(list[0], "s", "op/", "", 0)); err != nil {
		k.Error(err)
	}
}

func revOf(p store.Page, key string) store.Rev {
	for _, e := range p.Entries {
		if e.Key == key {
			return e.Rev
		}
	}
	return 0
}

type verb int

const (
	readGet verb = iota
	readList
	readSince
	writeCommit
)

// op is one call, between two ticks of a clock that all clients share.
type op struct {
	client       int
	kind         verb
	began, ended int64
	err          error

	after store.Rev  // of Since
	page  store.Page // of a read

	batch store.Batch // of a commit
	id    string      // the row that marks it
	rev   store.Rev
}

func (o *op) String() string {
	what := []string{"Get", "List", fmt.Sprintf("Since %d", o.after), "Commit " + o.id}[o.kind]
	return fmt.Sprintf("client %d, %s in [%d, %d]", o.client, what, o.began, o.ended)
}

// checkHistory reports why ops do not fit one order of commits. marks lists the
// marker rows that are there in the end.
func checkHistory(ops []op, marks store.Page) error {
	happened := map[string]store.Rev{}
	for _, e := range marks.Entries {
		happened[e.Key] = e.Rev
	}
	var commits, reads []*op
	for i := range ops {
		o := &ops[i]
		rev, there := happened[o.id]
		switch {
		case o.kind != writeCommit:
			if o.err == nil {
				reads = append(reads, o)
			}
		case o.err == nil && len(o.batch.Writes) > 0 && (!there || rev != o.rev):
			return fmt.Errorf("%v: acknowledged at revision %d, its row is at %d", o, o.rev, rev)
		case o.err == nil:
			commits = append(commits, o)
		case errors.Is(o.err, store.ErrConflict) && there:
			return fmt.Errorf("%v: refused, and happened at revision %d", o, rev)
		case errors.Is(o.err, store.ErrConflict) && o.batch.At == nil && o.batch.Checks == nil:
			return fmt.Errorf("%v: a conflict without a condition", o)
		case !errors.Is(o.err, store.ErrConflict) && there: // unknown, but it did happen, at some time
			o.rev, o.ended = rev, 1<<62
			commits = append(commits, o)
		}
	}
	slices.SortFunc(commits, func(a, b *op) int { return cmp.Compare(a.rev, b.rev) })
	slices.SortStableFunc(reads, func(a, b *op) int { return cmp.Compare(a.page.Rev, b.page.Rev) })
	if err := checkOrder(commits); err != nil {
		return err
	}
	if err := checkTimes(commits, reads); err != nil {
		return err
	}

	m := &model{rows: map[string]store.Entry{}}
	for i, next := 0, 0; ; next++ {
		for ; i < len(reads) && reads[i].page.Rev == m.rev; i++ {
			if err := m.explains(reads[i]); err != nil {
				return err
			}
		}
		if next == len(commits) {
			if i < len(reads) {
				return fmt.Errorf("%v: revision %d is that of no commit", reads[i], reads[i].page.Rev)
			}
			return nil
		}
		c := commits[next]
		if i < len(reads) && reads[i].page.Rev < c.rev {
			return fmt.Errorf("%v: revision %d is that of no commit", reads[i], reads[i].page.Rev)
		}
		if at := c.batch.At; at != nil && *at != m.rev {
			return fmt.Errorf("%v: asked for revision %d, came after %d", c, *at, m.rev)
		}
		for key, want := range c.batch.Checks {
			if e := m.rows[key]; (e.Value != nil || want != 0) && (e.Value == nil || e.Rev != want) {
				return fmt.Errorf("%v: asked for row %q at revision %d, it was at %d", c, key, want, e.Rev)
			}
		}
		m.apply(c.rev, c.batch.Writes)
	}
}

// checkOrder wants unique revisions, and no commit that began after one with a
// later revision was acknowledged.
func checkOrder(commits []*op) error {
	for i, c := range commits {
		if i > 0 && commits[i-1].rev == c.rev || c.rev == 0 {
			return fmt.Errorf("%v: revision %d, like %v", c, c.rev, commits[max(i-1, 0)])
		}
	}
	var later *op
	for _, c := range slices.Backward(commits) {
		if later != nil && later.ended < c.began {
			return fmt.Errorf("%v: revision %d, although %v had %d before it began", c, c.rev, later, later.rev)
		}
		if later == nil || c.ended < later.ended {
			later = c
		}
	}
	return nil
}

// checkTimes wants no read older than a commit that was acknowledged before it
// began, and none newer than a commit that began after it ended.
func checkTimes(commits, reads []*op) error {
	byEnd := slices.SortedFunc(slices.Values(commits), func(a, b *op) int { return cmp.Compare(a.ended, b.ended) })
	byBegin := slices.SortedFunc(slices.Values(reads), func(a, b *op) int { return cmp.Compare(a.began, b.began) })
	var newest *op
	for next, r := 0, 0; r < len(byBegin); r++ {
		o := byBegin[r]
		for ; next < len(byEnd) && byEnd[next].ended < o.began; next++ {
			if newest == nil || byEnd[next].rev > newest.rev {
				newest = byEnd[next]
			}
		}
		if newest != nil && o.page.Rev < newest.rev {
			return fmt.Errorf("%v: stale, at revision %d although %v had %d before it began", o, o.page.Rev, newest, newest.rev)
		}
	}
	began := map[store.Rev]*op{}
	for _, c := range commits {
		began[c.rev] = c
	}
	for _, o := range reads {
		if c := began[o.page.Rev]; c != nil && c.began > o.ended {
			return fmt.Errorf("%v: at revision %d, which %v began to write later", o, o.page.Rev, c)
		}
	}
	return nil
}

// explains reports whether the read o shows the model.
func (m *model) explains(o *op) error {
	var want []store.Entry
	if o.kind == readSince {
		want = m.changed(o.after)
	} else {
		rows := maps.Clone(m.rows)
		maps.DeleteFunc(rows, func(key string, _ store.Entry) bool { return strings.HasPrefix(key, "op/") })
		want = (&model{rows: rows}).live()
	}
	got := slices.Clone(o.page.Entries)
	if o.kind == readSince {
		slices.SortFunc(got, byRev)
	} else {
		slices.SortFunc(got, func(a, b store.Entry) int { return cmp.Compare(a.Key, b.Key) })
	}
	if !slices.EqualFunc(got, want, equalEntries) {
		return fmt.Errorf("%v: got %s\nwant %s", o, show(o.page), show(store.Page{Entries: want, Rev: m.rev}))
	}
	return nil
}
