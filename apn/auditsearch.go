package apn

import (
	"context"
	"slices"
	"strings"
)

// AuditQuery says which events [Network.SearchAudit] returns.
type AuditQuery struct {
	// Before is the number that the events come before. Zero: the newest come
	// first.
	Before uint64
	// Actor, Action and Object are what the events must have; empty: anything.
	// An Action also stands for those below it, as "server" for "server.add", and
	// so does an Object, as "shop" for "shop/web-1".
	Actor, Action, Object string
	// Limit is how many events there are at most. Zero or less means 100.
	Limit int
}

const (
	searchStep = 500    // events of one read
	searchMost = 10_000 // that one search looks at
)

// SearchAudit returns events that a query asks for, newest first, and the Before
// of the query that continues: 0 if there is nothing older. It looks at 10,000
// events at most, so there may be fewer than wanted and still more to come.
// Every change that was committed before the call is there.
func (n *Network) SearchAudit(ctx context.Context, q AuditQuery) (events []Event, next uint64, err error) {
	events, next, err = n.searchAudit(ctx, q)
	if err != nil {
		return nil, 0, &Error{Op: "search audit log", Object: n.name, Err: err}
	}
	return events, next, nil
}

func (n *Network) searchAudit(ctx context.Context, q AuditQuery) (events []Event, next uint64, err error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if err := n.drain(ctx); err != nil {
		return nil, 0, err
	}
	floor, _, err := n.auditMark(ctx, auditFloorKey)
	if err != nil {
		return nil, 0, err
	}
	head, _, err := n.auditMark(ctx, auditHeadKey)
	if err != nil {
		return nil, 0, err
	}
	before := head.N + 1
	if q.Before > 0 {
		before = min(before, q.Before)
	}
	for end := before; before > floor.N+1 && end-before < searchMost; {
		after := max(floor.N, before-1-min(searchStep, before-1))
		page, err := n.ctl.store.List(ctx, n.auditSpace(), auditEvent, auditEvent+outNumber(after), int(before-after-1)) //nolint:gosec // G115: searchStep at most
		if err != nil {
			return nil, 0, storeError(err)
		}
		for _, entry := range slices.Backward(page.Entries) {
			c, err := decodeEvent(entry)
			if err != nil {
				return nil, 0, err
			}
			if !q.asksFor(&c.Event) {
				continue
			}
			events = append(events, c.Event)
			if len(events) == q.Limit {
				if c.N == floor.N+1 {
					return events, 0, nil
				}
				return events, c.N, nil
			}
		}
		before = after + 1
	}
	if before == floor.N+1 {
		return events, 0, nil
	}
	return events, before, nil
}

func (q *AuditQuery) asksFor(e *Event) bool {
	return (q.Actor == "" || q.Actor == e.Actor.ID) && within(e.Action, q.Action, ".") && within(e.Object, q.Object, "/")
}

// within reports whether name is top or below it.
func within(name, top, sep string) bool {
	rest, ok := strings.CutPrefix(name, top)
	return top == "" || ok && (rest == "" || strings.HasPrefix(rest, sep))
}
