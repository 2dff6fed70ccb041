package apnhttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// browser goes through the dashboard as a person without scripts does: it
// follows links, fills in forms and keeps cookies. Every page is checked.
type browser struct {
	t       testing.TB
	a       *api
	cookies map[string]string
	headers http.Header // sent with every request
	at      string
	status  int
	header  http.Header
	text    string
	doc     *html.Node
}

func (a *api) browse() *browser {
	return &browser{t: a.t, a: a, cookies: map[string]string{}, headers: http.Header{"Sec-Fetch-Site": {"same-origin"}}}
}

// signIn opens the dashboard with the token of a.
func (a *api) signIn() *browser {
	b := a.browse()
	b.open("/")
	b.submit("sign-in", "token", a.token)
	return b
}

func (b *browser) do(method, path string, form url.Values) {
	b.t.Helper()
	b.send(method, path, form)
	for range 3 {
		if b.status == http.StatusSeeOther {
			b.get(b.header.Get("Location"))
		}
	}
	if strings.HasPrefix(b.header.Get("Content-Type"), "text/html") {
		var err error
		b.doc, err = html.Parse(strings.NewReader(b.text))
		require.NoError(b.t, err)
		b.check()
		b.save()
	}
}

func (b *browser) get(path string) { b.send(http.MethodGet, path, nil) }

// send sends one request and keeps the cookies of the answer.
func (b *browser) send(method, path string, form url.Values) {
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form.Encode()))
	r.RemoteAddr = b.a.from
	r.Header = b.headers.Clone()
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.a.h.ServeHTTP(w, r)
	b.at, b.status, b.header, b.text, b.doc = path, w.Code, w.Result().Header, w.Body.String(), nil
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
}

// open goes to a page and requires that it is there.
func (b *browser) open(path string) *browser {
	b.t.Helper()
	b.do(http.MethodGet, path, nil)
	return b.is(200)
}

func (b *browser) is(status int) *browser {
	b.t.Helper()
	require.Equal(b.t, status, b.status, "%s\n%s", b.at, b.text)
	return b
}

// follow clicks the link with a text.
func (b *browser) follow(text string) *browser {
	b.t.Helper()
	for n := range b.doc.Descendants() {
		if n.DataAtom == atom.A && strings.TrimSpace(textOf(n)) == text {
			return b.open(b.path(attr(n, "href")))
		}
	}
	require.Fail(b.t, "no link", "%q on %s", text, b.at)
	return b
}

func (b *browser) path(ref string) string {
	base, err := url.Parse(b.at)
	require.NoError(b.t, err)
	u, err := base.Parse(ref)
	require.NoError(b.t, err)
	u.Fragment = ""
	return u.String()
}

// find returns the elements with a data-test attribute.
func (b *browser) find(test string) (list []*html.Node) {
	for n := range b.doc.Descendants() {
		if n.Type == html.ElementNode && attr(n, "data-test") == test {
			list = append(list, n)
		}
	}
	return list
}

// all returns the elements of a kind.
func (b *browser) all(kind string) (list []*html.Node) {
	for n := range b.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == kind {
			list = append(list, n)
		}
	}
	return list
}

// says returns the text of the element with a data-test attribute, empty if
// there is none.
func (b *browser) says(test string) string {
	list := b.find(test)
	if len(list) == 0 {
		return ""
	}
	return textOf(list[0])
}

// submit fills in the form with a data-test attribute, as a browser would, and
// sends it. A value of a hidden input chooses between forms of one name.
func (b *browser) submit(test string, values ...string) *browser {
	b.t.Helper()
	forms := b.find(test)
	require.NotEmpty(b.t, forms, "form %q on %s\n%s", test, b.at, b.text)
	for _, form := range forms {
		data, hidden := formData(form)
		fits := true
		for i := 0; i < len(values); i += 2 {
			if hidden[values[i]] {
				fits = fits && data.Get(values[i]) == values[i+1]
			} else {
				require.True(b.t, data.Has(values[i]) || len(forms) > 1, "input %q of form %q", values[i], test)
				data.Set(values[i], values[i+1])
			}
		}
		if fits {
			b.do(http.MethodPost, b.path(attr(form, "action")), data)
			return b
		}
	}
	require.Fail(b.t, "no such form", "%q %q on %s", test, values, b.at)
	return b
}

// formData returns what a form would send as it is, and which names are hidden.
// Boxes that are not checked are there with an empty value.
func formData(form *html.Node) (data url.Values, hidden map[string]bool) {
	data, hidden = url.Values{}, map[string]bool{}
	for n := range form.Descendants() {
		name := attr(n, "name")
		switch {
		case name == "":
		case n.DataAtom == atom.Input && attr(n, "type") == "checkbox":
			if has(n, "checked") {
				data.Set(name, "on")
			}
		case n.DataAtom == atom.Input:
			data.Set(name, attr(n, "value"))
			hidden[name] = attr(n, "type") == "hidden"
		case n.DataAtom == atom.Select:
			first := true
			for o := range n.Descendants() {
				if o.DataAtom == atom.Option && (first || has(o, "selected")) {
					data.Set(name, attr(o, "value"))
					first = false
				}
			}
		}
	}
	return data, hidden
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// check requires what every page must have, and what none may.
func (b *browser) check() {
	b.t.Helper()
	fail := func(what string, n *html.Node) {
		b.t.Helper()
		require.Fail(b.t, what, "%s: <%s %v>", b.at, n.Data, n.Attr)
	}
	ids, labelled, headings := map[string]int{}, map[string]bool{}, 0
	for n := range b.doc.Descendants() {
		if n.DataAtom == atom.Label {
			labelled[attr(n, "for")] = true
		}
		if id := attr(n, "id"); id != "" {
			ids[id]++
			require.Equal(b.t, 1, ids[id], "%s: id %q", b.at, id)
		}
	}
	level := 0
	for n := range b.doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style":
				fail("inline "+a.Key, n)
			case a.Key == "href" || a.Key == "src" || a.Key == "action":
				if u, err := url.Parse(a.Val); err != nil || u.Host != "" || u.Scheme != "" {
					fail("foreign address", n)
				}
			case a.Key == "aria-describedby" || a.Key == "aria-labelledby":
				for id := range strings.FieldsSeq(a.Val) {
					require.Equal(b.t, 1, ids[id], "%s: %s of %q", b.at, a.Key, id)
				}
			}
		}
		switch n.DataAtom { //nolint:exhaustive // the others may be as they are
		case atom.Html:
			require.Equal(b.t, "en", attr(n, "lang"))
		case atom.Script:
			if attr(n, "src") == "" || n.FirstChild != nil {
				fail("inline script", n)
			}
		case atom.Style:
			fail("inline style", n)
		case atom.Form:
			require.True(b.t, attr(n, "method") == "post" || attr(n, "role") == "search", "%s", b.at)
		case atom.Input, atom.Select, atom.Textarea:
			if attr(n, "type") != "hidden" && (attr(n, "id") == "" || !labelled[attr(n, "id")]) {
				fail("no label", n)
			}
		case atom.Img:
			require.True(b.t, has(n, "alt"))
		case atom.Th:
			require.NotEmpty(b.t, attr(n, "scope"), "%s: %s", b.at, textOf(n))
		case atom.Section:
			require.NotEmpty(b.t, attr(n, "aria-labelledby"), "%s", b.at)
		case atom.Button, atom.A:
			if textOf(n) == "" && attr(n, "aria-label") == "" {
				fail("no name", n)
			}
		case atom.H1:
			headings++
			level = 1
		case atom.H2, atom.H3:
			next := int(n.Data[1] - '0')
			require.LessOrEqual(b.t, next, level+1, "%s: heading %q", b.at, textOf(n))
			level = next
		}
	}
	require.Equal(b.t, 1, headings, "%s: headings of the first level", b.at)
	require.Contains(b.t, b.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.NotContains(b.t, b.header.Get("Content-Security-Policy"), "unsafe")
	require.Contains(b.t, b.header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	require.Equal(b.t, "no-store", b.header.Get("Cache-Control"))
	require.Equal(b.t, "nosniff", b.header.Get("X-Content-Type-Options"))
	require.NotEmpty(b.t, b.header.Get("Referrer-Policy"))
	require.NotContains(b.t, b.text, "ZgotmplZ", "%s: a template met what it cannot escape", b.at)
}

// save writes the page below the folder that APN_PAGES names, to look at it.
func (b *browser) save() {
	dir := os.Getenv("APN_PAGES")
	if dir == "" {
		return
	}
	name := strings.Trim(strings.NewReplacer("/", "_", "?", "_", "=", "_").Replace(b.at), "_")
	name = fmt.Sprintf("%s-%s-%d.html", b.t.Name(), name, b.status)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(b.text), 0o600))
}

// TestTutorial goes from nothing to an open port, click by click.
func TestTutorial(t *testing.T) {
	t.Parallel()
	b := newAPI(t, nil).signIn()
	require.Contains(t, b.text, "Create the first one below.")
	b.submit("add-network", "name", "acme", "prefixes", "10.20.0.0/16, fd12:3456:789a::/48").is(200)
	require.Equal(t, "/networks/acme", b.at)
	require.Equal(t, "Network acme was created.", b.says("said"))
	require.Empty(t, b.open("/networks/acme").says("said"), "it is said once")

	b.submit("add-app", "name", "shop").is(200)
	require.Equal(t, "/networks/acme/apps/shop", b.at)
	require.Contains(t, b.text, "No server yet.")
	b.submit("add-server", "name", "web-1", "endpoint", "203.0.113.7").is(200)
	b.submit("add-server", "name", "db-1").is(200)
	require.Contains(t, b.says("servers"), "web-1.shop.apn")
	require.Contains(t, b.says("servers"), "203.0.113.7:51820")
	require.Contains(t, b.says("servers"), "behind NAT")

	b.follow("People")
	b.submit("add-member", "name", "ada@example.com").is(200)
	require.Equal(t, "/networks/acme/people/ada@example.com", b.at)
	b.submit("set-role", "app", "shop", "role", "developer").is(200)
	require.Equal(t, "Access to shop was saved. It holds at once.", b.says("said"))
	b.submit("add-device", "name", "laptop").is(200)
	require.Equal(t, "/networks/acme/people/ada@example.com/devices/laptop", b.at)
	require.Contains(t, b.text, "Not downloaded yet")

	b.submit("config", "format", "wg-quick").is(200)
	require.Contains(t, b.header.Get("Content-Disposition"), "acme-laptop.conf")
	require.Contains(t, b.text, "[Interface]")
	require.Contains(t, b.text, "PrivateKey = ")
	b.open("/networks/acme/people/ada@example.com/devices/laptop")
	require.Contains(t, b.text, "The file is current")
	b.submit("qr").is(200)
	require.Len(t, b.find("qr-code"), 1)

	b.open("/networks/acme/apps/shop")
	require.Equal(t, "198.51.100.7", b.says("source"))
	b.submit("lease", "member", "ada@example.com").is(200)
	require.Contains(t, b.says("leases"), "198.51.100.7/32 ada@example.com 24 h 00 min")
	b.submit("renew-lease").is(200)
	b.submit("add-server", "name", "web-2").is(200)
	b.open("/networks/acme/people/ada@example.com/devices/laptop")
	require.Equal(t, "shop/web-2 was added.", b.says("reasons"))
	b.open("/networks/acme")
	require.Contains(t, b.text, "<svg")
	b.open("/networks/acme/people").open("/networks/acme/names").open("/networks/acme/audit").open("/networks/acme/keys").open("/tokens")
	b.open("/networks/acme/apps/shop/servers/db-1")
	b.submit("remove-server").is(200)
	require.Equal(t, "1 device would need another file, come or go ada@example.com/laptop", b.says("plan-devices"))
	require.Contains(t, b.says("plan-names"), "db-1.shop.apn")
	b.submit("confirm").is(200)
	require.Equal(t, "Server db-1 was removed.", b.says("said"))
}
