package apnhttp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
)

// Config is what a [Handler] needs.
type Config struct {
	// Control has the networks. Required.
	Control *apn.Control
	// Authenticate tells who makes a request. It returns [ErrUnauthenticated] if
	// nobody it knows. [TokenAuth] is one; programs with users of their own bring
	// theirs. Required.
	Authenticate func(*http.Request) (Principal, error)
	// Prefix is the path that the handler is mounted below, such as "/apn". The
	// handler sees whole paths: do not strip it. Empty means the root.
	Prefix string
	// TrustedProxies may name a request's client in X-Forwarded-For, and say in
	// X-Forwarded-Proto that it came over TLS. Nil trusts nobody.
	TrustedProxies []netip.Prefix
	// URL is where agents reach the handler, Prefix included; join tokens carry
	// it. Empty means the scheme and host that the request for a token came to.
	URL string
	// Pin is the SHA-256 of the subject public key info of the certificate that
	// agents meet at URL; join tokens carry it. Nil: they trust the certificate
	// authorities of their system.
	Pin []byte
	// SignInLinks are shown on the page to sign in. Nil: API tokens are the only
	// way.
	SignInLinks []SignInLink
	// Defaults are the settings of a new network that its request leaves out.
	// The CommitOptions in it are not used.
	Defaults apn.NetworkOptions
	// MaxBody is how many bytes a body may have; an import may have 16 times as
	// many. Zero means 1 MiB.
	MaxBody int64
	// Version is shown in the OpenAPI document and the metrics. Empty means
	// "devel".
	Version string
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Logger receives one line per request, and the causes of what was answered
	// with 5xx. Nil discards.
	Logger *slog.Logger
}

// Handler serves the API. It is safe for concurrent use.
type Handler struct {
	ctl      *apn.Control
	auth     func(*http.Request) (Principal, error)
	prefix   string
	url      string
	pin      []byte
	trusted  []netip.Prefix
	links    []SignInLink
	defaults apn.NetworkOptions
	maxBody  int64
	version  string
	now      func() time.Time
	waits    context.Context // ends when agents are to wait no more
	endWaits context.CancelFunc
	log      *slog.Logger
	csrf     *http.CrossOriginProtection
	mux      *http.ServeMux
	metrics  *metrics
	routes   []route
	spec     []byte
	assets   *assets
	handover handover
	streams  streams
	// heartbeat is how often a stream tells that it lives.
	heartbeat time.Duration
	// What carries out the dashboard's forms, by pattern.
	byPattern map[string]*route
}

// New returns a Handler.
func New(cfg Config) (*Handler, error) {
	switch {
	case cfg.Control == nil:
		return nil, errors.New("apnhttp: new: Control is required")
	case cfg.Authenticate == nil:
		return nil, errors.New("apnhttp: new: Authenticate is required")
	case cfg.Prefix != "" && (cfg.Prefix[0] != '/' || strings.HasSuffix(cfg.Prefix, "/") || strings.ContainsAny(cfg.Prefix, "{} ")):
		return nil, errors.New("apnhttp: new: Prefix must start with a slash and not end with one")
	case cfg.URL != "" && !strings.HasPrefix(cfg.URL, "https://") && !strings.HasPrefix(cfg.URL, "http://"):
		return nil, errors.New("apnhttp: new: URL must begin with https:// or http://")
	case len(cfg.Pin) != 0 && len(cfg.Pin) != sha256.Size:
		return nil, errors.New("apnhttp: new: Pin must be a SHA-256")
	case cfg.MaxBody < 0:
		return nil, errors.New("apnhttp: new: MaxBody must not be negative")
	}
	for _, l := range cfg.SignInLinks {
		if u, err := url.Parse(l.URL); err != nil || l.Label == "" || u.Path == "" {
			return nil, errors.New("apnhttp: new: SignInLinks must have labels and URLs")
		}
	}
	h := &Handler{
		ctl: cfg.Control, auth: cfg.Authenticate, prefix: cfg.Prefix, trusted: slices.Clone(cfg.TrustedProxies), links: slices.Clone(cfg.SignInLinks),
		defaults: cfg.Defaults, maxBody: cfg.MaxBody, version: cfg.Version, now: cfg.Now, log: cfg.Logger,
		csrf: http.NewCrossOriginProtection(), mux: http.NewServeMux(), routes: routes(),
	}
	h.url, h.pin = strings.TrimSuffix(cfg.URL, "/"), slices.Clone(cfg.Pin)
	h.waits, h.endWaits = context.WithCancel(context.Background())
	h.defaults.CommitOptions = apn.CommitOptions{}
	if h.maxBody == 0 {
		h.maxBody = 1 << 20
	}
	if h.version == "" {
		h.version = "devel"
	}
	if h.now == nil {
		h.now = time.Now //nolint:forbidigo // the default of Config.Now
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.spec = spec(h.version)
	var err error
	if h.assets, err = newAssets(); err != nil {
		return nil, fmt.Errorf("apnhttp: new: %w", err)
	}
	h.heartbeat = streamHeartbeat
	if h.handover, err = newHandover(); err != nil {
		return nil, fmt.Errorf("apnhttp: new: %w", err)
	}
	h.byPattern = map[string]*route{}
	for i := range h.routes {
		h.byPattern[h.routes[i].pattern] = &h.routes[i]
		h.handle(&h.routes[i])
	}
	// Whatever no route takes, so that those answers are problems too.
	h.mux.Handle("/", h.handler(&h.routes[0]))
	h.metrics = newMetrics(h.routes)
	return h, nil
}

// handle registers a route below the prefix.
func (h *Handler) handle(rt *route) {
	if rt.pattern == "" {
		return // the first one, which takes what is left over
	}
	method, path, _ := strings.Cut(rt.pattern, " ")
	h.mux.Handle(method+" "+h.prefix+path, h.handler(rt))
}

func (h *Handler) handler(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h.serve(rt, w, r) } //nolint:contextcheck // a call has its request's
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }
