package keys

import "context"

// Row is one stored value.
type Row struct {
	Key   string
	Value []byte
	Rev   uint64 // changes with every write of the key, never to a value it had; not 0
}

// Store is where a [Vault] keeps its rows: wrapped data keys, sealed records
// and the blind index. Implement it over any database with transactions;
// keystest.RunStore proves it, [MemStore] is the reference.
//
// Networks and keys are 1 to 512 bytes of printable ASCII without spaces,
// values 1 to 65,536 arbitrary bytes. Lists are in byte order. Every read sees
// what was written before it began. A Store copies what it is given and
// returns memory of its own, honours its context, and is safe for concurrent
// use.
type Store interface {
	// Networks returns the networks that have rows, after the given one, at
	// most limit.
	Networks(ctx context.Context, after string, limit int) ([]string, error)

	// Get returns the rows with these keys, in any order. Absent ones are left
	// out.
	Get(ctx context.Context, network string, keys ...string) ([]Row, error)

	// List returns the rows whose key starts with prefix and comes after the
	// given key, at most limit.
	List(ctx context.Context, network, prefix, after string, limit int) ([]Row, error)

	// Swap writes all rows or none. For each of checks and writes the key must
	// still have the revision Rev, 0 meaning absent; if one has not, nothing is
	// written and the error wraps ErrConflict. Value nil deletes the row. Values
	// of checks are ignored; a key comes up at most once. After nil the rows are
	// durable; after any other error the outcome is unknown.
	Swap(ctx context.Context, network string, checks, writes []Row) error
}
