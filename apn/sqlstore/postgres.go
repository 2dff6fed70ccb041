package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/apnkit/apnkit/apn/store"
)

func postgres() dialect {
	return dialect{
		one:    true,
		begin:  `BEGIN ISOLATION LEVEL READ COMMITTED`,
		lock:   `SELECT pg_advisory_xact_lock(6385268)`, // "apn" in ASCII, and 1
		exists: `SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('apn_schema')`,
		migrations: []string{`
			CREATE TABLE apn_schema (version integer NOT NULL);
			CREATE TABLE apn_space (
				id text COLLATE "C" PRIMARY KEY,
				rev bigint NOT NULL,
				floor bigint NOT NULL DEFAULT 0
			) WITH (fillfactor = 50);
			CREATE TABLE apn_kv (
				space text COLLATE "C",
				key text COLLATE "C",
				rev bigint NOT NULL,
				val bytea,
				sum bigint NOT NULL,
				PRIMARY KEY (space, key)
			);
			CREATE INDEX apn_kv_rev ON apn_kv (space, rev)`},
	}
}

// OpenPostgres connects to the PostgreSQL server that dsn names, as a URL or as
// words "key=value", and creates the tables if they are missing. opts may be
// nil.
//
// Connections go to a server that takes writes, and have synchronous_commit on.
// If the server itself does not sync, the error wraps [ErrForgetful]; if the
// tables are newer, [ErrNewer]. No error tells the password. Whether a standby
// that takes over has all commits depends on the replication, which has to be
// synchronous for that.
func OpenPostgres(ctx context.Context, dsn string, opts *Options) (*Store, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// What a wrong DSN is quoted with may be a part of its password.
		return nil, errors.New("sqlstore: open postgres: the DSN is no connection string")
	}
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
			SET default_transaction_isolation = 'read committed'`)
		if err != nil {
			return errors.Join(err, c.Close(ctx))
		}
		return nil
	}))
	conns := 16
	if opts != nil {
		conns = cmp.Or(opts.MaxConns, conns)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	s, err := openPostgres(ctx, db, opts, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// NewPostgres is [OpenPostgres] on connections of the caller, which Close leaves
// open. They have synchronous_commit on and isolation level READ COMMITTED by
// default, and lead to the primary server; opening looks at one of them.
//
// The store listens on one connection for as long as it is open. Through
// another driver than pgx's, or a pooler that hands a connection to others
// between transactions, it hears nothing; Wait then relies on [Options.Poll].
func NewPostgres(ctx context.Context, db *sql.DB, opts *Options) (*Store, error) {
	return openPostgres(ctx, db, opts)
}

func openPostgres(ctx context.Context, db *sql.DB, opts *Options, own ...*sql.DB) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	s := &Store{db: db, writer: db, dialect: postgres(), poll: cmp.Or(o.Poll, 250*time.Millisecond)}
	err := s.durable(ctx, o)
	if err == nil && db.Stats().MaxOpenConnections == 1 {
		err = errors.New("a pool of one connection, which listening would take")
	}
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		return nil, failed(ctx, err, "open postgres")
	}
	return start(ctx, s, own, s.listen, s.notify, s.watch), nil
}

// durable looks at the settings that a commit relies on.
func (s *Store) durable(ctx context.Context, o Options) error {
	rows, err := s.db.QueryContext(ctx, `SELECT name, setting FROM pg_catalog.pg_settings WHERE (name, setting) IN (
			('fsync', 'off'), ('full_page_writes', 'off'), ('synchronous_commit', 'off'), ('in_hot_standby', 'on'))
		OR name = 'default_transaction_isolation' AND setting <> 'read committed'`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // read to its end, or given up
	for rows.Next() {
		var name, setting string
		if err := rows.Scan(&name, &setting); err != nil {
			return err
		}
		if !o.Forgetful || name != "fsync" && name != "full_page_writes" {
			return fmt.Errorf("%w: %s = %s", ErrForgetful, name, setting)
		}
	}
	return rows.Err()
}

// channel carries notes of commits: lines of a revision and its space.
const channel = "apn_commit"

// listen wakes waiters for what it hears, on a connection of its own.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.hear(ctx) // there is no connection, or no more
		select {
		case <-ctx.Done():
		case <-time.After(s.poll):
		}
	}
}

// hear listens until the connection fails, which is then closed.
func (s *Store) hear(ctx context.Context) error {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // Raw has closed it
	return c.Raw(func(raw any) error {
		std, ok := raw.(*stdlib.Conn)
		if !ok {
			return errors.ErrUnsupported
		}
		if _, err := std.Conn().Exec(ctx, `LISTEN `+channel); err != nil {
			return driver.ErrBadConn
		}
		for {
			note, err := std.Conn().WaitForNotification(ctx)
			if err != nil {
				return driver.ErrBadConn
			}
			for line := range strings.Lines(note.Payload) {
				rev, space, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				n, _ := strconv.ParseUint(rev, 10, 64)
				s.wake(space, store.Rev(n))
			}
		}
	})
}

// notify tells other processes of commits, some time after: inside of the
// transaction it would cost half of the throughput.
func (s *Store) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.tell:
		}
		s.mu.Lock()
		news := s.news
		s.news = map[string]store.Rev{}
		s.mu.Unlock()
		note := ""
		for space, rev := range news {
			note += fmt.Sprintf("%d %s\n", rev, space)
			if len(note) > 7000 { // of 8000, which is the limit
				s.send(ctx, note)
				note = ""
			}
		}
		if note != "" {
			s.send(ctx, note)
		}
	}
}

func (s *Store) send(ctx context.Context, note string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Who does not hear it looks by itself.
	_, _ = s.db.ExecContext(ctx, `SELECT pg_notify('`+channel+`', $1)`, note)
}
