package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// TestWaitDelay wants a commit known to another handle soon.
func TestWaitDelay(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := setup(t)
			leader, follower := open(), open()
			head := put(t, leader, "acme", store.Batch{})
			var took []time.Duration
			for range 31 {
				took = append(took, delay(t, leader.Store, follower.Store, &head))
			}
			slices.Sort(took)
			t.Logf("median %v, worst %v", took[15], took[30])
			require.Less(t, took[15], 50*time.Millisecond)
		})
	}
}

// TestWaitClosed ends the waiting, in spaces that never were too.
func TestWaitClosed(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := setup(t)
			c := open()
			waited := make(chan error)
			go func() { waited <- c.Wait(context.WithoutCancel(t.Context()), "acme", 0) }()
			require.NoError(t, c.Close())
			require.ErrorIs(t, <-waited, fs.ErrClosed)
			require.ErrorIs(t, c.Wait(t.Context(), "acme", 0), fs.ErrClosed)
			require.ErrorIs(t, c.Ping(t.Context()), fs.ErrClosed)
			require.ErrorIs(t, c.Compact(t.Context(), "acme", 1), fs.ErrClosed)
		})
	}
}

// TestWaitPolls follows through a driver that cannot listen.
func TestWaitPolls(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	config, err := pgx.ParseConfig(c.dsn(schema))
	require.NoError(t, err)
	db := sql.OpenDB(deaf{stdlib.GetConnector(*config)})
	follower, err := sqlstore.NewPostgres(t.Context(), db, &sqlstore.Options{Poll: 10 * time.Millisecond})
	require.NoError(t, err)
	leader := c.open(t, schema)
	head := put(t, leader, "acme", store.Batch{})
	for range 5 {
		delay(t, leader, follower, &head)
	}
	require.NoError(t, follower.Close())
	require.NoError(t, db.Close())
}

type deaf struct{ driver.Connector }

func (d deaf) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return struct{ *stdlib.Conn }{conn.(*stdlib.Conn)}, nil
}
