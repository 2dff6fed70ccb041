// Package customstore keeps apn's rows in Redis or Valkey: an adapter to copy
// for a database of your own. README.md builds it step by step.
package customstore

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/apnkit/apnkit/apn/store"
)

// Store is a [store.Store], and what optional.go adds.
type Store struct {
	rdb    *redis.Client
	prefix string
}

// Open connects to a server by its URL, redis://user:password@host:port/0. It
// refuses one that answers before it syncs, or that evicts keys.
func Open(ctx context.Context, url, prefix string) (*Store, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("customstore: open: want redis://user:password@host:port/0") // err may show the password
	}
	opts.MaxRetries = -1 // a commit that is sent twice conflicts with itself
	opts.ContextTimeoutEnabled = true
	s := &Store{rdb: redis.NewClient(opts), prefix: prefix}
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"} {
		have, err := s.rdb.ConfigGet(ctx, name).Result()
		if err == nil && have[name] != want {
			err = fmt.Errorf("%s is %q, want %q", name, have[name], want)
		}
		if err != nil {
			return nil, fmt.Errorf("customstore: open: %w", errors.Join(err, s.Close()))
		}
	}
	return s, nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.rdb.Close() }

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	args := []any{"get"}
	for _, key := range keys {
		args = append(args, key)
	}
	return s.run(ctx, script, space, args...)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	first := "[" + prefix
	if after != "" && after >= prefix {
		first = "(" + after
	}
	return s.run(ctx, script, space, "list", first, "("+prefix+"\xff", limit) // keys are ASCII
}

// Since implements [store.Store].
func (s *Store) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	return s.run(ctx, script, space, "since", uint64(after), limit)
}

// Commit implements [store.Store].
func (s *Store) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	args := []any{"commit", "any", len(b.Checks)}
	if b.At != nil {
		args[1] = uint64(*b.At)
	}
	for key, rev := range b.Checks {
		args = append(args, key, uint64(rev))
	}
	for _, w := range b.Writes {
		args = append(args, w.Key, w.Value != nil, w.Value)
	}
	p, err := s.run(ctx, script, space, args...)
	return p.Rev, err
}

// name is that of a space: a hash tag, which a cluster keeps on one node.
func (s *Store) name(space string) string { return s.prefix + "{=" + space + "}" }

//go:embed store.lua
var source string

var script = redis.NewScript(source)

// run runs a script, which is one atomic step.
func (s *Store) run(ctx context.Context, script *redis.Script, space string, args ...any) (p store.Page, err error) {
	name := s.name(space)
	reply, err := script.Run(ctx, s.rdb, []string{name, name + "rows", name + "revs", name + "live"}, args...).Slice()
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	case err == nil && reply[0] == "conflict":
		err = store.ErrConflict
	case err == nil && reply[0] == "compacted":
		err = store.ErrCompacted
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("customstore: %s %q: %w", args[0], space, err)
	}
	p.Rev, p.More = revision(reply[0]), reply[1] == int64(1)
	for row := range slices.Chunk(reply[2:], 3) {
		e := store.Entry{Key: row[0].(string), Rev: revision(row[1])}
		if value, ok := row[2].(string); ok {
			e.Value = []byte(value)
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

func revision(v any) store.Rev {
	n, _ := strconv.ParseUint(v.(string), 10, 64) // the script counts
	return store.Rev(n)
}
