package apnhttp_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSession(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.browse()

	// Nobody: the page to sign in, there and everywhere.
	require.NotEmpty(t, b.open("/").find("sign-in"))
	b.do(http.MethodGet, "/networks/acme/names", nil)
	require.NotEmpty(t, b.is(401).find("sign-in"))
	b.submit("sign-in", "token", "apn_wrong").is(401)
	require.Equal(t, "This token is unknown or has ended.", b.says("problem"))
	require.Empty(t, b.cookies)

	// After that it goes to where one wanted to go.
	b.submit("sign-in", "token", " "+a.token+"\n").is(200)
	require.Equal(t, "/networks/acme/names", b.at)
	first := b.cookies["apn_session"]
	require.NotContains(t, first, a.token[4:])
	for _, away := range []string{
		"https://evil.example/networks/", "//evil.example/networks/", "/\\evil.example", "/%5Cevil.example", "javascript:alert(1)",
		"///evil.example", "evil.example", "/%2F/evil.example", "/\t/evil.example", "@evil.example/", "",
	} {
		r := a.post("/sign-in", url.Values{"token": {a.token}, "next": {away}}.Encode(), "Content-Type: ", "Content-Type: application/x-www-form-urlencoded")
		require.Regexp(t, `^/(evil\.example)?$`, r.is(303).header.Get("Location"), away)
	}

	// The session reads the API, but no private keys, and changes nothing there.
	session := "Cookie: apn_session=" + first
	nobody := *a
	nobody.token = ""
	nobody.get("/v1/networks/acme/apps", session).is(200)
	nobody.get("/v1/networks/acme/members/ada/devices/laptop/config", session).problem(401, "unauthenticated", "")
	nobody.post("/v1/networks/acme/apps", `{"name":"x"}`, session).problem(401, "unauthenticated", "")
	nobody.call("DELETE", "/v1/networks/acme/apps/blog", nil, session).problem(401, "unauthenticated", "")

	// It gets another secret now and then, and the one before ends.
	a.now.Add(int64(time.Hour))
	b.open("/")
	require.NotEqual(t, first, b.cookies["apn_session"])
	nobody.get("/v1/networks", session).is(200)
	a.now.Add(int64(time.Minute))
	nobody.get("/v1/networks", session).problem(401, "unauthenticated", "")
	session = "Cookie: apn_session=" + b.cookies["apn_session"]

	// Signed out, a copy of the cookie is worth nothing.
	nobody.get("/v1/networks", session).is(200)
	b.submit("sign-out").is(200)
	require.Empty(t, b.cookies)
	require.NotEmpty(t, b.find("sign-in"))
	nobody.get("/v1/networks", session).problem(401, "unauthenticated", "")

	// It ends with its token.
	b = a.as("acme", "ada").signIn()
	require.Equal(t, "/networks/acme", b.at)
	a.call("DELETE", "/v1/networks/acme/members/ada", nil).is(204)
	b.do(http.MethodGet, "/networks/acme", nil)
	b.is(401)
}

// TestOtherSites: no other site makes a browser do anything.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn().open("/networks/acme")
	before := a.state()
	for _, headers := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
	} {
		b.headers = headers
		b.open("/networks/acme")
		b.submit("add-app", "name", "evil").is(403)
		require.Contains(t, b.text, "Cross-origin request")
		b.open("/networks/acme")
		b.submit("sign-out").is(403)
		require.NotEmpty(t, b.cookies)
		// Nor the API, whatever a host program authenticates by.
		for name, values := range headers {
			a.post("/v1/networks/acme/apps/shop/leases", nil, name+": "+values[0]).problem(403, "cross-origin", "")
		}
	}
	require.Equal(t, before, a.state())
	b.headers = http.Header{} // neither: a browser that says nothing, or none
	b.open("/networks/acme").submit("add-app", "name", "mine").is(200)
}

// TestCookies: they are only for this site, and over TLS only for TLS.
func TestCookies(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	signIn := func(from, proto string, overTLS bool) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sign-in", strings.NewReader("token="+a.token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = from
		r.TLS = nil
		if overTLS {
			r.TLS = new(tls.ConnectionState)
		}
		if proto != "" {
			r.Header.Set("X-Forwarded-Proto", proto)
		}
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		return w.Result().Header.Get("Set-Cookie")
	}
	for _, tt := range []struct {
		from, proto string
		tls, want   bool
	}{
		{"198.51.100.7:1", "", false, false},
		{"198.51.100.7:1", "", true, true},
		{"192.0.2.1:1", "https", false, true},
		{"192.0.2.1:1", "http", false, false},
		{"198.51.100.7:1", "https", false, false}, // nobody trusts it
	} {
		cookie := signIn(tt.from, tt.proto, tt.tls)
		require.Regexp(t, `^apn_session=aps_[A-Z2-7]{52}; Path=/; Max-Age=43200; HttpOnly; (Secure; )?SameSite=Lax$`, cookie)
		require.Equal(t, tt.want, strings.Contains(cookie, "; Secure"), fmt.Sprint(tt))
	}
}
