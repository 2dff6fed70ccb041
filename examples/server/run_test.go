package main

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

const acme = "/v1/networks/acme"

// TestRun is the main job from end to end, over HTTP, against a database on
// disk and a process that is started again.
func TestRun(t *testing.T) { //nolint:tparallel // its subtests are steps
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "apn-data")
	s, c := begin(t, dir)
	inventory, err := os.ReadFile(filepath.Join("testdata", "inventory.json"))
	require.NoError(t, err)

	// Create a network, import the inventory.
	c.post("/v1/networks", `{"name":"acme"}`).is(201)
	imported := c.post(acme+"/import", string(inventory)).is(201).json()
	require.Equal(t, []any{"shop", "blog", "stats"}, imported["apps"])
	require.Len(t, imported["servers"], 25)
	n := c.get(acme).is(200).json()
	require.Equal(t, []any{3.0, 25.0}, []any{n["apps"], n["servers"]})

	// A member, Developer on two of the three apps, with a device.
	c.post(acme+"/members", `{"name":"ada"}`).is(201)
	c.call("PUT", acme+"/members/ada/roles/shop", `{"role":"developer"}`).is(200)
	c.call("PUT", acme+"/members/ada/roles/stats", `{"role":"developer"}`).is(200)
	c.call("PUT", acme+"/members/ada/roles/blog", `{"role":"viewer"}`).is(200)
	c.post(acme+"/members/ada/devices", `{"name":"laptop"}`).is(201)
	laptop := acme + "/members/ada/devices/laptop"

	// Exactly the servers of those two apps are peers, each with its address,
	// endpoint and keepalive.
	cfg := c.config(laptop)
	servers := append(c.servers("shop"), c.servers("stats")...)
	require.Len(t, servers, 17)
	require.Len(t, cfg.Peers, len(servers))
	for _, s := range servers {
		i := slices.IndexFunc(cfg.Peers, func(peer render.Peer) bool { return peer.PublicKey.String() == s["public_key"] })
		require.GreaterOrEqual(t, i, 0, "%s/%s", s["app"], s["name"])
		peer := cfg.Peers[i]
		require.Equal(t, fmt.Sprintf("%s.%s", s["name"], s["app"]), peer.Name)
		require.Equal(t, s["endpoint"], peer.Endpoint.String())
		require.Equal(t, 25*time.Second, peer.Keepalive)
		var addrs []any
		for _, a := range peer.AllowedIPs {
			require.True(t, a.IsSingleIP())
			addrs = append(addrs, a.Addr().String())
		}
		require.Equal(t, s["addresses"], addrs)
	}
	require.Equal(t, "[2001:db8:10::12]:51820", c.get(acme + "/apps/shop/servers/api-2").is(200).json()["endpoint"])

	// Over 10 servers there is no QR code, and the answer says what there is.
	for _, kind := range []string{"png", "svg", "txt"} {
		problem := c.get(laptop + "/qr." + kind).is(422).json()
		require.Equal(t, []any{"urn:apnkit:problem:no-qr", 17.0, 10.0, laptop + "/config"},
			[]any{problem["type"], problem["servers"], problem["limit"], problem["config"]})
	}
	c.get(c.get(laptop + "/qr.png").json()["config"].(string)).is(200)

	// A member with one app of 8 servers gets one, which reads as the compact
	// config.
	c.post(acme+"/members", `{"name":"bob"}`).is(201)
	c.call("PUT", acme+"/members/bob/roles/blog", `{"role":"admin"}`).is(200)
	c.post(acme+"/members/bob/devices", `{"name":"phone"}`).is(201)
	phone := acme + "/members/bob/devices/phone"
	compact := c.get(phone + "/config?format=compact").is(200).body
	require.Equal(t, 8, strings.Count(string(compact), "[Peer]"))
	t.Run("zbarimg", func(t *testing.T) {
		image := save(t, "qr.png", c.get(phone+"/qr.png").is(200).body)
		text := output(t, "zbarimg", "--quiet", "--raw", "--oneshot", "-Sbinary", image)
		require.Equal(t, string(compact), string(text))
	})

	c.leases(t)
	c.zones(t)

	// Add a server: the device is stale, downloading again clears it.
	require.Equal(t, false, c.get(laptop).is(200).json()["stale"])
	c.post(acme+"/apps/shop/servers", `{"name":"web-9","endpoint":"203.0.113.99"}`).is(201)
	device := c.get(laptop).is(200).json()
	require.Equal(t, true, device["stale"])
	require.Equal(t, []any{map[string]any{"kind": "server_added", "object": "shop/web-9"}}, device["reasons"])
	require.Equal(t, false, c.get(phone).is(200).json()["stale"])
	require.Len(t, c.config(laptop).Peers, 18)
	require.Equal(t, false, c.get(laptop).is(200).json()["stale"])

	// Drop the role: the app's servers leave the device's config, and the device
	// leaves the servers' peer lists.
	require.Contains(t, c.peers("shop", "web-1"), "dev/ada/laptop")
	require.Contains(t, c.peers("stats", "dash-1"), "dev/ada/laptop")
	c.call("PUT", acme+"/members/ada/roles/shop", `{"role":"none"}`).is(200)
	require.NotContains(t, c.peers("shop", "web-1"), "dev/ada/laptop")
	require.Contains(t, c.peers("stats", "dash-1"), "dev/ada/laptop")
	require.Equal(t, []any{map[string]any{"kind": "access_lost", "object": "shop"}}, c.get(laptop).is(200).json()["reasons"])
	for _, peer := range c.config(laptop).Peers {
		require.True(t, strings.HasSuffix(peer.Name, ".stats"), peer.Name)
	}

	// Every config passes the parsers of wg and wg-quick, and reads back.
	texts := c.configs(laptop, phone)
	t.Run("wg", func(t *testing.T) {
		for _, text := range texts {
			acceptedByWG(t, text)
		}
	})

	// Restart: everything is still there.
	before := c.everything(laptop, phone)
	s.stop(t)
	s, c = begin(t, dir, s.token)
	require.Equal(t, before, c.everything(laptop, phone))
	require.Equal(t, string(compact), string(c.get(phone+"/config?format=compact").is(200).body))
	require.Equal(t, false, c.get(phone).is(200).json()["stale"])
	require.NotZero(t, c.get(acme + "/audit/verify").is(200).json()["events"])

	// A copy of the database tells nobody a key.
	texts = append(texts, c.configs(laptop, phone)...)
	copied, err := os.ReadFile(filepath.Join(dir, "apn.db"))
	require.NoError(t, err)
	s.stop(t)
	closed, err := os.ReadFile(filepath.Join(dir, "apn.db"))
	require.NoError(t, err)
	searched := 0
	for _, text := range texts {
		cfg, err := render.Parse(text, nil)
		require.NoError(t, err)
		all := []keys.PublicKey{cfg.Interface.PrivateKey.PublicKey()}
		for _, peer := range cfg.Peers {
			all = append(all, peer.PublicKey)
		}
		private := cfg.Interface.PrivateKey.Reveal()
		for _, db := range [][]byte{copied, closed} {
			require.False(t, holds(db, private[:]), "a private key is in the database")
			for _, k := range all {
				require.False(t, holds(db, k[:]), "a public key is in the database")
				searched++
			}
		}
	}
	require.Greater(t, searched, 25*25)
	require.NotContains(t, string(closed), s.token[4:20])
}

// config downloads a device's or server's config and reads it back.
func (c *client) config(path string) *render.Config {
	c.t.Helper()
	text := c.get(path + "/config").is(200).body
	cfg, err := render.Parse(text, nil)
	require.NoError(c.t, err)
	again, err := render.Quick.Append(nil, cfg, nil)
	require.NoError(c.t, err)
	require.Equal(c.t, string(text), string(again))
	return cfg
}

// configs downloads the configs of all servers and of the devices.
func (c *client) configs(devices ...string) [][]byte {
	c.t.Helper()
	var all [][]byte
	for _, app := range c.get(acme + "/apps").is(200).json().items() {
		for _, s := range c.servers(app["name"].(string)) {
			devices = append(devices, fmt.Sprintf("%s/apps/%s/servers/%s", acme, s["app"], s["name"]))
		}
	}
	for _, path := range devices {
		c.config(path)
		all = append(all, c.get(path+"/config").is(200).body)
	}
	return all
}

func (c *client) servers(app string) []object {
	c.t.Helper()
	return c.get(acme + "/apps/" + app + "/servers").is(200).json().items()
}

// peers returns the IDs of a server's peers.
func (c *client) peers(app, server string) []string {
	c.t.Helper()
	var ids []string
	for _, peer := range c.get(acme + "/apps/" + app + "/servers/" + server + "/netmap").is(200).json()["peers"].([]any) {
		ids = append(ids, peer.(map[string]any)["id"].(string))
	}
	return ids
}

// leases takes one as a member does, looks at its times, renews and revokes it.
func (c *client) leases(t *testing.T) {
	t.Helper()
	made := c.post("/v1/tokens", `{"name":"ada","network":"acme","member":"ada"}`).is(201).json()
	ada := *c
	ada.token = made["secret"].(string)
	const path = acme + "/apps/shop/leases"
	ada.post(acme+"/apps/blog/leases", "").is(403)
	l := ada.post(path, "").is(201).json().items()[0]
	require.Equal(t, []any{"shop", "ada", "127.0.0.1/32"}, []any{l["app"], l["member"], l["source"]})
	times := func(l object) (issued, ends time.Time) {
		issued, err := time.Parse(time.RFC3339, l["issued_at"].(string))
		require.NoError(t, err)
		ends, err = time.Parse(time.RFC3339, l["expires_at"].(string))
		require.NoError(t, err)
		return issued, ends
	}
	issued, ends := times(l)
	require.Equal(t, 24*time.Hour, ends.Sub(issued))
	require.WithinDuration(t, time.Now(), issued, time.Minute)

	one := path + "/" + l["id"].(string)
	_, later := times(ada.post(one+"/renew", "").is(200).json())
	require.True(t, later.After(ends))
	openings := func() any {
		return c.get(acme + "/apps/shop/servers/web-1/netmap").is(200).json()["openings"].(map[string]any)["leases"]
	}
	require.Len(t, openings(), 1)
	ada.call("DELETE", one, "").is(204)
	ada.get(one).is(404)
	require.Nil(t, openings())
}

// zones looks at the names in the zone files, and has named-checkzone read them.
func (c *client) zones(t *testing.T) {
	t.Helper()
	zone := string(c.get(acme + "/zone").is(200).body)
	db := c.get(acme + "/apps/shop/servers/db-1").is(200).json()
	require.Equal(t, []any{"db-1.apn", "db-1.shop.apn"}, db["names"])
	for _, name := range []string{"db-1.apn.", "db-1.shop.apn.", "web-1.shop.apn.", "web-1.blog.apn."} {
		require.Contains(t, zone, "\n"+name+" 30 IN A ")
		require.Contains(t, zone, "\n"+name+" 30 IN AAAA ")
	}
	require.NotContains(t, zone, "\nweb-1.apn. 30 IN A")
	require.Equal(t, []any{"web-1.shop.apn"}, c.get(acme + "/apps/shop/servers/web-1").is(200).json()["names"])
	report := c.get(acme + "/zone/report").is(200).json()
	require.Equal(t, []any{map[string]any{
		"name": "web-1.apn", "kind": "short name", "hosts": []any{"blog/web-1", "shop/web-1"},
		"names": []any{"web-1.blog.apn", "web-1.shop.apn"},
	}}, report["withheld"])
	t.Run("named-checkzone", func(t *testing.T) {
		zones := report["zones"].([]any)
		require.Greater(t, len(zones), 2, "forward and both reverse zones")
		for _, name := range zones {
			file := save(t, "zone", c.get(acme+"/zone?zone="+name.(string)).is(200).body)
			require.Contains(t, string(output(t, "named-checkzone", name.(string), file)), "OK")
		}
	})
}

// everything reads what must survive a restart.
func (c *client) everything(devices ...string) map[string]string {
	c.t.Helper()
	paths := append([]string{
		"/v1/networks", "/v1/tokens", acme, acme + "/zone", acme + "/zone/report", acme + "/hosts", acme + "/links", acme + "/audit?limit=1000",
		acme + "/members", acme + "/apps", acme + "/apps/shop/servers", acme + "/apps/blog/servers", acme + "/apps/stats/servers",
		acme + "/apps/shop/leases", acme + "/apps/shop/servers/web-1/netmap",
	}, devices...)
	all := map[string]string{}
	for _, path := range paths {
		all[path] = string(c.get(path).is(200).body)
	}
	return all
}

// acceptedByWG passes a config through the parsers of wg-quick and wg. The
// interface does not exist, so wg ends after it has read the file.
func acceptedByWG(t *testing.T, text []byte) {
	t.Helper()
	args := []string{tool(t, "wg-quick"), "strip", save(t, "apn0.conf", text)}
	if os.Geteuid() != 0 { // wg-quick insists on being root, even to read
		args = append([]string{tool(t, "unshare"), "-r"}, args...)
	}
	stripped := output(t, args[0], args[1:]...)
	out, err := exec.CommandContext(t.Context(), tool(t, "wg"), "setconf", "apn-absent", save(t, "wg.conf", stripped)).CombinedOutput()
	require.Error(t, err)
	require.NotContains(t, string(out), "Configuration parsing error")
	require.Equal(t, bytes.Count(text, []byte("[Peer]")), bytes.Count(stripped, []byte("[Peer]")))
}

// holds reports whether a text holds a key in any encoding, also as a part of a
// longer value in that encoding.
func holds(text, key []byte) bool {
	for _, s := range spellings(key) {
		if bytes.Contains(text, s) {
			return true
		}
	}
	return false
}

func spellings(key []byte) [][]byte {
	all := [][]byte{key, []byte(hex.EncodeToString(key)), []byte(strings.ToUpper(hex.EncodeToString(key)))}
	shifted := func(step, bits int, encode func([]byte) string) {
		for shift := range step {
			text := encode(append(make([]byte, shift), key...))
			first := (shift*8 + bits - 1) / bits  // characters that hold only bits of the key
			last := (shift + len(key)) * 8 / bits // and no padding
			all = append(all, []byte(text[first:last]))
		}
	}
	shifted(3, 6, base64.RawStdEncoding.EncodeToString)
	shifted(3, 6, base64.RawURLEncoding.EncodeToString)
	for _, e := range []*base32.Encoding{base32.StdEncoding, base32.HexEncoding} {
		e = e.WithPadding(base32.NoPadding)
		shifted(5, 5, e.EncodeToString)
		shifted(5, 5, func(b []byte) string { return strings.ToLower(e.EncodeToString(b)) })
	}
	return all
}

// TestHolds: the search finds what it is for.
func TestHolds(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte("0123456789abcdef\xff\xfe"), 2)[:32]
	for before := range 6 {
		for after := range 6 {
			text := slices.Concat(bytes.Repeat([]byte{9}, before), key, bytes.Repeat([]byte{9}, after))
			for _, spelled := range []string{
				string(text), hex.EncodeToString(text), fmt.Sprintf("%X", text), base64.StdEncoding.EncodeToString(text),
				base64.URLEncoding.EncodeToString(text), base32.StdEncoding.EncodeToString(text),
				strings.ToLower(base32.HexEncoding.EncodeToString(text)),
			} {
				require.True(t, holds([]byte("{"+spelled+"}"), key), spelled)
			}
		}
	}
	require.False(t, holds(bytes.Repeat([]byte("0123456789abcdef"), 9), key))
}
