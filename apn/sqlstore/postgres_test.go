package sqlstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := sqlstore.OpenPostgres(tb.Context(), c.dsn(c.schemaOf(tb, dir)), nil)
		require.NoError(tb, err)
		return st // the kit closes it
	}, &storetest.Options{Remote: true})
}
