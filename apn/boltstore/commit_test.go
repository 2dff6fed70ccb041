package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
)

// TestGroups commits from many callers at once, half of them in vain: those who
// wait share transactions, and a conflict is nobody else's business.
func TestGroups(t *testing.T) {
	t.Parallel()
	st := open(t, filepath.Join(t.TempDir(), "rows.db"))
	const callers, commits = 64, 20
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for c := range callers {
		wg.Go(func() {
			for n := range commits {
				b := store.Batch{Writes: []store.Write{set(fmt.Sprint(c, "/", n), "v")}}
				if c%2 == 1 {
					b.Checks = map[string]store.Rev{"missing": 1}
				}
				_, err := st.Commit(t.Context(), fmt.Sprint("space", c%8), b)
				if (c%2 == 1) != errors.Is(err, store.ErrConflict) {
					errs[c] = err
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	stats := st.Stats()
	require.EqualValues(t, callers/2*commits, stats.Commits)
	require.EqualValues(t, callers/2*commits, stats.Conflicts)
	require.Less(t, stats.Groups, uint64(callers*commits/2), "callers who wait share a transaction")
	require.Positive(t, stats.FileBytes)
	rows := 0
	for space := range 8 {
		p, err := st.List(t.Context(), fmt.Sprint("space", space), "", "", 0)
		require.NoError(t, err)
		rows += len(p.Entries)
	}
	require.Equal(t, callers/2*commits, rows)
}

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "apn")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "rows.db")
	for n := range 2 {
		st, err := boltstore.Open(path, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		page, _ := st.Get(context.Background(), "acme", "net")
		fmt.Println("rows found:", len(page.Entries))
		if n == 0 {
			_, err = st.Commit(context.Background(), "acme", store.Batch{Writes: []store.Write{{Key: "net", Value: []byte("{}")}}})
		}
		_, other := boltstore.Open(path, nil)
		fmt.Println(err, errors.Is(other, boltstore.ErrLocked), st.Close())
	}
	// Output:
	// rows found: 0
	// <nil> true <nil>
	// rows found: 1
	// <nil> true <nil>
}
