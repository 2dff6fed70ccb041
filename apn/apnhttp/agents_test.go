package apnhttp_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// agent is a server's agent: its own API token is its credential.
type agent struct {
	api
	token netmap.JoinToken
	body  netmap.Join
	seal  *ecdh.PrivateKey
	key   keys.PrivateKey
	who   netmap.Joined
	have  *netmap.Signed
}

// newAgent makes an agent with a fresh token for the server web-1 of shop.
func (a *api) newAgent() *agent {
	a.t.Helper()
	text := a.post("/v1/networks/acme/apps/shop/servers/web-1/join", nil).is(201).json()["token"].(string)
	token, err := netmap.ParseJoinToken(text)
	require.NoError(a.t, err)
	g := &agent{api: *a, token: token}
	g.seal, err = ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(a.t, err)
	g.key, err = keys.GeneratePrivateKey()
	require.NoError(a.t, err)
	g.api.token = rand.Text() + rand.Text()
	g.body = netmap.Join{
		Secret: token.Secret, Credential: g.api.token, PublicKey: g.key.PublicKey(),
		SealKey: g.seal.PublicKey().Bytes(), Version: "agent 1.0",
	}
	return g
}

// joinBody returns a body that redeems a fresh token.
func (a *api) joinBody() string {
	a.t.Helper()
	body, err := json.Marshal(a.newAgent().body)
	require.NoError(a.t, err)
	return string(body)
}

// join returns an agent that has joined in custody Self.
func (a *api) join() *agent {
	a.t.Helper()
	g := a.newAgent()
	g.redeem()
	return g
}

func (g *agent) redeem() {
	g.t.Helper()
	require.NoError(g.t, json.Unmarshal(g.post("/v1/agent/join", g.body).is(200).body, &g.who))
}

// poll asks for what leads to the newest document, goes there, and returns what
// its server does with it.
func (g *agent) poll(headers ...string) *netmap.Config {
	g.t.Helper()
	headers = append(headers, "Prefer: wait=10")
	d, err := netmap.ParseDelta(g.get("/v1/agent/netmap", headers...).is(200).body)
	require.NoError(g.t, err)
	next, err := g.have.Apply(d)
	require.NoError(g.t, err)
	require.NoError(g.t, next.Newer(g.have))
	m, err := next.Open(g.token.Key)
	require.NoError(g.t, err)
	g.have = next
	c, err := m.For(netmap.ServerID(g.who.App, g.who.Server))
	require.NoError(g.t, err)
	return c
}

// tag names the document that the agent has, and how long it waits for another.
func (g *agent) tag(more ...string) []string {
	return append([]string{fmt.Sprintf(`If-None-Match: "%s-%d"`, g.have.Epoch(), g.have.Revision())}, more...)
}

func TestAgent(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	const web = "/v1/networks/acme/apps/shop/servers/web-1"
	g := a.newAgent()
	require.Equal(t, "http://example.com", g.token.URL)
	require.Nil(t, g.token.Pin)
	require.Nil(t, a.get(web).is(200).json()["agent"])
	g.redeem()
	require.Equal(t, netmap.Joined{Network: "acme", App: "shop", Server: "web-1", Custody: keys.Self}, g.who)
	g.redeem() // the first answer was lost

	s := a.get(web).is(200).json()
	require.Equal(t, g.key.PublicKey().String(), s["public_key"])
	require.EqualValues(t, 2, s["key_generation"])
	require.Equal(t, "self", s["custody"])
	require.Equal(t, "2026-01-02T03:04:05Z", s["agent"].(map[string]any)["joined_at"])

	// The whole, then nothing, then what changed.
	r := g.get("/v1/agent/netmap").is(200)
	require.Equal(t, "2026-01-02T03:04:05Z", r.header.Get("APN-Time"))
	c := g.poll()
	require.Equal(t, fmt.Sprintf(`"%s-%d"`, g.have.Epoch(), g.have.Revision()), r.header.Get("ETag"))
	require.Equal(t, g.key.PublicKey(), c.PublicKey)
	require.Len(t, c.Peers, 4) // db-1, two of blog, ada's laptop
	r = g.get("/v1/agent/netmap", g.tag()...).is(304)
	require.Empty(t, r.body)
	require.NotEmpty(t, r.header.Get("APN-Time"))
	a.post("/v1/networks/acme/apps/shop/servers", `{"name":"web-2"}`).is(201)
	require.Len(t, g.poll(g.tag("Prefer: respond-async, wait=10")...).Peers, 5)
	g.get("/v1/agent/netmap", `If-None-Match: "other-5"`).problem(410, "start-over", "")
	g.get("/v1/agent/netmap", `If-None-Match: W/x`).problem(410, "start-over", "")

	// Its key changes in one step for all.
	next, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	g.post("/v1/agent/key", netmap.NewKey{PublicKey: next.PublicKey()}).is(204)
	g.post("/v1/agent/key", netmap.NewKey{PublicKey: next.PublicKey()}).is(204)
	c = g.poll(g.tag()...)
	require.Equal(t, next.PublicKey(), c.PublicKey)
	require.EqualValues(t, 3, c.KeyGen)
	g.get("/v1/agent/secrets").is(204)

	// It is asked for another one.
	require.EqualValues(t, 3, a.post(web+"/rotate", nil).is(200).json()["key_generation"])
	require.EqualValues(t, 4, g.poll(g.tag()...).RotateTo)

	g.post("/v1/agent/leave", nil).is(204)
	g.get("/v1/agent/netmap", g.tag()...).problem(401, "unauthenticated", "")
	require.Nil(t, a.get(web).is(200).json()["agent"])
}

// TestEndWaits: an orderly shutdown does not wait for agents.
func TestEndWaits(t *testing.T) {
	t.Parallel()
	var h *apnhttp.Handler
	a := newAPI(t, nil)
	h, _ = a.h.(*apnhttp.Handler)
	a.fill()
	g := a.join()
	g.poll()
	done := make(chan int)
	go func() {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/agent/netmap", nil)
		r.Header.Set("Authorization", "Bearer "+g.api.token)
		r.Header.Set("If-None-Match", fmt.Sprintf(`"%s-%d"`, g.have.Epoch(), g.have.Revision()))
		r.Header.Set("Prefer", "wait=55")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		done <- w.Code
	}()
	require.Eventually(t, func() bool { return a.ctl.AgentStats().Waiting == 1 }, 10*time.Second, time.Millisecond)
	h.EndWaits()
	require.Equal(t, http.StatusNotModified, <-done)
	g.get("/v1/agent/netmap", g.tag("Prefer: wait=55")...).is(304)
}

// FuzzAgent sends any body to what agents call: it never fails here, and answers
// with what it should or a problem.
func FuzzAgent(f *testing.F) {
	paths := []string{"join", "key", "status", "leave"}
	for i := range paths {
		for _, body := range []string{
			``, `null`, `[]`, `{}`, `{"secret":"acme.x","credential":"x"}`, `{"secret":"` + strings.Repeat(".", 99) + `","seal_key":"AAAA"}`,
			`{"public_key":"jUd41n3XYa3yXBzyBvWqlLhYgRef5RiBD7jwo70U+Rw="}`, `{"public_key":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`,
			`{"version":"\u0000\ud800","revision":18446744073709551615,"clock_offset":-9223372036854775808,"peers_up":-5}`,
			`{"peers":[{"id":"srv/shop/db-1","handshake_age":-1},{"id":"dev/ada/laptop","handshake_age":9223372036854775807}],"errors":["\u2028"]}`,
			`{"errors":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 500), ",") + `]}`, `{"revision":-1}`, `{"peers":{}}`,
		} {
			f.Add(uint8(i), []byte(body))
		}
	}
	var a *api
	var g *agent
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		if a == nil {
			a = openAPI(t, nil)
			a.fill()
		}
		a.t = t
		if g == nil {
			g = a.join()
		}
		name := paths[int(path)%len(paths)]
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/agent/"+name, strings.NewReader(string(body)))
		r.Header.Set("Authorization", "Bearer "+g.api.token)
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		require.Less(t, w.Code, 500, "%s: %s", name, w.Body)
		if name == "leave" {
			g = nil
		}
		if w.Code >= 400 {
			require.Equal(t, "application/problem+json", w.Result().Header.Get("Content-Type"))
		}
		require.NotEmpty(t, w.Result().Header.Get("APN-Time"))
	})
}
