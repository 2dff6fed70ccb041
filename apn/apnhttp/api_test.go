package apnhttp_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
	"github.com/apnkit/apnkit/lease"
)

// api is a handler over an in-memory store, with an operator's token.
type api struct {
	t     testing.TB
	ctl   *apn.Control
	h     http.Handler
	token string // of who calls
	from  string // remote address
	now   *atomic.Int64
	log   *lockedBuffer
	seen  func(*http.Request, *answer) // every answer passes here
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newAPI(tb testing.TB, edit func(*apnhttp.Config)) *api {
	tb.Helper()
	a := openAPI(tb, edit)
	tb.Cleanup(func() { require.NoError(tb, a.ctl.Close()) })
	return a
}

func openAPI(tb testing.TB, edit func(*apnhttp.Config)) *api {
	tb.Helper()
	a := &api{t: tb, from: "198.51.100.7:40000", now: new(atomic.Int64), log: new(lockedBuffer)}
	a.now.Store(epoch.UnixNano())
	clock := func() time.Time { return time.Unix(0, a.now.Load()).UTC() }
	kek, err := localkek.New(bytes.Repeat([]byte{7}, 32))
	require.NoError(tb, err)
	log := slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.ctl, err = apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(kek), Now: clock, Logger: log, Lease: lease.Policy{Max: 48 * time.Hour}})
	require.NoError(tb, err)
	cfg := apnhttp.Config{
		Control: a.ctl, Authenticate: apnhttp.TokenAuth(a.ctl), Now: clock, Logger: log, Version: "1.2.3",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	if edit != nil {
		edit(&cfg)
	}
	h, err := apnhttp.New(cfg)
	require.NoError(tb, err)
	a.h = h
	a.token, _, err = a.ctl.AddToken(tb.Context(), "root", nil)
	require.NoError(tb, err)
	return a
}

// as returns the API as a member sees it.
func (a *api) as(network, member string) *api {
	a.t.Helper()
	b := *a
	var err error
	b.token, _, err = a.ctl.AddToken(a.t.Context(), member, &apn.TokenOptions{Network: network, Member: member})
	require.NoError(a.t, err)
	return &b
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// call sends a request. body is a string of JSON, nil, or something to encode.
// Each header is "Name: value"; an empty value takes one away.
func (a *api) call(method, path string, body any, headers ...string) *answer {
	a.t.Helper()
	var text io.Reader
	switch v := body.(type) {
	case nil:
	case string:
		text = strings.NewReader(v)
	default:
		b, err := json.Marshal(v)
		require.NoError(a.t, err)
		text = bytes.NewReader(b)
	}
	r := httptest.NewRequestWithContext(a.t.Context(), method, path, text)
	r.RemoteAddr = a.from
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	if text != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	out := &answer{t: a.t, status: w.Code, header: w.Result().Header, body: w.Body.Bytes()}
	if a.seen != nil {
		a.seen(r, out)
	}
	return out
}

func (a *api) get(path string, headers ...string) *answer {
	a.t.Helper()
	return a.call(http.MethodGet, path, nil, headers...)
}

func (a *api) post(path string, body any, headers ...string) *answer {
	a.t.Helper()
	return a.call(http.MethodPost, path, body, headers...)
}

// is requires a status and returns the answer.
func (r *answer) is(status int) *answer {
	r.t.Helper()
	require.Equal(r.t, status, r.status, "%s", r.body)
	return r
}

// json returns the body as a JSON object.
func (r *answer) json() object {
	r.t.Helper()
	var v object
	require.NoError(r.t, json.Unmarshal(r.body, &v), "%s", r.body)
	return v
}

// problem requires a problem of a kind about a field.
func (r *answer) problem(status int, kind, field string) object {
	r.t.Helper()
	r.is(status)
	require.Equal(r.t, "application/problem+json", r.header.Get("Content-Type"))
	p := r.json()
	require.Equal(r.t, "urn:apnkit:problem:"+kind, p["type"], "%s", r.body)
	require.EqualValues(r.t, status, p["status"])
	require.NotEmpty(r.t, p["title"])
	require.NotEmpty(r.t, p["detail"])
	require.Equal(r.t, r.header.Get("X-Request-Id"), p["request_id"])
	if field == "" {
		require.NotContains(r.t, p, "field", "%s", r.body)
	} else {
		require.Equal(r.t, field, p["field"], "%s", r.body)
	}
	return p
}

type object map[string]any

// items returns the list of a page.
func (o object) items() []object {
	var list []object
	for _, v := range o["items"].([]any) {
		list = append(list, object(v.(map[string]any)))
	}
	return list
}

// names returns one member of each item of a page.
func (o object) names(member string) []string {
	list := []string{}
	for _, item := range o.items() {
		list = append(list, item[member].(string))
	}
	return list
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fill makes a network "acme": apps shop and blog with two servers each, one of
// them of the same name, and ada with a laptop, Developer on shop.
func (a *api) fill() {
	a.t.Helper()
	a.post("/v1/networks", `{"name":"acme","prefixes":["10.20.0.0/16","fd12:3456:789a::/48"]}`).is(201)
	a.post("/v1/networks/acme/import", `{"apps":[
		{"name":"shop","servers":[{"name":"web-1","endpoint":"203.0.113.7"},{"name":"db-1"}]},
		{"name":"blog","servers":[{"name":"web-1","endpoint":"[2001:db8::7]:51820"},{"name":"cache-1"}]}]}`).is(201)
	a.post("/v1/networks/acme/members", `{"name":"ada"}`).is(201)
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"developer"}`).is(200)
	a.post("/v1/networks/acme/members/ada/devices", `{"name":"laptop"}`).is(201)
}
