package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

// querier is a [sql.DB], [sql.Conn] or [sql.Tx].
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// reader is the reading half of a store. Each method is one statement, because
// a second one would see another revision.
//
// Statements suit both engines. Parameters first stand in the order of their
// numbers, which some SQLite drivers do not look at.
type reader struct {
	querier
	closed <-chan struct{} // nil: never
}

const (
	columns = `COALESCE(k.key, ''), COALESCE(k.rev, 0), k.val, k.val IS NOT NULL, COALESCE(k.sum, 0) FROM apn_space s LEFT JOIN `

	getRows = `SELECT s.rev, 0, 0, ` + columns + `apn_kv k ON k.space = s.id AND k.val IS NOT NULL AND k.key IN %s WHERE s.id = $1`

	listRows = `SELECT s.rev, 0, 0, ` + columns + `(SELECT * FROM apn_kv
	WHERE space = $1 AND key >= $2 AND key < $3 AND val IS NOT NULL ORDER BY key LIMIT $4) k
	ON k.space = s.id WHERE s.id = $1 ORDER BY k.key`

	// The last row that the limit allows names the revision to end with. $3 is 0
	// for no limit.
	changedRows = `SELECT s.rev, s.floor, COALESCE((SELECT max(rev) FROM apn_kv WHERE space = $1), 0), ` + columns + `(SELECT * FROM apn_kv
	WHERE space = $1 AND rev > $2 AND rev <= COALESCE(
		(SELECT rev FROM apn_kv WHERE space = $1 AND rev > $2 ORDER BY rev LIMIT $3 OFFSET $4), 9223372036854775807)) k
	ON k.space = s.id WHERE s.id = $1 ORDER BY k.rev, k.key`
)

// Get implements [store.Store].
func (r reader) Get(ctx context.Context, space string, keys ...string) (p store.Page, err error) {
	if len(keys) <= chunk {
		in, args := list([]any{space}, keys)
		p, _, _, err = r.page(ctx, space, fmt.Sprintf(getRows, in), args...)
	} else {
		p, _, _, err = r.page(ctx, space, listRows, space, slices.Min(keys), slices.Max(keys)+" ", math.MaxInt64)
		asked := make(map[string]bool, len(keys))
		for _, key := range keys {
			asked[key] = true
		}
		p.Entries = slices.DeleteFunc(p.Entries, func(e store.Entry) bool { return !asked[e.Key] })
	}
	return p, failed(ctx, err, "get from %q", space)
}

// List implements [store.Store].
func (r reader) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	n := int64(math.MaxInt64)
	if limit > 0 {
		n = int64(limit) + 1
	}
	// Keys are of the characters from space to tilde.
	p, _, _, err := r.page(ctx, space, listRows, space, max(prefix, after+" "), prefix+"\x7f", n)
	if p.More = limit > 0 && len(p.Entries) > limit; p.More {
		p.Entries = p.Entries[:limit]
	}
	return p, failed(ctx, err, "list %q", space)
}

// Since implements [store.Store].
func (r reader) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	limit = max(limit, 0)
	p, floor, last, err := r.page(ctx, space, changedRows, space, number(after), min(limit, 1), max(limit-1, 0))
	if err == nil && after < floor {
		p, err = store.Page{}, fmt.Errorf("since %d: %w", after, store.ErrCompacted)
	}
	if n := len(p.Entries); n > 0 {
		p.More = p.Entries[n-1].Rev < last
	}
	return p, failed(ctx, err, "read the changes of %q", space)
}

// page runs one of the statements above. floor and last are of changedRows: the
// revision up to which deletions are forgotten, and that of the newest row.
func (r reader) page(ctx context.Context, space, query string, args ...any) (p store.Page, floor, last store.Rev, err error) {
	if err := r.usable(ctx); err != nil {
		return p, 0, 0, err
	}
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return p, 0, 0, err
	}
	defer func() { _ = rows.Close() }() // read to its end, or given up
	for rows.Next() {
		var e store.Entry
		var live bool
		var head, low, high, rev, have int64
		if err := rows.Scan(&head, &low, &high, &e.Key, &rev, &e.Value, &live, &have); err != nil {
			return store.Page{}, 0, 0, err
		}
		p.Rev, floor, last = store.Rev(head), store.Rev(low), store.Rev(high) //nolint:gosec // none is below 0
		if e.Key == "" {
			continue // a space without such rows
		}
		e.Rev = store.Rev(rev) //nolint:gosec // none is below 0
		if live && e.Value == nil {
			e.Value = []byte{} // drivers differ on the empty one
		}
		if have != sum(space, e.Key, e.Value) {
			return store.Page{}, 0, 0, fmt.Errorf("%w: row %q", ErrDamaged, e.Key)
		}
		p.Entries = append(p.Entries, e)
	}
	if err := rows.Err(); err != nil {
		return store.Page{}, 0, 0, err
	}
	return p, floor, last, nil
}

// usable reports why the store cannot be used.
func (r reader) usable(ctx context.Context) error {
	select {
	case <-r.closed:
		return fs.ErrClosed
	default:
		return ctx.Err()
	}
}

// sum is the checksum of a row. Its revision is not covered: it is not known
// before the row is written, and stands in an index a second time.
func sum(space, key string, value []byte) int64 {
	text := space + "\x00" + key + "\x00"
	if value != nil {
		text += "="
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	return int64(crc32.Update(crc32.Checksum([]byte(text), table), table, value))
}

// list returns keys as parameters after args, in parentheses.
func list(args []any, keys []string) (string, []any) {
	if len(keys) == 0 {
		return "(NULL)", args
	}
	var names []string
	for _, key := range keys {
		args = append(args, key)
		names = append(names, fmt.Sprintf("$%d", len(args)))
	}
	return "(" + strings.Join(names, ", ") + ")", args
}

// number returns rev for a column that ends at half of what a Rev holds.
func number(rev store.Rev) int64 { return int64(min(rev, math.MaxInt64)) }
