package apnhttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

// addLink makes a one-time link to a laptop in acme, and returns its ID and token.
func (a *api) addLink(member string, body any) (id, token string) {
	a.t.Helper()
	r := a.post("/v1/networks/acme/members/"+member+"/devices/laptop/links", body).is(201).json()
	_, token, found := strings.Cut(r["url"].(string), "#")
	require.True(a.t, found)
	return r["id"].(string), token
}

// redeem sends a token as the page's script does.
func (a *api) redeem(token, passphrase string) *answer {
	a.t.Helper()
	return a.post("/d", map[string]string{"token": token, "passphrase": passphrase}, "Authorization: ")
}

const laptopLinks = "/v1/networks/acme/members/ada/devices/laptop/links"

func TestHandover(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	ada := a.as("acme", "ada")

	made := ada.post(laptopLinks, nil).is(201)
	require.Equal(t, "no-store", made.header.Get("Cache-Control"))
	l := made.json()
	require.Regexp(t, `^http://example\.com/d#apl_acme\.[A-Z2-7]{52}$`, l["url"])
	require.Equal(t, []any{"wg-quick", "ada", "2026-01-02T03:14:05Z"}, []any{l["format"], l["by"], l["expires_at"]})
	_, token, _ := strings.Cut(l["url"].(string), "#")
	delete(l, "url")
	require.Equal(t, []object{l}, ada.get(laptopLinks).is(200).json().items())

	// The page alone changes nothing, however often somebody looks at it.
	for range 3 {
		page := a.get("/d", "Authorization: ").is(200)
		require.Equal(t, "no-store", page.header.Get("Cache-Control"))
		require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; script-src 'self'; img-src blob:;")
		require.NotRegexp(t, `(?i)<script>|<style|style=|\son\w+=|https?:`, string(page.body))
	}
	for name, kind := range map[string]string{"handover.css": "text/css; charset=utf-8", "handover.js": "text/javascript; charset=utf-8"} {
		require.Equal(t, kind, a.get("/d/"+name).is(200).header.Get("Content-Type"))
	}
	a.get("/d/page.html").is(404)
	a.get("/d/nothing.js").is(404)

	r := a.redeem(token, "").is(200)
	require.Equal(t, []string{"no-store", "no-referrer", "nosniff"}, []string{
		r.header.Get("Cache-Control"), r.header.Get("Referrer-Policy"), r.header.Get("X-Content-Type-Options"),
	})
	require.Regexp(t, `^attachment; filename=.*\.conf$`, r.header.Get("Content-Disposition"))
	cfg, err := render.Parse(r.body, nil)
	require.NoError(t, err)
	require.False(t, cfg.Interface.PrivateKey.IsZero())

	d := ada.get(laptopLinks[:len(laptopLinks)-6]).is(200).json()
	require.NotNil(t, d["handed_out"])
	require.NotContains(t, d, "alarm")

	a.now.Add(int64(time.Second))
	a.redeem(token, "").problem(410, "link-used", "")
	d = ada.get(laptopLinks[:len(laptopLinks)-6]).is(200).json()
	require.Equal(t, map[string]any{"kind": "link_reused", "at": "2026-01-02T03:04:06Z", "from": "198.51.100.7", "link": l["id"]}, d["alarm"])
	used := ada.get(laptopLinks).is(200).json().items()[0]
	require.Equal(t, []any{"2026-01-02T03:04:05Z", "the link was used already"}, []any{used["used_at"], used["ended"]})
	require.NotContains(t, used, "url")

	// Nothing of it is in the log.
	require.NotContains(t, a.log.String(), token[len(token)-52:])
	require.Contains(t, a.log.String(), `"path":"/d","status":200`)
	require.Contains(t, a.log.String(), `"principal":"link `+l["id"].(string)+`"`)
}

func TestHandoverForms(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	form := func(token, passphrase string) *answer {
		t.Helper()
		return a.post("/d", url.Values{"token": {token}, "passphrase": {passphrase}}.Encode(), "Authorization: ",
			"Content-Type: ", "Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin")
	}
	_, token := a.addLink("ada", `{"passphrase":"<b>sesame"}`)
	r := form(token, "").is(422)
	require.Contains(t, string(r.body), "passphrase: is required")
	require.Contains(t, string(r.body), "<form")
	require.NotContains(t, string(r.body), token)
	require.Contains(t, string(form(token, "x").is(422).body), "is wrong; 4 more tries")
	require.Contains(t, string(form(token, "<b>sesame").is(200).body), "PrivateKey = ")
	r = form(token, "<b>sesame").is(410)
	require.Contains(t, string(r.body), "the link was used already")
	require.NotContains(t, string(r.body), "<form")
	require.Contains(t, string(form("apl_acme.x", "").is(404).body), "The link is unknown")
	require.Contains(t, string(form("", "").is(404).body), "The link is unknown")
	a.post("/d", strings.Repeat("x", 65<<10), "Content-Type: ", "Content-Type: application/x-www-form-urlencoded").is(400)
	a.post("/d", nil).problem(415, "unsupported-media-type", "")
	a.post("/d", `{"token":"x","colour":1}`).problem(422, "invalid", "colour")
	a.post("/d", `{"token":"x"}`, "Sec-Fetch-Site: cross-site").problem(403, "cross-origin", "")
}

func TestHandoverFormats(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	for format, kind := range map[string]string{
		"wg-quick": "text/plain", "json": "application/json", "zip": "application/zip", "qr": "image/svg+xml", "networkmanager": "text/plain",
	} {
		_, token := a.addLink("ada", fmt.Sprintf(`{"format":%q,"ttl":"24h"}`, format))
		r := a.redeem(token, "").is(200)
		require.True(t, strings.HasPrefix(r.header.Get("Content-Type"), kind), "%s: %s", format, r.header.Get("Content-Type"))
		require.NotEmpty(t, r.body)
	}
	a.post(laptopLinks, `{"format":"png"}`).problem(422, "invalid", "format")
	a.post(laptopLinks, `{"ttl":"24h1s"}`).problem(422, "invalid", "ttl")
	a.post(laptopLinks, `{"passphrase":"`+strings.Repeat("x", 257)+`"}`).problem(422, "invalid", "passphrase")
	a.post(laptopLinks, nil, "Idempotency-Key: 1").problem(400, "malformed", "Idempotency-Key")
	a.post(laptopLinks+"?dry_run=true", nil).is(200)
	require.Len(t, a.get(laptopLinks).is(200).json().items(), 5)

	// A QR code that grew too large leaves the link as it was.
	_, token := a.addLink("ada", `{"format":"qr"}`)
	for i := range 9 {
		a.post("/v1/networks/acme/apps/shop/servers", fmt.Sprintf(`{"name":"new-%d"}`, i)).is(201)
	}
	a.redeem(token, "").problem(422, "no-qr", "")
	a.post(laptopLinks, `{"format":"qr"}`).problem(422, "no-qr", "")
	a.call("DELETE", "/v1/networks/acme/apps/shop/servers/new-1", nil).is(204)
	a.redeem(token, "").is(200)

	id, token := a.addLink("ada", nil)
	a.call("DELETE", laptopLinks+"/"+id+"?dry_run=true", nil).is(200)
	a.call("DELETE", laptopLinks+"/"+id, nil).is(204)
	a.call("DELETE", laptopLinks+"/"+id, nil).problem(404, "not-found", "")
	a.redeem(token, "").problem(404, "not-found", "")

	_, token = a.addLink("ada", nil)
	a.post("/v1/networks/acme/members/ada/devices/laptop/rotate", nil).is(200)
	a.redeem(token, "").problem(410, "link-ended", "")

	a.post("/v1/networks/acme/members/ada/devices", `{"name":"own","public_key":"jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}`).is(201)
	a.post("/v1/networks/acme/members/ada/devices/own/links", nil).problem(422, "no-private-key", "")
}

func TestHandoverOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	_, token := a.addLink("ada", `{"passphrase":"x"}`)
	status := make([]int, 20)
	var wg sync.WaitGroup
	for i := range status {
		wg.Go(func() { status[i] = a.redeem(token, "x").status })
	}
	wg.Wait()
	counts := map[int]int{}
	for _, s := range status {
		counts[s]++
	}
	require.Equal(t, map[int]int{200: 1, 410: 19}, counts)
}

// FuzzRedeem sends anything to the one route that needs no credentials: it fails
// neither here nor open.
func FuzzRedeem(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `{"token":1}`, `{"token":"apl_acme.x"}`, `{"token":"apl_acme.` + strings.Repeat("A", 52) + `","passphrase":"x"}`, `{"token":"apl_..\u0000."}`,
		`token=apl_acme.x&passphrase=%00`, `token=%zz`, `token=apl_nobody.x;y`,
	} {
		f.Add([]byte(body), "application/json")
		f.Add([]byte(body), "application/x-www-form-urlencoded")
	}
	f.Add([]byte(`{}`), "multipart/form-data; boundary=x")
	var a *api
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		if a == nil {
			a = openAPI(t, nil)
			a.fill()
			a.addLink("ada", `{"passphrase":"x"}`)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/d", strings.NewReader(string(body)))
		r.RemoteAddr = "198.51.100.7:1"
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		require.GreaterOrEqual(t, w.Code, 400)
		require.Less(t, w.Code, 500)
		require.NotContains(t, w.Body.String(), "PrivateKey")
	})
}
