package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Options are the optional settings of a [Store].
type Options struct {
	// Poll is how often Wait looks at the database by itself, while somebody
	// waits. That is how it learns of commits that were not announced: those of
	// [In], those during a lost connection, on SQLite those of other processes.
	// Zero means 250 milliseconds, and 20 on SQLite.
	Poll time.Duration
	// MaxConns is how many connections OpenPostgres opens at most. Zero means 16.
	MaxConns int
	// Forgetful takes a PostgreSQL server that syncs nothing to its disk. False
	// means that it is refused with [ErrForgetful].
	Forgetful bool
	// Shared takes an existing SQLite file that has tables of another program
	// and none of this one. False means that it is refused with [ErrForeign].
	Shared bool
	// NoCheck opens an existing SQLite file without reading it from end to end
	// first. False means that it is checked.
	NoCheck bool
}

// Store is a [store.Store] in a SQL database. Its methods are safe for
// concurrent use.
type Store struct {
	reader
	dialect
	db     *sql.DB // for reading
	writer *sql.DB
	poll   time.Duration

	mu      sync.Mutex
	waiting map[*waiter]struct{}
	news    map[string]store.Rev // to tell others, by space
	tell    chan struct{}        // holds a token while there are news
	closed  chan struct{}
	close   func() error

	commits   atomic.Uint64
	conflicts atomic.Uint64
	failures  atomic.Uint64
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Waiter    = (*Store)(nil)
	_ store.Compactor = (*Store)(nil)
)

// start returns s with jobs that run until it is closed, which closes own too.
func start(ctx context.Context, s *Store, own []*sql.DB, jobs ...func(context.Context)) *Store {
	s.waiting, s.news = map[*waiter]struct{}{}, map[string]store.Rev{}
	s.tell, s.closed = make(chan struct{}, 1), make(chan struct{})
	s.reader = reader{querier: s.db, closed: s.closed}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, job := range jobs {
		wg.Go(func() { job(ctx) })
	}
	s.close = sync.OnceValue(func() error {
		close(s.closed)
		cancel()
		wg.Wait()
		var err error
		for _, db := range own {
			err = errors.Join(err, db.Close())
		}
		return failed(context.WithoutCancel(ctx), err, "close")
	})
	return s
}

// Close ends waiting calls and the connections that the store opened.
// Repeating it does nothing.
func (s *Store) Close() error { return s.close() }

// Ping reports whether the store can be used: a health check.
func (s *Store) Ping(ctx context.Context) error {
	err := s.usable(ctx)
	if err == nil {
		var version int
		err = s.db.QueryRowContext(ctx, `SELECT version FROM apn_schema`).Scan(&version)
	}
	return failed(ctx, err, "ping")
}

// Stats counts since the store was opened.
type Stats struct {
	Commits   uint64 // acknowledged
	Conflicts uint64
	Failures  uint64 // commits with another error
	Pool      sql.DBStats
}

// Stats returns figures for a metrics page.
func (s *Store) Stats() Stats {
	return Stats{Commits: s.commits.Load(), Conflicts: s.conflicts.Load(), Failures: s.failures.Load(), Pool: s.db.Stats()}
}

// Compact implements [store.Compactor], in one transaction.
func (s *Store) Compact(ctx context.Context, space string, before store.Rev) error {
	err := s.usable(ctx)
	if err == nil {
		err = s.transact(ctx, func(ctx context.Context, q querier) error {
			var floor int64
			err := q.QueryRowContext(ctx, `UPDATE apn_space SET floor = CASE WHEN rev < $1 THEN rev ELSE $1 END
				WHERE id = $2 AND floor < $1 AND floor < rev RETURNING floor`, number(before), space).Scan(&floor)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			if err == nil {
				_, err = q.ExecContext(ctx, `DELETE FROM apn_kv WHERE space = $1 AND rev <= $2 AND val IS NULL`, space, floor)
			}
			return err
		})
	}
	return failed(ctx, err, "compact %q", space)
}
