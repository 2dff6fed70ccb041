package apnhttp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
)

// recordTime is how long an answer waits for its refusal to be recorded.
const recordTime = 2 * time.Second

// recordRefusal puts a request that was refused for who sent it into the audit
// log. A request without credentials is nobody's attempt.
func (c *call) recordRefusal(err error) {
	action := "request.refuse"
	switch {
	case errors.Is(err, apn.ErrForbidden), errors.Is(err, errForeign):
	case errors.Is(err, errLink):
		action = "link.refuse"
	case errors.Is(err, ErrUnauthenticated) && c.r.Header.Get("Authorization") != "":
		action = "login.refuse"
	default:
		return
	}
	c.recordAttempt(action)
}

// recordAttempt records that the request's sender tried what is refused.
func (c *call) recordAttempt(action string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx()), recordTime)
	defer cancel()
	ctx = c.acting(ctx)
	if err := c.h.ctl.RecordRefusal(ctx, action, c.objectPath(), c.route.method+" "+c.route.path()); err != nil {
		c.h.log.LogAttrs(ctx, slog.LevelWarn, "refusal is not recorded", slog.String("id", c.id), slog.Any("error", err))
	}
}

// acting returns a context in which the request's sender acts.
func (c *call) acting(ctx context.Context) context.Context {
	return apn.WithActor(ctx, apn.Actor{ID: c.who.Name, From: c.from})
}

// path returns the pattern of the route's path.
func (r *route) path() string {
	_, path, _ := strings.Cut(r.pattern, " ")
	return path
}

// objectPath names what the request is about, by the names in its path, that of
// the network first.
func (c *call) objectPath() string {
	var parts []string
	for _, name := range c.route.params {
		if v := c.r.PathValue(name); len(v) <= maxObjectPart {
			parts = append(parts, strings.Map(printable, v))
		}
	}
	return strings.Join(parts, "/")
}

// maxObjectPart bounds a name that nobody has checked.
const maxObjectPart = 64

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
