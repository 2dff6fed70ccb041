package apnhttp

import (
	"errors"
	"net/http"
	"strings"
)

// sessionCookie carries an API token for the page. Scripts cannot read it, other
// sites cannot send it, and it only reads: changes need the token in a header.
const sessionCookie = "apn_session"

// errCrossOrigin refuses a form that another site sent.
var errCrossOrigin = errors.New("cross-origin request")

// withSession returns r with the session's token as its credentials, unless it
// has some of its own.
func withSession(r *http.Request) *http.Request {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || r.Header.Get("Authorization") != "" {
		return r
	}
	return withToken(r, cookie.Value)
}

func withToken(r *http.Request, token string) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

const maxForm = 4 << 10

func (c *call) signIn() error {
	if err := c.h.csrf.Check(c.r); err != nil {
		return errCrossOrigin
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	if err := c.r.ParseForm(); err != nil {
		return malformed("", "the form cannot be read")
	}
	token := strings.TrimSpace(c.r.PostForm.Get("token"))
	who, err := c.h.auth(withToken(c.r, token))
	if errors.Is(err, ErrUnauthenticated) {
		f := c.frame("Sign in")
		f.Note = "This token is unknown or has ended."
		return c.writePage(http.StatusUnauthorized, "sign-in", f)
	}
	if err != nil {
		return err
	}
	c.who = who
	return c.setSession(token, 0)
}

func (c *call) signOut() error {
	if err := c.h.csrf.Check(c.r); err != nil {
		return errCrossOrigin
	}
	return c.setSession("", -1)
}

// setSession sets the cookie and goes to the start. A maxAge of 0 keeps it until
// the browser is closed, a negative one removes it.
func (c *call) setSession(token string, maxAge int) error {
	http.SetCookie(c.w, &http.Cookie{ //nolint:gosec // G124: without TLS a Secure cookie would not come back
		Name: sessionCookie, Value: token, Path: c.h.prefix + "/", MaxAge: maxAge,
		HttpOnly: true, Secure: c.overTLS(), SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(c.w, c.r, c.h.prefix+"/", http.StatusSeeOther)
	return nil
}

// overTLS reports whether the client's connection is encrypted, here or at a
// trusted proxy.
func (c *call) overTLS() bool {
	return c.r.TLS != nil || c.viaProxy() && c.r.Header.Get("X-Forwarded-Proto") == "https"
}
