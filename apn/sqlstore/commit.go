package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

const (
	// Who raises the revision holds the space until the transaction ends. Both
	// statements look again at a row for which they had to wait.
	raiseAt = `UPDATE apn_space SET rev = rev + 1 WHERE id = $1 AND rev = $2 RETURNING rev`
	// $2 is 0, or less for any revision.
	raise = `INSERT INTO apn_space (id, rev) VALUES ($1, 1) ON CONFLICT (id)
	DO UPDATE SET rev = apn_space.rev + 1 WHERE apn_space.rev = $2 OR $2 < 0 RETURNING rev`
	lower = `UPDATE apn_space SET rev = rev - 1 WHERE id = $1`

	// chunk is how many rows or keys a statement names at most: SQLite looks for
	// each parameter among all of them.
	chunk = 250

	replace = ` ON CONFLICT (space, key) DO UPDATE SET rev = excluded.rev, val = excluded.val, sum = excluded.sum`
)

// Commit implements [store.Store].
func (s *Store) Commit(ctx context.Context, space string, b store.Batch) (rev store.Rev, err error) {
	if err = s.usable(ctx); err == nil {
		err = valid(space, b)
	}
	switch {
	case err != nil:
	case s.one && len(b.Checks) == 0 && len(b.Writes) <= chunk:
		rev, err = commitOnce(ctx, s.db, space, b)
	default:
		err = s.transact(ctx, func(ctx context.Context, q querier) (err error) {
			rev, err = commit(ctx, q, space, b)
			return err
		})
	}
	if sqlState(err, "40001", "40P01") { // the server has rolled it back
		err = fmt.Errorf("%w: %w", store.ErrConflict, err)
	}
	switch {
	case err == nil:
		s.commits.Add(1)
		s.announce(space, rev)
		return rev, nil
	case errors.Is(err, store.ErrConflict):
		s.conflicts.Add(1)
	default:
		s.failures.Add(1)
	}
	return 0, failed(ctx, err, "commit to %q", space)
}

// transact runs do in a transaction of its own.
func (s *Store) transact(ctx context.Context, do func(context.Context, querier) error) error {
	c, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // goes back to the pool
	if err := s.enter(ctx, c); err != nil {
		return err
	}
	if s.local {
		ctx = context.WithoutCancel(ctx) // takes no longer than to roll back
	}
	if err = do(ctx, c); err == nil {
		_, err = c.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		if _, fail := c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); fail != nil {
			_ = c.Raw(func(any) error { return driver.ErrBadConn }) // nobody else gets it
		}
	}
	return err
}

// enter begins a transaction. Where SQLite itself waits for another process, it
// sleeps long, and does not hear of the end of ctx.
func (s *Store) enter(ctx context.Context, c *sql.Conn) error {
	for {
		_, err := c.ExecContext(ctx, s.begin)
		if err == nil || !strings.Contains(err.Error(), "database is locked") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// commit does b inside a transaction. If it returns a conflict and a revision,
// the space was raised to it.
func commit(ctx context.Context, q querier, space string, b store.Batch) (store.Rev, error) {
	var rev int64
	query, args := raised(space, b.At)
	if err := q.QueryRowContext(ctx, query, args...).Scan(&rev); err != nil {
		return 0, conflict(err, b.At)
	}
	// A statement after the one that waited for the space: it sees what the
	// others wrote.
	if err := check(ctx, reader{querier: q}, space, b.Checks); err != nil {
		return store.Rev(rev), err //nolint:gosec // counts up from 1
	}
	for writes := range slices.Chunk(b.Writes, chunk) {
		rows, args := values([]any{space, rev}, "($1, $2, $%d, $%d, $%d)", writes)
		if _, err := q.ExecContext(ctx, `INSERT INTO apn_kv (space, rev, key, val, sum) VALUES `+rows+replace, args...); err != nil {
			return 0, err
		}
	}
	return store.Rev(rev), nil //nolint:gosec // counts up from 1
}

// commitOnce does b, which has no Checks, in one statement. PostgreSQL only.
func commitOnce(ctx context.Context, q querier, space string, b store.Batch) (store.Rev, error) {
	query, args := raised(space, b.At)
	if len(b.Writes) > 0 {
		var rows string
		rows, args = values(args, "($%d::text, $%d::bytea, $%d::bigint)", b.Writes)
		query = `WITH s AS (` + query + `), w AS (INSERT INTO apn_kv (space, rev, key, val, sum)
			SELECT $1, s.rev, t.key, t.val, t.sum FROM s, (VALUES ` + rows + `) t(key, val, sum)` + replace + `)
			SELECT rev FROM s`
	}
	var rev int64
	err := q.QueryRowContext(ctx, query, args...).Scan(&rev)
	return store.Rev(rev), conflict(err, b.At) //nolint:gosec // counts up from 1
}

// values returns writes as rows in form, and their parameters after args, the
// first of which is the space. A value that is no interface would be empty where
// it is nil, in some drivers.
func values(args []any, form string, writes []store.Write) (string, []any) {
	var rows []string
	for _, w := range writes {
		n := len(args)
		rows = append(rows, fmt.Sprintf(form, n+1, n+2, n+3))
		args = append(args, w.Key, nil, sum(args[0].(string), w.Key, w.Value))
		if w.Value != nil {
			args[n+1] = w.Value
		}
	}
	return strings.Join(rows, ", "), args
}

// raised returns the statement that raises the revision, if it is at.
func raised(space string, at *store.Rev) (query string, args []any) {
	switch {
	case at == nil:
		return raise, []any{space, int64(-1)}
	case *at == 0:
		return raise, []any{space, int64(0)}
	default:
		return raiseAt, []any{space, number(*at)}
	}
}

// conflict explains that no row was raised.
func conflict(err error, at *store.Rev) error {
	if errors.Is(err, sql.ErrNoRows) && at != nil {
		err = fmt.Errorf("not at revision %d: %w", *at, store.ErrConflict)
	}
	return err
}

func check(ctx context.Context, r reader, space string, checks map[string]store.Rev) error {
	if len(checks) == 0 {
		return nil
	}
	p, err := r.Get(ctx, space, slices.Collect(maps.Keys(checks))...)
	if err != nil {
		return err
	}
	have := map[string]store.Rev{}
	for _, e := range p.Entries {
		have[e.Key] = e.Rev
	}
	for key, want := range checks {
		if have[key] != want {
			return fmt.Errorf("row %q has revision %d, not %d: %w", key, have[key], want, store.ErrConflict)
		}
	}
	return nil
}

// valid refuses what an engine would refuse half way, or lose from sight.
func valid(space string, b store.Batch) error {
	if err := validName(space); err != nil {
		return fmt.Errorf("name of the space: %w", err)
	}
	keys := slices.Collect(maps.Keys(b.Checks))
	for _, w := range b.Writes {
		keys = append(keys, w.Key)
	}
	for _, key := range keys {
		if err := validName(key); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return nil
}

func validName(s string) error {
	if s == "" || len(s) > store.MaxKey {
		return fmt.Errorf("%d bytes, want 1 to %d", len(s), store.MaxKey)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("byte %#x is not printable ASCII", s[i])
		}
	}
	return nil
}
