package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := boltstore.Open(filepath.Join(dir, "rows.db"), nil)
		require.NoError(tb, err)
		return st // the kit closes it
	}, &storetest.Options{OneHandle: true})
}
