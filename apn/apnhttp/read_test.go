package apnhttp_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.post("/v1/networks", `{"name":"acme","prefixes":["10.20.0.0/16"]}`).is(201)
	a.post("/v1/networks/acme/import", `{"apps":[
		{"name":"shop","servers":[{"name":"web-1"},{"name":"db-1"}]},{"name":"blog","servers":[{"name":"web-1"}]}]}`).is(201)
	db := a.get("/v1/networks/acme/apps/shop/servers/db-1").is(200).json()["addresses"].([]any)[0].(string)

	r := a.get("/v1/networks/acme/zone").is(200)
	require.Equal(t, "text/dns", r.header.Get("Content-Type"))
	require.Contains(t, string(r.body), "\ndb-1.apn. 30 IN A "+db+"\n")
	require.Contains(t, string(r.body), "\ndb-1.shop.apn. 30 IN A "+db+"\n")
	require.Contains(t, string(r.body), "\nweb-1.shop.apn. ")
	require.NotRegexp(t, `\nweb-1\.apn\.\s+\d+\s+IN\s+A\s`, string(r.body))
	require.Equal(t, r.body, a.get("/v1/networks/acme/zone?zone=apn.").is(200).body)
	require.Equal(t, r.body, a.get("/v1/networks/acme/zone?zone=APN").is(200).body)

	report := a.get("/v1/networks/acme/zone/report").is(200).json()
	require.Equal(t, []any{"apn", "20.10.in-addr.arpa"}, report["zones"])
	withheld := report["withheld"].([]any)
	require.Len(t, withheld, 1)
	require.Equal(t, map[string]any{
		"name": "web-1.apn", "kind": "short name",
		"hosts": []any{"blog/web-1", "shop/web-1"}, "names": []any{"web-1.blog.apn", "web-1.shop.apn"},
	}, withheld[0])
	// One name more does not make it forget the others.
	a.post("/v1/networks/acme/apps/shop/servers", `{"name":"new"}`).is(201)
	require.Equal(t, withheld, a.get("/v1/networks/acme/zone/report").is(200).json()["withheld"])

	r = a.get("/v1/networks/acme/zone?zone=20.10.in-addr.arpa").is(200)
	require.Contains(t, string(r.body), " IN PTR db-1.shop.apn.\n")
	r = a.get("/v1/networks/acme/hosts").is(200)
	require.Contains(t, string(r.body), "# BEGIN acme ")
	require.Contains(t, string(r.body), "\n"+db+" db-1.shop.apn db-1.apn\n")
}

func TestAudit(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	ada := a.as("acme", "ada")
	ada.get("/v1/networks/acme/members/ada/devices/laptop/config").is(200)

	events := a.get("/v1/networks/acme/audit").is(200).json().items()
	first, last := events[0], events[len(events)-1]
	require.Equal(t, []any{"network.create", "acme", "root", "198.51.100.7", 1.0}, []any{first["action"], first["object"], first["actor"], first["from"], first["n"]})
	require.Equal(t, []any{"device.config", "ada/laptop", "ada"}, []any{last["action"], last["object"], last["actor"]})

	var got []object
	next := ""
	for {
		page := a.get("/v1/networks/acme/audit?limit=4&cursor=" + next).is(200).json()
		got = append(got, page.items()...)
		if page["next"] == nil {
			break
		}
		next = page["next"].(string)
	}
	require.Equal(t, events, got)
	require.EqualValues(t, len(events), a.get("/v1/networks/acme/audit/verify").is(200).json()["events"])
}

func TestTokens(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	made := a.post("/v1/tokens", `{"name":"ada's","network":"acme","member":"ada","ttl":"1h"}`).is(201).json()
	b := *a
	b.token = made["secret"].(string)
	require.Equal(t, object{"name": "ada", "operator": false, "network": "acme", "member": "ada", "address": "198.51.100.7"}, b.get("/v1/whoami").is(200).json())
	for _, item := range a.get("/v1/tokens").is(200).json().items() {
		require.NotContains(t, item, "secret")
	}
	a.now.Add(int64(time.Hour))
	b.get("/v1/whoami").problem(401, "unauthenticated", "")

	made = a.post("/v1/tokens", `{"name":"ci"}`).is(201).json()
	require.NotContains(t, made, "expires_at")
	b.token = made["secret"].(string)
	b.get("/v1/networks").is(200)
	a.call("DELETE", "/v1/tokens/"+made["id"].(string), nil).is(204)
	b.get("/v1/networks").problem(401, "unauthenticated", "")
	a.get("/v1/whoami", "Authorization: ", "Authorization: bearer "+a.token).is(200) // the scheme has no case
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	a.get("/v1/networks/acme/apps/nothing").is(404)
	a.get("/no/such/path").is(404)
	text := string(a.get("/metrics").is(200).body)
	for _, line := range []string{
		`apn_build_info{version="1.2.3"} 1`,
		`apn_http_requests_total{method="POST",route="/v1/networks",code="2xx"} 1`,
		`apn_http_requests_total{method="GET",route="/v1/networks/{network}/apps/{app}",code="4xx"} 1`,
		`apn_http_requests_total{method="",route="other",code="4xx"} 1`,
		`apn_http_request_duration_seconds_bucket{method="POST",route="/v1/networks",le="+Inf"} 1`,
		`apn_http_request_duration_seconds_count{method="POST",route="/v1/networks"} 1`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.NotContains(t, text, "acme")
	line := regexp.MustCompile(`^(#.*|[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [0-9.e+-]+)$`)
	for l := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		require.Regexp(t, line, l)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	require.Equal(t, "from-the_proxy1", a.get("/livez", "X-Request-Id: from-the_proxy1").header.Get("X-Request-Id"))
	for _, id := range []string{"short", "with a blank", strings.Repeat("x", 65), "line\\nbreak"} {
		require.Regexp(t, `^[A-Z2-7]{16}$`, a.get("/livez", "X-Request-Id: "+id).header.Get("X-Request-Id"))
	}
	require.Contains(t, a.log.String(), `"id":"from-the_proxy1"`)
}
