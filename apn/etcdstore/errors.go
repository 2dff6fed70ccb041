package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/apnkit/apnkit/apn/store"
)

var (
	// ErrFormat says that the rows under a prefix have a format that this
	// version does not know: a newer one.
	ErrFormat = errors.New("format is unknown to this program")
	// ErrDamaged says that something else changed the keys of a space.
	ErrDamaged = errors.New("keys contradict each other")
)

// LimitError says that a batch does not fit into one etcd transaction. Nothing
// was written.
type LimitError struct {
	What  string // "writes", "checks" or "bytes"
	Have  int
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%d %s, etcd takes %d at once", e.Have, e.What, e.Limit)
}

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

// compacted reports whether etcd forgot a revision in the middle of a read.
func compacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }
