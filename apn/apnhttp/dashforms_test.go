package apnhttp_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// TestRefusedForm: the page comes back with what was typed, and what is wrong.
func TestRefusedForm(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn()
	tests := []struct {
		page, do string
		values   []string
		status   int
		field    string // that is marked; empty: none
		says     string // beside it, or above the form
	}{
		{"/", "add-network", []string{"name", "no good", "suffix", "corp"}, 422, "name", "Must be 1 to 63 of A-Z"},
		{"/", "add-network", []string{"name", "new", "prefixes", "10.0.0.0/16 nonsense"}, 422, "prefixes", "Must be a prefix"},
		{"/", "add-network", []string{"name", "new", "listen_port", "many"}, 422, "listen_port", "Must be a number"},
		{"/", "add-network", []string{"name", "acme"}, 409, "name", "There is one of this name already."},
		{"/networks/acme", "add-app", []string{"name", "Shop!"}, 422, "name", "Must be a DNS label"},
		{"/networks/acme", "add-app", []string{"name", "shop"}, 409, "name", "There is one of this name already."},
		{"/networks/acme", "set-link", []string{"a", "shop", "b", "shop"}, 422, "", "An app always reaches itself"},
		{"/networks/acme", "update-network", []string{"keepalive", "often"}, 422, "keepalive", "Must be hours"},
		{"/networks/acme/apps/shop", "add-server", []string{"name", "new", "endpoint", "203.0.113.7:99999"}, 422, "endpoint", "Must be host:port"},
		{"/networks/acme/apps/shop", "add-server", []string{"name", "new", "address", "192.0.2.1"}, 422, "address", ""},
		{"/networks/acme/apps/shop", "add-server", []string{"name", "new", "public_key", "short"}, 422, "public_key", "Must be 32 bytes"},
		{"/networks/acme/apps/shop", "add-rule", []string{"source", "203.0.113.9/24"}, 422, "source", ""},
		{"/networks/acme/apps/shop", "add-rule", []string{"source", "203.0.113.0/24", "note", "grüß"}, 422, "note", "Must be printable ASCII"},
		{"/networks/acme/apps/shop", "lease", []string{"sources", "here"}, 422, "sources", "Must be an IP address"},
		{"/networks/acme/apps/shop", "lease", []string{"sources", "192.168.1.7"}, 422, "sources", ""},
		{"/networks/acme/apps/shop/servers/db-1", "update-server", []string{"endpoint", "not an address"}, 422, "endpoint", "Must be host:port"},
		{"/networks/acme/people", "add-member", []string{"name", "Ada"}, 422, "name", "Must be 1 to 64"},
		{"/networks/acme/people/ada", "add-device", []string{"name", "-"}, 422, "name", "Must be a DNS label"},
		{"/networks/acme/people/ada", "add-device", []string{"name", "x", "custody", "once", "public_key", "jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}, 422, "", "Custody"},
		{"/networks/acme/people/ada", "add-token", []string{"name", "tökén"}, 422, "name", "Must be 1 to 100"},
		{"/tokens", "add-token", []string{"name", strings.Repeat("x", 101)}, 422, "name", "Must be 1 to 100"},
	}
	for _, tt := range tests {
		name := tt.page + " " + tt.do + " " + strings.Join(tt.values, " ")
		before := a.state()
		b.open(tt.page)
		b.submit(tt.do, tt.values...)
		require.Equal(t, tt.status, b.status, name)
		require.Equal(t, before, a.state(), name)
		form := b.find(tt.do)[0]
		require.NotEmpty(t, b.says("problem"), name)
		kept, _ := formData(form)
		for i := 0; i < len(tt.values); i += 2 {
			require.Equal(t, tt.values[i+1], kept.Get(tt.values[i]), name)
		}
		marked, focus := "", 0
		for n := range form.Descendants() {
			if has(n, "autofocus") {
				focus++
			}
			if attr(n, "aria-invalid") == "true" {
				marked = attr(n, "name")
				for p := n.Parent; p != nil; p = p.Parent { // nothing hides it
					require.False(t, p.Data == "details" && !has(p, "open"), name)
				}
			}
		}
		if tt.field == "" && strings.Contains(tt.says, "Custody") { // it is a field of the form, too
			tt.field = "custody"
			tt.says = ""
		}
		require.Equal(t, tt.field, marked, name)
		require.Equal(t, 1, focus, name)
		require.Contains(t, textOf(form), tt.says, name)
		b.open(b.at) // and a look at the page again is only that
	}
}

// TestHostileNames: whatever is typed stays text, in pages, plans and messages.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn()
	hostile := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `{{.Root}}`, `${7*7}`, `</title><h1>x`,
		`javascript:alert(1)`, `<svg onload=alert(1)>`, `&lt;b&gt;`, "\u202egnp.exe", `--></style><script>`, `%3Cscript%3E`, "a\x00b", `<a href=//evil.example>`,
	}
	elements := func() int {
		count := 0
		for n := range b.doc.Descendants() {
			if n.Type == html.ElementNode {
				count++
				for _, at := range n.Attr {
					require.False(t, strings.HasPrefix(at.Key, "on"), "%v", n)
				}
			}
		}
		return count
	}
	for _, action := range apnhttp.Actions() {
		page := fillPath(action.Page, "ada")
		page = strings.Replace(page, "web-1", "db-1", 1)
		usual := -1
		for _, text := range hostile {
			form := url.Values{"do": {action.Do}, "a": {"shop"}, "b": {"blog"}, "app": {"shop"}, "role": {"none"}, "token": {"x"}, "lease": {"x"}, "link": {"x"}, "rule": {"x"}}
			for _, f := range action.Fields {
				// A passphrase would cost its hash each time.
				if f != "passphrase" && f != "a" && f != "b" && f != "app" && f != "role" {
					form.Set(f, text)
				}
			}
			form.Set("x"+text, text) // what no field is called
			form.Set("lease", text)
			b.do(http.MethodPost, page, form)
			if b.doc == nil {
				continue // a file
			}
			b.check()
			if b.status == 200 || b.status >= 500 {
				require.NotEqual(t, 500, b.status, "%s %q", action.Do, text)
				continue // done, or a plan
			}
			if n := elements(); usual < 0 {
				usual = n
			} else {
				require.Equal(t, usual, n, "%s %q: %s", action.Do, text, b.text)
			}
		}
	}

	// What may be loose is shown as it is.
	loose := `<b onclick="x">"Büro" & {{.Who}}</b>`
	loose = strings.Map(func(r rune) rune {
		if r > '~' {
			return -1
		}
		return r
	}, loose)
	b.open("/networks/acme/apps/shop").submit("add-rule", "source", "198.51.100.0/24", "note", loose).is(200)
	require.Contains(t, b.says("rules"), loose)
	b.open("/networks/acme/people/ada").submit("add-token", "name", loose).is(200)
	b.open("/tokens")
	require.Contains(t, b.says("tokens"), loose)
	made, _, err := a.ctl.AddToken(t.Context(), loose, nil)
	require.NoError(t, err)
	hostileMe := *a
	hostileMe.token = made
	c := hostileMe.signIn()
	require.Equal(t, loose, c.says("who"))
	c.submit("add-network", "name", "theirs").is(200)
	require.Contains(t, c.open("/networks/theirs/audit").says("events"), loose)

	// Filters and cookies, too.
	for _, text := range hostile {
		for _, page := range []string{"/networks/acme/audit?actor=", "/networks/acme/apps/shop?find=", "/networks/acme?after=", "/networks/acme/people?after="} {
			b.open(page + url.QueryEscape(text))
		}
		b.cookies["apn_said"] = "add-server:" + url.QueryEscape(text)
		b.open("/networks/acme")
		require.NotContains(t, b.cookies, "apn_said")
	}
	b.cookies["apn_said"] = "add-server:" + strings.Repeat("x", 300)
	require.Empty(t, b.open("/networks/acme").says("said"))
	b.cookies["apn_said"] = "nothing:x"
	require.Empty(t, b.open("/networks/acme").says("said"))
}

// TestPlans: what destroys says first what it would do, does it once it is
// confirmed, and asks again if that has changed.
func TestPlans(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn()
	a.get("/v1/networks/acme/members/ada/devices/laptop/config").is(200)
	a.post("/v1/networks/acme/apps/shop/leases", `{"member":"ada"}`).is(201)
	a.post("/v1/networks/acme/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)

	tests := []struct {
		page, do string
		values   []string
		title    string
		plan     map[string]string // by kind, a part of what it says
		said     string
	}{
		{"/networks/acme/people/ada", "set-role-shop", []string{"role", "viewer"}, "Take access to shop away?", map[string]string{
			"servers": "2 servers", "devices": "ada/laptop", "leases": "198.51.100.7/32",
		}, "Access to shop was saved. It holds at once."},
		{"/networks/acme", "set-link", []string{"a", "shop", "b", "blog", "linked", "false"}, "Change who reaches whom?", map[string]string{"servers": "4 servers"}, "The link was saved."},
		{"/networks/acme", "reset-link", nil, "Take the exception back?", map[string]string{"servers": "4 servers"}, "The exception was taken back."},
		{"/networks/acme", "update-network", []string{"links", "none"}, "Change the settings of the network?", map[string]string{"servers": "4 servers"}, "The settings were saved."},
		{"/networks/acme/apps/shop/servers/db-1", "update-server", []string{"endpoint", "203.0.113.8"}, "Change the public address of db-1?", map[string]string{"servers": "shop/web-1"}, "The public address was saved."},
		{"/networks/acme/apps/shop/servers/db-1", "rotate-server", nil, "Give db-1 a new key pair?", map[string]string{"servers": "shop/web-1"}, "Server db-1 has a new key pair."},
		{"/networks/acme/apps/shop/servers/db-1", "remove-server", nil, "Remove the server db-1?", map[string]string{"servers": "shop/db-1", "names": "db-1.shop.apn"}, "Server db-1 was removed."},
		{"/networks/acme/apps/shop", "remove-rule", nil, "Remove this permanent rule?", map[string]string{"rules": "203.0.113.0/24"}, "The rule was removed."},
		{"/networks/acme/people/ada/devices/laptop", "rotate-device", nil, "Give laptop a new key pair?", map[string]string{"devices": "ada/laptop"}, "laptop has a new key pair. Download its new file."},
		{"/networks/acme/people/ada/devices/laptop", "remove-device", nil, "Remove laptop?", map[string]string{"devices": "ada/laptop"}, "laptop was removed."},
		{"/networks/acme/people/ada", "remove-member", nil, "Remove ada?", nil, "ada was removed."},
		{"/networks/acme/apps/shop", "remove-app", nil, "Remove the app shop?", map[string]string{"servers": "shop/web-1", "names": "web-1.shop.apn"}, "App shop was removed."},
	}
	for _, tt := range tests {
		before := a.state()
		b.open(tt.page)
		b.submit(tt.do, tt.values...).is(200)
		require.Equal(t, tt.title, textOf(b.all("h1")[0]))
		require.Equal(t, before, a.state(), tt.do)
		for _, kind := range []string{"servers", "devices", "leases", "rules", "names"} {
			if part := tt.plan[kind]; part != "" {
				require.Contains(t, b.says("plan-"+kind), part, tt.do)
			}
		}
		require.Equal(t, tt.page, b.path(attr(b.all("form")[1], "action")))
		b.submit("confirm").is(200)
		require.Equal(t, tt.said, b.says("said"), tt.do)
		require.NotEqual(t, before, a.state(), tt.do)
	}
	require.Contains(t, b.text, "blog")

	// A plan that has changed is shown again.
	b.open("/networks/acme/apps/blog/servers/web-1").submit("remove-server").is(200)
	require.NotContains(t, b.text, "Something changed meanwhile")
	a.post("/v1/networks/acme/apps/blog/servers", `{"name":"new"}`).is(201)
	b.submit("confirm").is(200)
	require.Contains(t, b.text, "Something changed meanwhile")
	require.Contains(t, b.says("plan-servers"), "blog/new")
	a.get("/v1/networks/acme/apps/blog/servers/web-1").is(200)
	b.submit("confirm").is(200)
	a.get("/v1/networks/acme/apps/blog/servers/web-1").is(404)

	// More access asks nothing.
	a.post("/v1/networks/acme/members", `{"name":"bob"}`).is(201)
	b.open("/networks/acme/people/bob").submit("set-role", "app", "blog", "role", "viewer").is(200)
	require.Contains(t, b.says("said"), "Access to blog was saved")
	b.submit("set-role-blog", "role", "admin").is(200)
	require.Contains(t, b.says("said"), "Access to blog was saved")

	// Long plans are cut.
	for i := range 25 {
		a.post("/v1/networks/acme/apps/blog/servers", fmt.Sprintf(`{"name":"more-%02d"}`, i)).is(201)
	}
	b.open("/networks/acme/apps/blog").submit("remove-app").is(200)
	require.Contains(t, b.says("plan-servers"), "27 servers would get another config")
	require.Contains(t, b.says("plan-servers"), "and 7 more")
}

// TestHandOver: files, codes and links, and what there is in their place.
func TestHandOver(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.as("acme", "ada").signIn()
	const laptop = "/networks/acme/people/ada/devices/laptop"
	for format, want := range map[string]string{
		"wg-quick": "[Interface]", "networkmanager": "[wireguard]", "networkd-netdev": "[NetDev]", "networkd-network": "[Network]", "setconf": "[Interface]", "json": `"peers"`,
	} {
		b.open(laptop).submit("config", "format", format).is(200)
		require.Contains(t, b.text, want)
		require.Contains(t, b.header.Get("Content-Disposition"), "attachment")
		require.Equal(t, "no-store", b.header.Get("Cache-Control"))
	}
	b.open(laptop).submit("zip").is(200)
	require.Equal(t, "application/zip", b.header.Get("Content-Type"))
	b.open(laptop)
	require.Empty(t, b.find("qr-code"), "it takes a click")
	require.Len(t, b.submit("qr").is(200).find("qr-code"), 1)

	// One-time links are shown once, listed, and can be taken back.
	b.open(laptop).submit("link", "format", "qr", "passphrase", "xyzzy").is(200)
	link := textOf(b.find("one-time-link")[0])
	require.Regexp(t, `^http://example\.com/d#apl_[\w.]+$`, link)
	require.NotContains(t, b.text, "xyzzy")
	b.open(laptop)
	require.NotContains(t, b.text, "apl_")
	require.Contains(t, b.says("links"), "qr, with passphrase open for 10 min")
	b.submit("remove-link").is(200)
	require.Equal(t, "The link leads nowhere any more.", b.says("said"))

	// A second try at a link is told.
	b.submit("link").is(200)
	_, secret, _ := strings.Cut(textOf(b.find("one-time-link")[0]), "#")
	nobody := *a
	nobody.token = ""
	nobody.post("/d", `{"token":"`+secret+`"}`).is(200)
	nobody.post("/d", `{"token":"`+secret+`"}`).is(410)
	require.Contains(t, b.open(laptop).says("alarm"), "opened a second time")
	require.Contains(t, b.says("links"), "used 2 Jan 2026 03:04 UTC")
	require.Contains(t, b.open("/networks/acme/people/ada").says("devices"), "alarm")
	b.open(laptop).submit("rotate-device").is(200).submit("confirm").is(200)
	require.Empty(t, b.find("alarm"))

	// Beyond ten servers there is no code, and a word about the ways out.
	for i := range 10 {
		a.post("/v1/networks/acme/apps/shop/servers", fmt.Sprintf(`{"name":"more-%d"}`, i)).is(201)
	}
	b.open(laptop)
	require.Contains(t, b.says("no-qr"), "takes up to 10 servers, and this config has 12")
	require.Empty(t, b.find("qr"))
	require.NotEmpty(t, b.find("zip"))
	b.do(http.MethodPost, laptop, url.Values{"do": {"qr"}})
	require.Contains(t, b.is(422).says("no-qr"), "The config has 12 servers")
	b.open(laptop).submit("link", "format", "qr").is(422)
	require.Contains(t, b.says("problem"), "12 servers")

	// A key that is shown once is shown once.
	b.open("/networks/acme/people/ada").submit("add-device", "name", "phone", "custody", "once").is(200)
	b.submit("config").is(200)
	b.open("/networks/acme/people/ada/devices/phone")
	require.Contains(t, b.text, "The private key was shown once")
	require.Empty(t, b.find("config"))
	b.do(http.MethodPost, b.at, url.Values{"do": {"config"}})
	b.is(410)
	b.submit("rotate-device").is(200).submit("confirm").is(200)
	require.NotEmpty(t, b.find("config"))

	// One that is on the device is not here.
	b.open("/networks/acme/people/ada").submit("add-device", "name", "own", "public_key", "jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw=").is(200)
	require.Contains(t, b.text, "put it into the file there")
	require.Empty(t, b.find("qr"))
	b.submit("config").is(200)
	require.Contains(t, b.text, "PASTE-YOUR-PRIVATE-KEY-HERE")
}

// TestTwice: a form that is sent twice does its work once.
func TestTwice(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn()
	for _, tt := range []struct {
		page, do string
		values   url.Values
	}{
		{"/", "add-network", url.Values{"name": {"twice"}}},
		{"/networks/acme", "add-app", url.Values{"name": {"twice"}}},
		{"/networks/acme/apps/shop", "add-server", url.Values{"name": {"twice"}}},
		{"/networks/acme/apps/shop", "add-rule", url.Values{"source": {"203.0.113.0/24"}}},
		{"/networks/acme/people", "add-member", url.Values{"name": {"twice"}}},
		{"/networks/acme/people/ada", "add-device", url.Values{"name": {"twice"}}},
	} {
		b.open(tt.page)
		form, _ := formData(b.find(tt.do)[0])
		maps.Copy(form, tt.values)
		require.NotEmpty(t, form.Get("once"))
		b.do(http.MethodPost, tt.page, form)
		first, state := b.is(200).at, a.state()
		b.do(http.MethodPost, tt.page, form)
		require.Equal(t, first, b.is(200).at, tt.do)
		require.Equal(t, state, a.state(), tt.do)
	}
}

// TestNextSteps: empty pages say what to do.
func TestNextSteps(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	b := a.signIn()
	require.Contains(t, b.text, "Create the first one below.")
	b.submit("add-network", "name", "acme")
	require.Contains(t, b.text, "Add the first one.")
	require.Contains(t, b.text, "Next steps")
	require.Contains(t, b.open("/networks/acme/people").text, "Add the people who work")
	b.submit("add-member", "name", "ada")
	require.Contains(t, b.text, "No device yet. Add a computer or phone of ada.")
	require.Contains(t, b.text, "there is no app yet")
	ada := a.as("acme", "ada").signIn()
	require.Contains(t, ada.text, "You have no access to any app yet.")
	b.open("/networks/acme").submit("add-app", "name", "shop")
	require.Contains(t, b.text, "No server yet.")
	require.Contains(t, b.text, "Give access under People.")
	require.Empty(t, b.find("lease"))
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"developer"}`).is(200)
	ada.open("/networks/acme").submit("lease").is(200)
	require.Contains(t, ada.says("apps"), "open for 24 h 00 min")
	require.Contains(t, b.open("/networks/acme/names").text, "None: every server has its short name.")
	require.Contains(t, b.open("/networks/acme/audit?action=nothing").text, "Nothing here that fits the filter.")
}

// TestLists: long lists come in parts, and can be searched.
func TestLists(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.large()
	b := a.signIn()
	rows := func(test string) int {
		count := 0
		for n := range b.find(test)[0].Descendants() {
			if n.Data == "tr" && n.Parent.Data == "tbody" {
				count++
			}
		}
		return count
	}
	total := 0
	for b.open("/networks/big/apps/app-0"); ; b.follow("Next page") {
		total += rows("servers")
		if !strings.Contains(b.text, "Next page") {
			break
		}
		require.Equal(t, 100, rows("servers"))
	}
	require.Equal(t, 640, total)
	b.follow("First page")
	b.open("/networks/big/apps/app-0?find=00-10")
	require.Equal(t, 10, rows("servers"))
	b.open("/networks/big/apps/app-0?find=server")
	require.Equal(t, 100, rows("servers"))
	b.follow("Next page")
	require.Contains(t, b.says("servers"), "server-000-100")
	b.open("/networks/big/apps/app-0?find=203.0.113.77")
	require.Equal(t, 3, rows("servers"))
	require.Contains(t, b.open("/networks/big/apps/app-0?find=nothing").text, "No server has that.")

	require.Equal(t, 5, strings.Count(b.open("/networks/big").says("stale"), "was added"))
	require.Contains(t, b.text, "And 5 more devices")
	require.Equal(t, 10, strings.Count(b.open("/networks/big/people").says("members"), "1 stale"))
	b.open("/networks/big/audit")
	for range 5 {
		require.Equal(t, 100, rows("events"))
		b.follow("Older")
	}
	b.follow("Newest")
	b.open("/networks/big/audit?action=rule.add&object=app-0")
	require.Equal(t, 100, rows("events"))
	b.open("/networks/big/audit?object=person-07@example.com")
	require.Equal(t, 13, rows("events"))
	require.Empty(t, b.open("/networks/big/audit?outcome=refused").find("events"))
	require.Contains(t, b.text, "Nothing here that fits the filter.")
	b.follow("Show all")
	require.Contains(t, attr(b.find("export")[0], "href"), "/v1/networks/big/audit?format=jsonl")
	b.open(attr(b.find("export")[0], "href"))
	require.Equal(t, byte('{'), b.text[0])
	b.open("/tokens").submit("add-token", "name", "spare").is(200)
	require.Contains(t, b.open("/audit").says("events"), "token.add")
	for path, status := range map[string]int{
		"/networks/big/audit?before=x": 400, "/networks/big/audit?nothing=1": 400, "/networks/big?after=a&after=b": 400, "/web/none.css": 404, "/web/layout.html": 404,
	} {
		b.do(http.MethodGet, path, nil)
		b.is(status)
	}
}

// TestStates: what agents say of their servers.
func TestStates(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	b := a.signIn()
	state := func() string { return b.open("/networks/acme/apps/shop").says("servers") }
	require.Contains(t, state(), "no agent")
	b.open("/networks/acme/apps/shop/servers/web-1").submit("join").is(200)
	require.Contains(t, b.text, "apn-agent join -")
	require.Regexp(t, `^apnjoin_[\w-]+$`, textOf(b.find("token")[0]))
	agent := a.join()
	require.Contains(t, state(), "has not reported yet")
	agent.post("/v1/agent/status", `{"revision":1,"peers_up":3,"version":"1.2","errors":["wg: <b>no</b>"],"peers":[{"id":"srv/shop/db-1","handshake_age":5000000000,"received":123456,"sent":7}]}`).is(204)
	require.Eventually(t, func() bool { return strings.Contains(state(), "in trouble") }, 10*time.Second, 50*time.Millisecond)
	b.open("/networks/acme/apps/shop/servers/web-1")
	require.Contains(t, b.says("errors"), "wg: <b>no</b>")
	require.Contains(t, b.says("peers"), "shop/db-1")
	require.Contains(t, b.says("peers"), "123 kB")
	a.now.Add(int64(10 * time.Minute))
	require.Contains(t, state(), "silent for 10 min")
}
