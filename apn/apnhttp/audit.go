package apnhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type event struct {
	N        uint64      `json:"n"`
	At       time.Time   `json:"at"`
	Actor    string      `json:"actor,omitempty"`
	From     string      `json:"from,omitempty"`
	Action   string      `json:"action"`
	Object   string      `json:"object,omitempty"`
	Detail   string      `json:"detail,omitempty"`
	Outcome  apn.Outcome `json:"outcome,omitempty"` // missing: done
	Revision uint64      `json:"revision"`
	Hash     []byte      `json:"hash"`
}

func eventOf(e apn.Event) event {
	out := event{
		N: e.N, At: e.At, Actor: e.Actor.ID, Action: e.Action, Object: e.Object, Detail: e.Detail, Outcome: e.Outcome,
		Revision: uint64(e.Rev), Hash: e.Hash,
	}
	if e.Actor.From != (netip.Addr{}) {
		out.From = e.Actor.From.String()
	}
	return out
}

// searchAudit is a log that the audit routes read: a network's, or that of none.
type searchAudit func(context.Context, apn.AuditQuery) ([]apn.Event, uint64, error)

// auditQuery is what the audit routes take.
const auditQuery = paged + " actor action object outcome from to order format"

func (c *call) audit() error { return c.auditOf(c.net.SearchAudit) }

func (c *call) auditOfNone() error { return c.auditOf(c.h.ctl.SearchAudit) }

// auditOf answers with a page of a log, or with all of it as JSON lines. The
// cursor is an event's number.
func (c *call) auditOf(search searchAudit) error {
	q, err := c.auditQuery()
	if err != nil {
		return err
	}
	switch c.query.Get("format") {
	case "jsonl":
		return c.exportAudit(search, q)
	case "":
	default:
		return malformed("format", `must be "jsonl" or left out`)
	}
	events, next, err := search(c.ctx(), q)
	if err != nil {
		return err
	}
	out := list[event]{Items: make([]event, len(events))}
	for i, e := range events {
		out.Items[i] = eventOf(e)
	}
	if next != 0 {
		out.Next = strconv.FormatUint(next, 10)
	}
	return c.json(http.StatusOK, out)
}

func (c *call) auditQuery() (apn.AuditQuery, error) {
	page, err := c.page()
	if err != nil {
		return apn.AuditQuery{}, err
	}
	q := apn.AuditQuery{
		Actor: c.query.Get("actor"), Action: c.query.Get("action"), Object: c.query.Get("object"), OldestFirst: true, Limit: page.Limit,
	}
	switch c.query.Get("order") {
	case "", "asc":
	case "desc":
		q.OldestFirst = false
	default:
		return q, malformed("order", `must be "asc" or "desc"`)
	}
	switch outcome := c.query.Get("outcome"); outcome {
	case "", string(apn.OutcomeRefused):
		q.Outcome = apn.Outcome(outcome)
	default:
		return q, malformed("outcome", `must be "refused" or left out`)
	}
	for name, t := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if c.query.Has(name) {
			if *t, err = time.Parse(time.RFC3339, c.query.Get(name)); err != nil {
				return q, malformed(name, "must be a time such as 2026-01-02T03:04:05Z")
			}
		}
	}
	if page.After != "" {
		number, err := strconv.ParseUint(page.After, 10, 64)
		if err != nil {
			return q, malformed("cursor", "must be the number of an event")
		}
		if q.After = number; !q.OldestFirst {
			q.After, q.Before = 0, number
		}
	}
	return q, nil
}

// exportAudit answers with every event that q asks for, one JSON object in a
// line. If it is cut off, the last line has the cursor to go on from.
func (c *call) exportAudit(search searchAudit, q apn.AuditQuery) error {
	if !c.query.Has("limit") {
		q.Limit = maxLimit
	}
	control := http.NewResponseController(c.w)
	for first := true; ; first = false {
		events, next, err := search(c.ctx(), q)
		if err != nil {
			if first {
				return err
			}
			c.fail(err)                 // for the log; it is too late to say so to the client,
			panic(http.ErrAbortHandler) // who must not take what there is for all
		}
		if first {
			head := c.w.Header()
			head.Set("Content-Type", "application/jsonl")
			head.Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
			c.w.WriteHeader(http.StatusOK)
		}
		var b bytes.Buffer
		for _, e := range events {
			text, err := json.Marshal(eventOf(e))
			if err != nil {
				return err
			}
			b.Write(append(text, '\n'))
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:forbidigo // the connection goes by this clock
		if _, err := c.w.Write(b.Bytes()); err != nil {
			c.lost(err)
			return nil
		}
		if next == 0 || c.query.Has("limit") || c.r.Method == http.MethodHead {
			return nil
		}
		if q.After = next; !q.OldestFirst {
			q.After, q.Before = 0, next
		}
	}
}

// verifyAudit walks the whole log.
func (c *call) verifyAudit() error { return c.verifyAuditOf(c.net.VerifyAudit) }

func (c *call) verifyAuditOfNone() error { return c.verifyAuditOf(c.h.ctl.VerifyAudit) }

func (c *call) verifyAuditOf(verify func(context.Context) (uint64, error)) error {
	n, err := verify(c.ctx())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Events uint64 `json:"events"`
	}{n})
}
