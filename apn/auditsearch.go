package apn

import (
	"context"
	"strings"
	"time"
)

// AuditQuery says which events [Network.SearchAudit] returns.
type AuditQuery struct {
	// After and Before are the numbers that the events lie between. Zero: no
	// bound.
	After, Before uint64
	// From and To are the times that the events lie between, From included. Zero:
	// no bound.
	From, To time.Time
	// Actor, Action and Object are what the events must have; empty: anything.
	// An Action also stands for those below it, as "server" for "server.add", and
	// so does an Object, as "shop" for "shop/web-1".
	Actor, Action, Object string
	// Outcome is what became of it. Empty: anything.
	Outcome Outcome
	// OldestFirst turns the order around: the newest come first.
	OldestFirst bool
	// Limit is how many events there are at most. Zero or less means 100.
	Limit int
}

const (
	searchStep = 500    // events of one read
	searchMost = 10_000 // that one search looks at
)

// SearchAudit returns events that a query asks for, newest first, and the Before
// of the query that continues, or its After if the oldest come first: 0 if there
// is nothing more. It looks at 10,000 events at most, so there may be fewer than
// wanted and still more to come. Every change that was committed before the call
// is there.
func (n *Network) SearchAudit(ctx context.Context, q AuditQuery) (events []Event, next uint64, err error) {
	if err = n.drain(ctx); err == nil {
		events, next, err = n.chain().search(ctx, q)
	}
	if err != nil {
		return nil, 0, &Error{Op: "search audit log", Object: n.name, Err: err}
	}
	return events, next, nil
}

func (q *AuditQuery) asksFor(e *Event) bool {
	return (q.Actor == "" || q.Actor == e.Actor.ID) && (q.Outcome == "" || q.Outcome == e.Outcome) &&
		within(e.Action, q.Action, ".") && within(e.Object, q.Object, "/") &&
		(q.From.IsZero() || !e.At.Before(q.From)) && (q.To.IsZero() || e.At.Before(q.To))
}

// within reports whether name is top or below it.
func within(name, top, sep string) bool {
	rest, ok := strings.CutPrefix(name, top)
	return top == "" || ok && (rest == "" || strings.HasPrefix(rest, sep))
}
