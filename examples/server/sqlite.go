//go:build sqlite

package main

import (
	"context"
	"strings"

	_ "modernc.org/sqlite" // the driver

	"github.com/apnkit/apnkit/apn/sqlstore"
)

func tagSQLite(e engines) {
	e["sqlite"] = func(ctx context.Context, spec string) (database, error) {
		return sqlstore.OpenSQLite(ctx, "sqlite", strings.TrimPrefix(spec, "sqlite:"), nil)
	}
}
