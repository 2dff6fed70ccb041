package apnhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// large makes a network "big" of 1,000 servers in 10 apps, one of them with 640,
// and 100 people with access to all, the first 10 with a device that was handed
// a config before the last server came.
func (a *api) large() {
	a.post("/v1/networks", `{"name":"big","prefixes":["10.64.0.0/12","fd12:3456:789a::/48"],"subnet_bits":22}`).is(201)
	for i := range 10 {
		var servers []string
		for j := range []int{640, 40, 40, 40, 40, 40, 40, 40, 40, 39}[i] {
			servers = append(servers, fmt.Sprintf(`{"name":"server-%03d-%03d","endpoint":"203.0.113.%d"}`, i, j, 1+j%250))
		}
		a.post("/v1/networks/big/import", fmt.Sprintf(`{"apps":[{"name":"app-%d","servers":[%s]}]}`, i, strings.Join(servers, ","))).is(201)
	}
	for i := range 100 {
		path := fmt.Sprintf("/v1/networks/big/members/person-%02d@example.com", i)
		a.post("/v1/networks/big/members", fmt.Sprintf(`{"name":"person-%02d@example.com"}`, i)).is(201)
		for j := range 10 {
			a.call("PUT", fmt.Sprintf("%s/roles/app-%d", path, j), `{"role":"developer"}`).is(200)
		}
		if i < 10 {
			a.post(path+"/devices", `{"name":"laptop"}`).is(201)
			a.get(path + "/devices/laptop/config").is(200)
			a.post("/v1/networks/big/apps/app-0/leases", fmt.Sprintf(`{"member":"person-%02d@example.com"}`, i)).is(201)
		}
	}
	a.post("/v1/networks/big/apps/app-9/servers", `{"name":"latest"}`).is(201)
	for i := range 100 {
		a.post("/v1/networks/big/apps/app-0/rules", fmt.Sprintf(`{"source":"203.0.%d.0/24","note":"Site %d"}`, i, i)).is(201)
	}
}

// wide makes a network "wide" of 300 apps with 3 servers each, and ada with access
// to all.
func (a *api) wide() {
	a.post("/v1/networks", `{"name":"wide","prefixes":["10.64.0.0/12","fd12:3456:789a::/48"],"subnet_bits":26}`).is(201)
	a.post("/v1/networks/wide/members", `{"name":"ada"}`).is(201)
	for i := range 300 {
		a.post("/v1/networks/wide/import", fmt.Sprintf(`{"apps":[{"name":"application-%03d","servers":[{"name":"a"},{"name":"b"},{"name":"c"}]}]}`, i)).is(201)
		a.call("PUT", fmt.Sprintf("/v1/networks/wide/members/ada/roles/application-%03d", i), `{"role":"developer"}`).is(200)
	}
}

// BenchmarkPage measures the pages of the dashboard in a network of 1,000
// servers. Targets: 20 ms and 200 kB for any.
func BenchmarkPage(b *testing.B) {
	a := newAPI(b, func(c *apnhttp.Config) { c.Logger = nil })
	a.large()
	a.post("/v1/networks/big/apps/app-1/servers", `{"name":"server-000-000"}`).is(201)
	a.wide()
	br := a.signIn()
	for _, bb := range []struct{ name, path string }{
		{"networks", "/"},
		{"network", "/networks/big"},
		{"app", "/networks/big/apps/app-0"},
		{"server", "/networks/big/apps/app-0/servers/server-000-100"},
		{"people", "/networks/big/people"},
		{"member", "/networks/big/people/person-01@example.com"},
		{"device", "/networks/big/people/person-01@example.com/devices/laptop"},
		{"names", "/networks/big/names"},
		{"audit", "/networks/big/audit"},
		{"keys", "/networks/big/keys"},
		{"network=wide", "/networks/wide"},
		{"member=wide", "/networks/wide/people/ada"},
		{"tokens", "/tokens"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			br.t = b
			b.ReportAllocs()
			for b.Loop() {
				br.get(bb.path)
			}
			require.Equal(b, http.StatusOK, br.status)
			b.ReportMetric(float64(len(br.text))/1000, "kB")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
			require.Less(b, len(br.text), 200_000)
		})
	}
}
