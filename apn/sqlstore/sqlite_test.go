package sqlstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := sqlstore.OpenSQLite(tb.Context(), "sqlite", filepath.Join(dir, "rows.db"), &sqlstore.Options{Poll: 5 * time.Millisecond})
		require.NoError(tb, err)
		return st // the kit closes it
	}, nil)
}

func openSQLite(tb testing.TB, path string) *sqlstore.Store {
	tb.Helper()
	st, err := sqlstore.OpenSQLite(tb.Context(), "sqlite", path, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, st.Close()) })
	return st
}
