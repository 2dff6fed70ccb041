package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// control is a control plane with a table of its own beside the store.
type control struct {
	*sqlstore.Store
	db *sql.DB
}

// engines tells by name how to open a new database, again and again.
func engines() map[string]func(testing.TB) func() control {
	return map[string]func(testing.TB) func() control{
		"postgres": func(tb testing.TB) func() control {
			tb.Helper()
			c := postgres(tb)
			schema := c.schema(tb)
			return func() control { return control{c.open(tb, schema), c.admin(tb, schema)} }
		},
		"sqlite": func(tb testing.TB) func() control {
			tb.Helper()
			path := filepath.Join(tb.TempDir(), "rows.db")
			return func() control {
				st := openSQLite(tb, path)
				db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
				require.NoError(tb, err)
				tb.Cleanup(func() { require.NoError(tb, db.Close()) })
				return control{st, db}
			}
		},
	}
}

func (c control) begin(t *testing.T) (*sql.Tx, store.Store) {
	t.Helper()
	tx, err := c.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx, sqlstore.In(tx)
}

func (c control) orders(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, c.db.QueryRowContext(t.Context(), `SELECT count(*) FROM orders`).Scan(&n))
	return n
}

func order(t *testing.T, tx *sql.Tx) {
	t.Helper()
	_, err := tx.ExecContext(t.Context(), `INSERT INTO orders (item) VALUES ('server')`)
	require.NoError(t, err)
}

func set(key, value string) store.Write { return store.Write{Key: key, Value: []byte(value)} }

func put(tb testing.TB, st store.Store, space string, b store.Batch) store.Rev {
	tb.Helper()
	rev, err := st.Commit(tb.Context(), space, b)
	require.NoError(tb, err)
	return rev
}

func listed(t *testing.T, st store.Store, space string) store.Page {
	t.Helper()
	p, err := st.List(t.Context(), space, "", "", 0)
	require.NoError(t, err)
	return p
}

func TestIn(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := setup(t)
			c := open()
			run(t, c.db, `CREATE TABLE orders (item text)`)
			head := put(t, c, "acme", store.Batch{Writes: []store.Write{set("a", "1")}})
			before := listed(t, c, "acme")

			tx, in := c.begin(t)
			seen, err := in.Since(t.Context(), "acme", 0, 0)
			require.NoError(t, err)
			require.Equal(t, head, seen.Rev)
			order(t, tx)
			rev := put(t, in, "acme", store.Batch{At: &seen.Rev, Writes: []store.Write{set("b", "2"), {Key: "a"}}})
			require.Equal(t, []store.Entry{{Key: "b", Value: []byte("2"), Rev: rev}}, listed(t, in, "acme").Entries, "it sees its own writes")
			require.Equal(t, before, listed(t, c, "acme"), "others do not")
			require.NoError(t, tx.Rollback())
			require.Equal(t, before, listed(t, c, "acme"))
			require.Zero(t, c.orders(t))

			tx, in = c.begin(t)
			order(t, tx)
			rev = put(t, in, "acme", store.Batch{At: &head, Writes: []store.Write{set("b", "2"), {Key: "a"}}})
			require.Greater(t, put(t, in, "acme", store.Batch{At: &rev}), rev, "it may commit again")
			other := put(t, in, "audit", store.Batch{At: new(store.Rev(0)), Writes: []store.Write{set("1", "event")}})
			woken := make(chan error)
			go func() { woken <- c.Wait(t.Context(), "acme", head) }()
			require.NoError(t, tx.Commit())
			require.NoError(t, <-woken)
			require.Equal(t, []store.Entry{{Key: "b", Value: []byte("2"), Rev: rev}}, listed(t, c, "acme").Entries)
			require.Equal(t, []store.Entry{{Key: "1", Value: []byte("event"), Rev: other}}, listed(t, c, "audit").Entries)
			require.Equal(t, 1, c.orders(t))
		})
	}
}

// TestInConflict wants nothing of a conflict to be left, and the transaction as
// good as before.
func TestInConflict(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := setup(t)
			c := open()
			run(t, c.db, `CREATE TABLE orders (item text)`)
			head := put(t, c, "acme", store.Batch{Writes: []store.Write{set("a", "1")}})
			tests := []struct {
				space string
				b     store.Batch
			}{
				{"acme", store.Batch{At: new(head - 1), Writes: []store.Write{set("x", "1")}}},
				{"acme", store.Batch{At: new(head + 1)}},
				{"acme", store.Batch{Checks: map[string]store.Rev{"a": 0}, Writes: []store.Write{set("x", "1")}}},
				{"acme", store.Batch{Checks: map[string]store.Rev{"a": head, "b": 7}, Writes: []store.Write{{Key: "a"}}}},
				{"acme", store.Batch{At: &head, Checks: map[string]store.Rev{"b": 1}}},
				{"new", store.Batch{At: &head}},
				{"new", store.Batch{Checks: map[string]store.Rev{"a": head}}},
			}
			for i, tt := range tests {
				tx, in := c.begin(t)
				before := listed(t, in, tt.space)
				_, err := in.Commit(t.Context(), tt.space, tt.b)
				require.ErrorIs(t, err, store.ErrConflict, "batch %d", i)
				require.Equal(t, before, listed(t, in, tt.space), "batch %d", i)
				order(t, tx)
				require.NoError(t, tx.Commit())
				require.Equal(t, before, listed(t, c, tt.space), "batch %d", i)
			}
			require.Equal(t, len(tests), c.orders(t))
			require.Equal(t, head+1, put(t, c, "acme", store.Batch{At: &head}))
			put(t, c, "new", store.Batch{At: new(store.Rev(0))})

			// A name that the engine would choke on is refused before it does.
			tx, in := c.begin(t)
			_, err := in.Commit(t.Context(), "acme", store.Batch{Writes: []store.Write{set("a\x00", "1")}})
			require.ErrorContains(t, err, "not printable")
			order(t, tx)
			require.NoError(t, tx.Commit())
		})
	}
}

// TestInHolds has a commit wait for a transaction that wrote before it, and
// follow its outcome.
func TestInHolds(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := setup(t)
			c, other := open(), open()
			head := put(t, c, "acme", store.Batch{})
			for _, outcome := range []bool{false, true} {
				tx, in := c.begin(t)
				put(t, in, "acme", store.Batch{At: &head, Writes: []store.Write{set("mine", "1")}})
				done := make(chan error)
				go func() {
					_, err := other.Commit(t.Context(), "acme", store.Batch{At: &head, Writes: []store.Write{set("theirs", "1")}})
					done <- err
				}()
				if outcome {
					require.NoError(t, tx.Commit())
					require.ErrorIs(t, <-done, store.ErrConflict)
				} else {
					require.NoError(t, tx.Rollback())
					require.NoError(t, <-done)
					head = listed(t, c, "acme").Rev
				}
			}
			require.Len(t, listed(t, c, "acme").Entries, 2)
		})
	}
}

func ExampleIn() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "apn")
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "control.db")
	st, err := sqlstore.OpenSQLite(ctx, "sqlite", path, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	db, _ := sql.Open("sqlite", "file:"+path+"?_txlock=immediate") // the control plane's own
	_, err = db.Exec(`CREATE TABLE orders (item text)`)
	fmt.Println(err)

	head, _ := st.Commit(ctx, "acme", store.Batch{Writes: []store.Write{{Key: "net", Value: []byte("{}")}}})
	for range 2 {
		tx, _ := db.Begin()
		_, err := sqlstore.In(tx).Commit(ctx, "acme", store.Batch{
			At: &head, Writes: []store.Write{{Key: "srv/shop/web-1", Value: []byte("{}")}},
		})
		if errors.Is(err, store.ErrConflict) {
			// A real one reads what changed and decides again.
			fmt.Println("conflict:", tx.Rollback())
			continue
		}
		_, err = tx.Exec(`INSERT INTO orders (item) VALUES ('web-1')`)
		fmt.Println("order and server:", errors.Join(err, tx.Commit()))
	}
	fmt.Println(db.Close(), st.Close())
	// Output:
	// <nil>
	// order and server: <nil>
	// conflict: <nil>
	// <nil> <nil>
}

// TestManyKeys reads and checks more keys than one statement names.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	for name, setup := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setup(t)()
			var keys []string
			b := store.Batch{Checks: map[string]store.Rev{}}
			for i := range 900 {
				keys = append(keys, fmt.Sprintf("row/%03d", i))
				b.Checks[keys[i]] = 0
				if i%3 == 0 {
					b.Writes = append(b.Writes, set(keys[i], "v"))
				}
			}
			put(t, c, "acme", store.Batch{Writes: []store.Write{set("before", "v"), set("row/001/between", "v"), set("zz", "v")}})
			rev := put(t, c, "acme", b)
			p, err := c.Get(t.Context(), "acme", append(keys, "row/000")...)
			require.NoError(t, err)
			require.Len(t, p.Entries, 300)
			for _, e := range p.Entries {
				require.Contains(t, b.Checks, e.Key)
				require.Equal(t, rev, e.Rev)
			}
			b.Checks[keys[3]] = rev
			_, err = c.Commit(t.Context(), "acme", b)
			require.ErrorIs(t, err, store.ErrConflict)
			require.Equal(t, rev, listed(t, c, "acme").Rev)
		})
	}
}
