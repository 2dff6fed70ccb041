package storetest

import (
	"fmt"

	"github.com/apnkit/apnkit/apn/store"
)

// basic: rows appear, change and go; every commit raises the revision.
func (k *kit) basic() {
	st := k.store()
	for _, p := range []store.Page{
		k.get(st, "s", "a"), k.list(st, "s", "", "", 0), k.changes(st, "s", 0, 0),
	} {
		if p.Rev != 0 || len(p.Entries) > 0 || p.More {
			k.Errorf("unknown space: got page %s, want an empty one at 0", show(p))
		}
	}
	var last store.Rev
	step := func(what string, rows []string, changes ...string) {
		k.Helper()
		rev := k.put(st, "s", changes...)
		if rev <= last {
			k.Errorf("%s: revision %d after %d", what, rev, last)
		}
		p := k.get(st, "s")
		if p.Rev != rev || len(p.Entries) > 0 {
			k.Errorf("%s: Get without keys: got %s, want the revision %d", what, show(p), rev)
		}
		p = k.list(st, "s", "", "", 0)
		if p.Rev != rev {
			k.Errorf("%s: List at revision %d, want %d", what, p.Rev, rev)
		}
		k.want(p, rows...)
		for _, w := range writes(changes...) {
			if e := k.get(st, "s", w.Key).Entries; w.Value != nil && (len(e) != 1 || e[0].Rev != rev) {
				k.Errorf("%s: got row %v, want revision %d", what, e, rev)
			}
		}
		last = rev
	}
	step("create", []string{"a", "1", "b", "2"}, "a", "1", "b", "2")
	step("overwrite", []string{"a", "3", "b", "2"}, "a", "3")
	step("same value", []string{"a", "3", "b", "2"}, "a", "3")
	step("delete", []string{"b", "2"}, "a", "-")
	step("delete again", []string{"b", "2"}, "a", "-")
	step("delete what never was", []string{"b", "2"}, "zz", "-")
	step("no writes", []string{"b", "2"})
	step("mixed", []string{"a", "4", "c", "5"}, "a", "4", "b", "-", "c", "5")

	p := k.get(st, "s", "c", "missing", "b", "a")
	if len(p.Entries) != 2 || p.Rev != last || p.More {
		k.Errorf("Get: got %s, want rows a and c", show(p))
	}
	for _, e := range p.Entries {
		if e.Rev != last {
			k.Errorf("Get: row %q at revision %d, want %d", e.Key, e.Rev, last)
		}
	}
}

// at: the revision of the whole space is a condition.
func (k *kit) at() {
	st := k.store()
	k.conflict(st, store.Batch{At: new(store.Rev(1)), Writes: writes("a", "1")})
	first := k.commit(st, "s", store.Batch{At: new(store.Rev(0)), Writes: writes("a", "1")})
	k.conflict(st, store.Batch{At: new(store.Rev(0)), Writes: writes("a", "2", "b", "2")})
	k.conflict(st, store.Batch{At: new(first + 1), Writes: writes("a", "2")})
	second := k.commit(st, "s", store.Batch{At: &first, Writes: writes("b", "3")})
	k.conflict(st, store.Batch{At: &first, Writes: writes("c", "4")})
	k.conflict(st, store.Batch{At: &first})
	third := k.commit(st, "s", store.Batch{At: &second}) // without writes
	k.conflict(st, store.Batch{At: &second, Writes: writes("a", "-")})
	k.commit(st, "s", store.Batch{At: &third, Writes: writes("a", "-")})
	k.want(k.list(st, "s", "", "", 0), "b", "3")
}

// checks: revisions of rows are conditions, also of rows that are not written.
func (k *kit) checks() {
	st := k.store()
	try := func(ok bool, checks map[string]store.Rev, pairs ...string) {
		k.Helper()
		b := store.Batch{Checks: checks, Writes: writes(pairs...)}
		if ok {
			k.commit(st, "s", b)
		} else {
			k.conflict(st, b)
		}
	}
	type revs = map[string]store.Rev
	try(false, revs{"a": 1}, "a", "1")
	try(true, revs{"a": 0, "b": 0}, "a", "1")
	try(false, revs{"a": 0}, "a", "2", "b", "2")
	a := k.get(st, "s", "a").Rev
	b := k.put(st, "s", "b", "1")
	try(false, revs{"a": a, "b": a}, "a", "2") // the second of two
	try(false, revs{"a": b}, "c", "1")         // the revision of the space, not of the row
	try(true, revs{"a": a, "b": b}, "c", "1")
	try(true, revs{"a": a}, "a", "2")
	try(false, revs{"a": a}, "a", "3")

	k.put(st, "s", "a", "-")
	gone := k.get(st, "s").Rev
	try(false, revs{"a": gone}, "d", "1")
	try(true, revs{"a": 0}, "d", "1") // a deleted row is absent
	try(true, revs{"a": 0}, "a", "4")
	k.conflict(st, store.Batch{At: new(gone), Checks: revs{"b": b}})
	k.want(k.list(st, "s", "", "", 0), "a", "4", "b", "1", "c", "1", "d", "1")
}

// aba: a row that was deleted and written again is another one.
func (k *kit) aba() {
	st := k.store()
	first := k.put(st, "s", "a", "1")
	k.put(st, "s", "a", "-")
	again := k.put(st, "s", "a", "1")
	if again == first {
		k.Errorf("written again: revision %d, as before", again)
	}
	if e := k.get(st, "s", "a").Entries; len(e) != 1 || e[0].Rev != again {
		k.Errorf("row after writing it again: got %v, want revision %d", e, again)
	}
	k.conflict(st, store.Batch{Checks: map[string]store.Rev{"a": first}, Writes: writes("a", "2")})
	k.put(st, "s", "a", "2")
	k.conflict(st, store.Batch{Checks: map[string]store.Rev{"a": again}, Writes: writes("a", "3")})
}

// bigBatch: many writes are still one step, and one revision.
func (k *kit) bigBatch() {
	st := k.store()
	var big store.Batch
	for i := range k.MaxBatch {
		big.Writes = append(big.Writes, store.Write{Key: fmt.Sprintf("row/%06d", i), Value: fmt.Append(nil, i)})
	}
	big.Checks = map[string]store.Rev{"lock": 1}
	k.conflict(st, big)
	big.Checks["lock"] = 0
	rev := k.commit(st, "s", big)
	for _, p := range []store.Page{k.list(st, "s", "", "", 0), k.changes(st, "s", 0, 1)} {
		if p.Rev != rev || p.More || len(p.Entries) != k.MaxBatch {
			k.Fatalf("got page with %d entries at %d, more %t; want %d at %d", len(p.Entries), p.Rev, p.More, k.MaxBatch, rev)
		}
		seen := map[string]bool{}
		for _, e := range p.Entries {
			var i int
			if _, err := fmt.Sscanf(e.Key, "row/%d", &i); err != nil || string(e.Value) != fmt.Sprint(i) || e.Rev != rev {
				k.Fatalf("got row %q = %q at %d", e.Key, e.Value, e.Rev)
			}
			seen[e.Key] = true
		}
		if len(seen) != k.MaxBatch {
			k.Fatalf("got %d different rows, want %d", len(seen), k.MaxBatch)
		}
	}
	for i := range big.Writes {
		big.Writes[i].Value = nil
	}
	big.At = new(rev - 1)
	k.conflict(st, big)
	big.At, big.Checks = &rev, nil
	k.commit(st, "s", big)
	k.want(k.list(st, "s", "", "", 0))
}
