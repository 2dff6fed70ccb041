package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

func sqlite() dialect {
	return dialect{
		local:  true,
		begin:  `BEGIN IMMEDIATE`,
		lock:   `SELECT 1`, // begin is one
		exists: `SELECT count(*) FROM sqlite_master WHERE name = 'apn_schema'`,
		migrations: []string{`
			CREATE TABLE apn_schema (version INTEGER NOT NULL) STRICT;
			CREATE TABLE apn_space (
				id TEXT PRIMARY KEY,
				rev INTEGER NOT NULL,
				floor INTEGER NOT NULL DEFAULT 0
			) STRICT, WITHOUT ROWID;
			CREATE TABLE apn_kv (
				space TEXT,
				key TEXT,
				rev INTEGER NOT NULL,
				val BLOB,
				sum INTEGER NOT NULL,
				PRIMARY KEY (space, key)
			) STRICT, WITHOUT ROWID;
			CREATE INDEX apn_kv_rev ON apn_kv (space, rev)`},
	}
}

// OpenSQLite opens the SQLite file at path through a driver that the caller has
// imported, for instance "sqlite" of modernc.org/sqlite. It creates the file
// with mode 0600 if it is missing or empty; the folder must exist. opts may be
// nil.
//
// The file is in WAL mode and synced by each commit; processes of one machine
// may share it. One connection writes, up to four read.
//
// If the file is not one of this package, the error wraps [ErrForeign]; if the
// tables are newer, [ErrNewer]; if it is broken, [ErrDamaged].
func OpenSQLite(ctx context.Context, driver, path string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	s, err := openSQLite(ctx, driver, path, o)
	return s, failed(ctx, err, "open %s", path)
}

func openSQLite(ctx context.Context, driver, path string, o Options) (*Store, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the caller's own path
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	uri := "file:" + (&url.URL{Path: path}).EscapedPath()
	found, err := sql.Open(driver, uri)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }() // gave its driver, and no connection
	pool := func(n int, pragmas string) *sql.DB {
		db := sql.OpenDB(connector{found.Driver(), uri, pragmas})
		db.SetMaxOpenConns(n)
		db.SetMaxIdleConns(n)
		return db
	}
	s := &Store{dialect: sqlite(), poll: cmp.Or(o.Poll, 20*time.Millisecond)}
	s.db = pool(5, `PRAGMA busy_timeout = 10000; PRAGMA query_only = ON`) // one of them watches
	s.writer = pool(1, `PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
		PRAGMA fullfsync = ON; PRAGMA busy_timeout = 0`)
	err = s.inspect(ctx, o) // before anything is written
	if err == nil {
		err = s.synced(ctx)
	}
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close(), s.writer.Close())
	}
	return start(ctx, s, []*sql.DB{s.db, s.writer}, s.watchFile), nil
}

// connector opens connections that all have the same settings, whatever words
// the driver has for them.
type connector struct {
	driver  driver.Driver
	uri     string
	pragmas string
}

// Connect implements [driver.Connector].
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.uri)
	if err != nil {
		return nil, err
	}
	e, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver has no ExecContext"), conn.Close())
	}
	if _, err := e.ExecContext(ctx, c.pragmas, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Driver implements [driver.Connector].
func (c connector) Driver() driver.Driver { return c.driver }

// inspect looks at a file without changing it.
func (s *Store) inspect(ctx context.Context, o Options) error {
	var tables, own int // at one time: others may be creating them
	err := s.db.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE name = 'apn_schema') FROM sqlite_master`).Scan(&tables, &own)
	if err != nil || tables == 0 || own == 0 && o.Shared {
		return err
	}
	if own == 0 {
		return fmt.Errorf("%w: tables of another program", ErrForeign)
	}
	if _, err := s.version(ctx, s.db); err != nil || o.NoCheck {
		return err
	}
	var verdict string
	if err := s.db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, verdict)
	}
	var lost int
	err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM apn_kv k LEFT JOIN apn_space s ON s.id = k.space
		WHERE s.id IS NULL OR k.rev > s.rev OR k.rev < 1 OR s.floor > s.rev OR s.floor < 0`).Scan(&lost)
	if err == nil && lost > 0 {
		err = fmt.Errorf("%w: %d rows beyond the revision of their space", ErrDamaged, lost)
	}
	return err
}

// synced reads back what the writer was set to.
func (s *Store) synced(ctx context.Context) error {
	var mode string
	var level int
	err := s.writer.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode)
	if err == nil {
		err = s.writer.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&level)
	}
	if err == nil && (mode != "wal" || level < 2) {
		err = fmt.Errorf("%w: journal_mode = %s, synchronous = %d", ErrForgetful, mode, level)
	}
	return err
}

// watchFile is watch as long as the file changes. SQLite counts the changes by
// others for each connection, so one and the same asks.
func (s *Store) watchFile(ctx context.Context) {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return // closed already
	}
	defer func() { _ = c.Close() }()
	seen := 0
	every(ctx, s.poll, func() {
		var version int
		err := c.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version)
		if err != nil || version != seen {
			seen = version
			s.look(ctx)
		}
	})
}
