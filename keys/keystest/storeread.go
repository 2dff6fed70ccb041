package keystest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/apnkit/apnkit/keys"
)

// readChecks are the checks of what comes back, and of what must not leak.
func readChecks() []check[*storeEnv] {
	return []check[*storeEnv]{
		{"AbsentIsLeftOut", checkAbsent},
		{"ReadsSeeWrites", checkReads},
		{"BinaryValues", checkBinary},
		{"LargeValues", checkLarge},
		{"ListOrder", checkList},
		{"PrefixIsLiteral", checkPrefix},
		{"Networks", checkNetworks},
		{"NetworksApart", checkApart},
		{"ArgumentsCopied", checkArguments},
		{"ResultsCopied", checkResults},
		{"ContextHonoured", checkStoreContext},
	}
}

func checkAbsent(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0))
	if rows, err := e.Get(t.Context(), "n", "b", "a", "c"); err != nil || len(rows) != 1 || rows[0].Key != "a" {
		t.Fatalf("Get of one present and two absent keys: %d rows, %v", len(rows), err)
	}
	if rows, err := e.Get(t.Context(), "nowhere", "a"); err != nil || len(rows) != 0 {
		t.Fatalf("Get from an absent network: %d rows, %v", len(rows), err)
	}
	if rows := e.list(t, "nowhere", "", "", 10); len(rows) != 0 {
		t.Fatalf("List of an absent network: %d rows", len(rows))
	}
}

func checkReads(t reporter, e *storeEnv) {
	var rev uint64
	for i := range 20 {
		value := strconv.Itoa(i)
		e.put(t, "n", row("a", value, rev))
		e.has(t, "a", value, "after writing it")
		rev = e.get(t, "n", "a").Rev
		if rows := e.list(t, "n", "", "", 10); len(rows) != 1 || string(rows[0].Value) != value || rows[0].Rev != rev {
			t.Fatalf("after writing %q List shows something else than Get", value)
		}
	}
}

func checkBinary(t reporter, e *storeEnv) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i & 0xff)
	}
	for i, value := range []string{string(all), "\x00", "\xff\xfe", "\x00a\x00", "'\\\"\n\r%_", " "} {
		key := "k" + strconv.Itoa(i)
		e.put(t, "n", row(key, value, 0))
		e.has(t, key, value, "after writing it")
	}
}

func checkLarge(t reporter, e *storeEnv) {
	key, value := strings.Repeat("k", 512), string(sample(64<<10, 3))
	e.put(t, "n", row(key, value, 0))
	if got := e.get(t, "n", key).Value; string(got) != value {
		t.Fatalf("a value of 65,536 bytes came back as %d other bytes", len(got))
	}
}

func checkList(t reporter, e *storeEnv) {
	// Byte order differs from every locale's: capitals before small letters.
	want := []string{"k/-", "k/.", "k/0", "k/00", "k/10", "k/2", "k/B", "k/Z", "k/_", "k/a", "k/b", "k/~"}
	writes := []keys.Row{row("j", "1", 0), row("k", "1", 0), row("k0", "1", 0), row("l", "1", 0)}
	for _, k := range want {
		writes = append(writes, row(k, "v"+k, 0))
	}
	slices.Reverse(writes)
	e.put(t, "n", writes...)
	for _, limit := range []int{1, 2, 5, len(want), 100} {
		var got []string
		for after, more := "", true; more && len(got) <= len(want); {
			rows := e.list(t, "n", "k/", after, limit)
			for _, r := range rows {
				if string(r.Value) != "v"+r.Key || r.Rev == 0 {
					t.Fatalf("List: %q has value %q at revision %d", r.Key, r.Value, r.Rev)
				}
				after = r.Key
				got = append(got, r.Key)
			}
			more = len(rows) == limit
		}
		if !slices.Equal(got, want) {
			t.Fatalf("List in pages of %d: %q, want %q", limit, got, want)
		}
	}
	if rows := e.list(t, "n", "k/", "a", 100); len(rows) != len(want) {
		t.Fatalf("List after a key before the prefix: %d rows, want %d", len(rows), len(want))
	}
	if rows := e.list(t, "n", "k/", "z", 100); len(rows) != 0 {
		t.Fatalf("List after a key beyond the prefix: %d rows, want 0", len(rows))
	}
}

func checkPrefix(t reporter, e *storeEnv) {
	e.put(t, "n", row("a%b", "1", 0), row("axb", "1", 0), row("a_b", "1", 0), row("A_b", "1", 0), row("a*b", "1", 0))
	for _, prefix := range []string{"a%", "a_", "A", "a*", "ax"} {
		if rows := e.list(t, "n", prefix, "", 100); len(rows) != 1 || !strings.HasPrefix(rows[0].Key, prefix) {
			t.Fatalf("List of prefix %q: %d rows, want 1", prefix, len(rows))
		}
	}
}

func checkNetworks(t reporter, e *storeEnv) {
	for _, n := range []string{"b", "a", "B", "c"} {
		e.put(t, n, row("k", "1", 0))
	}
	e.put(t, "c", keys.Row{Key: "k", Rev: e.get(t, "c", "k").Rev})
	want := []string{"B", "a", "b"} // c has no rows any more
	for _, limit := range []int{1, 3, 100} {
		var got []string
		for after, more := "", true; more && len(got) <= len(want); {
			names, err := e.Networks(t.Context(), after, limit)
			if err != nil || len(names) > limit {
				t.Fatalf("Networks with limit %d: %d names, %v", limit, len(names), err)
			}
			got = append(got, names...)
			if more = len(names) == limit; more {
				after = names[limit-1]
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("Networks in pages of %d: %q, want %q", limit, got, want)
		}
	}
}

func checkApart(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0))
	e.put(t, "N", row("a", "2", 0))
	e.has(t, "a", "1", "after writing the key in another network")
	if rows := e.list(t, "N", "", "", 10); len(rows) != 1 || string(rows[0].Value) != "2" {
		t.Fatalf("List shows rows of another network")
	}
}

func checkArguments(t reporter, e *storeEnv) {
	writes := []keys.Row{row("a", "before", 0)}
	e.put(t, "n", writes...)
	copy(writes[0].Value, "AFTER!")
	writes[0].Key = "b"
	e.has(t, "a", "before", "after the caller changed what it wrote")
}

func checkResults(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "before", 0))
	copy(e.get(t, "n", "a").Value, "AFTER!")
	e.has(t, "a", "before", "after the caller changed what Get returned")
	for _, r := range e.list(t, "n", "", "", 10) {
		copy(r.Value, "AFTER!")
	}
	e.has(t, "a", "before", "after the caller changed what List returned")
}

func checkStoreContext(t reporter, e *storeEnv) {
	e.put(t, "n", row("a", "1", 0))
	withEnded(t.Context(), func(ctx context.Context) {
		_, getErr := e.Get(ctx, "n", "a")
		_, listErr := e.List(ctx, "n", "", "", 10)
		_, netErr := e.Networks(ctx, "", 10)
		swapErr := e.Swap(ctx, "n", nil, []keys.Row{row("b", "1", 0)})
		for i, err := range []error{getErr, listErr, netErr, swapErr} {
			if !errors.Is(err, ctx.Err()) {
				name := []string{"Get", "List", "Networks", "Swap"}[i]
				t.Fatalf("%s with an ended context: error %v, want one that wraps %v", name, err, ctx.Err())
			}
		}
	})
	e.has(t, "b", "", "after a Swap with an ended context")
}
