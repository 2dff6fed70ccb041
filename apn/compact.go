package apn

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Retention says what a network may forget. The zero Retention forgets nothing.
type Retention struct {
	// Audit is how long events stay in the audit log. The chain of those that
	// are left can still be verified. Zero: for ever.
	Audit time.Duration
	// Deletions is how long deleted rows stay known to readers that follow the
	// store; one that was away for longer reads everything anew. It needs a
	// [store.Compactor]. Zero: for ever.
	Deletions time.Duration
}

// Compact forgets what r allows, and returns how many events that were. It may
// stop at any moment and run again, in several processes at once.
func (n *Network) Compact(ctx context.Context, r Retention) (events int, err error) {
	if err = n.drain(ctx); err == nil && r.Deletions > 0 {
		err = n.forgetDeletions(ctx, n.ctl.now().Add(-r.Deletions))
	}
	if err == nil {
		err = n.forgetStatuses(ctx)
	}
	if err == nil && r.Audit > 0 {
		events, err = n.forgetEvents(ctx, n.ctl.now().Add(-r.Audit))
	}
	if err != nil {
		return events, &Error{Op: "compact", Object: n.name, Err: storeError(err)}
	}
	return events, nil
}

// forgetDeletions forgets what was deleted before a time. The audit log tells
// which revision the network had then.
func (n *Network) forgetDeletions(ctx context.Context, before time.Time) error {
	c, ok := n.ctl.store.(store.Compactor)
	if !ok {
		return nil
	}
	floor, _, err := n.auditMark(ctx, auditFloorKey)
	if err != nil {
		return err
	}
	end, _, err := n.auditMark(ctx, auditHeadKey)
	if err != nil {
		return err
	}
	var rev store.Rev
	for low, high := floor.N+1, end.N+1; low < high; { // the first event that is not before
		mid := low + (high-low)/2
		page, err := n.ctl.store.Get(ctx, n.auditSpace(), auditEvent+outNumber(mid))
		if err != nil {
			return err
		}
		var c chained
		if len(page.Entries) > 0 { // else forgotten meanwhile
			if c, err = decodeEvent(page.Entries[0]); err != nil {
				return err
			}
		}
		if c.At.Before(before) {
			low, rev = mid+1, max(rev, c.Rev)
		} else {
			high = mid
		}
	}
	if rev == 0 {
		return nil
	}
	return c.Compact(ctx, n.space(), rev)
}

// forgetEvents removes the events before a time from the start of the chain.
// The floor keeps the hash that the first event left is chained to.
func (n *Network) forgetEvents(ctx context.Context, before time.Time) (int, error) {
	count := 0
	for {
		floor, rev, err := n.auditMark(ctx, auditFloorKey)
		if err != nil {
			return count, err
		}
		page, err := n.ctl.store.List(ctx, n.auditSpace(), auditEvent, "", drainBatch)
		if err != nil {
			return count, err
		}
		b := store.Batch{Checks: map[string]store.Rev{auditFloorKey: rev}}
		for _, e := range page.Entries {
			c, err := decodeEvent(e)
			if err != nil {
				return count, err
			}
			if !c.At.Before(before) {
				break
			}
			floor.N, floor.Hash = c.N, c.Hash
			b.Writes = append(b.Writes, store.Write{Key: e.Key})
		}
		if len(b.Writes) == 0 {
			return count, n.forgetRemoved(ctx)
		}
		floor.stamp()
		value, err := json.Marshal(floor)
		if err != nil {
			return count, err
		}
		b.Writes = append(b.Writes, store.Write{Key: auditFloorKey, Value: value})
		_, err = n.ctl.store.Commit(ctx, n.auditSpace(), b)
		if errors.Is(err, store.ErrConflict) {
			continue // another process does the same
		}
		if err != nil {
			return count, err
		}
		count += len(b.Writes) - 1
	}
}

// forgetRemoved forgets the deletions in the audit space, which nobody follows.
func (n *Network) forgetRemoved(ctx context.Context) error {
	c, ok := n.ctl.store.(store.Compactor)
	if !ok {
		return nil
	}
	page, err := n.ctl.store.Get(ctx, n.auditSpace())
	if err != nil {
		return err
	}
	return c.Compact(ctx, n.auditSpace(), page.Rev)
}
