package apnhttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// BenchmarkRequest measures one authenticated request in a network of 1,000
// servers, without the network stack. Target: below 0.2 ms.
func BenchmarkRequest(b *testing.B) {
	a := newAPI(b, func(c *apnhttp.Config) { c.Logger = nil })
	a.post("/v1/networks", `{"name":"acme","prefixes":["10.20.0.0/16"]}`).is(201)
	for i := range 10 {
		var servers []string
		for j := range 100 {
			servers = append(servers, fmt.Sprintf(`{"name":"srv-%d-%d","endpoint":"203.0.113.7:%d"}`, i, j, 1+j))
		}
		a.post("/v1/networks/acme/import", fmt.Sprintf(`{"apps":[{"name":"app-%d","servers":[%s]}]}`, i, strings.Join(servers, ","))).is(201)
	}
	a.post("/v1/networks/acme/members", `{"name":"ada"}`).is(201)
	a.call("PUT", "/v1/networks/acme/members/ada/roles/app-1", `{"role":"developer"}`).is(200)
	for _, bb := range []struct{ name, path string }{
		{"server", "/v1/networks/acme/apps/app-5/servers/srv-5-50"},
		{"app", "/v1/networks/acme/apps/app-5"},
		{"list=100", "/v1/networks/acme/apps/app-5/servers"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, bb.path, nil)
			r.RemoteAddr = a.from
			r.Header.Set("Authorization", "Bearer "+a.token)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				a.h.ServeHTTP(w, r)
				require.Equal(b, 200, w.Code)
			}
		})
	}
}
