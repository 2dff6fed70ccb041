package apnhttp_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// FuzzChanges sends any body and query to any route that changes something: it
// never fails here, it answers with JSON or a problem, and what it refuses
// changes nothing.
func FuzzChanges(f *testing.F) {
	var routes []string
	for _, rt := range apnhttp.Routes() {
		if rt.Changes {
			routes = append(routes, rt.Pattern)
		}
	}
	require.NotEmpty(f, routes)
	for i := range routes {
		for _, body := range []string{
			``, `{}`, `null`, `[]`, `{"name":"new"}`, `{"name":"a\u0000b"}`, `{"name":"x","endpoint":"203.0.113.7:1","address":"10.0.0.9","public_key":"AAAA"}`,
			`{"name":"x","prefixes":["10.0.0.0/8"],"subnet_bits":-1,"listen_port":1,"keepalive":"1h","links":"none","exclude":[{"prefix":"10.1.0.0/16"}]}`,
			`{"apps":[{"name":"x","subnets":["10.0.0.0/24"],"servers":[{"name":"y"},{"name":"y"}]}]}`, `{"linked":true}`, `{"role":"admin"}`,
			`{"member":"ada","sources":["203.0.113.1","2001:db8::1"],"duration":"23h59m59s"}`, `{"source":"203.0.113.0/24","note":"x"}`,
			`{"custody":"once","name":"x"}`, `{"name":"x","network":"acme","member":"ada","ttl":"9999999h"}`, `{"duration":"9223372036s"}`,
			`{"public_key":"jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}`, `{"add_prefixes":["10.99.0.0/16","fd00::/48"]}`,
			strings.Repeat(`{"apps":[`, 2000), `{"name":1e999}`, `{"name":"\ud800"}`,
		} {
			f.Add(uint8(i), []byte(body), "")
		}
		f.Add(uint8(i), []byte(`{}`), "dry_run=true&servers=true")
	}
	var a *api
	var lease string
	fresh := func(t *testing.T) (lease string) {
		t.Helper()
		if a != nil {
			require.NoError(t, a.ctl.Close())
		}
		a = openAPI(t, nil)
		a.fill()
		a.post("/v1/networks/acme/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)
		a.call("PUT", "/v1/networks/acme/links/blog/shop", `{"linked":false}`).is(200)
		return a.post("/v1/networks/acme/apps/shop/leases", `{"member":"ada"}`).is(201).json().names("id")[0]
	}
	f.Fuzz(func(t *testing.T, route uint8, body []byte, query string) {
		if a == nil {
			lease = fresh(t)
		}
		a.t = t
		method, path, _ := strings.Cut(routes[int(route)%len(routes)], " ")
		path = strings.NewReplacer(
			"{network}", "acme", "{app}", "shop", "{server}", "web-1", "{member}", "ada", "{device}", "laptop",
			"{lease}", lease, "{rule}", "203.0.113.0_24", "{token}", "x", "{link}", "x", "{webhook}", "x", "{a}", "blog", "{b}", "shop",
		).Replace(path)
		before := a.state()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(string(body)))
		r.URL.RawQuery = query
		r.RemoteAddr = "198.51.100.7:1"
		r.Header.Set("Authorization", "Bearer "+a.token)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		require.Less(t, w.Code, 500, "%s %s: %s", method, path, w.Body)
		if w.Code == http.StatusNoContent {
			require.Empty(t, w.Body.Bytes())
		} else {
			var v map[string]any
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
			if w.Code >= 400 {
				require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
				require.EqualValues(t, w.Code, v["status"])
			}
		}
		switch after := a.state(); {
		case w.Code >= 400 || strings.Contains(query, "dry_run=true"):
			require.Equal(t, before, after, "%s %s %q: %s", method, path, body, w.Body)
		case before != after:
			lease = fresh(t)
		}
	})
}
