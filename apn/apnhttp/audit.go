package apnhttp

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type event struct {
	N        uint64    `json:"n"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor,omitempty"`
	From     string    `json:"from,omitempty"`
	Action   string    `json:"action"`
	Object   string    `json:"object,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Revision uint64    `json:"revision"`
	Hash     []byte    `json:"hash"`
}

func eventOf(e apn.Event) event {
	out := event{
		N: e.N, At: e.At, Actor: e.Actor.ID, Action: e.Action, Object: e.Object, Detail: e.Detail,
		Revision: uint64(e.Rev), Hash: e.Hash,
	}
	if e.Actor.From != (netip.Addr{}) {
		out.From = e.Actor.From.String()
	}
	return out
}

// audit answers with a page of the audit log; the cursor is an event's number.
func (c *call) audit() error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	var after uint64
	if opts.After != "" {
		if after, err = strconv.ParseUint(opts.After, 10, 64); err != nil {
			return malformed("cursor", "must be the number of an event")
		}
	}
	events, more, err := c.net.Audit(c.ctx(), after, opts.Limit)
	if err != nil {
		return err
	}
	return answerPage(c, events, more, func(e apn.Event) string { return strconv.FormatUint(e.N, 10) }, eventOf)
}

// verifyAudit walks the whole log.
func (c *call) verifyAudit() error {
	n, err := c.net.VerifyAudit(c.ctx())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Events uint64 `json:"events"`
	}{n})
}
