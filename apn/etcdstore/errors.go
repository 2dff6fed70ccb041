package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/apnkit/apnkit/apn/store"
)

var (
	// ErrFormat says that the rows under a prefix have a format that this
	// version does not know: a newer one.
	ErrFormat = errors.New("format is unknown to this program")
	// ErrDamaged says that something else changed the keys of a space.
	ErrDamaged = errors.New("keys contradict each other")
	// ErrTooLarge says that a batch does not fit into one transaction. Nothing
	// was written.
	ErrTooLarge = errors.New("batch is larger than etcd takes in one transaction")
)

// fail says what failed. An error that came from the end of ctx may not tell.
func fail(ctx context.Context, verb, space string, err error) error {
	cause := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrCompacted), cause == nil, errors.Is(err, cause):
		return fmt.Errorf("etcdstore: %s %q: %w", verb, space, err)
	}
	return fmt.Errorf("etcdstore: %s %q: %w: %w", verb, space, cause, err)
}
