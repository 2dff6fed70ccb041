package apn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// What belongs to no network is in an audit log of its own: API tokens, people
// who sign in, and attempts that were refused.

// ctlAuditSpace has that log. Those of the networks are below it.
const ctlAuditSpace = "audit"

func (c *Control) chain() chain { return chain{c.store, ctlAuditSpace} }

// Audit returns events that belong to no network, as [Network.Audit] does.
func (c *Control) Audit(ctx context.Context, after uint64, limit int) (events []Event, more bool, err error) {
	if limit <= 0 {
		limit = 100
	}
	if events, more, err = c.chain().events(ctx, after, limit); err != nil {
		return nil, false, &Error{Op: "read audit log", Err: err}
	}
	return events, more, nil
}

// SearchAudit is [Network.SearchAudit] for events that belong to no network.
func (c *Control) SearchAudit(ctx context.Context, q AuditQuery) (events []Event, next uint64, err error) {
	if events, next, err = c.chain().search(ctx, q); err != nil {
		return nil, 0, &Error{Op: "search audit log", Err: err}
	}
	return events, next, nil
}

// VerifyAudit is [Network.VerifyAudit] for events that belong to no network.
func (c *Control) VerifyAudit(ctx context.Context) (uint64, error) {
	n, err := c.chain().verify(ctx)
	if err != nil {
		return n, &Error{Op: "verify audit log", Err: err}
	}
	return n, nil
}

// record appends an event. A commit is atomic in one space only, so what is
// recorded here is recorded first: an event may tell of what then failed, and
// nothing is done without its event.
func (c *Control) record(ctx context.Context, action, object, detail string, outcome Outcome) error {
	e := Event{At: c.now().UTC(), Actor: actorOf(ctx), Action: action, Object: object, Detail: detail, Outcome: outcome}
	for try := 1; ; try++ {
		err := c.chain().append(ctx, e)
		if !errors.Is(err, store.ErrConflict) || try == 20 {
			return storeError(err)
		}
		rest(ctx, rand.N(time.Millisecond<<min(try, 6)), nil) //nolint:gosec // jitter, not a secret
	}
}

// append adds an event to a log that others may append to as well: then the
// error wraps [store.ErrConflict].
func (c chain) append(ctx context.Context, e Event) error {
	end, rev, err := c.mark(ctx, auditHeadKey)
	if err != nil {
		return err
	}
	e.N = end.N + 1
	if e, err = e.link(end.Hash); err != nil {
		return err
	}
	end.N, end.Hash = e.N, e.Hash
	end.stamp()
	b := store.Batch{Checks: map[string]store.Rev{auditHeadKey: rev}}
	for key, v := range map[string]any{auditEvent + outNumber(e.N): chained{head{rowFormat}, e}, auditHeadKey: end} {
		value, err := json.Marshal(v)
		if err != nil {
			return err
		}
		b.Writes = append(b.Writes, store.Write{Key: key, Value: value})
	}
	_, err = c.st.Commit(ctx, c.space, b)
	return err
}

// refusals bounds what refused attempts write into the log: nobody must be able
// to fill the store with them.
type refusals struct {
	mu      sync.Mutex
	left    int
	at      time.Time
	skipped int
}

const (
	refusalBurst = 30
	refusalEvery = 10 * time.Second
)

// take reports whether one more may be recorded, and how many were not since the
// last.
func (r *refusals) take(now time.Time) (skipped int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() {
		r.left, r.at = refusalBurst, now
	}
	if more := int(now.Sub(r.at) / refusalEvery); more > 0 {
		r.left = min(refusalBurst, r.left+more)
		r.at = now
	}
	if r.left == 0 {
		r.skipped++
		return 0, false
	}
	r.left--
	skipped, r.skipped = r.skipped, 0
	return skipped, true
}

func withSkipped(detail string, skipped int) string {
	if skipped == 0 {
		return detail
	}
	return fmt.Sprintf("%s (%d more were not recorded)", detail, skipped)
}

// RecordRefusal records an attempt that was refused before any command saw it,
// such as to sign in. It is in the log that belongs to no network, so that nobody
// moves a network's revision by what is not theirs to do. Of many in a short time
// only some are recorded, and how many were not. object and detail must hold no
// secret.
func (c *Control) RecordRefusal(ctx context.Context, action, object, detail string) error {
	skipped, ok := c.refusals.take(c.now())
	if !ok {
		return nil
	}
	if err := c.record(ctx, action, object, withSkipped(detail, skipped), OutcomeRefused); err != nil {
		return &Error{Op: "record refusal", Err: err}
	}
	return nil
}
