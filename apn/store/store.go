package store

import "context"

const (
	// MaxKey is the length in bytes up to which an adapter takes the name of a
	// space and a key.
	MaxKey = 512
	// MaxValue is the length in bytes up to which an adapter takes a value.
	MaxValue = 64 << 10
)

// Rev orders the commits of one space. 0 is the empty space.
//
// Revisions grow, and may jump: nobody computes the next one. Revisions of
// different spaces do not compare.
type Rev uint64

// Entry is a row as of a revision.
type Entry struct {
	Key string
	// Value is never nil in a row that exists; it may be empty. Nil says that
	// the row was deleted, which only Since tells.
	Value []byte
	// Rev is the revision of the commit that wrote or deleted the row.
	Rev Rev
}

// Write sets one row.
type Write struct {
	Key string
	// Value nil deletes the row, whether it exists or not. An empty Value that
	// is not nil is a value.
	Value []byte
}

// Page is the answer of a read: all of it as of one revision.
type Page struct {
	Entries []Entry
	// Rev is the revision of the space at which the page was read.
	Rev Rev
	// More reports whether the limit cut entries off. It is exact: a full page
	// that happens to be the last one says false.
	More bool
}

// Batch is what one commit does. The zero Batch only raises the revision.
type Batch struct {
	// At is the revision that the whole space must still have. Nil: not
	// checked. 0 means that the space has no commit yet.
	At *Rev
	// Checks holds, by key, the revision that a row must still have. 0 means
	// that the row is absent: never written, or deleted. A row that was deleted
	// and written again has a new revision.
	Checks map[string]Rev
	// Writes are the rows to set, each key at most once. No order is implied.
	Writes []Write
}

// Store keeps rows. All methods are safe for concurrent use, by any number of
// processes on the same data.
//
// A space is linearizable: a read that begins after a Commit was acknowledged
// sees it, on whichever replica or connection it runs. Replicas that lag and
// caches do not qualify.
//
// Values are copied at the border, in both directions: the store keeps no slice
// of its caller, and a caller may change what it was given.
//
// A method whose context ends returns an error that wraps ctx.Err().
type Store interface {
	// Get returns the rows of keys, in no promised order; absent keys are left
	// out. Without keys it tells only the revision.
	Get(ctx context.Context, space string, keys ...string) (Page, error)

	// List returns up to limit rows whose key has the prefix and is greater
	// than after, in byte order of the keys. Deleted rows are left out. An
	// empty prefix fits every key; after need not exist nor have the prefix; a
	// limit of 0 or less is no limit.
	//
	// Pages of one listing may differ in revision. To load a space, keep the
	// Rev of the first page, list to the end, then apply Since of that Rev.
	List(ctx context.Context, space, prefix, after string, limit int) (Page, error)

	// Since returns the rows that commits after revision after wrote or
	// deleted: each key once, in its newest state, in order of Rev. Entries of
	// one revision are never split over two pages, even if that exceeds limit;
	// a limit of 0 or less is no limit. If More, go on after the Rev of the
	// last entry, else after Page.Rev.
	//
	// An after beyond the revision of the space gives an empty page whose Rev
	// is below after: the store was restored from an older copy, and the reader
	// starts over. If deletions after that revision are forgotten, the error
	// wraps [ErrCompacted].
	Since(ctx context.Context, space string, after Rev, limit int) (Page, error)

	// Commit checks the conditions of b and does its writes, as one atomic
	// step, and returns the new revision of the space. Each successful Commit
	// raises the revision, one without writes too.
	//
	// A nil error means that the commit is durable: it survives the end of the
	// process and of the machine's power. An error that wraps [ErrConflict]
	// means that a condition did not hold and that nothing was written. After
	// any other error, the end of ctx included, the outcome is unknown: all of
	// the batch happens, perhaps a little later, or nothing; whoever needs to
	// know reads, and commits again under conditions. A Commit that was
	// interrupted is never reported as ErrConflict.
	Commit(ctx context.Context, space string, b Batch) (Rev, error)
}

// Waiter is an optional interface of a [Store] that learns of commits by
// itself. Without it callers poll.
type Waiter interface {
	// Wait returns nil once the revision of space is greater than after, at
	// once if it already is. It never misses a commit, by whichever process,
	// and may return early without one: the caller reads to know. If ctx ends
	// first, the error wraps ctx.Err().
	Wait(ctx context.Context, space string, after Rev) error
}

// Limiter is an optional interface of a [Store] whose engine bounds a commit.
type Limiter interface {
	// MaxWrites returns how many rows one Commit takes. 0 is no limit.
	MaxWrites() int
}

// Compactor is an optional interface of a [Store] that can forget deletions.
// Without it, deleted rows stay known to Since for ever.
type Compactor interface {
	// Compact forgets the deletions of space up to and including revision
	// before. Since with an after below before then gives [ErrCompacted]; rows
	// that exist, their revisions and Since from before on are as they were.
	//
	// A before beyond the revision of the space means that revision. Repeating
	// it, an older before and an unknown space do nothing.
	Compact(ctx context.Context, space string, before Rev) error
}
