package boltstore_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
)

func TestSmoke(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	s, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	_, err = boltstore.Open(path, nil)
	require.ErrorIs(t, err, boltstore.ErrLocked)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 50 {
				_, err := s.Commit(t.Context(), "a", store.Batch{Writes: []store.Write{{Key: strconv.Itoa(i) + "/" + strconv.Itoa(j), Value: []byte("x")}}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%+v", s.Stats())
	require.NoError(t, s.Close())
	s, err = boltstore.Open(path, nil)
	require.NoError(t, err)
	p, err := s.List(t.Context(), "a", "", "", 0)
	require.NoError(t, err)
	require.Len(t, p.Entries, 3200)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(path, []byte("hello world"), 0o600))
	_, err = boltstore.Open(path, nil)
	require.ErrorIs(t, err, boltstore.ErrForeign)
	t.Log(err)
}
