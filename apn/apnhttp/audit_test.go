package apnhttp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAuditFilters(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	ada := a.as("acme", "ada")
	ada.post("/v1/networks/acme/members/ada/devices", `{"name":"phone"}`).is(201)
	const audit = "/v1/networks/acme/audit"

	got := a.get(audit + "?actor=ada").is(200).json()
	require.Equal(t, []string{"device.add"}, got.names("action"))
	got = a.get(audit + "?action=server&object=shop&order=desc").is(200).json()
	require.Equal(t, []string{"shop/db-1", "shop/web-1"}, got.names("object"))
	require.Empty(t, a.get(audit+"?to=2026-01-02T03:04:05Z").is(200).json().items())
	all := a.get(audit + "?from=2026-01-02T03:04:05Z").is(200).json().items()
	require.Empty(t, a.get(audit+"?outcome=refused").is(200).json().items())

	r := a.get(audit + "?format=jsonl").is(200)
	require.Equal(t, "application/jsonl", r.header.Get("Content-Type"))
	lines := strings.Split(strings.TrimSuffix(string(r.body), "\n"), "\n")
	require.Len(t, lines, len(all))
	for i, line := range lines {
		var e object
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.Equal(t, all[i], e)
	}
	require.Equal(t, lines[2]+"\n"+lines[3]+"\n", string(a.get(audit+"?format=jsonl&limit=2&cursor=2").is(200).body))

	for field, query := range map[string]string{
		"order": "order=up", "outcome": "outcome=done", "from": "from=yesterday", "to": "to=1", "format": "format=csv", "cursor": "cursor=x",
	} {
		a.get(audit+"?"+query).problem(400, "malformed", field)
	}
}

// TestRefusals: what somebody may not do is recorded, and does not move the
// network.
func TestRefusals(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	a.post("/v1/networks", `{"name":"other"}`).is(201)
	ada := a.as("acme", "ada")
	nobody := *a
	nobody.token = ""
	before := a.state()
	ada.post("/v1/networks/acme/apps", `{"name":"x"}`).is(403)
	ada.get("/v1/networks/other/apps/shop").is(404)
	nobody.get("/v1/networks").is(401) // nobody's attempt
	nobody.get("/v1/networks", "Authorization: Bearer apn_x").is(401)
	nobody.get("/v1/agent/netmap", "Authorization: Bearer x").is(401)
	nobody.post("/sign-in", "token=apn_wrong", "Content-Type: ", "Content-Type: application/x-www-form-urlencoded").is(401)
	nobody.redeem("apl_acme.x", "").is(404)
	ada.signIn().do("GET", "/networks/acme/keys", nil)
	require.Equal(t, before, a.state())

	var got []string
	for _, e := range a.get("/v1/audit?outcome=refused").is(200).json().items() {
		got = append(got, fmt.Sprint(e["action"], " ", e["actor"], " ", e["object"], " ", e["detail"]))
		require.Equal(t, "198.51.100.7", e["from"])
	}
	require.Equal(t, []string{
		"request.refuse ada acme POST /v1/networks/{network}/apps",
		"request.refuse ada other/shop GET /v1/networks/{network}/apps/{app}",
		"login.refuse <nil> <nil> GET /v1/networks",
		"login.refuse <nil> <nil> GET /v1/agent/netmap",
		"login.refuse <nil> <nil> POST /sign-in",
		"link.refuse <nil> <nil> POST /d",
		"request.refuse ada acme GET /networks/{network}/keys",
	}, got)
	require.Contains(t, a.get("/v1/audit?action=session&actor=ada").is(200).json().names("action"), "session.start")
	require.NotZero(t, a.get("/v1/audit/verify").is(200).json()["events"])
	for range 200 {
		ada.get("/v1/networks/acme/audit").is(403)
	}
	require.Len(t, a.get("/v1/audit?outcome=refused").is(200).json().items(), 30)
}
