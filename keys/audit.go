package keys

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Call says on whose behalf a [Vault] or [Manager] acts, and when.
type Call struct {
	Actor string
	Now   time.Time
}

// Event is one operation of a [Vault] or [Manager] for the audit log. It holds
// no key.
type Event struct {
	Op          string // name of the method
	Actor       string
	Time        time.Time
	Network     string // empty means all
	Owner       string
	Gen         uint64
	Fingerprint string // of the public key, see [PublicKey.Fingerprint]
	Err         error  // nil if the operation succeeded
}

// audit hands the result of an operation to the hook, even if the caller is
// gone. If the hook fails, so does the operation.
func (v *Vault) audit(ctx context.Context, c Call, e Event, err error) error {
	if v.opts.Audit == nil {
		return err
	}
	e.Actor, e.Time, e.Err = c.Actor, c.Now, err
	if aerr := v.opts.Audit(context.WithoutCancel(ctx), e); aerr != nil {
		err = errors.Join(err, fmt.Errorf("keys: %s: %w: %w", e.Op, ErrAudit, aerr))
	}
	return err
}
