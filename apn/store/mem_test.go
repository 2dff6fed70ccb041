package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/store"
)

// The contract itself is tested by package storetest, also for Mem.

var (
	_ store.Store     = (*store.Mem)(nil)
	_ store.Waiter    = (*store.Mem)(nil)
	_ store.Compactor = (*store.Mem)(nil)
)

func put(keys ...string) store.Batch {
	var b store.Batch
	for _, key := range keys {
		b.Writes = append(b.Writes, store.Write{Key: key, Value: []byte("{}")})
	}
	return b
}

func TestMemIsStrict(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", store.MaxKey)
	tests := []struct {
		name, space string
		keys        []string
		ok          bool
	}{
		{name: "plain", space: "net", keys: []string{"app/shop", "srv/shop/web-1"}, ok: true},
		{name: "long", space: long, keys: []string{long}, ok: true},
		{name: "every character", space: " ~", keys: []string{" ", "~", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}"}, ok: true},
		{name: "no writes", space: "net", ok: true},
		{name: "key twice", space: "net", keys: []string{"a", "b", "a"}},
		{name: "empty key", space: "net", keys: []string{""}},
		{name: "long key", space: "net", keys: []string{long + "k"}},
		{name: "newline", space: "net", keys: []string{"a\nb"}},
		{name: "nul", space: "net", keys: []string{"a\x00"}},
		{name: "not ASCII", space: "net", keys: []string{"äpp"}},
		{name: "empty space", keys: []string{"a"}},
		{name: "long space", space: long + "k", keys: []string{"a"}},
		{name: "space not ASCII", space: "nét", keys: []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := store.NewMem()
			_, err := m.Commit(t.Context(), tt.space, put(tt.keys...))
			p, readErr := m.List(t.Context(), tt.space, "", "", 0)
			require.NoError(t, readErr)
			if tt.ok {
				require.NoError(t, err)
				require.Len(t, p.Entries, len(tt.keys))
				return
			}
			require.ErrorContains(t, err, "store: commit to ")
			require.NotErrorIs(t, err, store.ErrConflict)
			require.Zero(t, p)
		})
	}
}

// TestMemRevisionsJump keeps callers from computing the next revision, which
// fails on engines that count a whole cluster.
func TestMemRevisionsJump(t *testing.T) {
	t.Parallel()
	m := store.NewMem()
	first, err := m.Commit(t.Context(), "a", put("k"))
	require.NoError(t, err)
	_, err = m.Commit(t.Context(), "b", put("k"))
	require.NoError(t, err)
	second, err := m.Commit(t.Context(), "a", put("k"))
	require.NoError(t, err)
	require.Greater(t, second, first+1)
}

func ExampleStore() {
	ctx := context.Background()
	var st store.Store = store.NewMem()
	head, _ := st.Commit(ctx, "acme", store.Batch{Writes: []store.Write{
		{Key: "app/blog", Value: []byte("{}")},
		{Key: "app/shop", Value: []byte("{}")},
	}})
	// Who read the space at head and decided changes it only if it is still
	// there.
	_, err := st.Commit(ctx, "acme", store.Batch{At: &head, Writes: []store.Write{{Key: "app/blog"}}})
	fmt.Println(err)
	_, err = st.Commit(ctx, "acme", store.Batch{At: &head, Writes: []store.Write{{Key: "app/shop"}}})
	fmt.Println(err)

	page, _ := st.Since(ctx, "acme", head, 0)
	for _, e := range page.Entries {
		fmt.Println(e.Key, "deleted:", e.Value == nil)
	}
	// Output:
	// <nil>
	// store: commit to "acme": at revision 2, not 1: store: conflict
	// app/blog deleted: true
}

func BenchmarkMemCommit(b *testing.B) {
	for _, rows := range []int{50, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			m := store.NewMem()
			var keys []string
			for i := range rows {
				keys = append(keys, fmt.Sprintf("srv/shop/web-%d", i))
			}
			head, err := m.Commit(b.Context(), "net", put(keys...))
			require.NoError(b, err)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch := put(keys[i%rows], fmt.Sprintf("x/%d", i%rows), "net")
				batch.At = &head
				if head, err = m.Commit(b.Context(), "net", batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
