package apnhttp_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// who may use each route: o an operator; a, d, v a member who is admin,
// developer, viewer of the app; n a member of the network without a role; s a
// member of another network; g an agent; p anybody, agents included. Members
// stand for themselves where the path names a member.
var mayUse = map[string]string{
	"GET /livez": "oadvnsp", "GET /readyz": "oadvnsp", "GET /openapi.yaml": "oadvnsp", "GET /metrics": "o",

	"GET /v1/whoami": "oadvns",
	"GET /v1/tokens": "o", "POST /v1/tokens": "o", "DELETE /v1/tokens/{token}": "o",
	"GET /v1/audit": "o", "GET /v1/audit/verify": "o",
	"GET /v1/networks": "o", "POST /v1/networks": "o", "GET N": "oadvn", "PATCH N": "o",
	"POST N/import": "o", "GET N/zone": "o", "GET N/zone/report": "o", "GET N/hosts": "o",
	"GET N/events":   "oadvn",
	"GET N/webhooks": "o", "POST N/webhooks": "o", "DELETE N/webhooks/{webhook}": "o", "GET N/stale": "o", "GET N/audit": "o", "GET N/audit/verify": "o",
	"GET N/links": "o", "PUT N/links/{a}/{b}": "o", "DELETE N/links/{a}/{b}": "o",

	"GET N/apps": "oadvn", "POST N/apps": "o", "GET A": "oadv", "DELETE A": "o",
	"GET A/servers": "oadv", "POST A/servers": "oa",
	"GET S": "oadv", "PATCH S": "oa", "DELETE S": "oa", "POST S/rotate": "oa", "GET S/config": "oa", "GET S/netmap": "oa",
	"POST S/join": "oa", "POST /v1/agent/join": "oadvnsp", "GET /v1/agent/netmap": "g", "GET /v1/agent/secrets": "g",
	"POST /v1/agent/key": "g", "POST /v1/agent/status": "g", "POST /v1/agent/leave": "g",
	"GET A/leases": "oad", "POST A/leases": "oad", "GET A/leases/{lease}": "oad", "DELETE A/leases/{lease}": "oad",
	"POST A/leases/{lease}/renew": "oad",
	"GET A/rules":                 "oa", "POST A/rules": "oa", "GET A/rules/{rule}": "oa", "DELETE A/rules/{rule}": "oa",

	"GET N/members": "o", "POST N/members": "o", "GET M": "oadvn", "DELETE M": "o", "PUT M/roles/{app}": "o",
	"GET M/devices": "oadvn", "POST M/devices": "oadvn", "GET D": "oadvn", "DELETE D": "oadvn", "POST D/rotate": "oadvn",
	"GET D/config": "oadvn", "GET D/configs.zip": "oadvn", "POST N/config/check": "oadvn", "GET D/qr.png": "oadvn", "GET D/qr.svg": "oadvn", "GET D/qr.txt": "oadvn",
	"GET D/links": "oadvn", "POST D/links": "oadvn", "DELETE D/links/{link}": "oadvn", "POST /d": "oadvnsp",
}

// TestWhoMayDoWhat walks every route with every kind of caller.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.post("/v1/networks", `{"name":"acme"}`).is(201)
	a.post("/v1/networks", `{"name":"other"}`).is(201)
	a.post("/v1/networks/acme/import", `{"apps":[
		{"name":"shop","servers":[{"name":"web-1","endpoint":"203.0.113.7"}]},{"name":"blog"}]}`).is(201)
	a.post("/v1/networks/acme/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)
	a.call("PUT", "/v1/networks/acme/links/blog/shop", `{"linked":false}`).is(200)
	token := a.post("/v1/tokens", `{"name":"spare"}`).is(201).json()["id"].(string)

	hook := a.post("/v1/networks/acme/webhooks", `{"url":"https://example.com/hook"}`).is(201).json()["id"].(string)

	callers := map[string]*api{"o": a, "p": {}}
	nobody := *a
	nobody.token = ""
	callers["p"] = &nobody
	members := map[string]string{"a": "admin", "d": "developer", "v": "viewer", "n": "none"}
	leases := map[string]string{}
	for key, role := range members {
		a.post("/v1/networks/acme/members", `{"name":"`+role+`"}`).is(201)
		a.call("PUT", "/v1/networks/acme/members/"+role+"/roles/shop", `{"role":"`+role+`"}`).is(200)
		a.post("/v1/networks/acme/members/"+role+"/devices", `{"name":"laptop"}`).is(201)
		callers[key] = a.as("acme", role)
		if key == "a" || key == "d" {
			r := callers[key].post("/v1/networks/acme/apps/shop/leases", nil).is(201)
			leases[key] = r.json().names("id")[0]
		}
	}
	leases["o"] = leases["d"]
	a.post("/v1/networks/other/members", `{"name":"admin"}`).is(201)
	callers["s"] = a.as("other", "admin")
	callers["g"] = nil // another one for each request: some end it

	// The dashboard has a matrix of its own.
	routes := slices.DeleteFunc(apnhttp.Routes(), func(r apnhttp.Route) bool { return r.ForBrowsers })
	require.Len(t, mayUse, len(routes), "the matrix and the routes")
	for pattern, who := range mayUse {
		method, path, _ := strings.Cut(pattern, " ")
		first, rest, _ := strings.Cut(path, "/")
		long := map[string]string{
			"N": "/v1/networks/{network}", "A": "/v1/networks/{network}/apps/{app}", "S": "/v1/networks/{network}/apps/{app}/servers/{server}",
			"M": "/v1/networks/{network}/members/{member}", "D": "/v1/networks/{network}/members/{member}/devices/{device}",
		}[first]
		if long != "" {
			path = strings.TrimSuffix(long+"/"+rest, "/")
		}
		var rt *apnhttp.Route
		for i := range routes {
			if routes[i].Pattern == method+" "+path {
				rt = &routes[i]
			}
		}
		require.NotNil(t, rt, "no route %s %s", method, path)

		for key, caller := range callers {
			member := members[key]
			if member == "" {
				member = "none"
			}
			lease := leases[key]
			if lease == "" {
				lease = leases["d"]
			}
			link, secret := "", ""
			if strings.Contains(pattern, "{link}") || pattern == "POST /d" {
				link, secret = a.addLink(member, nil)
			}
			url := strings.NewReplacer(
				"{$}", "", "{network}", "acme", "{app}", "shop", "{server}", "web-1", "{member}", member, "{device}", "laptop",
				"{lease}", lease, "{link}", link, "{webhook}", hook, "{rule}", "203.0.113.0_24", "{token}", token, "{a}", "blog", "{b}", "shop",
			).Replace(path)
			if rt.Changes {
				url += "?dry_run=true" // so that every caller meets the same state
			}
			if pattern == "DELETE A" {
				url += "&servers=true"
			}
			body := bodyFor(pattern)
			if pattern == "POST A/leases" && key == "o" {
				body = `{"member":"developer"}`
			}
			if pattern == "POST /d" {
				body = `{"token":"` + secret + `"}`
			}
			if pattern == "POST /v1/agent/join" {
				body = a.joinBody()
			}
			if key == "g" {
				caller = &a.join().api
			}
			if pattern == "GET N/events" {
				method = http.MethodHead // else it goes on and on
			}
			r := caller.call(method, url, body)
			want := "allowed"
			switch {
			case strings.Contains(who, key), key == "g" && strings.Contains(who, "p"):
			case key == "p", key == "g", strings.HasPrefix(path, "/v1/agent/"):
				want = "401"
			case key == "s" && strings.Contains(path, "{network}"):
				want = "404"
			default:
				want = "403"
			}
			got := http.StatusText(r.status)
			switch r.status {
			case 200, 204, 303:
				got = "allowed"
			case 401, 403, 404:
				got = map[int]string{401: "401", 403: "403", 404: "404"}[r.status]
			}
			require.Equal(t, want, got, "%s as %s: %s", pattern, key, r.body)
		}
	}
}

// bodyFor returns a valid body for a route, nil if it takes none.
func bodyFor(pattern string) any {
	body := map[string]string{
		"POST /v1/tokens": `{"name":"x"}`, "POST /v1/networks": `{"name":"new"}`, "PATCH N": `{"links":"none"}`,
		"POST N/import": `{"apps":[{"name":"new"}]}`, "PUT N/links/{a}/{b}": `{"linked":true}`, "POST N/apps": `{"name":"new"}`,
		"POST A/servers": `{"name":"new"}`, "PATCH S": `{"endpoint":""}`, "POST A/rules": `{"source":"198.51.100.0/24"}`,
		"POST N/members": `{"name":"new"}`, "PUT M/roles/{app}": `{"role":"viewer"}`, "POST M/devices": `{"name":"new"}`,
		"POST N/webhooks":       `{"url":"https://example.com/other"}`,
		"POST A/leases":         `{}`,
		"POST /v1/agent/status": `{}`, "POST /v1/agent/key": `{"public_key":"jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}`,
		"POST N/config/check": `{"public_key":"1Yb/4avQSp1xMoqTRBHMZWycbuZrZQVzO9/4YXeLs0Q=","fingerprint":"v1.6RJuhi0RYs2XDW8NNCi6N4iCkX0OvBsJJVlFQNCdHzw"}`,
	}[pattern]
	if body == "" {
		return nil
	}
	return body
}

// TestOthers has the cases of the matrix that depend on whose object it is.
func TestOthers(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	a.post("/v1/networks/acme/members", `{"name":"bob"}`).is(201)
	a.call("PUT", "/v1/networks/acme/members/bob/roles/shop", `{"role":"developer"}`).is(200)
	a.post("/v1/networks/acme/members/bob/devices", `{"name":"phone"}`).is(201)
	ada, bob := a.as("acme", "ada"), a.as("acme", "bob")

	// A member's own things are nobody else's.
	for _, path := range []string{"", "/devices", "/devices/laptop", "/devices/laptop/config", "/devices/laptop/qr.png"} {
		bob.get("/v1/networks/acme/members/ada"+path).problem(403, "forbidden", "")
	}
	bob.call("DELETE", "/v1/networks/acme/members/ada/devices/laptop", nil).problem(403, "forbidden", "")

	// A member sees the network's name, and the apps with a role.
	require.Equal(t, object{"name": "acme", "suffix": "apn"}, ada.get("/v1/networks/acme").is(200).json())
	require.Equal(t, []string{"shop"}, ada.get("/v1/networks/acme/apps").is(200).json().names("name"))
	require.Equal(t, []string{"blog", "shop"}, a.get("/v1/networks/acme/apps").is(200).json().names("name"))
	ada.get("/v1/networks/acme/apps/blog").problem(403, "forbidden", "")
	ada.get("/v1/networks/acme/apps/nothing").problem(403, "forbidden", "")

	// Leases: one's own, unless one administers the app.
	bobs := bob.post("/v1/networks/acme/apps/shop/leases", `{"sources":["203.0.113.80"]}`).is(201).json().names("id")[0]
	ada.post("/v1/networks/acme/apps/shop/leases", `{"member":"bob"}`).problem(403, "forbidden", "")
	ada.post("/v1/networks/acme/apps/shop/leases", `{"member":"ada"}`).is(201)
	a.post("/v1/networks/acme/apps/shop/leases", nil).problem(422, "invalid", "member")
	require.Len(t, ada.get("/v1/networks/acme/apps/shop/leases").is(200).json().items(), 1)
	require.Len(t, a.get("/v1/networks/acme/apps/shop/leases").is(200).json().items(), 2)
	ada.get("/v1/networks/acme/apps/shop/leases/"+bobs).problem(404, "not-found", "")
	ada.post("/v1/networks/acme/apps/shop/leases/"+bobs+"/renew", nil).problem(404, "not-found", "")
	ada.call("DELETE", "/v1/networks/acme/apps/shop/leases/"+bobs, nil).problem(404, "not-found", "")
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"admin"}`).is(200)
	require.Len(t, ada.get("/v1/networks/acme/apps/shop/leases").is(200).json().items(), 2)
	ada.call("DELETE", "/v1/networks/acme/apps/shop/leases/"+bobs, nil).is(204)

	// A lost role is lost at once, and a token without its member opens nothing.
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"none"}`).is(200)
	ada.get("/v1/networks/acme/apps/shop/servers").problem(403, "forbidden", "")
	a.call("DELETE", "/v1/networks/acme/members/ada", nil).is(204)
	ada.get("/v1/networks/acme").problem(401, "unauthenticated", "")
}
