package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// database is an open store of any kind.
type database interface {
	store.Store
	store.Waiter
	store.Compactor
	Close() error
}

// storeSpec says where the rows are: bolt:PATH, sqlite:PATH, postgres://… or
// etcd://….
type storeSpec string

// file returns the path of an embedded database, or nothing.
func (s storeSpec) file() string {
	kind, path, _ := strings.Cut(string(s), ":")
	if kind == "bolt" || kind == "sqlite" {
		return path
	}
	return ""
}

// String is a name for people: without the password that a URL may hold.
func (s storeSpec) String() string {
	if s.file() != "" {
		return s.file()
	}
	kind, rest, _ := strings.Cut(string(s), "://")
	if _, host, ok := strings.Cut(rest, "@"); ok {
		rest = host
	}
	rest, _, _ = strings.Cut(rest, "?")
	return kind + "://" + rest
}

func parseStore(s string) (storeSpec, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "bolt", "sqlite":
		if rest != "" && !strings.HasPrefix(rest, "//") {
			return storeSpec(s), nil
		}
	case "postgres", "postgresql", "etcd":
		if strings.HasPrefix(rest, "//") {
			return storeSpec(s), nil
		}
	}
	return "", errors.New("must be bolt:PATH, sqlite:PATH, postgres://… or etcd://…")
}

// engines open databases, by the first word of what -store says.
type engines map[string]func(ctx context.Context, spec string) (database, error)

// builtin are the engines of every build. Others take long to compile, so they
// come with a build tag.
func builtin() engines {
	postgres := func(ctx context.Context, dsn string) (database, error) { return sqlstore.OpenPostgres(ctx, dsn, nil) }
	e := engines{
		"bolt": func(_ context.Context, spec string) (database, error) {
			return boltstore.Open(strings.TrimPrefix(spec, "bolt:"), nil)
		},
		"postgres":   postgres,
		"postgresql": postgres,
	}
	tagEtcd(e)
	tagSQLite(e)
	return e
}

// open opens the store, and makes what is missing.
func (e engines) open(ctx context.Context, s storeSpec) (database, error) {
	kind, _, _ := strings.Cut(string(s), ":")
	open, ok := e[kind]
	if !ok {
		return nil, fmt.Errorf("this program was built without %s, which would make a first build much longer: build it with -tags %s", kind, kind)
	}
	st, err := open(ctx, string(s))
	if err != nil {
		return nil, explainStore(s, err)
	}
	return st, nil
}

// exists reports whether there is something to open. Of a database server it is
// not known before.
func (s storeSpec) exists() (bool, error) {
	path := s.file()
	if path == "" {
		return true, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Size() > 0, err
}

func explainStore(s storeSpec, err error) error {
	switch {
	case errors.Is(err, boltstore.ErrLocked):
		return fmt.Errorf("the database %s is in use by another process: stop that one first, or choose another folder with -data", s.file())
	case errors.Is(err, boltstore.ErrForeign), errors.Is(err, sqlstore.ErrForeign):
		return fmt.Errorf("%s is not a database of this program, and is left as it is: move it away or choose another folder with -data", s)
	case errors.Is(err, boltstore.ErrNewer), errors.Is(err, sqlstore.ErrNewer):
		return fmt.Errorf("the database %s was written by a newer version of this program: %w", s, err)
	case errors.Is(err, boltstore.ErrDamaged), errors.Is(err, sqlstore.ErrDamaged):
		return fmt.Errorf("the database %s is damaged, and is left as it is: restore it from a backup (%w)", s, err)
	default:
		return fmt.Errorf("the database %s cannot be opened: %w", s, err)
	}
}
