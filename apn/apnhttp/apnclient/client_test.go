package apnclient_test

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// plainKEK stands for a KMS.
type plainKEK struct{}

func (plainKEK) KeyID() string { return "test" }

func (plainKEK) Wrap(_ context.Context, key, _ []byte) ([]byte, error) {
	return append([]byte{1}, key...), nil
}

func (plainKEK) Unwrap(_ context.Context, wrapped, _ []byte) ([]byte, error) {
	return append([]byte{}, wrapped[1:]...), nil
}

// server runs the API and notes which routes are called.
type server struct {
	*apnclient.Client
	mu     sync.Mutex
	called map[string]bool // "GET /v1/networks"
	before func(w http.ResponseWriter, r *http.Request) bool
}

func start(t *testing.T) *server {
	t.Helper()
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(plainKEK{})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctl.Close()) })
	api, err := apnhttp.New(apnhttp.Config{Control: ctl, Authenticate: apnhttp.TokenAuth(ctl)})
	require.NoError(t, err)
	secret, _, err := ctl.AddToken(t.Context(), "test", nil)
	require.NoError(t, err)
	s := &server{called: map[string]bool{}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.called[r.Method+" "+r.URL.Path] = true
		before := s.before
		s.mu.Unlock()
		if before == nil || before(w, r) {
			api.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(web.Close)
	s.Client = &apnclient.Client{URL: web.URL, Token: secret, HTTP: web.Client()}
	return s
}

func all[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var items []T
	for item, err := range seq {
		require.NoError(t, err)
		items = append(items, item)
	}
	return items
}

// TestEveryRoute uses each method once, and looks whether a route of the API's
// description was left out.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), start(t)

	me, err := c.Whoami(ctx)
	require.NoError(t, err)
	require.True(t, me.Operator)
	require.True(t, me.Address.IsLoopback())
	token, err := c.AddToken(ctx, apnclient.NewToken{Name: "ci", TTL: "1h"})
	require.NoError(t, err)
	require.NotEmpty(t, token.Secret)
	require.Len(t, all(t, c.Tokens(ctx)), 2)
	require.NoError(t, c.RemoveToken(ctx, token.ID))

	net, err := c.AddNetwork(ctx, apnclient.NewNetwork{Name: "acme", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}}, nil)
	require.NoError(t, err)
	require.Equal(t, "apn", net.Suffix)
	require.Len(t, all(t, c.Networks(ctx)), 1)
	keepalive := "30s"
	net, err = c.UpdateNetwork(ctx, "acme", apnclient.NetworkUpdate{Keepalive: &keepalive}, nil)
	require.NoError(t, err)
	require.Equal(t, "30s", net.Keepalive)
	_, err = c.Network(ctx, "acme")
	require.NoError(t, err)

	for m, err := range c.Events(ctx, "acme", "") {
		require.NoError(t, err)
		if m.Kind == "ready" {
			require.NotEmpty(t, m.ID)
			_, err = c.AddApp(ctx, "acme", apnclient.NewApp{Name: "shop"}, nil)
			require.NoError(t, err)
			continue
		}
		require.Equal(t, []any{"change", "app.add", "shop"}, []any{m.Kind, m.Action, m.Object})
		break
	}
	for _, err := range c.Events(ctx, "nothing", "") {
		var p *apnclient.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, http.StatusNotFound, p.Status)
	}
	in, err := c.Import(ctx, "acme", apnclient.Inventory{Apps: []apnclient.InventoryApp{{Name: "blog", Servers: []apnclient.NewServer{{Name: "web-1"}}}}}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"blog/web-1"}, in.Servers)
	require.Len(t, all(t, c.Apps(ctx, "acme")), 2)
	_, err = c.App(ctx, "acme", "shop")
	require.NoError(t, err)
	_, err = c.SetLink(ctx, "acme", "shop", "blog", false, nil)
	require.NoError(t, err)
	require.Len(t, all(t, c.Links(ctx, "acme")), 1)
	require.NoError(t, c.ResetLink(ctx, "acme", "shop", "blog", nil))

	var plan apnclient.Plan
	_, err = c.AddServer(ctx, "acme", "shop", apnclient.NewServer{Name: "web-2"}, &apnclient.Options{DryRun: &plan})
	require.NoError(t, err)
	require.NotEmpty(t, plan.Names)
	srv, err := c.AddServer(ctx, "acme", "shop", apnclient.NewServer{Name: "web-2", Endpoint: "203.0.113.7"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"web-2.apn", "web-2.shop.apn"}, srv.Names)
	require.Len(t, all(t, c.Servers(ctx, "acme", "shop")), 1)
	endpoint := "203.0.113.8:51820"
	srv, err = c.UpdateServer(ctx, "acme", "shop", "web-2", apnclient.ServerUpdate{Endpoint: &endpoint}, nil)
	require.NoError(t, err)
	require.Equal(t, endpoint, srv.Endpoint)
	srv, err = c.RotateServer(ctx, "acme", "shop", "web-2", "", nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, srv.KeyGen)
	_, err = c.Server(ctx, "acme", "shop", "web-2")
	require.NoError(t, err)
	conf, err := c.ServerConfig(ctx, "acme", "shop", "web-2", "setconf")
	require.NoError(t, err)
	require.Contains(t, string(conf), "PrivateKey")
	_, err = c.ServerMap(ctx, "acme", "shop", "web-2")
	require.NoError(t, err)
	join, err := c.AddJoinToken(ctx, "acme", "shop", "web-2")
	require.NoError(t, err)
	require.NotEmpty(t, join.Token)

	_, err = c.AddMember(ctx, "acme", "ada", nil)
	require.NoError(t, err)
	member, err := c.SetRole(ctx, "acme", "ada", "shop", "developer", nil)
	require.NoError(t, err)
	require.Equal(t, "developer", member.Roles["shop"])
	require.Len(t, all(t, c.Members(ctx, "acme")), 1)
	_, err = c.Member(ctx, "acme", "ada")
	require.NoError(t, err)
	_, err = c.AddDevice(ctx, "acme", "ada", apnclient.NewDevice{Name: "laptop"}, nil)
	require.NoError(t, err)
	conf, err = c.DeviceConfig(ctx, "acme", "ada", "laptop", "")
	require.NoError(t, err)
	require.Contains(t, string(conf), "[Peer]")
	for _, kind := range []string{"png", "svg", "txt", "plain"} {
		code, err := c.QR(ctx, "acme", "ada", "laptop", kind)
		require.NoError(t, err)
		require.NotEmpty(t, code)
	}
	zip, err := c.DeviceConfigs(ctx, "acme", "ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, "PK", string(zip[:2]))
	link, err := c.AddDeviceLink(ctx, "acme", "ada", "laptop", apnclient.NewDeviceLink{TTL: "1h"})
	require.NoError(t, err)
	require.Contains(t, link.URL, "/d#apl_acme.")
	require.Len(t, all(t, c.DeviceLinks(ctx, "acme", "ada", "laptop")), 1)
	require.NoError(t, c.RemoveDeviceLink(ctx, "acme", "ada", "laptop", link.ID, nil))
	_, err = c.RotateDevice(ctx, "acme", "ada", "laptop", "", nil)
	require.NoError(t, err)
	device, err := c.Device(ctx, "acme", "ada", "laptop")
	require.NoError(t, err)
	require.True(t, device.Stale)
	require.Equal(t, "key_rotated", device.Reasons[0].Kind)
	require.Equal(t, []apnclient.Device{device}, all(t, c.StaleDevices(ctx, "acme")))
	state, err := c.CheckConfig(ctx, "acme", device.PublicKey, device.HandedOut.Fingerprint)
	require.NoError(t, err)
	require.NotEqual(t, "current", state.State)
	require.Len(t, all(t, c.Devices(ctx, "acme", "ada")), 1)

	leases, err := c.AddLease(ctx, "acme", "shop", apnclient.NewLease{Member: "ada", Sources: []netip.Addr{netip.MustParseAddr("198.51.100.9")}, Duration: "2h"}, nil)
	require.NoError(t, err)
	require.Len(t, leases, 1)
	_, err = c.RenewLease(ctx, "acme", "shop", leases[0].ID, "3h", nil)
	require.NoError(t, err)
	_, err = c.Lease(ctx, "acme", "shop", leases[0].ID)
	require.NoError(t, err)
	require.Len(t, all(t, c.Leases(ctx, "acme", "shop")), 1)
	require.NoError(t, c.RevokeLease(ctx, "acme", "shop", leases[0].ID, nil))
	rule, err := c.AddRule(ctx, "acme", "shop", "192.0.2.0/24", "office", nil)
	require.NoError(t, err)
	_, err = c.Rule(ctx, "acme", "shop", rule.ID)
	require.NoError(t, err)
	require.Len(t, all(t, c.Rules(ctx, "acme", "shop")), 1)
	require.NoError(t, c.RemoveRule(ctx, "acme", "shop", rule.ID, nil))

	zone, err := c.Zone(ctx, "acme", "")
	require.NoError(t, err)
	require.Contains(t, string(zone), "SOA")
	hosts, err := c.Hosts(ctx, "acme")
	require.NoError(t, err)
	require.Contains(t, string(hosts), "web-2.apn")
	_, err = c.ZoneReport(ctx, "acme")
	require.NoError(t, err)

	require.NoError(t, c.RemoveDevice(ctx, "acme", "ada", "laptop", nil))
	require.NoError(t, c.RemoveMember(ctx, "acme", "ada", nil))
	require.NoError(t, c.RemoveServer(ctx, "acme", "shop", "web-2", nil))
	require.NoError(t, c.RemoveApp(ctx, "acme", "blog", true, nil))
	hook, err := c.AddWebhook(ctx, "acme", "https://example.com/hook", "lease")
	require.NoError(t, err)
	require.NotEmpty(t, hook.Secret)
	require.Len(t, all(t, c.Webhooks(ctx, "acme")), 1)
	require.NoError(t, c.RemoveWebhook(ctx, "acme", hook.ID, nil))
	events := all(t, c.Audit(ctx, "acme", 2))
	require.EqualValues(t, 3, events[0].N)
	added := all(t, c.SearchAudit(ctx, "acme", apnclient.AuditQuery{Action: "device", Object: "ada", NewestFirst: true}))
	require.Equal(t, "device.remove", added[0].Action)
	lines, err := c.ExportAudit(ctx, "acme", apnclient.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, len(events)+2, strings.Count(string(lines), "\n"))
	require.NotEmpty(t, all(t, c.SearchAudit(ctx, "", apnclient.AuditQuery{Action: "token"})))
	_, err = c.VerifyAudit(ctx, "")
	require.NoError(t, err)
	last, err := c.VerifyAudit(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, events[len(events)-1].N, last)

	for _, route := range routes(t) {
		require.True(t, c.calledLike(route), "no method calls %s", route)
	}
}

// routes are those of the API's description, without what only agents, browsers
// and monitors call.
func routes(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "openapi.yaml"))
	require.NoError(t, err)
	var list []string
	path := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := regexp.MustCompile(`^  (/v1/\S*):$`).FindStringSubmatch(line); m != nil {
			path = m[1]
		} else if len(line) > 0 && line[0] != ' ' || strings.HasPrefix(line, "  /") {
			path = ""
		} else if m := regexp.MustCompile(`^    (get|post|put|patch|delete):$`).FindStringSubmatch(line); m != nil && path != "" {
			if !strings.HasPrefix(path, "/v1/agent/") {
				list = append(list, strings.ToUpper(m[1])+" "+path)
			}
		}
	}
	require.Greater(t, len(list), 50)
	return list
}

func (s *server) calledLike(route string) bool {
	like := regexp.MustCompile("^" + regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(route), "[^/]+") + "$")
	s.mu.Lock()
	defer s.mu.Unlock()
	for called := range s.called {
		if like.MatchString(called) {
			return true
		}
	}
	return false
}

func TestProblem(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), start(t)
	_, err := c.AddNetwork(ctx, apnclient.NewNetwork{Name: "a/b"}, nil)
	var p *apnclient.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnprocessableEntity, p.Status)
	require.Equal(t, "name", p.Field)
	require.NotEmpty(t, p.RequestID)
	require.NotContains(t, err.Error(), c.Token)

	_, err = c.Network(ctx, "none")
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	c.Token = "apn_wrong"
	_, err = c.Whoami(ctx)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnauthorized, p.Status)
}

// TestRepeats loses answers: what was asked for happens once.
func TestRepeats(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), start(t)
	_, err := c.AddNetwork(ctx, apnclient.NewNetwork{Name: "acme"}, nil)
	require.NoError(t, err)
	var calls atomic.Int32
	lose := func(times int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		calls.Store(0)
		c.before = func(w http.ResponseWriter, _ *http.Request) bool {
			if n := int(calls.Add(1)); n <= times {
				if n == 1 { // the request arrives, its answer does not
					return answerLost(w)
				}
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusServiceUnavailable)
				return false
			}
			return true
		}
	}
	lose(2)
	_, err = c.AddApp(ctx, "acme", apnclient.NewApp{Name: "shop"}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, calls.Load())

	lose(1)
	_, err = c.AddToken(ctx, apnclient.NewToken{Name: "once"})
	require.Error(t, err, "a secret is not sent twice")
	require.EqualValues(t, 1, calls.Load())

	lose(100)
	stop, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Whoami(stop)
	require.ErrorIs(t, err, context.Canceled)
}

// answerLost ends the connection.
func answerLost(w http.ResponseWriter) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
	return false
}
