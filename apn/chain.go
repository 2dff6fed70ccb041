package apn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apnkit/apnkit/apn/store"
)

// chain is an audit log in a space of its own: each event is hashed with the one
// before it.
type chain struct {
	st    store.Store
	space string
}

func (n *Network) chain() chain { return chain{n.ctl.store, n.auditSpace()} }

func (n *Network) auditMark(ctx context.Context, key string) (auditMark, store.Rev, error) {
	return n.chain().mark(ctx, key)
}

func (c chain) mark(ctx context.Context, key string) (auditMark, store.Rev, error) {
	page, err := c.st.Get(ctx, c.space, key)
	if err != nil {
		return auditMark{}, 0, storeError(err)
	}
	if len(page.Entries) == 0 {
		return auditMark{}, 0, nil
	}
	var m auditMark
	if err := json.Unmarshal(page.Entries[0].Value, &m); err != nil {
		return auditMark{}, 0, damaged(key, errors.New("malformed JSON document"))
	}
	return m, page.Entries[0].Rev, nil
}

// events returns events after number after, oldest first, at most limit, and
// whether there are more.
func (c chain) events(ctx context.Context, after uint64, limit int) (events []Event, more bool, err error) {
	page, err := c.st.List(ctx, c.space, auditEvent, auditEvent+outNumber(after), limit)
	if err != nil {
		return nil, false, storeError(err)
	}
	for _, entry := range page.Entries {
		e, err := decodeEvent(entry)
		if err != nil {
			return nil, false, err
		}
		events = append(events, e.Event)
	}
	return events, page.More, nil
}

// verify returns the number of the last event, or of the last that is sound.
func (c chain) verify(ctx context.Context) (uint64, error) {
	fail := func(number uint64) (uint64, error) {
		return number - 1, fmt.Errorf("event %d: %w", number, ErrDamaged)
	}
	floor, _, err := c.mark(ctx, auditFloorKey)
	if err != nil {
		return 0, err
	}
	last, hash := floor.N, floor.Hash
	for more := true; more; {
		var events []Event
		if events, more, err = c.events(ctx, last, 1000); err != nil {
			return last, err
		}
		for _, e := range events {
			want, err := e.link(hash)
			if err != nil || e.N != last+1 || !bytes.Equal(want.Hash, e.Hash) {
				return fail(last + 1)
			}
			last, hash = e.N, e.Hash
		}
	}
	end, _, err := c.mark(ctx, auditHeadKey)
	if err != nil {
		return last, err
	}
	if end.N > last { // appended while this went on, or lost
		if more, _, err := c.events(ctx, last, 1); err != nil || len(more) > 0 {
			return last, err
		}
	}
	if end.N != last || !bytes.Equal(end.Hash, hash) {
		return fail(last + 1)
	}
	return last, nil
}

// search returns the events that a query asks for, and where it continues.
func (c chain) search(ctx context.Context, q AuditQuery) (events []Event, next uint64, err error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	floor, _, err := c.mark(ctx, auditFloorKey)
	if err != nil {
		return nil, 0, err
	}
	if q.OldestFirst {
		return c.searchUp(ctx, q, max(q.After, floor.N))
	}
	head, _, err := c.mark(ctx, auditHeadKey)
	if err != nil {
		return nil, 0, err
	}
	before := head.N + 1
	if q.Before > 0 {
		before = min(before, q.Before)
	}
	oldest := max(floor.N, q.After)
	for end := before; before > oldest+1 && end-before < searchMost; {
		after := max(oldest, before-1-min(searchStep, before-1))
		page, _, err := c.events(ctx, after, int(before-after-1)) //nolint:gosec // G115: searchStep at most
		if err != nil {
			return nil, 0, err
		}
		for _, e := range slices.Backward(page) {
			if !q.asksFor(&e) {
				continue
			}
			if events = append(events, e); len(events) == q.Limit {
				if e.N == oldest+1 {
					return events, 0, nil
				}
				return events, e.N, nil
			}
		}
		before = after + 1
	}
	if before <= oldest+1 {
		return events, 0, nil
	}
	return events, before, nil
}

// searchUp is search from the oldest event after after on.
func (c chain) searchUp(ctx context.Context, q AuditQuery, after uint64) (events []Event, next uint64, err error) {
	for begin := after; after-begin < searchMost; {
		page, more, err := c.events(ctx, after, searchStep)
		if err != nil {
			return nil, 0, err
		}
		for i, e := range page {
			if q.Before > 0 && e.N >= q.Before {
				return events, 0, nil
			}
			after = e.N
			if !q.asksFor(&e) {
				continue
			}
			if events = append(events, e); len(events) == q.Limit {
				if i == len(page)-1 && !more {
					return events, 0, nil
				}
				return events, after, nil
			}
		}
		if !more {
			return events, 0, nil
		}
	}
	return events, after, nil
}
