package apnhttp_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStale(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	metric := func() string { return string(a.get("/metrics").is(200).body) }
	for i := range 3 {
		a.post("/v1/networks/acme/members/ada/devices", fmt.Sprintf(`{"name":"d%d"}`, i)).is(201)
		a.get(fmt.Sprintf("/v1/networks/acme/members/ada/devices/d%d/config", i)).is(200)
	}
	require.Empty(t, a.get("/v1/networks/acme/stale").is(200).json().items())
	require.Contains(t, metric(), "\napn_stale_devices 0\n")

	a.call("PATCH", "/v1/networks/acme/apps/shop/servers/web-1", `{"endpoint":"203.0.113.9:51820"}`).is(200)
	require.Contains(t, metric(), "\napn_stale_devices 3\n")
	page := a.get("/v1/networks/acme/stale?limit=2").is(200).json()
	require.Equal(t, []string{"d0", "d1"}, page.names("name"))
	require.Equal(t, []any{map[string]any{"kind": "server_endpoint", "object": "shop/web-1"}}, page.items()[0]["reasons"])
	require.Equal(t, []string{"d2"}, a.get("/v1/networks/acme/stale?cursor="+page["next"].(string)).is(200).json().names("name"))

	a.get("/v1/networks/acme/members/ada/devices/d1/config").is(200)
	require.Equal(t, []string{"d0", "d2"}, a.get("/v1/networks/acme/stale").is(200).json().names("name"))
}
