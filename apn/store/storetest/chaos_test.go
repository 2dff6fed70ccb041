package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

func put(key, value string) store.Batch {
	return store.Batch{Writes: []store.Write{{Key: key, Value: []byte(value)}}}
}

func TestChaosFaults(t *testing.T) {
	t.Parallel()
	delayed := errors.New("delayed")
	tests := []struct {
		name    string
		faults  storetest.Faults
		wantErr error
		there   bool // the commit has happened when its error arrives
		later   bool // it has happened after Calm
	}{
		{name: "none", there: true, later: true},
		{name: "before", faults: storetest.Faults{Before: 1}, wantErr: storetest.ErrInjected},
		{name: "after", faults: storetest.Faults{After: 1}, wantErr: storetest.ErrInjected, there: true, later: true},
		{name: "late", faults: storetest.Faults{Late: 1}, wantErr: storetest.ErrInjected, later: true},
		{name: "conflict", faults: storetest.Faults{Conflict: 1}, wantErr: store.ErrConflict},
		{
			name:    "delay",
			faults:  storetest.Faults{Delay: func(context.Context, string) error { return delayed }},
			wantErr: delayed,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mem := store.NewMem()
			c := storetest.NewChaos(mem, 1, tt.faults)
			b := put("a", "1")
			b.At = new(store.Rev(0))
			rev, err := c.Commit(t.Context(), "s", b)
			require.ErrorIs(t, err, tt.wantErr)
			require.Equal(t, err == nil, rev > 0)
			p, err := mem.Get(t.Context(), "s", "a")
			require.NoError(t, err)
			require.Equal(t, tt.there, len(p.Entries) == 1)
			c.Calm(t.Context())
			p, err = mem.Get(t.Context(), "s", "a")
			require.NoError(t, err)
			require.Equal(t, tt.later, len(p.Entries) == 1)
		})
	}

	t.Run("reads", func(t *testing.T) {
		t.Parallel()
		c := storetest.NewChaos(store.NewMem(), 1, storetest.Faults{Read: 1, Wait: 1})
		_, err := c.Get(t.Context(), "s")
		require.ErrorIs(t, err, storetest.ErrInjected)
		_, err = c.List(t.Context(), "s", "", "", 0)
		require.ErrorIs(t, err, storetest.ErrInjected)
		_, err = c.Since(t.Context(), "s", 0, 0)
		require.ErrorIs(t, err, storetest.ErrInjected)
		require.ErrorIs(t, c.Wait(t.Context(), "s", 0), storetest.ErrInjected)
		c = storetest.NewChaos(store.NewMem(), 1, storetest.Faults{Compacted: 1})
		_, err = c.Since(t.Context(), "s", 0, 0)
		require.ErrorIs(t, err, store.ErrCompacted)
		c.Calm(t.Context())
		_, err = c.Since(t.Context(), "s", 0, 0)
		require.NoError(t, err)
	})
}

// TestChaosSeed wants the same story from the same seed, and another one from
// another.
func TestChaosSeed(t *testing.T) {
	t.Parallel()
	story := func(seed uint64) (lines []string) {
		mem := store.NewMem()
		c := storetest.NewChaos(mem, seed, storetest.Faults{Read: .2, Before: .1, After: .1, Late: .1, Conflict: .1})
		for i := range 100 {
			b := put("a", strconv.Itoa(i))
			b.Checks = map[string]store.Rev{"other": 0}
			_, err := c.Commit(t.Context(), "s", b)
			_, read := c.Get(t.Context(), "s")
			p, _ := mem.Get(t.Context(), "s", "a")
			lines = append(lines, fmt.Sprint(err, read, p))
		}
		return lines
	}
	first := story(7)
	require.Equal(t, first, story(7))
	require.NotEqual(t, first, story(8))
}

// TestChaosKeepsTheContract counts up a row through a store that lies about
// outcomes: a caller who reads after an unknown one loses nothing and counts
// nothing twice.
func TestChaosKeepsTheContract(t *testing.T) {
	t.Parallel()
	c := storetest.NewChaos(store.NewMem(), 3, storetest.Faults{Before: .2, After: .2, Late: .2, Conflict: .2})
	for want := 1; want <= 200; want++ {
		for {
			p, err := c.Get(t.Context(), "s", "n")
			require.NoError(t, err)
			if len(p.Entries) == 1 && string(p.Entries[0].Value) == strconv.Itoa(want) {
				break // ours: nobody else writes
			}
			b := put("n", strconv.Itoa(want))
			b.At = &p.Rev
			if _, err := c.Commit(t.Context(), "s", b); err == nil {
				break
			}
		}
	}
	c.Calm(t.Context())
	p, err := c.Get(t.Context(), "s", "n")
	require.NoError(t, err)
	require.Equal(t, "200", string(p.Entries[0].Value))
}

func ExampleNewChaos() {
	// Every commit happens, but its caller hears of a failure.
	st := storetest.NewChaos(store.NewMem(), 1, storetest.Faults{After: 1})
	_, err := st.Commit(context.Background(), "net", put("net", "{}"))
	page, _ := st.Get(context.Background(), "net", "net")
	fmt.Println(errors.Is(err, storetest.ErrInjected), len(page.Entries))
	// Output: true 1
}
