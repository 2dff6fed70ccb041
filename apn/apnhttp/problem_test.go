package apnhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

// state is what must not change when a request is refused.
func (a *api) state() string {
	a.t.Helper()
	names, _, err := a.ctl.Networks(a.t.Context(), "", 0)
	require.NoError(a.t, err)
	var b strings.Builder
	for _, name := range names {
		n, err := a.ctl.Network(a.t.Context(), name)
		require.NoError(a.t, err)
		fmt.Fprintf(&b, "%s %d\n", name, n.Rev())
	}
	return b.String()
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const net = "/v1/networks/acme"
	long := strings.Repeat("a", 64)

	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		kind, field              string
	}{
		// The shape of a request.
		{name: "no JSON", method: "POST", path: net + "/apps", body: `name=x`, status: 400, kind: "malformed"},
		{name: "truncated", method: "POST", path: net + "/apps", body: `{"name":"x`, status: 400, kind: "malformed"},
		{name: "empty", method: "POST", path: net + "/apps", body: ``, status: 400, kind: "malformed"},
		{name: "blank", method: "POST", path: net + "/apps", body: "  \n", status: 400, kind: "malformed"},
		{name: "trailing data", method: "POST", path: net + "/apps", body: `{"name":"x"}{}`, status: 400, kind: "malformed"},
		{name: "an array", method: "POST", path: net + "/apps", body: `["x"]`, status: 400, kind: "malformed"},
		{name: "null", method: "POST", path: net + "/apps", body: `null`, status: 400, kind: "malformed"},
		{name: "wrong type", method: "POST", path: net + "/apps", body: `{"name":7}`, status: 422, kind: "invalid", field: "name"},
		{name: "wrong type inside", method: "POST", path: net + "/import", body: `{"apps":[{"name":"x","servers":"y"}]}`, status: 422, kind: "invalid", field: "apps.servers"},
		{name: "number out of range", method: "POST", path: "/v1/networks", body: `{"name":"x","listen_port":70000}`, status: 422, kind: "invalid", field: "listen_port"},
		{name: "unknown field", method: "POST", path: net + "/apps", body: `{"name":"x","colour":"red"}`, status: 422, kind: "invalid", field: "colour"},
		{name: "wrong media type", method: "POST", path: net + "/apps", body: `{"name":"x"}`, headers: []string{"Content-Type: ", "Content-Type: text/plain"}, status: 415, kind: "unsupported-media-type"},
		{name: "no media type", method: "POST", path: net + "/apps", body: `{"name":"x"}`, headers: []string{"Content-Type: "}, status: 415, kind: "unsupported-media-type"},
		{name: "too large", method: "POST", path: net + "/apps", body: `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, status: 413, kind: "too-large"},
		{name: "unknown query", method: "POST", path: net + "/apps?dryrun=true", body: `{"name":"x"}`, status: 400, kind: "malformed"},
		{name: "malformed query", method: "POST", path: net + "/apps?dry_run=true;x", body: `{"name":"x"}`, status: 400, kind: "malformed"},
		{name: "dry_run twice", method: "POST", path: net + "/apps?dry_run=true&dry_run=false", body: `{"name":"x"}`, status: 400, kind: "malformed", field: "dry_run"},
		{name: "dry_run=yes", method: "POST", path: net + "/apps?dry_run=yes", body: `{"name":"x"}`, status: 400, kind: "malformed", field: "dry_run"},
		{name: "empty dry_run", method: "POST", path: net + "/apps?dry_run=", body: `{"name":"x"}`, status: 400, kind: "malformed", field: "dry_run"},
		{name: "limit", method: "GET", path: net + "/apps?limit=0", status: 400, kind: "malformed", field: "limit"},
		{name: "limit too high", method: "GET", path: net + "/apps?limit=1001", status: 400, kind: "malformed", field: "limit"},
		{name: "cursor", method: "GET", path: net + "/audit?cursor=x", status: 400, kind: "malformed", field: "cursor"},
		{name: "If-Match", method: "DELETE", path: net + "/apps/blog", headers: []string{"If-Match: 7"}, status: 400, kind: "malformed", field: "If-Match"},
		{name: "If-Match where it means nothing", method: "POST", path: net + "/apps", body: `{"name":"x"}`, headers: []string{`If-Match: "7"`}, status: 400, kind: "malformed", field: "If-Match"},
		{name: "Idempotency-Key", method: "POST", path: net + "/apps", body: `{"name":"x"}`, headers: []string{"Idempotency-Key: \x7f"}, status: 400, kind: "malformed", field: "Idempotency-Key"},
		{name: "Idempotency-Key on a token", method: "POST", path: "/v1/tokens", body: `{"name":"x"}`, headers: []string{"Idempotency-Key: k"}, status: 400, kind: "malformed", field: "Idempotency-Key"},

		// Paths and methods.
		{name: "no route", method: "GET", path: "/v1/nothing", status: 404, kind: "not-found"},
		{name: "no method", method: "PUT", path: net + "/apps", status: 405, kind: "method-not-allowed"},
		{name: "no network", method: "GET", path: "/v1/networks/nothing", status: 404, kind: "not-found"},
		{name: "no possible network", method: "GET", path: "/v1/networks/..%2f..", status: 404, kind: "not-found"},
		{name: "no app", method: "GET", path: net + "/apps/nothing", status: 404, kind: "not-found"},
		{name: "slash in an app", method: "GET", path: net + "/apps/shop%2fweb-1", status: 404, kind: "not-found"},
		{name: "no server", method: "GET", path: net + "/apps/shop/servers/nothing", status: 404, kind: "not-found"},
		{name: "no member", method: "GET", path: net + "/members/nobody", status: 404, kind: "not-found"},
		{name: "no device", method: "GET", path: net + "/members/ada/devices/nothing/config", status: 404, kind: "not-found"},
		{name: "no lease", method: "GET", path: net + "/apps/shop/leases/nothing", status: 404, kind: "not-found"},
		{name: "no rule", method: "DELETE", path: net + "/apps/shop/rules/nothing", status: 404, kind: "not-found"},
		{name: "no link", method: "DELETE", path: net + "/links/blog/shop", status: 404, kind: "not-found"},
		{name: "no token", method: "DELETE", path: "/v1/tokens/nothing", status: 404, kind: "not-found"},
		{name: "no zone", method: "GET", path: net + "/zone?zone=example.com", status: 404, kind: "not-found"},

		// Names.
		{name: "empty name", method: "POST", path: net + "/apps", body: `{"name":""}`, status: 422, kind: "invalid", field: "name"},
		{name: "long name", method: "POST", path: net + "/apps", body: `{"name":"` + long + `"}`, status: 422, kind: "invalid", field: "name"},
		{name: "newline", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"a\nPostUp = x"}`, status: 422, kind: "invalid", field: "name"},
		{name: "control character", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"a\u0000"}`, status: 422, kind: "invalid", field: "name"},
		{name: "look-alike", method: "POST", path: net + "/apps", body: `{"name":"shоp"}`, status: 422, kind: "invalid", field: "name"},
		{name: "dots", method: "POST", path: net + "/members", body: `{"name":"../x"}`, status: 422, kind: "invalid", field: "name"},
		{name: "quotes", method: "POST", path: net + "/members/ada/devices", body: `{"name":"a\"b"}`, status: 422, kind: "invalid", field: "name"},
		{name: "network name", method: "POST", path: "/v1/networks", body: `{"name":"a b"}`, status: 422, kind: "invalid", field: "name"},
		{name: "duplicate network", method: "POST", path: "/v1/networks", body: `{"name":"acme"}`, status: 409, kind: "exists"},
		{name: "duplicate app", method: "POST", path: net + "/apps", body: `{"name":"shop"}`, status: 409, kind: "exists"},
		{name: "duplicate server", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"web-1"}`, status: 409, kind: "exists"},
		{name: "duplicate member", method: "POST", path: net + "/members", body: `{"name":"ada"}`, status: 409, kind: "exists"},
		{name: "duplicate device", method: "POST", path: net + "/members/ada/devices", body: `{"name":"laptop"}`, status: 409, kind: "exists"},
		{name: "app with servers", method: "DELETE", path: net + "/apps/shop", status: 409, kind: "in-use"},

		// Addresses.
		{name: "host bits", method: "POST", path: "/v1/networks", body: `{"name":"x","prefixes":["10.1.2.3/16"]}`, status: 422, kind: "invalid", field: "prefixes"},
		{name: "no prefix", method: "POST", path: "/v1/networks", body: `{"name":"x","prefixes":["10.0.0.0/16","ten"]}`, status: 422, kind: "invalid", field: "prefixes[1]"},
		{name: "outside the pool", method: "POST", path: net + "/apps", body: `{"name":"x","subnets":["192.168.0.0/24"]}`, status: 422, kind: "invalid", field: "subnets"},
		{name: "address outside", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"x","address":"192.168.0.1"}`, status: 422, kind: "invalid", field: "address"},
		{name: "no address", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"x","address":"fe80::1%eth0"}`, status: 422, kind: "invalid", field: "address"},
		{name: "endpoint", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"x","endpoint":"203.0.113.7:0"}`, status: 422, kind: "invalid", field: "endpoint"},
		{name: "endpoint injection", method: "PATCH", path: net + "/apps/shop/servers/web-1", body: `{"endpoint":"a:1\nPostUp=x"}`, status: 422, kind: "invalid", field: "endpoint"},
		{name: "suffix", method: "POST", path: "/v1/networks", body: `{"name":"x","suffix":"a b"}`, status: 422, kind: "invalid", field: "suffix"},

		// Keys, roles, durations.
		{name: "short key", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"x","public_key":"AAAA"}`, status: 422, kind: "invalid", field: "public_key"},
		{name: "low order", method: "POST", path: net + "/members/ada/devices", body: `{"name":"x","public_key":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, status: 422, kind: "invalid", field: "public_key"},
		{name: "not canonical", method: "POST", path: net + "/apps/shop/servers", body: `{"name":"x","public_key":"//////////////////////////////////////////8="}`, status: 422, kind: "invalid", field: "public_key"},
		{name: "custody", method: "POST", path: net + "/members/ada/devices", body: `{"name":"x","custody":"mine"}`, status: 422, kind: "invalid", field: "custody"},
		{name: "custody self without a key", method: "POST", path: net + "/members/ada/devices", body: `{"name":"x","custody":"self"}`, status: 422, kind: "invalid", field: "public_key"},
		{name: "custody beside a key", method: "POST", path: net + "/members/ada/devices", body: `{"name":"x","custody":"once","public_key":"jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}`, status: 422, kind: "invalid", field: "custody"},
		{name: "role", method: "PUT", path: net + "/members/ada/roles/shop", body: `{"role":"owner"}`, status: 422, kind: "invalid", field: "role"},
		{name: "role of nobody", method: "PUT", path: net + "/members/bob/roles/shop", body: `{"role":"admin"}`, status: 404, kind: "not-found"},
		{name: "duration", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","duration":"1.5h"}`, status: 422, kind: "invalid", field: "duration"},
		{name: "negative duration", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","duration":"-1h"}`, status: 422, kind: "invalid", field: "duration"},
		{name: "long duration", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","duration":"1000h"}`, status: 422, kind: "invalid", field: "duration"},
		{name: "keepalive", method: "PATCH", path: net, body: `{"keepalive":"100000s"}`, status: 422, kind: "invalid", field: "keepalive"},
		{name: "links", method: "PATCH", path: net, body: `{"links":"some"}`, status: 422, kind: "invalid", field: "links"},
		{name: "link without a word", method: "PUT", path: net + "/links/blog/shop", body: `{}`, status: 422, kind: "invalid", field: "linked"},
		{name: "link to itself", method: "PUT", path: net + "/links/shop/shop", body: `{"linked":true}`, status: 422, kind: "invalid", field: "app"},

		// Sources.
		{name: "source", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","sources":["127.0.0.1"]}`, status: 422, kind: "invalid", field: "sources"},
		{name: "source is no address", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","sources":["203.0.113.1","x"]}`, status: 422, kind: "invalid", field: "sources[1]"},
		{name: "empty source", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","sources":[""]}`, status: 422, kind: "invalid", field: "sources[0]"},
		{name: "no source", method: "POST", path: net + "/apps/shop/leases", body: `{"member":"ada","sources":[]}`, status: 422, kind: "invalid", field: "sources"},
		{name: "lease without the role", method: "POST", path: net + "/apps/blog/leases", body: `{"member":"ada"}`, status: 403, kind: "forbidden"},
		{name: "rule with host bits", method: "POST", path: net + "/apps/shop/rules", body: `{"source":"203.0.113.9/24"}`, status: 422, kind: "invalid", field: "source"},
		{name: "rule for all", method: "POST", path: net + "/apps/shop/rules", body: `{"source":"0.0.0.0/0"}`, status: 422, kind: "invalid", field: "source"},
		{name: "note", method: "POST", path: net + "/apps/shop/rules", body: `{"source":"203.0.113.0/24","note":"a\nb"}`, status: 422, kind: "invalid", field: "note"},

		// Inventories: all or nothing, with the place.
		{name: "empty inventory", method: "POST", path: net + "/import", body: `{}`, status: 422, kind: "invalid", field: "apps"},
		{name: "name in an inventory", method: "POST", path: net + "/import", body: `{"apps":[{"name":"x","servers":[{"name":"y"},{"name":"Z"}]}]}`, status: 422, kind: "invalid", field: "apps[0].servers[1].name"},
		{name: "key in an inventory", method: "POST", path: net + "/import", body: `{"apps":[{"name":"x","servers":[{"name":"y","public_key":"x"}]}]}`, status: 422, kind: "invalid", field: "apps[0].servers[0].public_key"},

		// Formats.
		{name: "format", method: "GET", path: net + "/members/ada/devices/laptop/config?format=exe", status: 400, kind: "malformed", field: "format"},
		{name: "scale", method: "GET", path: net + "/members/ada/devices/laptop/qr.png?scale=1000000", status: 400, kind: "malformed", field: "scale"},
		{name: "plain", method: "GET", path: net + "/members/ada/devices/laptop/qr.txt?plain=1", status: 400, kind: "malformed", field: "plain"},

		// Tokens.
		{name: "token without a name", method: "POST", path: "/v1/tokens", body: `{"name":""}`, status: 422, kind: "invalid", field: "name"},
		{name: "token of half a member", method: "POST", path: "/v1/tokens", body: `{"name":"x","member":"ada"}`, status: 422, kind: "invalid", field: "member"},
		{name: "token of nobody", method: "POST", path: "/v1/tokens", body: `{"name":"x","network":"acme","member":"bob"}`, status: 404, kind: "not-found"},
		{name: "no credentials", method: "GET", path: net, headers: []string{"Authorization: "}, status: 401, kind: "unauthenticated"},
		{name: "other credentials", method: "GET", path: net, headers: []string{"Authorization: ", "Authorization: Basic eDp5"}, status: 401, kind: "unauthenticated"},
		{name: "unknown token", method: "GET", path: net, headers: []string{"Authorization: ", "Authorization: Bearer apn_" + strings.Repeat("A", 60)}, status: 401, kind: "unauthenticated"},
		{name: "token in the URL", method: "GET", path: net + "?token=apn_x", headers: []string{"Authorization: "}, status: 401, kind: "unauthenticated"},
	}
	before := a.state()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // none of them may change the state
			a := *a
			a.t = t
			var body any
			if tt.method == "POST" || tt.method == "PUT" || tt.method == "PATCH" {
				body = tt.body
			}
			r := a.call(tt.method, tt.path, body, tt.headers...)
			p := r.problem(tt.status, tt.kind, tt.field)
			require.Equal(t, "no-store", r.header.Get("Cache-Control"))
			if tt.status == 401 {
				require.Equal(t, `Bearer realm="apn"`, r.header.Get("WWW-Authenticate"))
			}
			if tt.status == 405 {
				require.Equal(t, "GET, HEAD, POST", r.header.Get("Allow"))
			}
			require.NotContains(t, p["detail"], "\n")
			require.Equal(t, before, a.state())
		})
	}
}

// TestExhausted fills a subnet.
func TestExhausted(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.post("/v1/networks", `{"name":"tiny","prefixes":["10.30.0.0/24"]}`).is(201)
	a.post("/v1/networks/tiny/apps", `{"name":"one"}`).is(201)
	p := a.post("/v1/networks/tiny/apps", `{"name":"two"}`)
	require.NotContains(t, p.json()["detail"], "\n")
	require.Equal(t, "urn:apnkit:problem:exhausted", p.is(409).json()["type"])
}

// broken is a store that fails on demand.
type broken struct {
	store.Store
	err error
}

func (b *broken) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	if b.err != nil {
		return store.Page{}, b.err
	}
	return b.Store.Get(ctx, space, keys...)
}

func (b *broken) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	if b.err != nil {
		return store.Page{}, b.err
	}
	return b.Store.List(ctx, space, prefix, after, limit)
}

// TestUnavailable: what the store says stays in the log.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	st := &broken{Store: store.NewMem()}
	kek, err := localkek.New(make([]byte, 32))
	require.NoError(t, err)
	ctl, err := apn.Open(apn.Config{Store: st, KEK: keys.Multi(kek)})
	require.NoError(t, err)
	defer func() { require.NoError(t, ctl.Close()) }()
	a := newAPI(t, func(c *apnhttp.Config) { c.Control, c.Authenticate = ctl, apnhttp.TokenAuth(ctl) })
	a.token, _, err = ctl.AddToken(t.Context(), "root", nil)
	require.NoError(t, err)
	a.get("/readyz").is(200)

	st.err = errors.New("disk 7 of host db-3 is on fire")
	for _, path := range []string{"/readyz", "/v1/networks", "/v1/whoami"} {
		r := a.get(path)
		p := r.problem(503, "unavailable", "")
		require.Equal(t, "2", r.header.Get("Retry-After"))
		require.NotContains(t, string(r.body), "disk 7")
		require.Contains(t, a.log.String(), p["request_id"])
	}
	a.get("/livez").is(200)
	require.Contains(t, a.log.String(), "disk 7 of host db-3 is on fire")

	st.err = fmt.Errorf("row: %w", apn.ErrDamaged)
	a.get("/v1/networks").problem(500, "damaged", "")
}

// TestHostAuthentication: errors of a host program's own function.
func TestHostAuthentication(t *testing.T) {
	t.Parallel()
	var err error
	a := newAPI(t, func(c *apnhttp.Config) {
		c.Authenticate = func(r *http.Request) (apnhttp.Principal, error) {
			return apnhttp.Principal{Name: "host", Operator: r.Header.Get("X-Host") == "yes"}, err
		}
	})
	require.Equal(t, "host", a.get("/v1/whoami", "X-Host: yes").is(200).json()["name"])
	a.get("/v1/networks", "X-Host: yes").is(200)
	a.get("/v1/networks").problem(403, "forbidden", "") // neither operator nor member
	a.post("/v1/networks", `{"name":"acme"}`, "X-Host: yes").is(201)
	a.get("/v1/networks/acme").problem(404, "not-found", "")
	err = fmt.Errorf("session: %w", apnhttp.ErrUnauthenticated)
	a.get("/v1/whoami").problem(401, "unauthenticated", "")
	err = errors.New("directory down")
	p := a.get("/v1/whoami").problem(500, "internal", "")
	require.NotContains(t, p["detail"], "directory")

	panicky := newAPI(t, func(c *apnhttp.Config) {
		c.Authenticate = func(*http.Request) (apnhttp.Principal, error) { panic("oh") }
	})
	panicky.get("/v1/whoami").problem(500, "internal", "")
	require.Contains(t, panicky.log.String(), `"cause":"oh"`)
}

// TestGivenUp: a request that its client gave up is answered as an outage.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	b := *a
	b.h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.h.ServeHTTP(w, r.WithContext(ctx)) })
	before := a.state()
	b.post("/v1/networks/acme/apps", `{"name":"late"}`).problem(503, "unavailable", "")
	require.Equal(t, before, a.state())
}
