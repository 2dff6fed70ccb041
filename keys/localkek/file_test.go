package localkek_test

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

var update = flag.Bool("update", false, "rewrite golden files")

// fast are the cheapest parameters that a file may have.
var fast = localkek.KDF{Name: localkek.Argon2id, Time: 1, Memory: 8 << 10, Threads: 1}

var passphrase = []byte("correct horse battery staple")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newDEK returns a data key that set wrapped.
func newDEK(t *testing.T, set *keys.KEKSet) keys.DEKRecord {
	t.Helper()
	rec, err := keys.NewDEK(t.Context(), set, "acme", 1, now)
	require.NoError(t, err)
	return rec
}

func opens(t *testing.T, set *keys.KEKSet, rec keys.DEKRecord) {
	t.Helper()
	_, err := keys.OpenRing(t.Context(), set, now, rec)
	require.NoError(t, err)
}

func TestCreateOpen(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*localkek.FileOptions{
		"key file": nil,
		"argon2id": {Passphrase: passphrase, KDF: fast},
		"pbkdf2":   {Passphrase: passphrase, KDF: localkek.KDF{Name: localkek.PBKDF2, Time: 100_000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek")
			_, err := localkek.OpenFile(path, opts)
			require.ErrorIs(t, err, fs.ErrNotExist, "opening never creates")
			require.NoFileExists(t, path)

			set, err := localkek.CreateFile(path, opts)
			require.NoError(t, err)
			fi, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), fi.Mode())
			require.NoFileExists(t, path+".tmp")

			again, err := localkek.OpenFile(path, opts)
			require.NoError(t, err)
			require.Equal(t, set.KeyIDs(), again.KeyIDs())
			require.Regexp(t, `^local-[0-9a-f]{16}$`, set.KeyID())
			opens(t, again, newDEK(t, set))

			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = localkek.CreateFile(path, opts)
			require.ErrorIs(t, err, fs.ErrExist, "creating never replaces")
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestCreateRefusesWhileInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	_, err := localkek.CreateFile(path, &localkek.FileOptions{InUse: []string{"local-0123456789abcdef"}})
	require.ErrorIs(t, err, localkek.ErrInUse)
	require.ErrorContains(t, err, "local-0123456789abcdef")
	require.NoFileExists(t, path)
}

func TestWrongFileIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := localkek.CreateFile(filepath.Join(dir, "a"), nil)
	require.NoError(t, err)
	b, err := localkek.CreateFile(filepath.Join(dir, "b"), nil)
	require.NoError(t, err)
	_, err = keys.OpenRing(t.Context(), b, now, newDEK(t, a))
	require.ErrorIs(t, err, keys.ErrWrongKEK)
	require.ErrorContains(t, err, `wrapped by "`+a.KeyID()+`", you gave ["`+b.KeyID()+`"]`)
}

func TestRotate(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]localkek.FileOptions{
		"key file":   {},
		"passphrase": {Passphrase: passphrase, KDF: fast},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek")
			first, err := localkek.CreateFile(path, &opts)
			require.NoError(t, err)
			rec := newDEK(t, first)

			second, err := localkek.RotateFile(path, &opts)
			require.NoError(t, err)
			require.NotEqual(t, first.KeyID(), second.KeyID())
			require.Equal(t, []string{second.KeyID(), first.KeyID()}, second.KeyIDs())
			second, err = localkek.OpenFile(path, &opts)
			require.NoError(t, err)
			opens(t, second, rec)

			inUse := opts
			inUse.InUse = []string{first.KeyID()}
			kept, err := localkek.PruneFile(path, &inUse)
			require.NoError(t, err)
			require.Equal(t, second.KeyIDs(), kept.KeyIDs(), "a key that a data key names stays")

			rec, err = keys.Rewrap(t.Context(), second, rec)
			require.NoError(t, err)
			pruned, err := localkek.PruneFile(path, &opts)
			require.NoError(t, err)
			require.Equal(t, []string{second.KeyID()}, pruned.KeyIDs())
			pruned, err = localkek.OpenFile(path, &opts)
			require.NoError(t, err)
			opens(t, pruned, rec)
		})
	}
}

func TestRotateTooOften(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	_, err := localkek.CreateFile(path, nil)
	require.NoError(t, err)
	for range 15 {
		_, err = localkek.RotateFile(path, nil)
		require.NoError(t, err)
	}
	_, err = localkek.RotateFile(path, nil)
	require.ErrorIs(t, err, keys.ErrFormat)
	_, err = localkek.OpenFile(path, nil)
	require.NoError(t, err)
}

// TestRotateAtOnce wants every key that any rotation returned to be in the
// file: a data key may have been wrapped by it.
func TestRotateAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	first, err := localkek.CreateFile(path, nil)
	require.NoError(t, err)
	ids := make([]string, 10)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			set, err := localkek.RotateFile(path, nil)
			if err == nil {
				ids[i] = set.KeyID()
			}
		})
	}
	wg.Wait()
	set, err := localkek.OpenFile(path, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, slices.Concat(ids, first.KeyIDs()), set.KeyIDs())
}

// TestLeftoverOfACrash wants a half-written replacement to be ignored, and to be
// overwritten by the next one.
func TestLeftoverOfACrash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path+".tmp", []byte("apn-kek-v1:loc"), 0o600))
	first, err := localkek.CreateFile(path, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".tmp", []byte("apn-kek-v1:loc"), 0o600))
	again, err := localkek.OpenFile(path, nil)
	require.NoError(t, err)
	require.Equal(t, first.KeyIDs(), again.KeyIDs())
	_, err = localkek.RotateFile(path, nil)
	require.NoError(t, err)
	require.NoFileExists(t, path+".tmp")
}

func TestChangePassphrase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	old := &localkek.FileOptions{Passphrase: passphrase, KDF: fast}
	set, err := localkek.CreateFile(path, old)
	require.NoError(t, err)
	_, err = localkek.RotateFile(path, old)
	require.NoError(t, err)
	rec := newDEK(t, set)

	next := []byte("another passphrase")
	require.ErrorIs(t, localkek.ChangePassphrase(path, next, &localkek.FileOptions{Passphrase: []byte("wrong passphrase"), KDF: fast}), localkek.ErrPassphrase)
	require.ErrorIs(t, localkek.ChangePassphrase(path, []byte("short"), old), keys.ErrFormat)
	require.NoError(t, localkek.ChangePassphrase(path, next, old))

	_, err = localkek.OpenFile(path, old)
	require.ErrorIs(t, err, localkek.ErrPassphrase)
	again, err := localkek.OpenFile(path, &localkek.FileOptions{Passphrase: next})
	require.NoError(t, err)
	require.Len(t, again.KeyIDs(), 2)
	opens(t, again, rec)
}

func TestProtectKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	set, err := localkek.CreateFile(path, nil)
	require.NoError(t, err)
	_, err = localkek.OpenFile(path, &localkek.FileOptions{Passphrase: passphrase})
	require.ErrorIs(t, err, localkek.ErrPassphrase, "a passphrase that protects nothing is a mistake")
	require.NoError(t, localkek.ChangePassphrase(path, passphrase, &localkek.FileOptions{KDF: fast}))
	_, err = localkek.OpenFile(path, nil)
	require.ErrorIs(t, err, localkek.ErrPassphrase)
	again, err := localkek.OpenFile(path, &localkek.FileOptions{Passphrase: passphrase})
	require.NoError(t, err)
	opens(t, again, newDEK(t, set))
}

func TestReadPassphrase(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, content string
		want          string // empty means keys.ErrFormat
	}{
		{name: "plain", content: "correct horse", want: "correct horse"},
		{name: "line feed", content: "correct horse\n", want: "correct horse"},
		{name: "CRLF", content: "correct horse\r\n", want: "correct horse"},
		{name: "one line end only", content: "correct horse\n\n", want: "correct horse\n"},
		{name: "spaces count", content: " correct horse ", want: " correct horse "},
		{name: "empty"},
		{name: "line feed only", content: "\n"},
		{name: "short", content: "1234567"},
		{name: "long", content: strings.Repeat("x", 1025)},
		{name: "huge", content: strings.Repeat("x", 1<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pass")
			require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
			got, err := localkek.ReadPassphrase(path, nil)
			if tt.want == "" {
				require.ErrorIs(t, err, keys.ErrFormat)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
}
