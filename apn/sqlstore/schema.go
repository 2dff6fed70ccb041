package sqlstore

import (
	"context"
	"fmt"
)

// dialect is what the engines do not share.
type dialect struct {
	local      bool   // the database is this process and a file
	one        bool   // a statement may contain others that write
	begin      string // a transaction that writes
	lock       string // serializes who creates the tables
	exists     string // counts apn_schema
	migrations []string
}

// migrate brings the tables up to date: the version is how many of the
// migrations were done.
func (s *Store) migrate(ctx context.Context) error {
	return s.transact(ctx, func(ctx context.Context, q querier) error {
		if _, err := q.ExecContext(ctx, s.lock); err != nil {
			return err
		}
		version, err := s.version(ctx, q)
		if err != nil || version == len(s.migrations) {
			return err
		}
		for _, step := range s.migrations[version:] {
			if _, err := q.ExecContext(ctx, step); err != nil {
				return fmt.Errorf("create the tables: %w", err)
			}
		}
		if version == 0 {
			_, err = q.ExecContext(ctx, `INSERT INTO apn_schema (version) VALUES ($1)`, len(s.migrations))
		} else {
			_, err = q.ExecContext(ctx, `UPDATE apn_schema SET version = $1`, len(s.migrations))
		}
		return err
	})
}

// version returns the version of the tables, 0 without any.
func (s *Store) version(ctx context.Context, q querier) (version int, err error) {
	if err = q.QueryRowContext(ctx, s.exists).Scan(&version); err != nil || version == 0 {
		return 0, err
	}
	err = q.QueryRowContext(ctx, `SELECT version FROM apn_schema`).Scan(&version)
	switch known := len(s.migrations); {
	case err != nil:
		return 0, err
	case version > known:
		return 0, fmt.Errorf("%w: version %d, know %d", ErrNewer, version, known)
	case version < 1:
		return 0, fmt.Errorf("%w: schema version %d", ErrDamaged, version)
	}
	return version, nil
}
