package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/apnkit/apnkit/apn/store"
)

// In returns a store inside a transaction of the caller, whose database holds
// the tables: what it commits happens when tx commits, together with what else
// tx did, or never. Its reads see what tx wrote.
//
// A conflict writes nothing and leaves tx as it was. After any other error of
// Commit the caller rolls back. A nil error of Commit says only that tx may
// commit now: until it has, the outcome is unknown, and the revision that
// Commit returned and rows read after it belong to tx alone. Other commits to
// the same space wait meanwhile.
//
// On PostgreSQL, tx has the isolation level READ COMMITTED, the default; with a
// higher one a conflict aborts it. On SQLite, tx takes the write lock at its
// beginning (BEGIN IMMEDIATE), or it fails if somebody writes after its first
// read. Waiters learn of the commit when they next look at the database
// ([Options.Poll]).
//
// Like tx, the store is for one goroutine at a time.
func In(tx *sql.Tx) store.Store { return joined{reader{querier: tx}} }

type joined struct{ reader }

// Commit implements [store.Store].
func (j joined) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	err := valid(space, b)
	if err != nil {
		return 0, failed(ctx, err, "commit to %q", space)
	}
	rev, err := commit(ctx, j, space, b)
	if rev > 0 && errors.Is(err, store.ErrConflict) {
		if _, fail := j.ExecContext(ctx, lower, space); fail != nil {
			err = fail
		}
		rev = 0
	}
	return rev, failed(ctx, err, "commit to %q", space)
}
