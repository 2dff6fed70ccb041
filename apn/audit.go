package apn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Actor is who acts, as the caller's authentication tells.
type Actor struct {
	// ID names the actor in the audit log: a member, a token's name, a service.
	ID string `json:"id,omitempty"`
	// From is the address that the request came from; may be zero.
	From netip.Addr `json:"from,omitzero"`
}

type actorKey struct{}

// WithActor returns a context whose mutations are audited as a's.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

func actorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// Event is one line of the audit log. It holds no secret.
type Event struct {
	N      uint64    `json:"n"` // 1, 2, 3, … in a network
	At     time.Time `json:"at"`
	Actor  Actor     `json:"actor,omitzero"`
	Action string    `json:"action"`           // "server.add"
	Object string    `json:"object,omitempty"` // "shop/web-1"
	Detail string    `json:"detail,omitempty"`
	// Outcome is empty for what was done.
	Outcome Outcome   `json:"outcome,omitempty"`
	Rev     store.Rev `json:"rev,omitempty"`  // the commit that made the change
	Hash    []byte    `json:"hash,omitempty"` // SHA-256 over the event and the hash before it
}

// Outcome says what became of what an event is about.
type Outcome string

// OutcomeRefused marks an attempt that was not allowed.
const OutcomeRefused Outcome = "refused"

// chained is an event in the audit space: it cannot be changed or removed
// without every later hash changing.
type chained struct {
	head
	Event
}

// auditMark is a row of the audit space that tells where the chain ends, or
// after which event it begins.
type auditMark struct {
	head
	N    uint64 `json:"n"`
	Hash []byte `json:"hash"`
}

const (
	auditHeadKey  = "head"
	auditFloorKey = "floor" // there is one once events were forgotten
	auditEvent    = "event/"
)

func outNumber(n uint64) string { return fmt.Sprintf("%016x", n) }
func outKey(n uint64) string    { return preOut + outNumber(n) }

func auditSpace(network string) string { return "audit/" + network }

func (n *Network) auditSpace() string { return auditSpace(n.name) }

// link returns the event with its hash, which covers all other fields.
func (e Event) link(prev []byte) (Event, error) {
	e.Hash = nil
	text, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	sum := sha256.Sum256(append(bytes.Clone(prev), text...))
	e.Hash = sum[:]
	return e, nil
}

// drainPause is how long events gather before they are appended, so that the
// audit log costs a busy network few commits. No event waits for it to be safe:
// it was committed with its change.
const drainPause = 50 * time.Millisecond

// appendEvents appends committed events to the audit space in the background.
func (n *Network) appendEvents() {
	if !n.draining.CompareAndSwap(false, true) {
		return
	}
	n.ctl.start(func() {
		rest(n.ctl.waits, drainPause, nil)
		n.draining.Store(false) // an event that comes now has its own turn
		ctx, cancel := context.WithTimeout(n.ctl.ctx, giveUp)
		defer cancel()
		if err := n.drain(ctx); err != nil {
			n.ctl.log.Warn("audit events wait in the network", "network", n.name, "error", err)
		}
	})
}

// drainBatch bounds how many events one commit appends.
const drainBatch = 100

// drain appends committed events to the audit space, in order and once each: an
// event is numbered by the commit that carries it, and the head of the audit
// space tells which numbers are there. The next commit drops their rows.
func (n *Network) drain(ctx context.Context) error {
	n.drainMu.Lock()
	defer n.drainMu.Unlock()
	for {
		s := n.view()
		if s.ctr().Events <= n.drained.Load() {
			return nil
		}
		end, headRev, err := n.auditMark(ctx, auditHeadKey)
		if err != nil {
			return err
		}
		b := store.Batch{Checks: map[string]store.Rev{auditHeadKey: headRev}}
		for _, r := range under[*outRow](s, preOut) {
			if r.N <= end.N {
				continue
			}
			if r.N != end.N+1 {
				return fmt.Errorf("event %d: %w", end.N+1, ErrDamaged)
			}
			e := r.Event
			e.Rev = s.revOf(outKey(e.N))
			if e, err = e.link(end.Hash); err != nil {
				return err
			}
			value, err := json.Marshal(chained{head{rowFormat}, e})
			if err != nil {
				return err
			}
			b.Writes = append(b.Writes, store.Write{Key: auditEvent + outNumber(e.N), Value: value})
			end.N, end.Hash = e.N, e.Hash
			if len(b.Writes) == drainBatch {
				break
			}
		}
		if len(b.Writes) == 0 && end.N < s.ctr().Events {
			return fmt.Errorf("event %d: %w", end.N+1, ErrDamaged)
		}
		if len(b.Writes) > 0 {
			end.stamp()
			value, err := json.Marshal(end)
			if err != nil {
				return err
			}
			b.Writes = append(b.Writes, store.Write{Key: auditHeadKey, Value: value})
			_, err = n.ctl.store.Commit(ctx, n.auditSpace(), b)
			if errors.Is(err, store.ErrConflict) {
				continue // another replica appended them
			}
			if err != nil {
				return storeError(err)
			}
		}
		n.drained.Store(end.N)
	}
}

func decodeEvent(e store.Entry) (chained, error) {
	var c chained
	if err := json.Unmarshal(e.Value, &c); err != nil {
		return c, damaged(e.Key, errors.New("malformed JSON document"))
	}
	return c, nil
}

// Audit returns events after number after, oldest first, at most limit, and
// whether there are more. A limit of 0 or less means 100. Every change that was
// committed before the call is there.
func (n *Network) Audit(ctx context.Context, after uint64, limit int) (events []Event, more bool, err error) {
	const op = "read audit log"
	if limit <= 0 {
		limit = 100
	}
	if err := n.drain(ctx); err != nil {
		return nil, false, &Error{Op: op, Object: n.name, Err: err}
	}
	if events, more, err = n.chain().events(ctx, after, limit); err != nil {
		return nil, false, &Error{Op: op, Object: n.name, Err: err}
	}
	return events, more, nil
}

// VerifyAudit walks the whole audit log, from the first event that is not
// forgotten, and returns the number of the last. If an event was changed, removed or moved, the error wraps
// [ErrDamaged] and names its number.
func (n *Network) VerifyAudit(ctx context.Context) (last uint64, err error) {
	if err = n.drain(ctx); err == nil {
		last, err = n.chain().verify(ctx)
	}
	if err != nil {
		return last, &Error{Op: "verify audit log", Object: n.name, Err: err}
	}
	return last, nil
}
