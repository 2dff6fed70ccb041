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
	admin := c.admin(t, "public")
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := sqlstore.OpenPostgres(tb.Context(), c.dsn(c.schemaOf(tb, dir), "application_name=kit"), nil)
		require.NoError(tb, err)
		return st // the kit closes it
	}, &storetest.Options{Remote: true, Disturb: func(tb testing.TB) {
		tb.Helper()
		for range 20 {
			if _, err := admin.ExecContext(tb.Context(), `SELECT pg_terminate_backend(pid), pg_sleep(0.005)
				FROM pg_stat_activity WHERE application_name = 'kit'`); err != nil {
				tb.Errorf("disturb: %v", err)
			}
		}
		// After a second, pgx tries a connection before it uses it.
		_, _ = admin.ExecContext(tb.Context(), `SELECT pg_sleep(1.1)`)
	}})
}
