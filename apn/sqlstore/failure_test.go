package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// TestPostgresSerialization has the server refuse commits in the middle and at
// their end: nothing was written, so each is a conflict.
func TestPostgresSerialization(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	st, db := c.open(t, schema), c.admin(t, schema)
	run(t, db, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'could not serialize access' USING ERRCODE = CASE NEW.key WHEN 'deadlock' THEN '40P01' WHEN 'other' THEN '40003' ELSE '40001' END;
		END $$;
		CREATE TRIGGER now AFTER INSERT ON apn_kv FOR EACH ROW WHEN (NEW.key <> 'late' AND NEW.key <> 'fine') EXECUTE FUNCTION refuse();
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON apn_kv DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.key = 'late') EXECUTE FUNCTION refuse()`)
	head := put(t, st, "acme", store.Batch{Writes: []store.Write{set("fine", "1")}})
	for key, want := range map[string]bool{"now": true, "late": true, "deadlock": true, "other": false} {
		for _, checks := range []map[string]store.Rev{nil, {"fine": head}} {
			_, err := st.Commit(t.Context(), "acme", store.Batch{At: &head, Checks: checks, Writes: []store.Write{set("fine", "2"), set(key, "2")}})
			require.ErrorContains(t, err, "could not serialize access")
			require.Equal(t, want, errors.Is(err, store.ErrConflict), "%s: %v", key, err)
			p := listed(t, st, "acme")
			require.Equal(t, head, p.Rev)
			require.Equal(t, []store.Entry{{Key: "fine", Value: []byte("1"), Rev: head}}, p.Entries)
		}
	}
	require.EqualValues(t, 6, st.Stats().Conflicts)
	require.EqualValues(t, 2, st.Stats().Failures)
}

// TestPostgresDeadlock has a commit wait for a row that somebody has locked who
// then waits for the commit.
func TestPostgresDeadlock(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	// It is the one that notices.
	st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema, "deadlock_timeout=1s", "application_name="+schema), nil)
	require.NoError(t, err)
	other, err := sql.Open("pgx", c.dsn(schema, "deadlock_timeout=1min"))
	require.NoError(t, err)
	head := put(t, st, "acme", store.Batch{Writes: []store.Write{set("a", "1")}})

	tx, err := other.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `SELECT FROM apn_kv WHERE key = 'a' FOR UPDATE`)
	require.NoError(t, err)
	refused := make(chan error)
	go func() {
		_, err := st.Commit(t.Context(), "acme", store.Batch{At: &head, Writes: []store.Write{set("a", "2")}})
		refused <- err
	}()
	blocked(t, c.admin(t, schema), schema)
	rev := put(t, sqlstore.In(tx), "acme", store.Batch{At: &head, Writes: []store.Write{set("a", "3")}})
	require.ErrorIs(t, <-refused, store.ErrConflict)
	require.NoError(t, tx.Commit())
	require.Equal(t, []store.Entry{{Key: "a", Value: []byte("3"), Rev: rev}}, listed(t, st, "acme").Entries)
	require.NoError(t, errors.Join(st.Close(), other.Close()))
}

// TestPostgresKilled ends the connection of a commit that is under way, and of
// those that wait for it.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	db := c.admin(t, schema)
	st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema, "application_name="+schema), nil)
	require.NoError(t, err)
	head := put(t, st, "acme", store.Batch{})
	run(t, db, `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM FROM gate FOR UPDATE;
			RETURN NEW;
		END $$;
		CREATE TABLE gate AS SELECT 1;
		CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON apn_kv DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.key = 'slow') EXECUTE FUNCTION hold()`)
	for _, checks := range []map[string]store.Rev{nil, {"b": 0}} {
		gate, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = gate.ExecContext(t.Context(), `SELECT FROM gate FOR UPDATE`)
		require.NoError(t, err)
		killed := make(chan error)
		go func() {
			_, err := st.Commit(t.Context(), "acme", store.Batch{At: &head, Checks: checks, Writes: []store.Write{set("slow", "1"), set("b", "1")}})
			killed <- err
		}()
		blocked(t, db, schema)
		run(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, schema)
		err = <-killed
		require.ErrorContains(t, err, "terminating connection")
		require.NotErrorIs(t, err, store.ErrConflict)
		require.NoError(t, gate.Rollback())
		require.Eventually(t, func() bool { return st.Ping(t.Context()) == nil }, 20*time.Second, time.Millisecond)
		p := listed(t, st, "acme")
		require.Equal(t, store.Page{Rev: head}, p)
	}
	// The listening connection was killed too.
	other := c.open(t, schema)
	for range 3 {
		delay(t, other, st, &head)
	}
	require.NoError(t, st.Close())
}

// blocked waits until a connection of that name waits for a lock.
func blocked(t *testing.T, db *sql.DB, application string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`, application).Scan(&n)
		return err == nil && n > 0
	}, 20*time.Second, 5*time.Millisecond)
}

// TestPostgresServer stops a server in all its ways, and sets it up badly.
func TestPostgresServer(t *testing.T) { //nolint:tparallel // one server, one after another
	t.Parallel()
	c := ownPostgres(t)
	schema := c.schema(t)
	t.Run("killed under load", func(t *testing.T) { killServer(t, c, schema) })
	t.Run("restarted", func(t *testing.T) { restartServer(t, c, schema) })
	t.Run("no sync", func(t *testing.T) {
		for _, name := range []string{"fsync", "full_page_writes"} {
			admin := c.admin(t, schema)
			run(t, admin, `ALTER SYSTEM SET `+name+` = off`)
			run(t, admin, `SELECT pg_reload_conf()`)
			require.Eventually(t, func() bool {
				st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema), nil)
				if err == nil {
					return st.Close() != nil // not reloaded yet
				}
				require.ErrorIs(t, err, sqlstore.ErrForgetful)
				require.ErrorContains(t, err, name+" = off")
				return true
			}, 20*time.Second, 5*time.Millisecond)
			st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema), &sqlstore.Options{Forgetful: true})
			require.NoError(t, err)
			require.NoError(t, st.Close())
			run(t, admin, `ALTER SYSTEM RESET `+name)
		}
	})
	t.Run("standby", func(t *testing.T) {
		c.stop(syscall.SIGINT)
		signal := c.dir + "/data/standby.signal"
		require.NoError(t, os.WriteFile(signal, nil, 0o644))
		require.NoError(t, c.start())
		_, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema), nil)
		require.ErrorContains(t, err, "read only connection")
		_, err = sqlstore.NewPostgres(t.Context(), c.admin(t, schema), nil)
		require.ErrorIs(t, err, sqlstore.ErrForgetful)
		require.ErrorContains(t, err, "in_hot_standby = on")
	})
}

// killServer kills the server under load, again and again: what was
// acknowledged stays, nothing is there by half, and followers go on.
func killServer(t *testing.T, c *cluster, schema string) {
	t.Helper()
	const writers, kills = 8, 3
	handles := []*sqlstore.Store{c.open(t, schema), c.open(t, schema)}
	var acked [writers]atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			st, space := handles[w%2], fmt.Sprint("space", w%4)
			for n := int64(0); !stop.Load(); n++ {
				value := strconv.FormatInt(n, 10)
				_, err := st.Commit(t.Context(), space, store.Batch{Writes: []store.Write{set(fmt.Sprint("left", w), value), set(fmt.Sprint("right", w), value)}})
				if err == nil {
					acked[w].Store(n)
				} else if errors.Is(err, store.ErrConflict) {
					t.Errorf("a conflict without a condition: %v", err)
				}
			}
		})
	}
	commits := func() uint64 { return handles[0].Stats().Commits + handles[1].Stats().Commits }
	for range kills {
		before := commits()
		require.Eventually(t, func() bool { return commits() > before+200 }, 20*time.Second, time.Millisecond)
		c.stop(syscall.SIGKILL)
		require.NoError(t, c.start())
	}
	stop.Store(true)
	wg.Wait()
	for w := range writers {
		var p store.Page
		require.Eventually(t, func() (ok bool) {
			var err error
			p, err = handles[0].Get(t.Context(), fmt.Sprint("space", w%4), fmt.Sprint("left", w), fmt.Sprint("right", w))
			return err == nil
		}, 20*time.Second, time.Millisecond)
		require.Len(t, p.Entries, 2)
		require.Equal(t, p.Entries[0].Value, p.Entries[1].Value)
		require.Equal(t, p.Entries[0].Rev, p.Entries[1].Rev)
		stored, err := strconv.ParseInt(string(p.Entries[0].Value), 10, 64)
		require.NoError(t, err)
		// A try that failed may still have been written.
		require.GreaterOrEqual(t, stored, acked[w].Load())
	}
	t.Logf("%d kills, %d acknowledged commits", kills, commits())
}

// restartServer stops and starts the server while somebody waits.
func restartServer(t *testing.T, c *cluster, schema string) {
	t.Helper()
	leader, follower := c.open(t, schema), c.open(t, schema)
	head := put(t, leader, "acme", store.Batch{})
	heard := make(chan int)
	go func() {
		fails := 0
		for ; follower.Wait(t.Context(), "acme", head) != nil; fails++ {
		}
		heard <- fails
	}()
	c.stop(syscall.SIGINT)
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := leader.Commit(short, "acme", store.Batch{At: &head})
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrConflict)
	require.Error(t, leader.Ping(short))
	require.NoError(t, c.start())
	require.Eventually(t, func() bool { return leader.Ping(t.Context()) == nil && follower.Ping(t.Context()) == nil }, 20*time.Second, time.Millisecond)
	next := put(t, leader, "acme", store.Batch{At: &head})
	t.Logf("waiting failed %d times", <-heard)
	head = next
	for range 3 {
		delay(t, leader, follower, &head)
	}
}
