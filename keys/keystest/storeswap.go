package keystest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/apnkit/apnkit/keys"
)

// swapChecks are the checks of what a swap does, and does not.
func swapChecks() []check[*storeEnv] {
	return []check[*storeEnv]{
		{"CreateOnce", checkCreate},
		{"CompareAndSwap", checkCAS},
		{"ChecksWithoutWrites", checkChecks},
		{"AllOrNothing", checkAtomic},
		{"Delete", checkDelete},
		{"RevisionNeverReturns", checkABA},
		{"OneWinner", checkWinner},
		{"NoLostUpdate", checkLostUpdate},
		{"Durable", checkDurable},
	}
}

// conflicts insists that a swap fails with ErrConflict.
func (e *storeEnv) conflicts(t reporter, what string, checks []keys.Row, writes ...keys.Row) {
	if err := e.Swap(t.Context(), "n", checks, writes); !errors.Is(err, keys.ErrConflict) {
		t.Fatalf("%s: error %v, want one that wraps %v", what, err, keys.ErrConflict)
	}
}

func checkCreate(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0))
	e.conflicts(t, "creating a row twice", nil, row("a", "2", 0))
	e.has(t, "a", "1", "after creating it twice")
}

func checkCAS(t reporter, e *storeEnv) {
	e.conflicts(t, "changing an absent row", nil, row("a", "1", 7))
	e.put(t, "n", row("a", "1", 0))
	old := e.get(t, "n", "a").Rev
	e.put(t, "n", row("a", "2", old))
	if e.get(t, "n", "a").Rev == old {
		t.Fatalf("a write left the revision at %d", old)
	}
	e.conflicts(t, "changing a row at an old revision", nil, row("a", "3", old))
	e.conflicts(t, "deleting a row at an old revision", nil, keys.Row{Key: "a", Rev: old})
	e.has(t, "a", "2", "after two conflicts")
}

func checkChecks(t reporter, e *storeEnv) {
	e.put(t, "n", row("guard", "1", 0))
	guard := e.get(t, "n", "guard")
	held := []keys.Row{{Key: "guard", Rev: guard.Rev}, {Key: "absent"}}
	if err := e.Swap(t.Context(), "n", held, []keys.Row{row("a", "1", 0)}); err != nil {
		t.Fatalf("Swap with checks that hold: %v", err)
	}
	if again := e.get(t, "n", "guard"); again.Rev != guard.Rev || !bytes.Equal(again.Value, guard.Value) {
		t.Fatalf("a check changed its row")
	}
	e.has(t, "absent", "", "after a check for absence")
	e.put(t, "n", row("guard", "2", guard.Rev))
	e.conflicts(t, "a check that does not hold", held, row("b", "1", 0))
	e.conflicts(t, "a check for absence that does not hold", []keys.Row{{Key: "a"}}, row("b", "1", 0))
	e.has(t, "b", "", "after two conflicts")
}

func checkAtomic(t reporter, e *storeEnv) {
	e.put(t, "n", row("m", "old", 0))
	// The row in conflict is the first, the middle one, and the last.
	for i, bad := range []keys.Row{row("a", "new", 7), row("m", "new", 0), row("z", "new", 7)} {
		writes := slices.Insert([]keys.Row{row("b", "new", 0), row("y", "new", 0)}, i, bad)
		e.conflicts(t, "one row of three in conflict", nil, writes...)
		for _, k := range []string{"a", "b", "y", "z"} {
			e.has(t, k, "", "after a conflict")
		}
		e.has(t, "m", "old", "after a conflict")
	}
}

func checkDelete(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0), row("b", "1", 0))
	gone := keys.Row{Key: "a", Rev: e.get(t, "n", "a").Rev}
	e.put(t, "n", gone, row("c", "1", 0))
	e.has(t, "a", "", "after a delete")
	if rows := e.list(t, "n", "", "", 10); len(rows) != 2 {
		t.Fatalf("after a delete List returned %d rows, want 2", len(rows))
	}
	e.conflicts(t, "deleting a row twice", nil, gone)
	e.put(t, "n", row("a", "2", 0))
}

func checkABA(t reporter, e *storeEnv) {
	seen := map[uint64]bool{}
	for range 10 {
		e.put(t, "n", row("a", "1", 0))
		rev := e.get(t, "n", "a").Rev
		if seen[rev] {
			t.Fatalf("revision %d came back after the row was deleted and made again", rev)
		}
		seen[rev] = true
		e.put(t, "n", keys.Row{Key: "a", Rev: rev})
	}
}

// race swaps in 16 goroutines at once and insists that one wins and the others
// conflict.
func (e *storeEnv) race(t reporter, what string, writes func(worker int) []keys.Row) {
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() { errs[w] = e.Swap(t.Context(), "n", nil, writes(w)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, keys.ErrConflict) {
			t.Fatalf("%s beside others: error %v, want one that wraps %v", what, err, keys.ErrConflict)
		}
	}
	if won != 1 {
		t.Fatalf("%s: %d of %d at once did it, want 1", what, won, len(errs))
	}
}

func checkWinner(t reporter, e *storeEnv) {
	for round := range 10 {
		own := fmt.Sprintf("own/%d/", round)
		e.race(t, "creating a row", func(w int) []keys.Row {
			return []keys.Row{row(fmt.Sprintf("idx/%d", round), "1", 0), row(own+strconv.Itoa(w), "1", 0)}
		})
		if rows := e.list(t, "n", own, "", 100); len(rows) != 1 {
			t.Fatalf("one of 16 created a row, and %d stored the rest of their swap", len(rows))
		}
	}
}

func checkLostUpdate(t reporter, e *storeEnv) {
	e.put(t, "n", row("count", "0", 0))
	for round := range 10 {
		before, next := e.get(t, "n", "count"), strconv.Itoa(round+1)
		e.race(t, "changing a row", func(int) []keys.Row { return []keys.Row{row("count", next, before.Rev)} })
		e.has(t, "count", next, "after one change")
	}
}

func checkDurable(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0), row("b", "1", 0))
	a, b := e.get(t, "n", "a"), e.get(t, "n", "b")
	e.put(t, "n", keys.Row{Key: "b", Rev: b.Rev})
	if err := e.close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	e.Store = e.open()
	e.has(t, "a", "1", "after reopening")
	e.has(t, "b", "", "after reopening")
	if again := e.get(t, "n", "a"); again.Rev != a.Rev {
		t.Fatalf("after reopening the revision is %d, want %d", again.Rev, a.Rev)
	}
	e.put(t, "n", row("b", "2", 0))
	if again := e.get(t, "n", "b"); again.Rev == b.Rev {
		t.Fatalf("after reopening revision %d came back", b.Rev)
	}
}
