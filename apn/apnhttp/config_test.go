package apnhttp_test

import (
	"archive/zip"
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

const laptop = "/v1/networks/acme/members/ada/devices/laptop"

func TestConfigFormats(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	tests := []struct{ format, kind, ext, contains string }{
		{"", "text/plain; charset=us-ascii", ".conf", "\n[Peer]\n"},
		{"wg-quick", "text/plain; charset=us-ascii", ".conf", "\n[Peer]\n"},
		{"compact", "text/plain; charset=us-ascii", ".conf", "[Peer]\n"},
		{"setconf", "text/plain; charset=us-ascii", ".conf", "PrivateKey = "},
		{"uapi", "text/plain; charset=us-ascii", ".uapi", "private_key="},
		{"networkd-netdev", "text/plain; charset=us-ascii", ".netdev", "[NetDev]"},
		{"networkd-network", "text/plain; charset=us-ascii", ".network", "[Network]"},
		{"networkmanager", "text/plain; charset=us-ascii", ".nmconnection", "[connection]"},
		{"json", "application/json", ".json", `"privateKey"`},
	}
	for _, path := range []string{laptop, "/v1/networks/acme/apps/shop/servers/web-1"} {
		for _, tt := range tests {
			url := path + "/config"
			if tt.format != "" {
				url += "?format=" + tt.format
			}
			r := a.get(url).is(200)
			require.Equal(t, tt.kind, r.header.Get("Content-Type"))
			require.Regexp(t, `^attachment; filename=acme-[a-z0-9.-]+\`+tt.ext+`$`, r.header.Get("Content-Disposition"))
			require.Contains(t, string(r.body), tt.contains)
			require.Equal(t, "no-store", r.header.Get("Cache-Control"))
			require.Equal(t, "no-referrer", r.header.Get("Referrer-Policy"))
			require.Equal(t, "nosniff", r.header.Get("X-Content-Type-Options"))
			require.Empty(t, r.header.Get("ETag"))
		}
	}
}

// TestHandOut: a config counts as handed out when it was sent, and only then.
func TestHandOut(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	a.call(http.MethodHead, laptop+"/config", nil).is(405)
	a.get(laptop + "/config?format=nothing").is(400)
	require.Nil(t, a.get(laptop).is(200).json()["handed_out"])

	// A host name as endpoint cannot be said in UAPI: nothing is sent or recorded.
	a.call("PATCH", "/v1/networks/acme/apps/shop/servers/web-1", `{"endpoint":"web.example.com:51820"}`).is(200)
	a.get(laptop+"/config?format=uapi").problem(422, "not-renderable", "")
	require.Nil(t, a.get(laptop).is(200).json()["handed_out"])

	// Custody once: the second download is too late, the QR code too.
	a.post("/v1/networks/acme/members/ada/devices", `{"name":"phone","custody":"once"}`).is(201)
	phone := strings.TrimSuffix(laptop, "laptop") + "phone"
	a.call(http.MethodHead, phone+"/qr.png", nil).is(405)
	a.get(phone + "/config").is(200)
	a.get(phone+"/config").problem(410, "revealed", "")
	a.get(phone+"/qr.svg").problem(410, "revealed", "")
	a.post(phone+"/rotate", nil).is(200)
	require.Equal(t, []any{map[string]any{"kind": "key_rotated"}}, a.get(phone).is(200).json()["reasons"])
	a.get(phone + "/qr.svg").is(200)
	a.get(phone+"/config").problem(410, "revealed", "")

	// Custody self: the file has a place for the key, a QR code cannot.
	priv, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	a.post("/v1/networks/acme/members/ada/devices", object{"name": "own", "public_key": priv.PublicKey().String()}).is(201)
	own := strings.TrimSuffix(laptop, "laptop") + "own"
	require.Contains(t, string(a.get(own+"/config").is(200).body), render.Placeholder)
	a.get(own+"/qr.png").problem(422, "no-private-key", "")
}

func TestQR(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	r := a.get(laptop + "/qr.png").is(200)
	require.Equal(t, "image/png", r.header.Get("Content-Type"))
	require.Empty(t, r.header.Get("Content-Disposition"))
	img, err := png.Decode(bytes.NewReader(r.body))
	require.NoError(t, err)
	require.GreaterOrEqual(t, img.Bounds().Dx(), 600)
	r = a.get(laptop + "/qr.png?scale=1").is(200)
	img, err = png.Decode(bytes.NewReader(r.body))
	require.NoError(t, err)
	require.Less(t, img.Bounds().Dx(), 200)
	r = a.get(laptop + "/qr.svg").is(200)
	require.Equal(t, "image/svg+xml", r.header.Get("Content-Type"))
	require.True(t, bytes.HasPrefix(r.body, []byte("<svg ")))
	r = a.get(laptop + "/qr.txt").is(200)
	require.Contains(t, string(r.body), "\x1b[")
	r = a.get(laptop + "/qr.txt?plain=true").is(200)
	require.NotContains(t, string(r.body), "\x1b[")

	// The eleventh server ends it, with the way out.
	for i := range 9 {
		a.post("/v1/networks/acme/apps/shop/servers", fmt.Sprintf(`{"name":"more-%d"}`, i)).is(201)
	}
	for _, kind := range []string{"png", "svg", "txt"} {
		p := a.get(laptop+"/qr."+kind).problem(422, "no-qr", "")
		require.Equal(t, []any{11.0, 10.0, laptop + "/config", laptop + "/configs.zip"}, []any{p["servers"], p["limit"], p["config"], p["zip"]})
	}
	a.get(laptop + "/config").is(200)

	// So do too many bytes.
	a.call("DELETE", "/v1/networks/acme/apps/shop/servers/more-0", nil).is(204)
	for i := 1; i < 9; i++ {
		host := strings.Repeat(strings.Repeat("h", 60)+".", 3) + "example.com:51820"
		a.call("PATCH", fmt.Sprintf("/v1/networks/acme/apps/shop/servers/more-%d", i), `{"endpoint":"`+host+`"}`).is(200)
	}
	p := a.get(laptop+"/qr.png").problem(422, "no-qr", "")
	require.Greater(t, p["bytes"], p["capacity"])
	require.NotContains(t, p, "servers")
}

// TestPrefix: links in answers are below the prefix that the handler is at.
func TestPrefix(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(c *apnhttp.Config) { c.Prefix = "/apn" })
	b := *a
	b.h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/apn" + r.URL.Path
		a.h.ServeHTTP(w, r)
	})
	b.fill()
	r := b.post("/v1/networks/acme/apps", `{"name":"new"}`).is(201)
	require.Equal(t, "/apn/v1/networks/acme/apps/new", r.header.Get("Location"))
	for i := range 10 {
		b.post("/v1/networks/acme/apps/shop/servers", fmt.Sprintf(`{"name":"more-%d"}`, i)).is(201)
	}
	p := b.get(laptop+"/qr.png").problem(422, "no-qr", "")
	require.Equal(t, "/apn"+laptop+"/config", p["config"])
	require.Contains(t, string(b.get("/").is(200).body), `href="/apn/web/style.css?v=`)
	b.get("/web/style.css").is(200)
	b.get("/openapi.yaml").is(200)
	a.get("/v1/networks").problem(404, "not-found", "")
	for _, prefix := range []string{"apn", "/apn/", "/", "/{x}"} {
		_, err := apnhttp.New(apnhttp.Config{Control: a.ctl, Authenticate: apnhttp.TokenAuth(a.ctl), Prefix: prefix})
		require.Error(t, err, prefix)
	}
	_, err := apnhttp.New(apnhttp.Config{Control: a.ctl})
	require.Error(t, err)
	_, err = apnhttp.New(apnhttp.Config{Authenticate: apnhttp.TokenAuth(a.ctl)})
	require.Error(t, err)
}

// spellings returns a key in every encoding that somebody might search for.
func spellings(key []byte) []string {
	return []string{
		string(key), hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)),
		base64.RawStdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
		base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key),
		strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key)),
	}
}

// TestSecretsStayIn calls every route and looks for private keys and tokens in
// all answers that must not hold any, and in the log.
func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	type seen struct{ what, text string }
	var all []seen
	a.seen = func(r *http.Request, out *answer) {
		head, err := json.Marshal(out.header)
		require.NoError(t, err)
		all = append(all, seen{r.Method + " " + r.URL.Path, string(head) + string(out.body)})
	}
	a.fill()
	a.post("/v1/networks/acme/members/ada/devices", `{"name":"phone"}`).is(201)
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"admin"}`).is(200)
	a.post("/v1/networks/acme/apps/shop/rules", `{"source":"203.0.113.0/24"}`).is(201)
	a.call("PUT", "/v1/networks/acme/links/blog/shop", `{"linked":true}`).is(200)
	a.call("PATCH", "/v1/networks/acme", `{"preshared_keys":true}`).is(200)
	lease := a.post("/v1/networks/acme/apps/shop/leases", `{"member":"ada"}`).is(201).json().names("id")[0]
	made := a.post("/v1/tokens", `{"name":"ci"}`).is(201).json()
	tokens := []string{a.token, made["secret"].(string)}
	link, secret := a.addLink("ada", nil)
	all = all[:len(all)-1] // the one answer that has it
	tokens = append(tokens, secret)

	var private []keys.PrivateKey
	var preshared []keys.PresharedKey
	for _, path := range []string{
		laptop, strings.TrimSuffix(laptop, "laptop") + "phone", "/v1/networks/acme/apps/shop/servers/web-1",
		"/v1/networks/acme/apps/shop/servers/db-1", "/v1/networks/acme/apps/blog/servers/web-1",
	} {
		cfg, err := render.Parse(a.get(path+"/config").is(200).body, nil)
		require.NoError(t, err)
		private = append(private, cfg.Interface.PrivateKey)
		for _, p := range cfg.Peers {
			preshared = append(preshared, p.PresharedKey)
		}
	}
	require.NotEmpty(t, preshared)
	// Every route once more, right and wrong, as operator and as member.
	ada := a.as("acme", "ada")
	tokens = append(tokens, ada.token)
	for _, rt := range apnhttp.Routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		if strings.HasSuffix(path, "/events") {
			continue // it goes on and on, see TestEvents
		}
		path = strings.NewReplacer(
			"{$}", "", "{network}", "acme", "{app}", "shop", "{server}", "web-1", "{member}", "ada", "{device}", "laptop",
			"{lease}", lease, "{rule}", "203.0.113.0_24", "{token}", made["id"].(string), "{link}", link, "{webhook}", "x", "{a}", "blog", "{b}", "shop",
		).Replace(path)
		for _, caller := range []*api{a, ada} {
			caller.call(method, path+"?token="+a.token, nil)
			caller.call(method, path, `{"name":`)
			caller.call(method, path, `{"name":"`+a.token[:40]+`","public_key":"x"}`)
			if method == http.MethodGet {
				caller.get(path)
				caller.call(http.MethodHead, path, nil)
			}
		}
	}
	a.seen = nil

	holds := func(text string, key [32]byte) bool {
		for _, s := range spellings(key[:]) {
			if strings.Contains(text, s) {
				return true
			}
		}
		return false
	}
	found := 0
	for _, s := range all {
		// The three kinds of answers with keys; the picture of one shows none.
		if strings.HasSuffix(s.what, "/config") {
			for _, k := range private {
				if b := k.Reveal(); holds(s.text, *b) {
					found++
				}
			}
			continue
		}
		for _, k := range private {
			b := k.Reveal()
			require.False(t, holds(s.text, *b), "private key in the answer to %s", s.what)
		}
		for _, k := range preshared {
			b := k.Reveal()
			require.False(t, holds(s.text, *b), "preshared key in the answer to %s", s.what)
		}
		for _, token := range tokens {
			if s.what != "POST /v1/tokens" {
				require.NotContains(t, s.text, token, s.what)
			}
		}
	}
	require.GreaterOrEqual(t, found, len(private), "the scan finds what is there")

	log := a.log.String()
	require.Contains(t, log, laptop+"/config")
	for _, token := range tokens {
		require.NotContains(t, log, token[4:20])
	}
	for _, k := range private {
		b := k.Reveal()
		require.False(t, holds(log, *b), "private key in the log")
		require.NotContains(t, log, k.PublicKey().String(), "public key in the log")
	}
}

// TestLease is "Lease Now" with all its ways of telling where the caller is.
func TestLease(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	ada := a.as("acme", "ada")
	const leases = "/v1/networks/acme/apps/shop/leases"

	l := ada.post(leases, nil).is(201).json().items()[0]
	require.Equal(t, "198.51.100.7/32", l["source"])
	require.Equal(t, "ada", l["member"])
	require.Equal(t, "2026-01-03T03:04:05Z", l["expires_at"])
	require.Equal(t, "198.51.100.7", ada.get("/v1/whoami").is(200).json()["address"])
	own := leases + "/" + l["id"].(string)
	require.Equal(t, l, ada.get(own).is(200).json())

	a.now.Add(int64(time.Hour))
	l = ada.post(own+"/renew", nil).is(200).json()
	require.Equal(t, "2026-01-03T04:04:05Z", l["expires_at"])
	again := ada.post(leases, `{"duration":"1h"}`).is(201).json().items()[0]
	require.Equal(t, l["expires_at"], again["expires_at"], "leasing again never shortens")
	ada.call("DELETE", own, nil).is(204)
	ada.get(own).problem(404, "not-found", "")
	ada.call("DELETE", own, nil).problem(404, "not-found", "")

	// It ends by itself.
	ada.post(leases, `{"duration":"1h30m"}`).is(201)
	a.now.Add(int64(90*time.Minute - 1))
	ada.get(own).is(200)
	a.now.Add(1)
	ada.get(own).problem(404, "not-found", "")
	ada.post(own+"/renew", nil).problem(404, "not-found", "")

	// A trusted proxy says who calls; anybody else's word counts for nothing.
	source := func(from string, headers ...string) any {
		c := *ada
		c.from = from
		return c.post(leases, nil, headers...).is(201).json().items()[0]["source"]
	}
	require.Equal(t, "198.51.100.9/32", source("198.51.100.9:1", "X-Forwarded-For: 203.0.113.99"))
	require.Equal(t, "203.0.113.99/32", source("192.0.2.1:1", "X-Forwarded-For: 203.0.113.99"))
	require.Equal(t, "203.0.113.99/32", source("192.0.2.1:1", "X-Forwarded-For: 8.8.8.8, 203.0.113.99", "X-Forwarded-For: 192.0.2.2"))
	require.Equal(t, "2001:db8:1:2::/64", source("[2001:db8:1:2::9]:1"))
	require.Equal(t, "203.0.113.5/32", source("[::ffff:203.0.113.5]:1"))
	c := *ada
	c.from = "192.0.2.1:1"
	c.post(leases, nil, "X-Forwarded-For: somewhere").problem(422, "invalid", "sources")
	c.post(leases, nil).problem(422, "invalid", "sources")
	require.NotContains(t, c.get("/v1/whoami").is(200).json(), "address")
	c.from = "127.0.0.1:1"
	c.post(leases, nil).problem(422, "invalid", "sources")
	c.from = "@"
	c.post(leases, nil).problem(422, "invalid", "sources")
	c.post(leases, `{"sources":["203.0.113.7","2001:db8::7"]}`).is(201)

	// The openings reach the servers, and go with the role.
	netmap := func() map[string]any {
		return a.get("/v1/networks/acme/apps/shop/servers/web-1/netmap").is(200).json()["openings"].(map[string]any)
	}
	require.NotEmpty(t, netmap()["leases"])
	a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"viewer"}`).is(200)
	require.Nil(t, netmap()["leases"])
	ada.post(leases, nil).problem(403, "forbidden", "")
}

// TestZip: one tunnel per app, each of which counts as handed out.
func TestZip(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	a.call("PUT", "/v1/networks/acme/members/ada/roles/blog", `{"role":"developer"}`).is(200)
	a.post("/v1/networks/acme/apps/blog/servers", `{"name":"new-1","endpoint":"203.0.113.99"}`).is(201)
	r := a.get(laptop + "/configs.zip").is(200)
	require.Equal(t, "application/zip", r.header.Get("Content-Type"))
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
	require.Contains(t, r.header.Get("Content-Disposition"), "acme-laptop.zip")
	files, err := zip.NewReader(bytes.NewReader(r.body), int64(len(r.body)))
	require.NoError(t, err)
	require.Len(t, files.File, 2)
	a.post("/v1/networks/acme/members", `{"name":"eve"}`).is(201)
	ada := a.as("acme", "ada")
	for _, f := range files.File {
		text, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(text)
		require.NoError(t, err)
		cfg, err := render.Parse(data, nil)
		require.NoError(t, err)
		require.False(t, cfg.Interface.PrivateKey.IsZero())
		fp, ok := render.ReadFingerprint(data)
		require.True(t, ok)
		body := `{"public_key":"` + cfg.Interface.PrivateKey.PublicKey().String() + `","fingerprint":"` + fp.String() + `"}`
		check := ada.post("/v1/networks/acme/config/check", body).is(200).json()
		require.Equal(t, "current", check["state"])

		check = a.as("acme", "eve").post("/v1/networks/acme/config/check", body).is(200).json()
		require.Equal(t, "unknown", check["state"], "not eve's")
	}
	a.post("/v1/networks/acme/config/check", `{}`).problem(422, "invalid", "public_key")
	a.post("/v1/networks/acme/config/check", `{"public_key":"short","fingerprint":"v9.x"}`).problem(422, "invalid", "public_key")
}
