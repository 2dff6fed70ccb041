package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

// paging: pages follow each other without gap and overlap, and More is exact.
func (k *kit) paging() {
	st := k.store()
	var keys []string
	for i := range 24 {
		key := fmt.Sprintf("p/%02d", i)
		k.put(st, "s", key, "v", fmt.Sprintf("q/%02d", i), "v")
		if i%4 == 3 {
			k.put(st, "s", key, "-") // leaves a hole
		} else {
			keys = append(keys, key)
		}
	}
	for _, limit := range []int{1, 2, 3, 5, 6, 9, 17, 18, 19, 0, -1} {
		var got []string
		for after := ""; ; {
			p := k.list(st, "s", "p/", after, limit)
			got = append(got, keysOf(p)...)
			rest := len(keys) - len(got)
			if full := limit > 0 && len(p.Entries) == limit; p.More != (rest > 0) || p.More && !full || len(got) > len(keys) {
				k.Fatalf("limit %d after %q: got %s with %d to go", limit, after, show(p), rest)
			}
			if !p.More {
				break
			}
			after = got[len(got)-1]
		}
		if !slices.Equal(got, keys) {
			k.Errorf("limit %d: got %q, want %q", limit, got, keys)
		}
	}
	// Changes of one commit are one page, however small the limit.
	last := k.get(st, "s").Rev
	first := k.put(st, "s", "r/1", "v", "r/2", "v", "r/3", "-", "p/00", "-")
	second := k.put(st, "s", "r/4", "v")
	if p := k.changes(st, "s", last, 1); len(p.Entries) != 4 || !p.More || p.Rev != second {
		k.Errorf("limit 1 over a commit of four: got %s, want all four and more", show(p))
	}
	for _, limit := range []int{4, 3} {
		if p := k.changes(st, "s", last, limit); len(p.Entries) != 4 || !p.More {
			k.Errorf("limit %d: got %s, want four and more", limit, show(p))
		}
	}
	if p := k.changes(st, "s", last, 5); len(p.Entries) != 5 || p.More {
		k.Errorf("limit 5: got %s, want five, the last page", show(p))
	}
	if p := k.changes(st, "s", first, 1); len(p.Entries) != 1 || p.More {
		k.Errorf("limit 1 over one row: got %s, want a last page", show(p))
	}
}

// model is a space as it should be.
type model struct {
	rows map[string]store.Entry // deleted ones too
	rev  store.Rev
}

func (m *model) apply(rev store.Rev, list []store.Write) {
	m.rev = rev
	for _, w := range list {
		m.rows[w.Key] = store.Entry{Key: w.Key, Value: w.Value, Rev: rev}
	}
}

// live returns the rows that exist, by key.
func (m *model) live() []store.Entry {
	return slices.SortedFunc(func(yield func(store.Entry) bool) {
		for _, e := range m.rows {
			if e.Value != nil && !yield(e) {
				return
			}
		}
	}, func(a, b store.Entry) int { return cmp.Compare(a.Key, b.Key) })
}

// changed returns what Since reports: by revision, and by key inside one.
func (m *model) changed(after store.Rev) []store.Entry {
	return slices.SortedFunc(func(yield func(store.Entry) bool) {
		for _, e := range m.rows {
			if e.Rev > after && !yield(e) {
				return
			}
		}
	}, byRev)
}

func byRev(a, b store.Entry) int { return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Key, b.Key)) }

// grow commits random changes of few rows, one batch per revision, and returns
// the model and all revisions.
func (k *kit) grow(st store.Store, space string, batches int) (*model, []store.Rev) {
	k.Helper()
	m := &model{rows: map[string]store.Entry{}}
	revs := []store.Rev{0}
	for range batches {
		pairs := map[string]string{}
		for range k.rng.IntN(5) {
			value := fmt.Sprint(k.rng.IntN(1000))
			if k.rng.IntN(3) == 0 {
				value = "-"
			}
			pairs[fmt.Sprintf("k/%02d", k.rng.IntN(20))] = value
		}
		var list []string
		for key, value := range pairs {
			list = append(list, key, value)
		}
		w := writes(list...)
		m.apply(k.commit(st, space, store.Batch{Writes: w}), w)
		revs = append(revs, m.rev)
	}
	return m, revs
}

// since: changes come once each, in their newest state, deletions too, in the
// order of revisions.
func (k *kit) since() {
	st := k.store()
	m, revs := k.grow(st, "s", 60)
	for _, after := range revs {
		for _, limit := range []int{0, 1, 2, 5, 19, 20, 21} {
			k.follow(st, "s", m, after, limit)
		}
	}
	head := revs[len(revs)-1]
	for _, after := range []store.Rev{head, head + 1, head + 1000, 1 << 62} {
		if p := k.changes(st, "s", after, 0); len(p.Entries) > 0 || p.More || p.Rev != head {
			k.Errorf("after %d: got %s, want an empty page at %d", after, show(p), head)
		}
	}
}

// follow reads all changes after a revision and compares them with the model.
func (k *kit) follow(st store.Store, space string, m *model, after store.Rev, limit int) {
	k.Helper()
	want := m.changed(after)
	for start := after; ; {
		p := k.changes(st, space, start, limit)
		if !slices.IsSortedFunc(p.Entries, func(a, b store.Entry) int { return cmp.Compare(a.Rev, b.Rev) }) {
			k.Fatalf("since %d limit %d: not in order of revisions: %s", start, limit, show(p))
		}
		got := slices.SortedFunc(slices.Values(p.Entries), byRev)
		n := len(got)
		if n > len(want) || !slices.EqualFunc(got, want[:n], equalEntries) || p.Rev != m.rev {
			k.Fatalf("since %d limit %d: got %s\nwant %s", start, limit, show(p), show(store.Page{Entries: want, Rev: m.rev}))
		}
		want = want[n:]
		switch {
		case p.More != (len(want) > 0):
			k.Fatalf("since %d limit %d: more is %t with %d to go", start, limit, p.More, len(want))
		case limit > 0 && n > limit && got[limit-1].Rev != got[n-1].Rev, limit <= 0 && p.More:
			k.Fatalf("since %d limit %d: %d entries, more %t", start, limit, n, p.More)
		case !p.More:
			return
		case n == 0:
			k.Fatalf("since %d limit %d: an empty page with more to come", start, limit)
		case got[n-1].Rev == want[0].Rev:
			k.Fatalf("since %d limit %d: revision %d is split", start, limit, want[0].Rev)
		}
		start = got[n-1].Rev
	}
}

// compact: deletions are forgotten up to a revision, all else stays.
func (k *kit) compact() {
	st := k.store()
	c, ok := st.(store.Compactor)
	if !ok {
		k.Skip("the adapter is no store.Compactor")
	}
	compact := func(space string, before store.Rev) {
		k.Helper()
		if err := c.Compact(k.Context(), space, before); err != nil {
			k.Fatalf("Compact %q before %d: %v", space, before, err)
		}
	}
	compact("never", 7)
	if p := k.get(st, "never"); p.Rev != 0 {
		k.Errorf("an unknown space has revision %d after Compact", p.Rev)
	}
	m, revs := k.grow(st, "s", 60)
	other, _ := k.grow(st, "t", 20)
	deleted := k.put(st, "s", "once", "v")
	m.apply(deleted, writes("once", "v"))
	m.apply(k.put(st, "s", "once", "-"), writes("once", "-"))
	var floor store.Rev
	for _, before := range []store.Rev{0, revs[10], revs[30], revs[20], revs[30], revs[59], m.rev, m.rev + 1000} {
		compact("s", before)
		floor = max(floor, min(before, m.rev))
		maps.DeleteFunc(m.rows, func(_ string, e store.Entry) bool { return e.Value == nil && e.Rev <= floor })
		for _, after := range append(revs, m.rev) {
			if after >= floor {
				k.follow(st, "s", m, after, 3)
			} else if _, err := st.Since(k.Context(), "s", after, 0); !errors.Is(err, store.ErrCompacted) {
				k.Errorf("compacted before %d: Since %d: got error %v, want ErrCompacted", before, after, err)
			}
		}
		p := k.list(st, "s", "", "", 0)
		if p.Rev != m.rev || !slices.EqualFunc(p.Entries, m.live(), equalEntries) {
			k.Errorf("compacted before %d: got %s, want %s", before, show(p), show(store.Page{Entries: m.live(), Rev: m.rev}))
		}
	}
	k.follow(st, "t", other, 0, 0)
	// Forgotten rows are absent, and may return.
	k.conflict(st, store.Batch{Checks: map[string]store.Rev{"once": deleted}})
	w := writes("once", strings.Repeat("v", 10))
	m.apply(k.commit(st, "s", store.Batch{Checks: map[string]store.Rev{"once": 0}, Writes: w}), w)
	k.follow(st, "s", m, floor, 0)
}
