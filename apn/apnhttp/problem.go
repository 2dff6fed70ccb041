package apnhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/render"
)

// problem is the body of every error (RFC 9457).
type problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail,omitempty"`
	Field    string         `json:"field,omitempty"`
	Errors   []fieldProblem `json:"errors,omitempty"`
	Servers  int            `json:"servers,omitempty"`
	Limit    int            `json:"limit,omitempty"`
	Bytes    int            `json:"bytes,omitempty"`
	Capacity int            `json:"capacity,omitempty"`
	Config   string         `json:"config,omitempty"` // where the file is that stands in for a QR code
	Zip      string         `json:"zip,omitempty"`    // where the same is with one tunnel per app
	Request  string         `json:"request_id"`
}

// problemType is what the types of problems start with. They are names, not
// places, so that they stay the same wherever the handler is mounted.
const problemType = "urn:apnkit:problem:"

// kind is one line of the table from causes to answers.
type kind struct {
	cause  error
	name   string // ends the problem's type
	title  string
	status int
}

// kinds is the table, first match wins. Failures of the system come first: their
// texts are not for the client, even if something invalid is among the causes.
func kinds() []kind {
	return []kind{
		{apn.ErrDamaged, "damaged", "Stored data is damaged", http.StatusInternalServerError},
		{apn.ErrUnavailable, "unavailable", "Temporarily unavailable", http.StatusServiceUnavailable},
		{apn.ErrClosed, "unavailable", "Temporarily unavailable", http.StatusServiceUnavailable},
		{context.DeadlineExceeded, "unavailable", "Temporarily unavailable", http.StatusServiceUnavailable},
		{context.Canceled, "unavailable", "Temporarily unavailable", http.StatusServiceUnavailable},
		{apn.ErrManaged, "managed", "The key is kept here", http.StatusConflict},
		{apn.ErrStartOver, "start-over", "Start over", http.StatusGone},
		{ErrUnauthenticated, "unauthenticated", "Not signed in", http.StatusUnauthorized},
		{errRoute, "not-found", "Not found", http.StatusNotFound},
		{errMethod, "method-not-allowed", "Method not allowed", http.StatusMethodNotAllowed},
		{errMalformed, "malformed", "Malformed request", http.StatusBadRequest},
		{errTooLarge, "too-large", "Body too large", http.StatusRequestEntityTooLarge},
		{errMediaType, "unsupported-media-type", "Unsupported media type", http.StatusUnsupportedMediaType},
		{errTooMany, "too-many-requests", "Too many requests", http.StatusTooManyRequests},
		{errCrossOrigin, "cross-origin", "Cross-origin request", http.StatusForbidden},
		{render.ErrNoQR, "no-qr", "No QR code", http.StatusUnprocessableEntity},
		{render.ErrNoPrivateKey, "no-private-key", "The private key is not here", http.StatusUnprocessableEntity},
		{errNotRenderable, "not-renderable", "Not possible in this format", http.StatusUnprocessableEntity},
		{apn.ErrNotFound, "not-found", "Not found", http.StatusNotFound},
		{apn.ErrExists, "exists", "Exists already", http.StatusConflict},
		{apn.ErrInUse, "in-use", "In use", http.StatusConflict},
		{apn.ErrConflict, "conflict", "Changed meanwhile", http.StatusConflict},
		{apn.ErrForbidden, "forbidden", "Forbidden", http.StatusForbidden},
		{apn.ErrExhausted, "exhausted", "Nothing is left", http.StatusConflict},
		{apn.ErrLinkUsed, "link-used", "Used already", http.StatusGone},
		{apn.ErrLinkEnded, "link-ended", "Over", http.StatusGone},
		{apn.ErrRevealed, "revealed", "Revealed already", http.StatusGone},
		{apn.ErrInvalid, "invalid", "Invalid", http.StatusUnprocessableEntity},
	}
}

// fail answers with a problem, unless an answer is under way.
func (c *call) fail(err error) {
	p := c.problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		c.h.log.LogAttrs(c.ctx(), slog.LevelError, "request failed", slog.String("id", c.id), slog.Any("error", err))
	}
	if c.w.status != 0 {
		return
	}
	head := c.w.Header()
	for _, name := range []string{"ETag", "Location", "Content-Disposition", "Idempotency-Replayed"} {
		head.Del(name)
	}
	head.Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusUnauthorized:
		head.Set("WWW-Authenticate", `Bearer realm="apn"`)
	case http.StatusTooManyRequests:
		head.Set("Retry-After", "5")
	case http.StatusServiceUnavailable:
		head.Set("Retry-After", "2")
	}
	if c.route.is(web) {
		c.failPage(p)
		return
	}
	body, err := json.Marshal(p)
	if err != nil { // texts and numbers always encode
		body = []byte(`{}`)
	}
	_ = c.send(p.Status, "application/problem+json", append(body, '\n'))
}

func (c *call) problemOf(err error) problem {
	p := problem{Title: "Internal error", Status: http.StatusInternalServerError, Type: problemType + "internal", Request: c.id}
	for _, k := range kinds() {
		if errors.Is(err, k.cause) {
			p.Type, p.Title, p.Status = problemType+k.name, k.title, k.status
			break
		}
	}
	switch {
	case p.Status >= http.StatusInternalServerError:
		p.Detail = "The request failed here, not with you. The log tells more under the request ID."
		return p
	case p.Status == http.StatusConflict && c.opts.IfRev != 0 && errors.Is(err, apn.ErrConflict):
		p.Status = http.StatusPreconditionFailed
	}
	p.Detail = strings.TrimPrefix(err.Error(), "apn: ")
	c.explain(&p, err)
	p.Detail = strings.ReplaceAll(p.Detail, "\n", "; ") // joined errors
	return p
}

// explain adds what some errors know besides their text.
func (c *call) explain(p *problem, err error) {
	if e, ok := errors.AsType[*apn.FieldError](err); ok {
		p.Field, p.Detail = e.Field, e.Error()
	}
	if e, ok := errors.AsType[*invalidFields](err); ok {
		p.Field, p.Errors = e.fields[0].Field, e.fields
	}
	if e, ok := errors.AsType[*refusal](err); ok {
		p.Field, p.Detail = e.field, e.detail
		if e.field != "" {
			p.Detail = e.field + ": " + e.detail
		}
	}
	files := func() {
		device := []string{"networks", c.net.Name(), "members", c.r.PathValue("member"), "devices", c.r.PathValue("device")}
		p.Config, p.Zip = c.link(append(device, "config")...), c.link(append(device, "configs.zip")...)
	}
	if e, ok := errors.AsType[*render.TooManyServersError](err); ok {
		p.Servers, p.Limit = e.Servers, e.Limit
		p.Detail = fmt.Sprintf("The config has %d servers and a QR code takes %d: download the file, or the zip with one tunnel per app.", e.Servers, e.Limit)
		files()
	}
	if e, ok := errors.AsType[*render.TooLargeError](err); ok {
		p.Bytes, p.Capacity = e.Bytes, e.Capacity
		p.Detail = fmt.Sprintf("The config has %d bytes and a QR code takes %d: download the file, or the zip with one tunnel per app.", e.Bytes, e.Capacity)
		files()
	}
	if e, ok := errors.AsType[*dnszone.TooManyNamesError](err); ok {
		p.Limit = e.Limit
	}
}

// lost notes that a client went away before its answer was complete.
func (c *call) lost(err error) {
	if err != nil {
		c.h.log.LogAttrs(c.ctx(), slog.LevelDebug, "answer is not complete", slog.String("id", c.id), slog.Any("error", err))
	}
}
