package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
)

const (
	oidcPath     = "/sign-in/oidc"
	oidcCallback = oidcPath + "/callback"
	oidcCookie   = "apn_oidc"
	oidcTime     = 10 * time.Minute // to sign in at the provider
	oidcTimeout  = 10 * time.Second // for one answer of the provider
)

// oidcOptions say which provider of OpenID Connect signs people in.
type oidcOptions struct {
	issuer     string
	clientID   string
	secretFile string
	claim      string
	operators  []string
}

func (o *oidcOptions) flags(f *flag.FlagSet) {
	f.StringVar(&o.issuer, "oidc-issuer", "", "`URL` of a provider of OpenID Connect that signs people in (default none); it is to lead back to /sign-in/oidc/callback")
	f.StringVar(&o.clientID, "oidc-client-id", "", "`ID` that the provider knows this server by")
	f.StringVar(&o.secretFile, "oidc-client-secret-file", "", "`file` with the client's secret (default none, a public client)")
	f.StringVar(&o.claim, "oidc-member-claim", "email", "`claim` that names members; e-mail addresses have to be verified, others must be nothing that people choose")
	f.Func("oidc-operator", "comma-separated `values` of the claim whose owners are operators", func(s string) error {
		for v := range strings.SplitSeq(s, ",") {
			o.operators = append(o.operators, strings.TrimSpace(v))
		}
		return nil
	})
}

func (o *oidcOptions) check() error {
	u, err := url.Parse(o.issuer)
	switch {
	case o.issuer == "" && (o.clientID != "" || o.secretFile != "" || len(o.operators) > 0):
		return errors.New("the -oidc flags need -oidc-issuer")
	case o.issuer == "":
		return nil
	case o.clientID == "" || o.claim == "":
		return errors.New("-oidc-issuer needs -oidc-client-id and -oidc-member-claim")
	case err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("-oidc-issuer must be an https URL, or http on a loopback address")
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// oidcLogin signs people in by the authorization code flow with PKCE, state and
// nonce. A cookie keeps those between its two requests, so each replica may
// answer either.
type oidcLogin struct {
	oidcOptions
	config   oauth2.Config // without the endpoint
	client   *http.Client
	provider atomic.Pointer[oidc.Provider] // once it has answered
	ctl      *apn.Control
	log      *slog.Logger
	pages    *apnhttp.Handler
}

// openOIDC returns nil if people sign in with tokens alone.
func (o *options) openOIDC(addr net.Addr, ctl *apn.Control, log *slog.Logger) (*oidcLogin, error) {
	if o.oidc.issuer == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	base := o.url
	if base == "" {
		if !addr.(*net.TCPAddr).IP.IsLoopback() {
			return nil, errors.New("-oidc-issuer needs -url, which the provider leads back to")
		}
		base = o.scheme() + "://" + addr.String()
	}
	l := &oidcLogin{oidcOptions: o.oidc, client: &http.Client{Timeout: oidcTimeout}, ctl: ctl, log: log}
	l.config = oauth2.Config{ClientID: o.oidc.clientID, RedirectURL: strings.TrimSuffix(base, "/") + oidcCallback, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile}}
	if o.oidc.secretFile != "" {
		secret, err := os.ReadFile(o.oidc.secretFile)
		if err != nil {
			return nil, fmt.Errorf("the client's secret cannot be read: %w", err)
		}
		l.config.ClientSecret = strings.TrimSpace(string(secret))
	}
	return l, nil
}

func (l *oidcLogin) links() []apnhttp.SignInLink {
	if l == nil {
		return nil
	}
	return []apnhttp.SignInLink{{Label: "Sign in with " + l.name(), URL: oidcPath}}
}

// name is what people know the provider by.
func (l *oidcLogin) name() string {
	u, _ := url.Parse(l.issuer) // check has done it
	return u.Host
}

// handler serves what signs people in, and h everything else.
func (l *oidcLogin) handler(h *apnhttp.Handler) http.Handler {
	if l == nil {
		return h
	}
	l.pages = h
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET "+oidcPath, l.answering(l.begin))
	mux.HandleFunc("GET "+oidcCallback, l.answering(l.finish))
	return mux
}

// oidcRefusal is why somebody is not signed in, and what the log says of it.
type oidcRefusal struct {
	status int
	note   string
	cause  error
}

func (e *oidcRefusal) Error() string { return e.note }

func (l *oidcLogin) answering(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := do(w, r)
		if err == nil {
			return
		}
		e, ok := errors.AsType[*oidcRefusal](err)
		if !ok {
			e = &oidcRefusal{http.StatusServiceUnavailable, "This server could not sign you in. Please try again.", err}
		}
		l.log.LogAttrs(r.Context(), slog.LevelWarn, "not signed in", slog.Int("status", e.status), slog.String("note", e.note), slog.Any("error", e.cause))
		if err := l.pages.RefuseSignIn(w, r, e.status, e.note); err != nil { //nolint:contextcheck // it has its request's
			http.Error(w, e.note, e.status)
		}
	}
}
