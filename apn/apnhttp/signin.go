package apnhttp

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/apnkit/apnkit/apn"
)

// SignInLink is a way to sign in besides API tokens, such as a provider of
// OpenID Connect. The host program serves its URL, and ends with
// [Handler.SignIn] or [Handler.RefuseSignIn].
type SignInLink struct {
	// Label is what the link says: "Sign in with example.com".
	Label string
	// URL gets a parameter "next" in its query: the path of the dashboard that
	// the person asked for, for SignIn.
	URL string
}

// SignIn starts a session of the dashboard for who, whom the caller has
// authenticated, and leads the browser to next. If that is no path of the
// dashboard, it leads to its start. Unless the error is nil nothing was
// answered; it wraps [apn.ErrNotFound] if who is no member of the network.
func (h *Handler) SignIn(w http.ResponseWriter, r *http.Request, who Principal, next string) error {
	return h.visit(w, r).startSession(who, nil, next)
}

// RefuseSignIn answers with the page to sign in and a note that says why this
// did not.
func (h *Handler) RefuseSignIn(w http.ResponseWriter, r *http.Request, status int, note string) error {
	return h.visit(w, r).signInPage(status, note)
}

// ChooseSignIn answers with a page that asks somebody in whose name to sign in,
// such as in which network.
func (h *Handler) ChooseSignIn(w http.ResponseWriter, r *http.Request, question string, links []SignInLink) error {
	c := h.visit(w, r)
	return c.writePage(http.StatusOK, "choice", struct {
		frame
		Links []SignInLink
	}{c.frame(question), links})
}

// visit is a call that the host program routes.
func (h *Handler) visit(w http.ResponseWriter, r *http.Request) *call {
	c := &call{h: h, route: &h.routes[0], w: &response{ResponseWriter: w}, r: r, id: requestID(r)}
	c.from, c.fromErr = c.client()
	c.head()
	return c
}

// startSession signs the browser in and leads it to next.
func (c *call) startSession(who Principal, opts *apn.SessionOptions, next string) error {
	s := apn.Session{Name: who.Name, Operator: who.Operator, Network: who.Network, Member: who.Member}
	c.who = who
	secret, s, err := c.h.ctl.StartSession(c.acting(c.ctx()), s, opts)
	if err != nil {
		return err
	}
	c.setCookie(sessionCookie, secret, s.ExpiresAt.Sub(c.h.now()))
	return c.seeOther(c.within(next))
}

// SignInLinks returns the ways to sign in that the host program has, to come
// back to next.
func (f frame) SignInLinks(next string) []SignInLink {
	links := slices.Clone(f.c.h.links)
	for i, l := range links {
		u, _ := url.Parse(l.URL) // New has checked it
		query := u.Query()
		query.Set("next", next)
		u.RawQuery = query.Encode()
		links[i].URL = u.String()
	}
	return links
}
