package apnhttp

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
)

// sessionCookie holds the secret of a session, never an API token. Scripts
// cannot read it, and other sites cannot send it with a form.
const sessionCookie = "apn_session"

// rotateAfter is how long one secret of a session is in use.
const rotateAfter = time.Hour

// errCrossOrigin refuses a request that another site sent.
var errCrossOrigin = errors.New("cross-origin request")

// signedIn authenticates the request, by the credentials that it carries or by
// the session of a browser. Of the API a session only reads, and no private
// keys: the dashboard's own forms do the rest.
func (c *call) signedIn() error {
	cookie, err := c.r.Cookie(sessionCookie)
	reads := (c.r.Method == http.MethodGet || c.r.Method == http.MethodHead) && !c.route.is(secret)
	if err == nil && c.r.Header.Get("Authorization") == "" && (reads || c.route.is(web)) {
		s, err := c.h.ctl.Session(c.ctx(), cookie.Value)
		if err == nil {
			c.who = Principal{Name: s.Name, Operator: s.Operator, Network: s.Network, Member: s.Member}
			return c.rotate(s, cookie.Value)
		}
		if !errors.Is(err, apn.ErrForbidden) {
			return err
		}
	}
	c.who, err = c.h.auth(c.r)
	return err
}

// rotate gives a session that looks at a page another secret now and then.
func (c *call) rotate(s apn.Session, secret string) error {
	if !c.route.is(web) || c.r.Method != http.MethodGet || c.h.now().Sub(s.RotatedAt) < rotateAfter {
		return nil
	}
	next, s, err := c.h.ctl.RotateSession(c.ctx(), secret)
	switch {
	case errors.Is(err, apn.ErrConflict), errors.Is(err, apn.ErrForbidden):
		return nil // another request did it
	case err != nil:
		return err
	}
	c.setCookie(sessionCookie, next, s.ExpiresAt.Sub(c.h.now()))
	return nil
}

const maxForm = 64 << 10

// readForm reads the form that a browser sent.
func (c *call) readForm() error {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	if err := c.r.ParseForm(); err != nil {
		return malformed("", "the form cannot be read")
	}
	return nil
}

func (c *call) signIn() error {
	if err := c.readForm(); err != nil {
		return err
	}
	token := strings.TrimSpace(c.r.PostForm.Get("token"))
	r := c.r.Clone(c.ctx())
	r.Header.Set("Authorization", "Bearer "+token)
	who, err := c.h.auth(r)
	if errors.Is(err, ErrUnauthenticated) {
		c.recordAttempt("login.refuse")
		return c.signInPage(http.StatusUnauthorized, "This token is unknown or has ended.")
	}
	if err != nil {
		return err
	}
	c.who = who
	// It ends with the token. One that the Control does not know is the host
	// program's own, which only the time ends.
	var opts apn.SessionOptions
	if _, err := c.h.ctl.Token(c.ctx(), token); err == nil {
		opts.Token = token
	} else if !errors.Is(err, apn.ErrForbidden) {
		return err
	}
	return c.startSession(who, &opts, c.r.PostForm.Get("next"))
}

func (c *call) signOut() error {
	if cookie, err := c.r.Cookie(sessionCookie); err == nil {
		if err := c.h.ctl.EndSession(c.ctx(), cookie.Value); err != nil {
			return err
		}
	}
	c.setCookie(sessionCookie, "", -1)
	return c.seeOther(c.h.prefix + "/")
}

// setCookie sets a cookie of the dashboard; a negative age removes it.
func (c *call) setCookie(name, value string, age time.Duration) {
	maxAge := int(age / time.Second)
	if age < 0 {
		maxAge = -1
	}
	http.SetCookie(c.w, &http.Cookie{ //nolint:gosec // G124: without TLS a Secure cookie would not come back
		Name: name, Value: value, Path: c.h.prefix + "/", MaxAge: maxAge,
		HttpOnly: true, Secure: c.overTLS(), SameSite: http.SameSiteLaxMode,
	})
}

func (c *call) seeOther(path string) error {
	c.w.Header().Set("Location", path)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// within returns a path of the dashboard that a form asks to go to, or the start.
func (c *call) within(next string) string {
	start := c.h.prefix + "/"
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, start) ||
		strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return start
	}
	return u.EscapedPath()
}

// overTLS reports whether the client's connection is encrypted, here or at a
// trusted proxy.
func (c *call) overTLS() bool {
	return c.r.TLS != nil || c.viaProxy() && c.r.Header.Get("X-Forwarded-Proto") == "https"
}
