package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

var (
	// ErrForeign says that a file is not a SQLite file, or one of another
	// program.
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
	switch text := err.Error(); {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()) && !errors.Is(err, store.ErrConflict):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	case strings.Contains(text, "file is not a database"): // SQLite's words, in every driver
		err = fmt.Errorf("%w: %w", ErrForeign, err)
	case strings.Contains(text, "is malformed"), sqlState(err, "XX001", "XX002"):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("sqlstore: %s: %w", fmt.Sprintf(format, args...), err)
}

// sqlState reports whether a PostgreSQL server sent err with one of codes.
func sqlState(err error, codes ...string) bool {
	var e interface{ SQLState() string }
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.SQLState() == code {
			return true
		}
	}
	return false
}
