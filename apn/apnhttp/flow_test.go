package apnhttp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

// TestFlow goes the way of a first user: a network, apps with servers, a person
// with a device, and the device's config.
func TestFlow(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)

	r := a.post("/v1/networks", `{"name":"acme","prefixes":["10.20.0.0/16"]}`).is(201)
	require.Equal(t, "/v1/networks/acme", r.header.Get("Location"))
	require.Equal(t, "apn", r.json()["suffix"])

	r = a.post("/v1/networks/acme/apps", `{"name":"shop"}`).is(201)
	require.Equal(t, "/v1/networks/acme/apps/shop", r.header.Get("Location"))

	r = a.post("/v1/networks/acme/apps/shop/servers", `{"name":"web-1","endpoint":"203.0.113.7:51820"}`).is(201)
	web := r.json()
	require.Equal(t, []any{"web-1.apn", "web-1.shop.apn"}, web["names"])
	require.Equal(t, "203.0.113.7:51820", web["endpoint"])

	a.post("/v1/networks/acme/members", `{"name":"ada"}`).is(201)
	r = a.call("PUT", "/v1/networks/acme/members/ada/roles/shop", `{"role":"developer"}`).is(200)
	require.Equal(t, map[string]any{"shop": "developer"}, r.json()["roles"])

	laptop := a.post("/v1/networks/acme/members/ada/devices", `{"name":"laptop"}`).is(201).json()
	require.Nil(t, laptop["handed_out"])

	r = a.get("/v1/networks/acme/members/ada/devices/laptop/config").is(200)
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
	require.Equal(t, "no-referrer", r.header.Get("Referrer-Policy"))
	require.Regexp(t, `^attachment; filename=acme-lapto[a-z0-9-]*\.conf$`, r.header.Get("Content-Disposition"))
	cfg, err := render.Parse(r.body, nil)
	require.NoError(t, err)
	require.Len(t, cfg.Peers, 1)
	require.Equal(t, web["public_key"], cfg.Peers[0].PublicKey.String())
	require.Equal(t, laptop["public_key"], cfg.Interface.PrivateKey.PublicKey().String())

	laptop = a.get("/v1/networks/acme/members/ada/devices/laptop").is(200).json()
	require.Equal(t, false, laptop["stale"])
	require.EqualValues(t, 1, laptop["handed_out"].(map[string]any)["servers"])

	a.post("/v1/networks/acme/apps/shop/servers", `{"name":"web-2"}`).is(201)
	laptop = a.get("/v1/networks/acme/members/ada/devices/laptop").is(200).json()
	require.Equal(t, true, laptop["stale"])
	require.Equal(t, []any{map[string]any{"kind": "server_added", "object": "shop/web-2"}}, laptop["reasons"])
}
