package apnhttp_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// cast is a network "acme" with one caller per kind, as mayUse names them, each
// signed in. Members are called by their role, and have a device.
func (a *api) cast() map[string]*browser {
	a.t.Helper()
	a.post("/v1/networks", `{"name":"acme","prefixes":["10.20.0.0/16"]}`).is(201)
	a.post("/v1/networks", `{"name":"other"}`).is(201)
	a.post("/v1/networks/acme/import", `{"apps":[
		{"name":"shop","servers":[{"name":"web-1","endpoint":"203.0.113.7"},{"name":"web-2"}]},{"name":"blog","servers":[{"name":"hidden-1"}]}]}`).is(201)
	a.post("/v1/networks/acme/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)
	a.call("PUT", "/v1/networks/acme/links/blog/shop", `{"linked":false}`).is(200)
	all := map[string]*browser{"o": a.signIn(), "p": a.browse()}
	for key, role := range map[string]string{"a": "admin", "d": "developer", "v": "viewer", "n": "none"} {
		a.post("/v1/networks/acme/members", `{"name":"`+role+`"}`).is(201)
		a.call("PUT", "/v1/networks/acme/members/"+role+"/roles/shop", `{"role":"`+role+`"}`).is(200)
		a.post("/v1/networks/acme/members/"+role+"/devices", `{"name":"laptop"}`).is(201)
		all[key] = a.as("acme", role).signIn()
	}
	a.post("/v1/networks/acme/apps/shop/leases", `{"member":"developer"}`).is(201)
	a.post("/v1/networks/other/members", `{"name":"admin"}`).is(201)
	a.post("/v1/networks/other/members/admin/devices", `{"name":"laptop"}`).is(201)
	all["s"] = a.as("other", "admin").signIn()
	return all
}

// self is the member that a caller is, or looks at.
func self(key string) string {
	return map[string]string{"a": "admin", "d": "developer", "v": "viewer", "n": "none"}[key]
}

func fillPath(pattern, member string) string {
	if member == "" {
		member = "none"
	}
	return strings.NewReplacer("{$}", "", "{network}", "acme", "{app}", "shop", "{server}", "web-1", "{member}", member, "{device}", "laptop").Replace(pattern)
}

// TestWhoSeesWhat: every page with every kind of caller, and the forms on it.
func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	cast := a.cast()
	const (
		net    = "/networks/{network}"
		app    = net + "/apps/{app}"
		person = net + "/people/{member}"
	)
	// For each page, what each caller may do there; a caller who is left out may
	// not see it.
	device := "config link qr remove-device rotate-device zip"
	pages := map[string]map[string]string{
		"/{$}":    {"o": "add-network", "p": "sign-in", "a": "*", "d": "*", "v": "*", "n": "*", "s": "*"}, // *: elsewhere
		"/audit":  {"o": "filter"},
		"/tokens": {"o": "add-token remove-token"},
		net: {
			"o": "add-app reset-link set-link update-network", "a": "lease", "d": "lease", "v": "", "n": "",
		},
		app: {
			"o": "add-rule add-server lease remove-app remove-rule renew-lease revoke-lease",
			"a": "add-rule add-server lease remove-rule renew-lease revoke-lease", "d": "lease renew-lease revoke-lease", "v": "",
		},
		app + "/servers/{server}": {
			"o": "join remove-server rotate-server server-config update-server",
			"a": "join remove-server rotate-server server-config update-server", "d": "", "v": "",
		},
		net + "/people": {"o": "add-member"},
		person: {
			"o": "add-device add-token remove-member set-role", "a": "add-device", "d": "add-device", "v": "add-device", "n": "add-device",
		},
		person + "/devices/{device}": {"o": device, "a": device, "d": device, "v": device, "n": device},
		net + "/names":               {"o": ""},
		net + "/audit":               {"o": "filter"},
		net + "/keys":                {"o": ""},
	}
	seen := map[string]bool{}
	for _, rt := range apnhttp.Routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		if !rt.ForBrowsers || method != http.MethodGet || strings.HasPrefix(path, "/web/") || strings.HasPrefix(path, "/d") {
			continue
		}
		seen[path] = true
		require.Contains(t, pages, path)
		for key, b := range cast {
			want, ok := pages[path][key]
			b.do(http.MethodGet, fillPath(path, self(key)), nil)
			switch {
			case want == "*":
				require.Contains(t, b.is(200).at, "/networks/", "%s as %s", path, key)
			case ok:
				forms := map[string]bool{}
				for _, form := range b.is(200).all("form") {
					if test := attr(form, "data-test"); test != "sign-out" {
						if strings.HasPrefix(test, "set-role-") {
							test = "set-role"
						}
						forms[test] = true
					}
				}
				require.Equal(t, want, strings.Join(slices.Sorted(maps.Keys(forms)), " "), "%s as %s", path, key)
			case key == "p":
				require.NotEmpty(t, b.is(401).find("sign-in"))
			case key == "s" && path != "/tokens" && path != "/audit":
				b.is(404)
			default:
				b.is(403)
			}
			if key != "o" && path != "/{$}" {
				require.NotContains(t, b.text, "hidden-1", "%s as %s", path, key)
			}
		}
	}
	require.Len(t, seen, len(pages))

	// Nobody sees another's devices or leases.
	cast["d"].do(http.MethodGet, "/networks/acme/people/viewer/devices/laptop", nil)
	cast["d"].is(403)
	require.Len(t, cast["d"].open("/networks/acme/apps/shop").find("leases"), 1)
	a.post("/v1/networks/acme/apps/shop/leases", `{"member":"admin","sources":["203.0.113.99"]}`).is(201)
	require.NotContains(t, cast["d"].open("/networks/acme/apps/shop").says("leases"), "203.0.113.99")
	require.Contains(t, cast["a"].open("/networks/acme/apps/shop").says("leases"), "203.0.113.99")
}

// TestFormsAskTheAPI sends every form as every kind of caller, shown or not: it
// does what the route of the API does, and nothing else.
func TestFormsAskTheAPI(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	cast := a.cast()
	long := map[string]string{
		"N": "/v1/networks/{network}", "A": "/v1/networks/{network}/apps/{app}", "S": "/v1/networks/{network}/apps/{app}/servers/{server}",
		"M": "/v1/networks/{network}/members/{member}", "D": "/v1/networks/{network}/members/{member}/devices/{device}",
	}
	who := map[string]string{}
	for pattern, keys := range mayUse {
		method, path, _ := strings.Cut(pattern, " ")
		first, rest, _ := strings.Cut(path, "/")
		if long[first] != "" {
			path = strings.TrimSuffix(long[first]+"/"+rest, "/")
		}
		who[method+" "+path] = keys
	}
	token := a.post("/v1/tokens", `{"name":"spare"}`).is(201).json()["id"].(string)
	for _, action := range apnhttp.Actions() {
		require.Contains(t, who, action.API)
		for key, b := range cast {
			// What is missing in it makes it invalid, for whom it is not refused.
			lease := a.post("/v1/networks/acme/apps/shop/leases", `{"member":"developer"}`).is(201).json().names("id")[0]
			link := "none"
			if action.Do == "remove-link" {
				link = a.post(fillPath("/v1/networks/acme/members/{member}/devices/laptop/links", self(key)), nil).is(201).json()["id"].(string)
			}
			form := url.Values{
				"do": {action.Do}, "app": {"shop"}, "rule": {"203.0.113.0_24"}, "token": {token}, "lease": {lease}, "link": {link}, "a": {"blog"}, "b": {"shop"},
				"member": {self(key)}, "sources": {"nowhere"}, "role": {"none"}, "subnets": {"x"}, "address": {"x"}, "prefixes": {"x"},
			}
			if action.Do == "set-role" {
				form.Set("role", "wrong")
			}
			before := a.state()
			b.send(http.MethodPost, fillPath(action.Page, self(key)), form)
			got := "allowed"
			switch b.status {
			case 401, 403, 404:
				got = "refused"
			}
			want := "refused"
			if strings.Contains(who[action.API], key) {
				want = "allowed"
			}
			require.Equal(t, want, got, "%s as %s: %d", action.Do, key, b.status)
			if got == "refused" || action.Asks {
				require.Equal(t, before, a.state(), "%s as %s", action.Do, key)
			}
		}
	}
}
