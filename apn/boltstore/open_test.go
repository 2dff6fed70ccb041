package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func open(tb testing.TB, path string) *boltstore.Store {
	tb.Helper()
	st, err := boltstore.Open(path, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, st.Close()) })
	return st
}

func set(key, value string) store.Write { return store.Write{Key: key, Value: []byte(value)} }

// fill makes the content of the golden file.
func fill(tb testing.TB, st *boltstore.Store) {
	tb.Helper()
	for _, batch := range []struct {
		space  string
		writes []store.Write
	}{
		{"acme", []store.Write{set("app/shop", `{"name":"shop"}`), set("net", "{}")}},
		{"acme", []store.Write{set("srv/shop/web-1", strings.Repeat("1", 3000)), set("old", "")}},
		{"acme", []store.Write{{Key: "old"}}},
		{"acme/audit", []store.Write{set("1", "\x00\xff")}},
		{"acme", []store.Write{set("app/shop", `{"name":"shop","note":"new"}`)}},
	} {
		_, err := st.Commit(tb.Context(), batch.space, store.Batch{Writes: batch.writes})
		require.NoError(tb, err)
	}
	require.NoError(tb, st.Compact(tb.Context(), "acme", 1))
}

// content is all that a caller can read of the spaces that fill makes.
func content(tb testing.TB, st *boltstore.Store) string {
	tb.Helper()
	var text string
	for _, space := range []string{"acme", "acme/audit"} {
		list, err := st.List(tb.Context(), space, "", "", 0)
		if err == nil {
			var since store.Page
			since, err = st.Since(tb.Context(), space, 1, 0)
			text += fmt.Sprintf("%s\n%q\n%q\n", space, fmt.Sprint(list), fmt.Sprint(since))
		}
		if err != nil {
			return err.Error()
		}
	}
	return text
}

func TestOpenCreates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.db")
	fill(t, open(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	_, err = boltstore.Open(filepath.Join(t.TempDir(), "missing", "rows.db"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = boltstore.Open(t.TempDir(), nil)
	require.Error(t, err)
}

// TestFormat reads a file that an earlier build wrote.
func TestFormat(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "format1.db")
	if *update {
		require.NoError(t, errors.Join(os.MkdirAll("testdata", 0o750), os.RemoveAll(golden)))
		st, err := boltstore.Open(golden, nil)
		require.NoError(t, err)
		fill(t, st)
		require.NoError(t, st.Close())
	}
	data, err := os.ReadFile(golden)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rows.db")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	fresh := open(t, filepath.Join(t.TempDir(), "rows.db"))
	fill(t, fresh)
	old := open(t, path)
	require.Equal(t, content(t, fresh), content(t, old))
	_, err = old.Since(t.Context(), "acme", 0, 0)
	require.ErrorIs(t, err, store.ErrCompacted)
	_, err = old.Commit(t.Context(), "acme", store.Batch{At: new(store.Rev(4)), Writes: []store.Write{set("net", "{}")}})
	require.NoError(t, err)
}

func TestOpenLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.db")
	st, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	_, err = boltstore.Open(path, &boltstore.Options{Timeout: time.Millisecond})
	require.ErrorIs(t, err, boltstore.ErrLocked)
	require.EqualError(t, err, "boltstore: open "+path+": file is in use by another process")
	fill(t, st)
	require.NoError(t, st.Close())
	require.NoError(t, st.Close())
	open(t, path)
}

// TestOpenForeign wants files of others recognised, and left as they are.
func TestOpenForeign(t *testing.T) {
	t.Parallel()
	boltFile := func(t *testing.T, buckets ...string) []byte {
		t.Helper()
		path := filepath.Join(t.TempDir(), "other.db")
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			for _, name := range buckets {
				b, err := tx.CreateBucket([]byte(name))
				if err = errors.Join(err, b.Put([]byte("format"), []byte("2"))); err != nil {
					return err
				}
			}
			return nil
		}))
		require.NoError(t, db.Close())
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return data
	}
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rng.IntN(256))
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"text", []byte("PRIVATE NOTES\n"), boltstore.ErrForeign},
		{"long text", bytes.Repeat([]byte("all work and no play "), 5000), boltstore.ErrForeign},
		{"one byte", []byte{0}, boltstore.ErrForeign},
		{"zeros", make([]byte, 32<<10), boltstore.ErrForeign},
		{"noise", noise, boltstore.ErrForeign},
		{"sqlite", append([]byte("SQLite format 3\x00"), make([]byte, 8176)...), boltstore.ErrForeign},
		{"bbolt of another program", boltFile(t, "widgets"), boltstore.ErrForeign},
		{"newer format", boltFile(t, "apnkit"), boltstore.ErrNewer},
		{"newer format with more", boltFile(t, "apnkit", "something"), boltstore.ErrNewer},
		{"created and interrupted", boltFile(t), nil},
		{"empty", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "rows.db")
			require.NoError(t, os.WriteFile(path, tt.data, 0o600))
			st, err := boltstore.Open(path, nil)
			if tt.want == nil {
				require.NoError(t, err)
				fill(t, st)
				require.NoError(t, st.Close())
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, "boltstore: open "+path+": ")
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(tt.data, after), "the file changed")
		})
	}
}

// TestOpenTruncated cuts a file at every page, and at some other places.
func TestOpenTruncated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.db")
	whole := damageable(t, path)
	rng := rand.New(rand.NewPCG(2, 2))
	refused := 0
	for size := 1; size < len(whole); size += 2048 + rng.IntN(2)*rng.IntN(1000) {
		replace(t, path, whole[:size])
		st, err := boltstore.Open(path, nil)
		if err == nil { // what is missing was free space
			require.Equal(t, content(t, open(t, pristine(t, whole))), content(t, st), "cut at %d", size)
			require.NoError(t, st.Close())
			continue
		}
		refused++
		if !errors.Is(err, boltstore.ErrDamaged) && !errors.Is(err, boltstore.ErrForeign) {
			require.NoError(t, err, "cut at %d", size)
		}
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole[:size], after), "cut at %d: the file changed", size)
	}
	require.Positive(t, refused)
}

// TestOpenBitFlips flips single bits. The store says so, or shows what it
// showed before, or, if the flip broke the newest of the two roots, the state
// before the last commit, like after a power failure in its middle.
func TestOpenBitFlips(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.db")
	whole := damageable(t, path)
	want := content(t, open(t, pristine(t, whole)))
	rng := rand.New(rand.NewPCG(3, 3))
	flips, found, older := 300, 0, 0
	if testing.Short() {
		flips = 100
	}
	for range flips {
		bit := rng.IntN(len(whole) * 8)
		if rng.IntN(10) == 0 { // the roots are small, and matter most
			bit = rng.IntN(2)*os.Getpagesize()*8 + rng.IntN(80*8)
		}
		data := bytes.Clone(whole)
		data[bit/8] ^= 1 << (bit % 8)
		replace(t, path, data)
		st, err := boltstore.Open(path, nil)
		if err != nil {
			found++
			require.True(t, errors.Is(err, boltstore.ErrDamaged) || errors.Is(err, boltstore.ErrForeign) || errors.Is(err, boltstore.ErrNewer), "bit %d: %v", bit, err)
			after, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			require.True(t, bytes.Equal(data, after), "bit %d: the file changed", bit)
			continue
		}
		if got := content(t, st); got != want {
			older++
			require.Less(t, bit/8, 2*os.Getpagesize(), "bit %d: %s", bit, got)
		}
		require.NoError(t, st.Close())
	}
	t.Logf("%d flips: %d reported, %d showed the state before", flips, found, older)
	require.Greater(t, found, flips/10)
}

// damageable writes a file at path that is worth damaging, and returns it.
func damageable(t *testing.T, path string) []byte {
	t.Helper()
	st, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	b := store.Batch{Writes: []store.Write{set("long", strings.Repeat("l", 20_000))}} // several pages in one
	for i := range 120 {
		b.Writes = append(b.Writes, set(fmt.Sprintf("srv/shop/web-%d", i), strings.Repeat("x", 100)))
	}
	_, err = st.Commit(t.Context(), "acme", b)
	require.NoError(t, err)
	fill(t, st)
	_, err = st.Commit(t.Context(), "acme", store.Batch{Writes: []store.Write{set("net", "last")}})
	require.NoError(t, err)
	require.NoError(t, st.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// replace puts a new file in the place of another one, like a restored backup.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func pristine(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pristine.db")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func TestClosed(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "rows.db"), nil)
	require.NoError(t, err)
	require.NoError(t, st.Ping(t.Context()))
	waited := make(chan error)
	go func() { waited <- st.Wait(context.WithoutCancel(t.Context()), "acme", 0) }()
	require.NoError(t, st.Close())
	require.ErrorIs(t, <-waited, fs.ErrClosed)
	_, err = st.Get(t.Context(), "acme")
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = st.Commit(t.Context(), "acme", store.Batch{})
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, st.Compact(t.Context(), "acme", 1), fs.ErrClosed)
	require.ErrorIs(t, st.Ping(t.Context()), fs.ErrClosed)
	require.Zero(t, st.Stats().FileBytes)
}

// TestBadKey wants a batch that bbolt would refuse half way refused before.
func TestBadKey(t *testing.T) {
	t.Parallel()
	st := open(t, filepath.Join(t.TempDir(), "rows.db"))
	for _, key := range []string{"", strings.Repeat("k", store.MaxKey+1)} {
		_, err := st.Commit(t.Context(), "acme", store.Batch{Writes: []store.Write{set("a", "1"), set(key, "2")}})
		require.ErrorContains(t, err, "want 1 to 512")
		require.NotErrorIs(t, err, store.ErrConflict)
	}
	p, err := st.List(t.Context(), "acme", "", "", 0)
	require.NoError(t, err)
	require.Zero(t, p)
}
