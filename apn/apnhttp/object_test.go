package apnhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/keys"
)

func TestEntityTags(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const shop, web = "/v1/networks/acme/apps/shop", "/v1/networks/acme/apps/shop/servers/web-1"

	r := a.get(web).is(200)
	tag := r.header.Get("ETag")
	require.Regexp(t, `^"[1-9][0-9]*-[A-Za-z0-9_-]{8}"$`, tag)
	require.Equal(t, "private, no-cache", r.header.Get("Cache-Control"))
	require.Empty(t, a.get(web, "If-None-Match: "+tag).is(304).body)
	a.get(web, `If-None-Match: "x", W/`+tag).is(304)
	a.get(web, "If-None-Match: *").is(304)
	a.get(web, `If-None-Match: "x"`).is(200)
	require.Equal(t, tag, a.call(http.MethodHead, web, nil).is(200).header.Get("ETag"))

	// What others say of the object changes the answer, and not the revision.
	appTag := a.get(shop).is(200).header.Get("ETag")
	a.post(shop+"/servers", `{"name":"web-2"}`).is(201)
	r = a.get(shop, "If-None-Match: "+appTag).is(200)
	require.EqualValues(t, 3, r.json()["servers"])

	// A change needs the revision that its author saw.
	r = a.call("PATCH", web, `{"endpoint":"203.0.113.8:51820"}`, "If-Match: "+tag).is(200)
	require.NotEqual(t, tag, r.header.Get("ETag"))
	a.call("PATCH", web, `{"endpoint":"203.0.113.9:51820"}`, "If-Match: "+tag).problem(412, "conflict", "")
	a.call("DELETE", web, nil, "If-Match: "+tag).problem(412, "conflict", "")
	a.post(web+"/rotate", nil, "If-Match: "+tag).problem(412, "conflict", "")
	require.Equal(t, "203.0.113.8:51820", a.get(web).is(200).json()["endpoint"])
	a.call("DELETE", shop, nil, "If-Match: "+appTag).problem(409, "in-use", "") // the revision still holds
	a.call("DELETE", web, nil, "If-Match: *").is(204)
	a.get(web).problem(404, "not-found", "")

	for _, path := range []string{"/v1/networks/acme", "/v1/networks/acme/members/ada", "/v1/networks/acme/members/ada/devices/laptop", web[:len(web)-5] + "db-1/netmap"} {
		tag := a.get(path).is(200).header.Get("ETag")
		require.NotEmpty(t, tag, path)
		a.get(path, "If-None-Match: "+tag).is(304)
	}
	laptop := "/v1/networks/acme/members/ada/devices/laptop"
	tag = a.get(laptop).is(200).header.Get("ETag")
	a.get(laptop + "/config").is(200)
	a.get(laptop, "If-None-Match: "+tag).is(200) // it has a config now
	tag = a.get("/v1/networks/acme/members/ada").is(200).header.Get("ETag")
	a.call("PUT", "/v1/networks/acme/members/ada/roles/blog", `{"role":"viewer"}`, "If-Match: "+tag).is(200)
	a.call("PUT", "/v1/networks/acme/members/ada/roles/blog", `{"role":"admin"}`, "If-Match: "+tag).problem(412, "conflict", "")
	tag = a.get("/v1/networks/acme").is(200).header.Get("ETag")
	a.call("PATCH", "/v1/networks/acme", `{"links":"none","keepalive":"0s","add_prefixes":["10.99.0.0/16"],"preshared_keys":true}`, "If-Match: "+tag).is(200)
	a.call("PATCH", "/v1/networks/acme", `{"links":"all"}`, "If-Match: "+tag).problem(412, "conflict", "")
	n := a.get("/v1/networks/acme").is(200).json()
	require.Equal(t, []any{"none", "0s", true}, []any{n["links"], n["keepalive"], n["preshared_keys"]})
	require.Contains(t, n["prefixes"], "10.99.0.0/16")
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const net = "/v1/networks/acme"
	const key = "Idempotency-Key: 7d6b1e1c"
	tests := []struct{ name, path, body, other string }{
		{"network", "/v1/networks", `{"name":"new"}`, `{"name":"newer"}`},
		{"app", net + "/apps", `{"name":"new"}`, `{"name":"newer"}`},
		{"server", net + "/apps/shop/servers", `{"name":"web-9"}`, `{"name":"web-8"}`},
		{"member", net + "/members", `{"name":"bob"}`, `{"name":"eve"}`},
		{"device", net + "/members/ada/devices", `{"name":"phone"}`, `{"name":"tablet"}`},
		{"rule", net + "/apps/shop/rules", `{"source":"203.0.113.0/24"}`, `{"source":"203.0.112.0/24"}`},
		{"lease", net + "/apps/shop/leases", `{"member":"ada","sources":["203.0.113.80","2001:db8::9"]}`, `{"member":"ada"}`},
		{"import", net + "/import", `{"apps":[{"name":"x","servers":[{"name":"y"}]}]}`, `{"apps":[{"name":"z"}]}`},
		{"server's key", net + "/apps/shop/servers/web-1/rotate", ``, `{}`},
		{"device's key", net + "/members/ada/devices/laptop/rotate", ``, `{}`},
	}
	for _, tt := range tests {
		var body, other any = tt.body, tt.other
		if tt.body == "" {
			body = nil
		}
		first := a.post(tt.path, body, key)
		require.Contains(t, []int{200, 201}, first.status, "%s: %s", tt.name, first.body)
		require.Empty(t, first.header.Get("Idempotency-Replayed"))
		state := a.state()
		again := a.post(tt.path, body, key).is(200)
		require.Equal(t, "true", again.header.Get("Idempotency-Replayed"), tt.name)
		require.JSONEq(t, string(first.body), string(again.body), tt.name)
		require.Equal(t, first.header.Get("ETag"), again.header.Get("ETag"))
		if tt.name != "network" { // another network has requests of its own
			a.post(tt.path, other, key).problem(422, "invalid", "idempotency_key")
		}
		require.Equal(t, state, a.state(), tt.name)
	}

	// The key is its sender's: another principal's is another key.
	a.call("PUT", net+"/members/ada/roles/shop", `{"role":"admin"}`).is(200)
	a.as("acme", "ada").post(net+"/apps/shop/servers", `{"name":"web-8"}`, key).is(201)

	// A dry run does not use it up, and what was refused may be tried again.
	a.post(net+"/apps?dry_run=true", `{"name":"later"}`, "Idempotency-Key: 2").is(200)
	a.post(net+"/apps", `{"name":"shop"}`, "Idempotency-Key: 2").problem(409, "exists", "")
	a.post(net+"/apps", `{"name":"later"}`, "Idempotency-Key: 2").is(201)

	// Renewing twice by one request extends once.
	id := a.get(net + "/apps/shop/leases").is(200).json().names("id")[0]
	renew := net + "/apps/shop/leases/" + id + "/renew"
	a.now.Add(int64(time.Hour))
	first := a.post(renew, `{"duration":"24h"}`, "Idempotency-Key: 3").is(200)
	a.now.Add(int64(time.Hour))
	again := a.post(renew, `{"duration":"24h"}`, "Idempotency-Key: 3").is(200)
	require.JSONEq(t, string(first.body), string(again.body))

	// After 24 hours it is forgotten.
	a.now.Add(int64(25 * time.Hour))
	a.post(net+"/apps", `{"name":"later"}`, "Idempotency-Key: 2").problem(409, "exists", "")
}

// TestIdempotencyAtOnce sends one request many times at the same moment.
func TestIdempotencyAtOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	var wg sync.WaitGroup
	answers := make([]*answer, 16)
	for i := range answers {
		wg.Go(func() {
			answers[i] = a.post("/v1/networks/acme/apps/shop/servers", `{"name":"web-2"}`, "Idempotency-Key: once")
		})
	}
	wg.Wait()
	made := 0
	for _, r := range answers {
		if r.status == 201 {
			made++
			continue
		}
		require.Equal(t, "true", r.is(200).header.Get("Idempotency-Replayed"))
	}
	require.Equal(t, 1, made)
}

func TestPages(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	var apps []string
	for i := range 7 {
		name := fmt.Sprintf("app-%d", i)
		apps = append(apps, name)
		a.post("/v1/networks", `{"name":"`+name+`"}`).is(201)
		a.post("/v1/networks/acme/apps", `{"name":"`+name+`"}`).is(201)
		a.post("/v1/networks/acme/apps/shop/servers", `{"name":"`+name+`"}`).is(201)
		a.post("/v1/networks/acme/members", `{"name":"`+name+`"}`).is(201)
		a.post("/v1/networks/acme/members/ada/devices", `{"name":"`+name+`"}`).is(201)
		a.post("/v1/networks/acme/apps/shop/rules", fmt.Sprintf(`{"source":"203.0.113.%d/32"}`, i)).is(201)
		a.post("/v1/networks/acme/apps/shop/leases", fmt.Sprintf(`{"member":"ada","sources":["203.0.113.%d"]}`, i)).is(201)
		a.call("PUT", "/v1/networks/acme/links/blog/"+name, `{"linked":false}`).is(200)
		a.call("PUT", "/v1/networks/acme/members/ada/roles/"+name, `{"role":"viewer"}`).is(200)
		a.post("/v1/tokens", `{"name":"x"}`).is(201)
	}
	ada := a.as("acme", "ada")
	tests := []struct {
		caller    *api
		path, key string
		want      int
	}{
		{a, "/v1/networks", "name", 8},
		{a, "/v1/tokens", "id", 9},
		{a, "/v1/networks/acme/apps", "name", 9},
		{ada, "/v1/networks/acme/apps", "name", 8},
		{a, "/v1/networks/acme/apps/shop/servers", "name", 9},
		{a, "/v1/networks/acme/apps/shop/leases", "id", 7},
		{a, "/v1/networks/acme/apps/shop/rules", "id", 7},
		{a, "/v1/networks/acme/links", "b", 7},
		{a, "/v1/networks/acme/members", "name", 8},
		{a, "/v1/networks/acme/members/ada/devices", "name", 8},
	}
	for _, tt := range tests {
		whole := tt.caller.get(tt.path).is(200).json()
		require.NotContains(t, whole, "next")
		require.Len(t, whole.items(), tt.want, tt.path)
		for _, limit := range []int{1, 3, tt.want} {
			var got []string
			next := ""
			for pages := 1; ; pages++ {
				page := tt.caller.get(fmt.Sprintf("%s?limit=%d&cursor=%s", tt.path, limit, strings.ReplaceAll(next, "/", "%2F"))).is(200).json()
				got = append(got, page.names(tt.key)...)
				if page["next"] == nil {
					require.Equal(t, (tt.want+limit-1)/limit, pages, "%s by %d", tt.path, limit)
					break
				}
				require.Len(t, page.items(), limit)
				next = page["next"].(string)
			}
			require.Equal(t, whole.names(tt.key), got, tt.path)
		}
	}
	empty := a.get("/v1/networks/acme/apps?cursor=zzz").is(200)
	require.JSONEq(t, `{"items":[]}`, string(empty.body))
	for _, app := range apps {
		a.get("/v1/networks/acme/apps/" + app).is(200)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const net = "/v1/networks/acme"
	a.post(net+"/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)
	id := a.post(net+"/apps/shop/leases", `{"member":"ada"}`).is(201).json().names("id")[0]
	a.call("PUT", net+"/links/blog/shop", `{"linked":false}`).is(200)
	link, _ := a.addLink("ada", nil)
	hook := a.post(net+"/webhooks", `{"url":"https://example.com/hook"}`).is(201).json()["id"].(string)
	before := a.state()
	tokens := len(a.get("/v1/tokens").is(200).json().items())
	tests := []struct{ method, path, body, want string }{
		{"POST", net + "/apps/shop/servers", `{"name":"web-2"}`, `"devices":["ada/laptop"]`},
		{"POST", net + "/apps/shop/servers", `{"name":"cache-1"}`, `{"object":"cache-1.apn","before":"`},
		{"PATCH", net + "/apps/shop/servers/web-1", `{"endpoint":""}`, `"servers":["shop/db-1"]`},
		{"DELETE", net + "/apps/shop/servers/db-1", ``, `"servers":["shop/db-1","shop/web-1"]`},
		{"POST", net + "/apps/shop/servers/db-1/rotate", ``, `"servers":["shop/db-1","shop/web-1"]`},
		{"POST", net + "/apps/shop/servers/db-1/join", `{"ttl":"30m"}`, `"servers":[]`},
		{"DELETE", net + "/apps/shop?servers=true", ``, `"leases":[{"object":"shop/` + id},
		{"PUT", net + "/members/ada/roles/shop", `{"role":"viewer"}`, `"devices":["ada/laptop"],"leases":[{"object":"shop/` + id},
		{"PUT", net + "/links/blog/shop", `{"linked":true}`, `"servers":["blog/cache-1","blog/web-1","shop/db-1","shop/web-1"]`},
		{"DELETE", net + "/links/blog/shop", ``, `"servers":["blog/cache-1","blog/web-1","shop/db-1","shop/web-1"]`},
		{"DELETE", net + "/members/ada", ``, `"devices":["ada/laptop"]`},
		{"POST", net + "/members/ada/devices", `{"name":"phone"}`, `"devices":["ada/phone"]`},
		{"DELETE", net + "/members/ada/devices/laptop", ``, `"servers":["shop/db-1","shop/web-1"]`},
		{"POST", net + "/members/ada/devices/laptop/rotate", ``, `"devices":["ada/laptop"]`},
		{"POST", net + "/members/ada/devices/laptop/links", `{"format":"qr"}`, `"devices":[]`},
		{"DELETE", net + "/members/ada/devices/laptop/links/" + link, ``, `"devices":[]`},
		{"POST", net + "/webhooks", `{"url":"https://example.com/x","actions":["lease"]}`, `"devices":[]`},
		{"DELETE", net + "/webhooks/" + hook, ``, `"devices":[]`},
		{"POST", net + "/members", `{"name":"bob"}`, `"devices":[]`},
		{"POST", net + "/apps", `{"name":"new"}`, `"servers":[]`},
		{"POST", net + "/apps/shop/leases", `{"member":"ada","sources":["203.0.113.9"]}`, `"after":"203.0.113.9/32 until 2026-01-03T03:04:05Z"`},
		{"DELETE", net + "/apps/shop/leases/" + id, ``, `"leases":[{"object":"shop/` + id},
		{"POST", net + "/apps/shop/leases/" + id + "/renew", `{"duration":"48h"}`, `"after":"198.51.100.7/32 until 2026-01-04T03:04:05Z"`},
		{"POST", net + "/apps/shop/rules", `{"source":"203.0.112.0/24"}`, `"rules":[{"object":"shop/203.0.112.0_24","after":"203.0.112.0/24"}]`},
		{"DELETE", net + "/apps/shop/rules/203.0.113.0_24", ``, `"rules":[{"object":"shop/203.0.113.0_24","before":"203.0.113.0/24"}]`},
		{"PATCH", net, `{"keepalive":"0s"}`, `"devices":["ada/laptop"]`},
		{"POST", net + "/import", `{"apps":[{"name":"shop","servers":[{"name":"web-2"}]}]}`, `"devices":["ada/laptop"]`},
		{"POST", "/v1/networks", `{"name":"new"}`, `"servers":[]`},
		{"POST", "/v1/tokens", `{"name":"new"}`, `"servers":[]`},
		{"DELETE", "/v1/tokens/x", ``, `"servers":[]`},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		var body any
		if tt.body != "" {
			body = tt.body
		}
		mark := "?"
		if strings.Contains(tt.path, "?") {
			mark = "&"
		}
		r := a.call(tt.method, tt.path+mark+"dry_run=true", body).is(200)
		require.Contains(t, string(r.body), tt.want, "%s %s: %s", tt.method, tt.path, r.body)
		for _, member := range []string{"servers", "devices", "leases", "rules", "names"} {
			require.Contains(t, r.json(), member)
		}
		require.Equal(t, before, a.state(), tt.path)
		seen[tt.method+" "+strings.Trim(strings.NewReplacer(id, "{lease}", "203.0.113.0_24", "{rule}").Replace(tt.path), "/")] = true
	}
	require.Len(t, a.get("/v1/tokens").is(200).json().items(), tokens)
	changes := 0
	for _, rt := range apnhttp.Routes() {
		if rt.Changes {
			changes++
		}
	}
	require.Len(t, seen, changes, "every change has a case above")
	// A dry run is refused for the same reasons.
	a.post(net+"/apps?dry_run=true", `{"name":"shop"}`).problem(409, "exists", "")
}

// TestObjects has the ways of single objects that no other test goes.
func TestObjects(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const net = "/v1/networks/acme"

	// Links are exceptions to the policy, in both directions.
	peers := func(app, server string) int {
		return len(a.get(net + "/apps/" + app + "/servers/" + server + "/netmap").is(200).json()["peers"].([]any))
	}
	require.Equal(t, 3, peers("blog", "web-1"))
	l := a.call("PUT", net+"/links/shop/blog", `{"linked":false}`).is(200).json()
	require.Equal(t, []any{"blog", "shop", false}, []any{l["a"], l["b"], l["linked"]})
	require.Equal(t, 1, peers("blog", "web-1"))
	require.Len(t, a.get(net+"/links").is(200).json().items(), 1)
	a.call("DELETE", net+"/links/blog/shop", nil).is(204)
	require.Equal(t, 3, peers("blog", "web-1"))

	// A key of one's own: custody self.
	priv, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	pub := priv.PublicKey().String()
	s := a.post(net+"/apps/shop/servers", object{"name": "own", "public_key": pub}).is(201).json()
	require.Equal(t, []any{pub, "self"}, []any{s["public_key"], s["custody"]})
	a.post(net+"/apps/shop/servers", object{"name": "own-2", "public_key": pub}).problem(422, "invalid", "public_key")
	a.post(net+"/apps/shop/servers/own/rotate", nil).problem(422, "invalid", "public_key")
	next, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	s = a.post(net+"/apps/shop/servers/own/rotate", object{"public_key": next.PublicKey().String()}).is(200).json()
	require.EqualValues(t, 2, s["key_generation"])
	require.Contains(t, string(a.get(net+"/apps/shop/servers/own/config").is(200).body), "PASTE-YOUR-PRIVATE-KEY-HERE")

	// Rules.
	r := a.post(net+"/apps/shop/rules", `{"source":"2001:db8::/48","note":"office"}`).is(201)
	require.Equal(t, net+"/apps/shop/rules/2001:db8::_48", r.header.Get("Location"))
	require.Equal(t, "office", a.get(r.header.Get("Location")).is(200).json()["note"])
	a.call("DELETE", r.header.Get("Location"), nil).is(204)
	a.get(r.header.Get("Location")).problem(404, "not-found", "")

	// Removing.
	a.call("DELETE", net+"/members/ada/devices/laptop", nil).is(204)
	a.call("DELETE", net+"/members/ada", nil).is(204)
	a.call("DELETE", net+"/apps/shop?servers=true", nil).is(204)
	require.Equal(t, []string{"blog"}, a.get(net+"/apps").is(200).json().names("name"))

	// Names with characters that URLs escape.
	a.post(net+"/members", `{"name":"ada+x@example.com"}`).is(201)
	a.get(net + "/members/ada+x@example.com").is(200)
	a.get(net + "/members/ada%2Bx%40example.com").is(200)
}

// TestDefaults: the host program's settings of new networks.
func TestDefaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *apnhttp.Config) {
		c.Defaults.Suffix = "lab.internal"
		c.Defaults.Keepalive = 10 * time.Second
		c.Defaults.PresharedKeys = true
	})
	n := a.post("/v1/networks", `{"name":"one"}`).is(201).json()
	require.Equal(t, []any{"lab.internal", "10s", true}, []any{n["suffix"], n["keepalive"], n["preshared_keys"]})
	n = a.post("/v1/networks", `{"name":"two","suffix":"apn","keepalive":"0s","preshared_keys":false,"links":"none","listen_port":7000,
		"prefixes":["10.9.0.0/16"],"subnet_bits":26,"exclude":[{"prefix":"10.9.0.0/24","reason":"office"}]}`).is(201).json()
	require.Equal(t, []any{"apn", "0s", false, "none", 7000.0}, []any{n["suffix"], n["keepalive"], n["preshared_keys"], n["links"], n["listen_port"]})
	subnets := a.post("/v1/networks/two/apps", `{"name":"shop"}`).is(201).json()["subnets"]
	require.Regexp(t, `^\[10\.9\.[1-9][0-9]*\.[0-9]+/26\]$`, fmt.Sprint(subnets))
}
