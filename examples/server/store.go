package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/etcdstore"
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

// open opens the store, and makes what is missing.
func (s storeSpec) open(ctx context.Context) (database, error) {
	kind, path, _ := strings.Cut(string(s), ":")
	switch kind {
	case "bolt":
		st, err := boltstore.Open(path, nil)
		if err != nil {
			return nil, explainStore(s, err)
		}
		return st, nil
	case "sqlite":
		if sqliteDriver == "" {
			return nil, errors.New("this build has no SQLite, which would take most of a first build's time: build with -tags sqlite")
		}
		st, err := sqlstore.OpenSQLite(ctx, sqliteDriver, path, nil)
		if err != nil {
			return nil, explainStore(s, err)
		}
		return st, nil
	case "etcd":
		st, err := etcdstore.Open(ctx, string(s))
		if err != nil {
			return nil, explainStore(s, err)
		}
		return st, nil
	default:
		st, err := sqlstore.OpenPostgres(ctx, string(s), nil)
		if err != nil {
			return nil, explainStore(s, err)
		}
		return st, nil
	}
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
	case errors.Is(err, boltstore.ErrNewer), errors.Is(err, sqlstore.ErrNewer), errors.Is(err, etcdstore.ErrFormat):
		return fmt.Errorf("the database %s was written by a newer version of this program: %w", s, err)
	case errors.Is(err, boltstore.ErrDamaged), errors.Is(err, sqlstore.ErrDamaged):
		return fmt.Errorf("the database %s is damaged, and is left as it is: restore it from a backup (%w)", s, err)
	default:
		return fmt.Errorf("the database %s cannot be opened: %w", s, err)
	}
}
