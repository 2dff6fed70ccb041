package store

import "errors"

var (
	// ErrConflict says that a condition of a batch did not hold and that
	// nothing was written.
	ErrConflict = errors.New("store: conflict")

	// ErrCompacted says that deletions after the asked revision are forgotten.
	// The reader lists the space again.
	ErrCompacted = errors.New("store: compacted")
)
