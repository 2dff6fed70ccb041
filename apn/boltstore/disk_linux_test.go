package boltstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
)

// disk mounts a file system of its own, of 512 KiB.
func disk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// TestFullDisk fills the disk: what was acknowledged stays, and once there is
// room again the same store goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := disk(t)
	ballast, path := filepath.Join(dir, "ballast"), filepath.Join(dir, "rows.db")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 200<<10), 0o600))
	st, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	acked := 0
	commit := func() error {
		_, err := st.Commit(t.Context(), "acme", store.Batch{Writes: []store.Write{set(fmt.Sprintf("row/%03d", acked), strings.Repeat("x", 4000))}})
		if err == nil {
			acked++
		}
		return err
	}
	for err == nil {
		err = commit()
	}
	require.ErrorContains(t, err, "no space left")
	require.NotErrorIs(t, err, store.ErrConflict)
	require.ErrorContains(t, commit(), "no space left")
	require.Positive(t, acked)
	p, err := st.List(t.Context(), "acme", "", "", 0)
	require.NoError(t, err)
	require.Len(t, p.Entries, acked)

	require.NoError(t, os.Remove(ballast))
	for range 3 {
		require.NoError(t, commit())
	}
	require.NoError(t, st.Close())
	st, err = boltstore.Open(path, nil)
	require.NoError(t, err)
	p, err = st.List(t.Context(), "acme", "", "", 0)
	require.NoError(t, err)
	require.Len(t, p.Entries, acked)
	require.NoError(t, st.Close())
}

func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := disk(t)
	path := filepath.Join(dir, "rows.db")
	st, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	fill(t, st)
	require.NoError(t, st.Close())
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err = boltstore.Open(path, nil)
	require.ErrorIs(t, err, syscall.EROFS)
	_, err = boltstore.Open(filepath.Join(dir, "new.db"), nil)
	require.ErrorIs(t, err, syscall.EROFS)
}
