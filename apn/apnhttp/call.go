package apnhttp

import (
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/lease"
)

// call is one request on its way through a route.
type call struct {
	h     *Handler
	route *route
	w     *response
	r     *http.Request
	id    string // in the answer and the log
	who   Principal
	from  netip.Addr // the client; zero if it cannot be told, then fromErr says why
	net   *apn.Network
	agent *apn.Agent // that makes the request, on the agent channel

	fromErr error
	query   url.Values
	body    []byte
	opts    apn.CommitOptions
	replay  bool // the request was carried out before

	// Of the dashboard.
	failed *sent         // the form that was refused
	token  string        // that a form made, to be shown once
	image  template.HTML // a QR code that a form asked for
}

func (c *call) ctx() context.Context { return c.r.Context() }

// serve carries out a request, and counts and logs it.
func (h *Handler) serve(rt *route, w http.ResponseWriter, r *http.Request) {
	start := h.now()
	c := &call{h: h, route: rt, w: &response{ResponseWriter: w}, r: r, id: requestID(r)}
	defer func() {
		took := h.now().Sub(start)
		h.metrics.count(rt, c.w.status, took)
		h.log.LogAttrs(c.ctx(), slog.LevelInfo, "request",
			slog.String("id", c.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", c.w.status), slog.Duration("took", took),
			slog.String("principal", c.who.Name), slog.String("client", c.from.String()))
	}()
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(cause)
			}
			h.log.LogAttrs(c.ctx(), slog.LevelError, "panic", slog.String("id", c.id), slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			c.fail(errors.New("panic"))
		}
	}()
	c.head()
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// head sets the header fields that all answers have.
func (c *call) head() {
	head := c.w.Header()
	head.Set("X-Request-Id", c.id)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
}

// run checks what all routes have in common, in the order in which nothing is
// told to whom it is not for.
func (c *call) run() error {
	c.from, c.fromErr = c.client()
	if c.h.csrf.Check(c.r) != nil {
		return errCrossOrigin
	}
	if c.route.is(secret) && c.r.Method == http.MethodHead {
		// It would hand a key out and throw it away.
		c.w.Header().Set("Allow", http.MethodGet)
		return errMethod
	}
	if err := c.checkPath(); err != nil {
		return err
	}
	if c.route.access != public {
		if err := c.identify(); err != nil {
			c.recordRefusal(err)
			return err
		}
	}
	return c.carryOut()
}

// carryOut goes the way of a request whose sender is known.
func (c *call) carryOut() error {
	err := c.handle()
	c.recordRefusal(err)
	return err
}

func (c *call) handle() error {
	if c.route.access != public {
		if err := c.authorize(); err != nil {
			return err
		}
	}
	c.r = c.r.WithContext(c.acting(c.ctx()))
	if err := c.checkQuery(); err != nil {
		return err
	}
	if c.route.is(changes | asks) {
		if err := c.readBody(); err != nil {
			return err
		}
	}
	if c.route.is(changes) {
		if err := c.prepare(); err != nil {
			return err
		}
	}
	return c.route.handle(c)
}

// checkPath refuses names with an encoded slash: no object has such a name.
func (c *call) checkPath() error {
	for _, name := range c.route.params {
		if v := c.r.PathValue(name); v == "" || strings.Contains(v, "/") {
			return errRoute
		}
	}
	return nil
}

// client returns the address that the request comes from.
func (c *call) client() (netip.Addr, error) {
	remote, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, &lease.SourceError{Reason: "the connection has no IP address"}
	}
	return lease.ClientAddr(remote, c.r.Header.Values("X-Forwarded-For"), c.h.trusted)
}

// viaProxy reports whether a trusted proxy sent the request.
func (c *call) viaProxy() bool {
	remote, err := netip.ParseAddrPort(c.r.RemoteAddr)
	return err == nil && slices.ContainsFunc(c.h.trusted, func(p netip.Prefix) bool {
		return p.Contains(remote.Addr().Unmap())
	})
}

// checkQuery refuses parameters that the route does not know: a mistyped dry_run
// must not commit.
func (c *call) checkQuery() error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return malformed("", "the query string is malformed")
	}
	c.query = query
	known := strings.Fields(c.route.query)
	if c.route.is(changes) {
		known = append(known, "dry_run")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return malformed("", "a query parameter is unknown here; known are: "+strings.Join(known, ", "))
		case len(values) > 1:
			return malformed(name, "is given more than once")
		}
	}
	return nil
}

// requestID returns the ID that a proxy in front gave the request, if it looks
// like one, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := len(id) >= 8 && len(id) <= 64
	for i := 0; ok && i < len(id); i++ {
		b := id[i]
		ok = b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_'
	}
	if !ok {
		return rand.Text()[:16]
	}
	return id
}
