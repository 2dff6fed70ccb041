package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

func TestOpenPostgresRefuses(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	admin := c.admin(t, "public")
	newer := c.schema(t)
	c.open(t, newer)
	run(t, c.admin(t, newer), `UPDATE apn_schema SET version = 7`)
	taken := c.schema(t)
	run(t, c.admin(t, taken), `CREATE TABLE apn_kv (id integer)`)
	foreign := c.schema(t)
	run(t, c.admin(t, foreign), `CREATE TABLE apn_schema (id integer)`)
	poor := "role_" + newer
	run(t, admin, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, poor, password))
	tests := []struct {
		name, dsn, text string
		want            error
	}{
		{name: "no DSN", dsn: "postgres://postgres:" + password + "@host:port/", text: "no connection string"},
		{name: "no URL", dsn: "mysql://postgres:" + password + "@host/", text: "no connection string"},
		{name: "password in pieces", dsn: "host=/tmp password=" + password, text: "no connection string"},
		{name: "no server", dsn: c.dsn("public", "port=1"), text: "no such file", want: fs.ErrNotExist},
		{name: "nobody listens", dsn: "postgres://postgres:mellon%20sesame@127.0.0.1:1/postgres", text: "refused", want: syscall.ECONNREFUSED},
		{name: "no database", dsn: c.dsn("public", "dbname=missing"), text: `database "missing" does not exist`},
		{name: "wrong password", dsn: c.dsn("public", "password="+strings.ReplaceAll(password, " ", "-")), text: "password authentication failed"},
		{name: "no schema", dsn: c.dsn("missing"), text: "no schema has been selected to create in"},
		{name: "no rights", dsn: c.dsn("public", "user="+poor), text: "permission denied for schema public"},
		{name: "read only", dsn: c.dsn(newer, "default_transaction_read_only=on"), text: "read only"},
		{name: "newer", dsn: c.dsn(newer), text: "version 7, know 1", want: sqlstore.ErrNewer},
		{name: "another schema", dsn: c.dsn(foreign), text: "version", want: sqlstore.ErrForeign},
		{name: "table of that name", dsn: c.dsn(taken), text: `relation "apn_kv" already exists`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := sqlstore.OpenPostgres(t.Context(), tt.dsn, nil)
			require.ErrorContains(t, err, "sqlstore: open postgres: ")
			require.ErrorContains(t, err, tt.text)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			for part := range strings.FieldsSeq(password) {
				require.NotContains(t, fmt.Sprintf("%v %+v %q", err, err, err), part)
			}
		})
	}
}

// TestPostgresRights lets a role read that may not write.
func TestPostgresRights(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	want := put(t, c.open(t, schema), "acme", store.Batch{Writes: []store.Write{set("a", "1")}})
	admin := c.admin(t, schema)
	run(t, admin, fmt.Sprintf(`CREATE ROLE reader_%[1]s LOGIN PASSWORD '%[2]s'; GRANT USAGE ON SCHEMA %[1]s TO reader_%[1]s;
		GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO reader_%[1]s`, schema, password))
	st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema, "user=reader_"+schema), nil)
	require.NoError(t, err)
	require.NoError(t, st.Ping(t.Context()))
	require.Equal(t, want, listed(t, st, "acme").Rev)
	_, err = st.Commit(t.Context(), "acme", store.Batch{At: &want})
	require.ErrorContains(t, err, "permission denied")
	require.NotErrorIs(t, err, store.ErrConflict)
	require.EqualValues(t, 1, st.Stats().Failures)
	require.NoError(t, st.Close())
}

// TestPostgresPool opens stores on pools of the caller.
func TestPostgresPool(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	pool := func(words ...string) *sql.DB {
		db, err := sql.Open("pgx", c.dsn(schema, words...))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return db
	}
	for _, words := range []string{"synchronous_commit=off", "default_transaction_isolation=serializable"} {
		_, err := sqlstore.NewPostgres(t.Context(), pool(words), nil)
		require.ErrorIs(t, err, sqlstore.ErrForgetful)
		_, err = sqlstore.NewPostgres(t.Context(), pool(words), &sqlstore.Options{Forgetful: true})
		require.ErrorIs(t, err, sqlstore.ErrForgetful)
	}
	single := pool()
	single.SetMaxOpenConns(1)
	_, err := sqlstore.NewPostgres(t.Context(), single, nil)
	require.ErrorContains(t, err, "a pool of one connection")

	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} { // the last two suit a pooler
		db := pool("default_query_exec_mode=" + mode)
		st, err := sqlstore.NewPostgres(t.Context(), db, nil)
		require.NoError(t, err)
		head := put(t, st, mode, store.Batch{Writes: []store.Write{set("a", "\x00\xff"), set("b", "")}})
		head = put(t, st, mode, store.Batch{At: &head, Checks: map[string]store.Rev{"a": head}, Writes: []store.Write{{Key: "a"}, set("c", "'\\")}})
		_, err = st.Commit(t.Context(), mode, store.Batch{Checks: map[string]store.Rev{"c": 1}})
		require.ErrorIs(t, err, store.ErrConflict)
		p, err := st.Since(t.Context(), mode, 0, 1)
		require.NoError(t, err)
		require.Equal(t, store.Page{Entries: []store.Entry{{Key: "b", Value: []byte{}, Rev: head - 1}}, Rev: head, More: true}, p)
		p, err = st.Get(t.Context(), mode, "a", "c")
		require.NoError(t, err)
		require.Equal(t, []store.Entry{{Key: "c", Value: []byte("'\\"), Rev: head}}, p.Entries)
		require.NoError(t, st.Compact(t.Context(), mode, head))
		require.NoError(t, st.Close())
		require.NoError(t, st.Close())
		_, err = st.Get(t.Context(), mode)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = st.Commit(t.Context(), mode, store.Batch{})
		require.ErrorIs(t, err, fs.ErrClosed)
		require.NoError(t, db.PingContext(t.Context()), "the pool is the caller's")
	}
}

// TestPostgresSync wants commits synced although the role says otherwise.
func TestPostgresSync(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema := c.schema(t)
	st, err := sqlstore.OpenPostgres(t.Context(), c.dsn(schema, "synchronous_commit=off", "default_transaction_isolation=serializable"), nil)
	require.NoError(t, err)
	db := c.admin(t, schema)
	run(t, db, `CREATE TABLE seen (name text, setting text);
		CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO seen SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'transaction_isolation');
			RETURN NEW;
		END $$;
		CREATE TRIGGER look AFTER INSERT ON apn_kv FOR EACH ROW EXECUTE FUNCTION look()`)
	put(t, st, "acme", store.Batch{Writes: []store.Write{set("a", "1")}})
	put(t, st, "acme", store.Batch{Checks: map[string]store.Rev{"b": 0}, Writes: []store.Write{set("b", "1")}})
	var seen string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT string_agg(DISTINCT setting, ', ' ORDER BY setting) FROM seen`).Scan(&seen))
	require.Equal(t, "on, read committed", seen)
	require.NoError(t, st.Close())
}

// TestOpenAtOnce has many processes create the tables.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	c := postgres(t)
	schema, path := c.schema(t), filepath.Join(t.TempDir(), "rows.db")
	for name, open := range map[string]func() (*sqlstore.Store, error){
		"postgres": func() (*sqlstore.Store, error) { return sqlstore.OpenPostgres(t.Context(), c.dsn(schema), nil) },
		"sqlite":   func() (*sqlstore.Store, error) { return sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := make([]error, 8)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					st, err := open()
					if err == nil {
						_, err = st.Commit(t.Context(), "acme", store.Batch{Writes: []store.Write{set(fmt.Sprint(i), "v")}})
						err = errors.Join(err, st.Close())
					}
					errs[i] = err
				})
			}
			wg.Wait()
			require.NoError(t, errors.Join(errs...))
			st, err := open()
			require.NoError(t, err)
			require.Len(t, listed(t, st, "acme").Entries, len(errs))
			require.NoError(t, st.Close())
		})
	}
}

// sqliteFile makes a file with script, and returns its bytes.
func sqliteFile(t *testing.T, script string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	run(t, db, script)
	require.NoError(t, db.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestOpenSQLiteRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"text", []byte("PRIVATE NOTES\n"), sqlstore.ErrForeign},
		{"long text", bytes.Repeat([]byte("all work and no play "), 5000), sqlstore.ErrForeign},
		{"zeros", make([]byte, 32<<10), sqlstore.ErrForeign},
		{"another program", sqliteFile(t, `CREATE TABLE moz_places (url TEXT)`), sqlstore.ErrForeign},
		{"newer", sqliteFile(t, `CREATE TABLE apn_schema (version INTEGER); INSERT INTO apn_schema VALUES (2)`), sqlstore.ErrNewer},
		{"table of that name", sqliteFile(t, `CREATE TABLE apn_schema (id INTEGER)`), sqlstore.ErrForeign},
		{"senseless version", sqliteFile(t, `CREATE TABLE apn_schema (version INTEGER); INSERT INTO apn_schema VALUES (-1)`), sqlstore.ErrDamaged},
		{"empty", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "rows.db")
			require.NoError(t, os.WriteFile(path, tt.data, 0o600))
			st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
			if tt.want == nil {
				require.NoError(t, err)
				require.NoError(t, st.Close())
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, "sqlstore: open "+path+": ")
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(tt.data, after), "the file changed")
		})
	}
}

// TestOpenSQLiteShared opens the file of another program, and both go on.
func TestOpenSQLiteShared(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	require.NoError(t, os.WriteFile(path, sqliteFile(t, `CREATE TABLE orders (item TEXT)`), 0o600))
	for range 2 {
		st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, &sqlstore.Options{Shared: true})
		require.NoError(t, err)
		put(t, st, "acme", store.Batch{})
		require.NoError(t, st.Close())
	}
	require.EqualValues(t, 2, listed(t, openSQLite(t, path), "acme").Rev, "it has our tables by now")
}

func TestOpenSQLitePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"rows.db", "a b%20?mode=memory&x=1#y.db", "file:rows.db", "ü';.db"} {
		path := filepath.Join(dir, name)
		st := openSQLite(t, path)
		put(t, st, "acme", store.Batch{})
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		require.Positive(t, info.Size())
	}
	for path, want := range map[string]error{
		dir: syscall.EISDIR, filepath.Join(dir, "missing", "rows.db"): fs.ErrNotExist,
	} {
		_, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
		require.ErrorIs(t, err, want)
	}
	_, err := sqlstore.OpenSQLite(t.Context(), "mysqlite", filepath.Join(dir, "rows.db"), nil)
	require.ErrorContains(t, err, `unknown driver "mysqlite"`)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = sqlstore.OpenSQLite(done, "sqlite", filepath.Join(dir, "rows.db"), nil)
	require.ErrorIs(t, err, context.Canceled)
}

// disk mounts a file system of its own, of 1 MiB.
func disk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// TestSQLiteFullDisk fills the disk: what was acknowledged stays, and once
// there is room again the same store goes on.
func TestSQLiteFullDisk(t *testing.T) {
	t.Parallel()
	dir := disk(t)
	ballast, path := filepath.Join(dir, "ballast"), filepath.Join(dir, "rows.db")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 400<<10), 0o600))
	st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
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
	require.ErrorContains(t, err, "full")
	require.NotErrorIs(t, err, store.ErrConflict)
	require.Error(t, commit())
	require.Positive(t, acked)
	require.Len(t, listed(t, st, "acme").Entries, acked)
	require.NoError(t, os.Remove(ballast))
	for range 3 {
		require.NoError(t, commit())
	}
	require.NoError(t, st.Close())
	st, err = sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
	require.NoError(t, err)
	require.Len(t, listed(t, st, "acme").Entries, acked)
	require.NoError(t, st.Close())
}

func TestSQLiteReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir := disk(t)
	path := filepath.Join(dir, "rows.db")
	st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err = sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
	require.ErrorIs(t, err, syscall.EROFS)
}

// damageable returns a file that is worth damaging.
func damageable(t *testing.T, path string) []byte {
	t.Helper()
	st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
	require.NoError(t, err)
	b := store.Batch{Writes: []store.Write{set("long", strings.Repeat("l", 5000))}} // several pages in one
	for i := range 200 {
		b.Writes = append(b.Writes, set(fmt.Sprintf("srv/shop/web-%d", i), "{}"))
	}
	put(t, st, "acme", b)
	put(t, st, "acme", store.Batch{Writes: []store.Write{{Key: "old"}, set("new", "")}})
	put(t, st, "acme/audit", store.Batch{Writes: []store.Write{set("1", "\x00\xff")}})
	require.NoError(t, st.Compact(t.Context(), "acme", 1))
	require.NoError(t, st.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// content is all that a caller can read of the file, and the error that ends
// it.
func content(t *testing.T, path string) (text string, err error) {
	t.Helper()
	st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
	if err != nil {
		return "", err
	}
	defer func() { require.NoError(t, st.Close()) }()
	for _, space := range []string{"acme", "acme/audit"} {
		list, err := st.List(t.Context(), space, "", "", 0)
		if err != nil {
			return "", err
		}
		since, err := st.Since(t.Context(), space, 1, 0)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("%s\n%v\n%v\n", space, list.Entries, since.Entries)
	}
	return text, nil
}

// TestSQLiteDamage cuts a file at many places and flips single bits of it: the
// store says so, or shows the same rows. A flip may still move the revision of
// a space up, which changes no row.
func TestSQLiteDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.db")
	whole := damageable(t, path)
	want, err := content(t, path)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	refused := map[bool]int{}
	try := func(what string, cut bool, data []byte) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, data, 0o600))
		got, err := content(t, path)
		if err == nil {
			require.Zero(t, strings.Compare(want, got), "%s: %.1000s", what, got) // too long to show a difference
			return
		}
		refused[cut]++
		after, readErr := os.ReadFile(path)
		require.NoError(t, readErr)
		require.True(t, bytes.Equal(data, after), "%s: the file changed", what)
		require.True(t, errors.Is(err, sqlstore.ErrDamaged) || errors.Is(err, sqlstore.ErrForeign) || errors.Is(err, sqlstore.ErrNewer), "%s: %v", what, err)
	}
	cuts, flips := 0, 200
	// A file of one byte counts as empty, in SQLite.
	for size := 2; size < len(whole); size += 1 + rng.IntN(4000) {
		try(fmt.Sprintf("cut at %d", size), true, whole[:size])
		cuts++
	}
	for range flips {
		bit := rng.IntN(len(whole) * 8)
		if rng.IntN(5) == 0 {
			bit = rng.IntN(100 * 8) // the header
		}
		data := bytes.Clone(whole)
		data[bit/8] ^= 1 << (bit % 8)
		try(fmt.Sprintf("bit %d", bit), false, data)
	}
	t.Logf("reported: %d of %d cuts, %d of %d flips", refused[true], cuts, refused[false], flips)
	require.Equal(t, cuts, refused[true])
	require.Greater(t, refused[false], flips/10)
}

// TestSQLiteEdited changes rows behind the back of the store.
func TestSQLiteEdited(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, edit string
		opens      bool
	}{
		{"value", `UPDATE apn_kv SET val = x'00' WHERE key = 'new'`, true},
		{"deleted", `UPDATE apn_kv SET val = NULL WHERE key = 'new'`, true},
		{"moved", `UPDATE apn_kv SET key = 'newer' WHERE key = 'new'`, true},
		{"revision of the space", `UPDATE apn_space SET rev = 1 WHERE id = 'acme'`, false},
		{"no space", `DELETE FROM apn_space WHERE id = 'acme'`, false},
		{"floor", `UPDATE apn_space SET floor = 7`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "rows.db")
			damageable(t, path)
			db, err := sql.Open("sqlite", path)
			require.NoError(t, err)
			run(t, db, tt.edit)
			require.NoError(t, db.Close())
			st, err := sqlstore.OpenSQLite(t.Context(), "sqlite", path, nil)
			if tt.opens {
				require.NoError(t, err)
				_, err = st.Since(t.Context(), "acme", 1, 0)
				require.NoError(t, st.Close())
			}
			require.ErrorIs(t, err, sqlstore.ErrDamaged)
		})
	}
}
