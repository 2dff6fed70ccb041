package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

var (
	// ErrForeign says that a file is no SQLite file, or one of another program,
	// or that tables of our names have other columns.
	ErrForeign = errors.New("not a database of this store")
	// ErrNewer says that the tables have a version that this one does not know.
	ErrNewer = errors.New("database schema is newer than this program")
	// ErrDamaged says that the content of a database contradicts itself. The
	// way out is a backup.
	ErrDamaged = errors.New("database is damaged")
	// ErrForgetful says that the database may lose commits that it acknowledged,
	// or answer with old ones.
	ErrForgetful = errors.New("database is not set up to keep every commit")
)

// failed completes an error: what was done, whether ctx is to blame, and which
// of the errors above it is. It may be nil.
func failed(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	says := func(part string) bool { return strings.Contains(err.Error(), part) } // SQLite's words, in every driver
	switch {
	case errors.Is(err, store.ErrConflict):
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	case says("file is not a database"), says("no such column"), sqlState(err, "42703"):
		err = fmt.Errorf("%w: %w", ErrForeign, err)
	case says("malformed"), says("unsupported file format"), sqlState(err, "XX001", "XX002"):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("sqlstore: %s: %w", fmt.Sprintf(format, args...), err)
}

// sqlState reports whether a PostgreSQL server sent err with one of codes.
func sqlState(err error, codes ...string) bool {
	var e interface{ SQLState() string }
	return errors.As(err, &e) && slices.Contains(codes, e.SQLState())
}
