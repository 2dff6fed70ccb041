package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/net/html"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// people are whom the provider knows, by their user names.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User {
	for _, u := range p {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (p people) GetUserByUsername(name string) *storage.User { return p[name] }

func (p people) ExampleClientID() string { return "" }

// somebody has an account at the provider.
func somebody(name, email string, verified bool) *storage.User {
	return &storage.User{ID: "id-" + name, Username: name, Password: "secret of " + name, Email: email, EmailVerified: verified}
}

// withProvider starts a server, and a provider that signs people in.
func withProvider(t *testing.T, flags ...string) *launched {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	issuer := "http://" + ln.Addr().String()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("client secret\n"), 0o600))
	s := launch(t, filepath.Join(t.TempDir(), "data"), append([]string{
		"-oidc-issuer", issuer, "-oidc-client-id", "apn", "-oidc-client-secret-file", secret,
	}, flags...)...)
	users := people{
		"ada":   somebody("ada", "Ada@Example.com", true),
		"bob":   somebody("bob", "bob@example.com", true),
		"eve":   somebody("eve", "ada@example.com", false),
		"kate":  somebody("kate", "\u212aate@example.com", true), // a Kelvin sign
		"max":   somebody("max", "max@example.com", true),
		"nemo":  somebody("nemo", "", true),
		"olga":  somebody("olga", "olga@example.com", true),
		"hosts": somebody("hosts", "", false),
	}
	clients := map[string]*storage.Client{"apn": storage.WebClient("apn", "client secret", s.url+oidcCallback)}
	provider := httptest.NewUnstartedServer(exampleop.SetupServer(issuer, storage.NewStorageWithClients(users, clients), slog.New(slog.DiscardHandler), false))
	require.NoError(t, provider.Listener.Close())
	provider.Listener = ln
	provider.Start()
	t.Cleanup(provider.Close)

	c := &apnclient.Client{URL: s.url, Token: s.token}
	for network, members := range map[string][]string{"acme": {"ada@example.com", "bob@example.com", "kate@example.com", "id-hosts"}, "beta": {"bob@example.com"}} {
		_, err := c.AddNetwork(t.Context(), apnclient.NewNetwork{Name: network}, nil)
		require.NoError(t, err)
		for _, m := range members {
			_, err := c.AddMember(t.Context(), network, m, nil)
			require.NoError(t, err)
		}
	}
	return s
}

// walker is somebody with a browser.
type walker struct {
	t      *testing.T
	s      *launched
	client *http.Client
	before string // a URL that starts so is not followed
	at     *url.URL
	status int
	doc    *html.Node
	text   string
}

func (s *launched) walk(t *testing.T) *walker {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	b := &walker{t: t, s: s}
	b.client = &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		b.at = r.URL
		if b.before != "" && strings.HasPrefix(r.URL.String(), b.before) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

func (b *walker) do(r *http.Request, err error) *walker {
	b.t.Helper()
	require.NoError(b.t, err)
	b.at = r.URL
	resp, err := b.client.Do(r)
	require.NoError(b.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, resp.Body.Close())
	b.status, b.text = resp.StatusCode, string(text)
	b.doc, err = html.Parse(strings.NewReader(b.text))
	require.NoError(b.t, err)
	return b
}

func (b *walker) open(u string) *walker {
	b.t.Helper()
	return b.do(http.NewRequestWithContext(b.t.Context(), http.MethodGet, u, http.NoBody))
}

// attr returns an attribute of the first element that has another one.
func (b *walker) attr(name, of, value string) string {
	b.t.Helper()
	for n := range b.doc.Descendants() {
		all := map[string]string{}
		for _, a := range n.Attr {
			all[a.Key] = a.Val
		}
		if all[of] == value {
			return all[name]
		}
	}
	require.Fail(b.t, "no such element", "%s=%q on %s\n%s", of, value, b.at, b.text)
	return ""
}

// link returns where the link with a text leads.
func (b *walker) link(text string) string {
	b.t.Helper()
	for n := range b.doc.Descendants() {
		if n.Data == "a" && n.FirstChild != nil && strings.HasPrefix(n.FirstChild.Data, text) {
			for _, a := range n.Attr {
				if a.Key == "href" {
					return b.s.url + a.Val
				}
			}
		}
	}
	require.Fail(b.t, "no such link", "%q on %s\n%s", text, b.at, b.text)
	return ""
}

// signIn goes from a page of the server to the provider, and back.
func (b *walker) signIn(from, name string) *walker {
	b.t.Helper()
	b.open(b.s.url + from)
	return b.identify(b.link("Sign in with 127.0.0.1:"), name)
}

// identify tells the provider who one is.
func (b *walker) identify(start, name string) *walker {
	b.t.Helper()
	b.open(start)
	require.Equal(b.t, "/login/username", b.at.Path, "%s", b.text)
	form := url.Values{"id": {b.attr("value", "name", "id")}, "username": {name}, "password": {"secret of " + name}}
	login := *b.at
	login.RawQuery = ""
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, login.String(), strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r, nil)
}

// signedIn requires that somebody is signed in, at a page.
func (b *walker) signedIn(path, who string) {
	b.t.Helper()
	require.Equal(b.t, []any{200, path}, []any{b.status, b.at.Path}, "%s", b.text)
	require.Contains(b.t, b.text, `data-test="who">`+who+`<`)
}

// refused requires that nobody is, and that a page says why.
func (b *walker) refused(status int, why string) {
	b.t.Helper()
	require.Equal(b.t, status, b.status, "%s", b.text)
	require.Contains(b.t, html.UnescapeString(b.text), why)
	b.attr("id", "data-test", "sign-in") // another way
	b.open(b.s.url + "/")
	b.attr("id", "data-test", "sign-in")
	require.Empty(b.t, b.cookie(oidcPath, oidcCookie), "the attempt is over")
}

func (b *walker) cookie(path, name string) string {
	u, err := url.Parse(b.s.url + path)
	require.NoError(b.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// attempt changes what the browser keeps while it signs in.
func (b *walker) attempt(edit func(*oidcAttempt)) {
	b.t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(b.cookie(oidcPath, oidcCookie))
	require.NoError(b.t, err)
	var a oidcAttempt
	require.NoError(b.t, json.Unmarshal(text, &a))
	edit(&a)
	text, err = json.Marshal(a)
	require.NoError(b.t, err)
	u, err := url.Parse(b.s.url)
	require.NoError(b.t, err)
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: oidcCookie, Value: base64.RawURLEncoding.EncodeToString(text), Path: oidcPath}})
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	s := withProvider(t, "-oidc-operator", "Root@example.com,Olga@Example.com")

	// Who is a member gets where they wanted, and is nobody else.
	b := s.walk(t)
	b.signIn("/networks/acme/people/ada@example.com", "ada").signedIn("/networks/acme/people/ada@example.com", "ada@example.com")
	require.NotContains(t, b.text, "People", "she is no operator")
	b.open(s.url+"/").signedIn("/networks/acme", "ada@example.com")
	require.Equal(t, 404, b.open(s.url+"/networks/beta").status)
	require.Empty(t, b.cookie(oidcPath, oidcCookie))

	s.walk(t).signIn("/", "olga").signedIn("/", "olga@example.com")

	// In two networks one chooses, unless the page says it.
	b = s.walk(t)
	b.signIn("/", "bob")
	require.Contains(t, b.text, "Which network?")
	b.identify(b.link("beta"), "bob").signedIn("/networks/beta", "bob@example.com")
	s.walk(t).signIn("/networks/acme", "bob").signedIn("/networks/acme", "bob@example.com")

	// Others are told why not.
	s.walk(t).signIn("/", "max").refused(403, "knows you as max@example.com, and no network here does. Ask whoever runs this server to add you.")
	s.walk(t).signIn("/", "eve").refused(403, "has not verified that ada@example.com is yours.")
	s.walk(t).signIn("/", "nemo").refused(403, "did not say who you are: the claim email is missing.")
	s.walk(t).signIn("/", "kate").refused(403, "no network here does")

	// A session ends with its member.
	b = s.walk(t)
	b.signIn("/networks/acme", "ada").signedIn("/networks/acme", "ada@example.com")
	c := &apnclient.Client{URL: s.url, Token: s.token}
	require.NoError(t, c.RemoveMember(t.Context(), "acme", "ada@example.com", nil))
	require.Equal(t, 401, b.open(s.url+"/networks/acme").status)
}

// TestOIDCForged is about answers that do not belong to what a browser began.
func TestOIDCForged(t *testing.T) {
	t.Parallel()
	s := withProvider(t)
	const again = "within the last 10 minutes, or not in this browser"
	// back has ada come back from the provider, and stops before.
	back := func() *walker {
		b := s.walk(t)
		b.before = s.url + oidcCallback
		b.signIn("/networks/acme", "ada")
		require.Equal(t, oidcCallback, b.at.Path)
		return b
	}
	with := func(u *url.URL, name, value string) string {
		v := *u
		query := v.Query()
		query.Set(name, value)
		v.RawQuery = query.Encode()
		return v.String()
	}

	b := back()
	b.open(with(b.at, "state", "forged")).refused(400, again)
	b = back()
	s.walk(t).open(b.at.String()).refused(400, again) // in another browser
	b = back()
	b.attempt(func(a *oidcAttempt) { a.Until = time.Now() })
	b.open(b.at.String()).refused(400, again)
	b = back()
	b.attempt(func(a *oidcAttempt) { a.State = "" })
	b.open(with(b.at, "state", "")).refused(400, again)

	const no = "did not sign you in. Please try again."
	b = back()
	b.attempt(func(a *oidcAttempt) { a.Nonce = "forged" })
	b.open(b.at.String()).refused(400, no)
	b = back()
	b.attempt(func(a *oidcAttempt) { a.Verifier = strings.Repeat("forged", 8) })
	b.open(b.at.String()).refused(400, no)
	b = back()
	b.open(with(b.at, "code", "forged")).refused(400, no)
	b = back()
	b.open(with(b.at, "iss", "https://evil.example")).refused(400, no)
	b = back()
	b.open(with(b.at, "error", "access_denied")).refused(400, no)

	// A code works once: not with what began it, nor in another attempt.
	b = back()
	used := b.at.String()
	var kept oidcAttempt
	b.attempt(func(a *oidcAttempt) { kept = *a })
	b.open(used).signedIn("/networks/acme", "ada@example.com")
	b.open(used)
	require.Equal(t, 400, b.status)
	b = back()
	b.attempt(func(a *oidcAttempt) { *a = kept })
	b.open(used).refused(400, no)
	b, other := back(), back()
	b.open(with(b.at, "code", other.at.Query().Get("code"))).refused(400, no)

	// Nor does a page of somebody else get anything of it.
	b = s.walk(t)
	b.identify(s.url+oidcPath+"?next=https://evil.example/", "ada").signedIn("/networks/acme", "ada@example.com")
}

// TestOIDCRequest: what the provider is asked with.
func TestOIDCRequest(t *testing.T) {
	t.Parallel()
	s := withProvider(t, "-oidc-member-claim", "sub")
	b := s.walk(t)
	b.before = "http"
	b.open(s.url + oidcPath)
	query := b.at.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		require.GreaterOrEqual(t, len(query.Get(name)), 26, name)
		query.Del(name)
	}
	require.Equal(t, url.Values{
		"client_id": {"apn"}, "code_challenge_method": {"S256"}, "redirect_uri": {s.url + oidcCallback},
		"response_type": {"code"}, "scope": {"openid email profile"},
	}, query)
	s.walk(t).signIn("/", "hosts").signedIn("/networks/acme", "id-hosts")
}

// TestOIDCDown: without its provider a server does everything else.
func TestOIDCDown(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	s := launch(t, filepath.Join(t.TempDir(), "data"), "-oidc-issuer", gone.URL, "-oidc-client-id", "apn")
	s.walk(t).open(s.url+oidcPath).refused(502, "does not answer as it should. Please try later.")
	gone.Close()
	b := s.walk(t).open(s.url + oidcPath)
	b.refused(502, "does not answer as it should. Please try later.")
	require.Equal(t, http.StatusNotFound, s.get(t, ""))
}

func TestOIDCFlags(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{
		{"-oidc-client-id", "apn"},
		{"-oidc-operator", "ada@example.com"},
		{"-oidc-issuer", "https://id.example"},
		{"-oidc-issuer", "http://id.example", "-oidc-client-id", "apn"},
		{"-oidc-issuer", "id.example", "-oidc-client-id", "apn"},
		{"-oidc-issuer", "https://id.example", "-oidc-client-id", "apn", "-oidc-member-claim", ""},
	} {
		_, err := parse(flags, io.Discard)
		require.ErrorContains(t, err, "-oidc", "%v", flags)
	}
	dir := used(t)
	refused(t, dir, "-oidc-issuer needs -url", "-addr", "0.0.0.0:0", "-oidc-issuer", "https://id.example", "-oidc-client-id", "apn")
	refused(t, dir, "the client's secret cannot be read", "-oidc-issuer", "https://id.example", "-oidc-client-id", "apn", "-oidc-client-secret-file", filepath.Join(dir, "none"))
}
