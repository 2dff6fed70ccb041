package source_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/agent/source"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

var (
	_ agent.Source = (*source.Client)(nil)
	_ agent.Source = (*agenttest.Source)(nil)
)

// control is the server side of the protocol, as short as it can be.
type control struct {
	tb  testing.TB
	url string
	pin []byte
	key ed25519.PrivateKey

	mu       sync.Mutex
	joined   map[string]string // credential by token
	history  []*netmap.Signed
	moved    chan struct{}
	requests []*http.Request
	bodies   []string
	answer   http.HandlerFunc // instead of all below
	skew     time.Duration
	secrets  *netmap.Sealed
}

func newControl(tb testing.TB) *control {
	tb.Helper()
	c := &control{tb: tb, key: ed25519.NewKeyFromSeed(make([]byte, 32)), joined: map[string]string{}, moved: make(chan struct{})}
	srv := httptest.NewTLSServer(c)
	tb.Cleanup(srv.Close)
	c.url = srv.URL
	sum := sha256.Sum256(srv.Certificate().RawSubjectPublicKeyInfo)
	c.pin = sum[:]
	return c
}

func (c *control) token() netmap.JoinToken {
	return netmap.JoinToken{URL: c.url, Pin: c.pin, Key: c.key.Public().(ed25519.PublicKey), Secret: "once"}
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body := new(strings.Builder)
	_, _ = fmt.Fprint(body, readAll(r))
	c.requests, c.bodies = append(c.requests, r), append(c.bodies, body.String())
	w.Header().Set("APN-Time", time.Now().Add(c.skew).Format(time.RFC3339Nano))
	if c.answer != nil {
		c.answer(w, r)
		return
	}
	if r.URL.Path == "/v1/agent/join" {
		var j netmap.Join
		if json.Unmarshal([]byte(body.String()), &j) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if used := c.joined[j.Secret]; j.Secret != "once" || used != "" && used != j.Credential {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"title":"Forbidden","detail":"the token is spent"}`))
			return
		}
		c.joined[j.Secret] = j.Credential
		_ = json.NewEncoder(w).Encode(netmap.Joined{Network: "acme", App: "shop", Server: "web-1", Custody: keys.Self})
		return
	}
	credential, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || credential != c.joined["once"] {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/agent/netmap":
		c.netmap(w, r)
	case "GET /v1/agent/secrets":
		if c.secrets == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(c.secrets)
	case "POST /v1/agent/key", "POST /v1/agent/status", "POST /v1/agent/leave":
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (c *control) netmap(w http.ResponseWriter, r *http.Request) {
	var have *netmap.Signed
	for {
		now := c.history[len(c.history)-1]
		if tag := r.Header.Get("If-None-Match"); tag != "" {
			for _, s := range c.history {
				if tag == fmt.Sprintf(`"%s-%d"`, s.Epoch(), s.Revision()) && s.Epoch() == now.Epoch() {
					have = s
				}
			}
			if have == nil {
				w.WriteHeader(http.StatusGone)
				return
			}
		}
		if have != now {
			_, _ = w.Write(netmap.Diff(have, now).Append(nil))
			return
		}
		moved := c.moved
		c.mu.Unlock()
		var wait int
		_, _ = fmt.Sscanf(r.Header.Get("Prefer"), "wait=%d", &wait)
		timer := time.NewTimer(time.Duration(wait) * time.Second)
		select {
		case <-moved:
		case <-r.Context().Done():
		case <-timer.C:
		}
		over := !timer.Stop()
		c.mu.Lock()
		if over || r.Context().Err() != nil {
			w.Header().Set("APN-Time", time.Now().Add(c.skew).Format(time.RFC3339Nano))
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
}

func readAll(r *http.Request) string {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func (c *control) publish(revision uint64, epoch string, peers int) {
	c.tb.Helper()
	m := &netmap.Map{
		Format: netmap.Format, Network: "acme", App: "shop", Epoch: epoch, Revision: revision, ListenPort: 51820, Suffix: "apn",
		Routes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range peers {
		p := netmap.Peer{
			ID: fmt.Sprintf("srv/shop/web-%d", i+1), Name: "web", PublicKey: pubOf(i + 1), KeyGen: 1,
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 0, byte(i + 1)}), 32)},
		}
		if i == 0 {
			for _, body := range c.bodies {
				var j netmap.Join
				if json.Unmarshal([]byte(body), &j) == nil && !j.PublicKey.IsZero() {
					p.PublicKey = j.PublicKey
				}
			}
		}
		m.Peers = append(m.Peers, p)
	}
	s, err := netmap.Sign(c.key, m, nil)
	require.NoError(c.tb, err)
	c.history = append(c.history, s)
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *control) last() *http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[len(c.requests)-1]
}

func (c *control) answers(h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = h
}

func pubOf(n int) keys.PublicKey {
	sum := sha256.Sum256([]byte{byte(n)})
	sum[31] &= 0x3f
	return sum
}

func join(t *testing.T, c *control, opts *source.Options) (*agent.Identity, *source.Client) {
	t.Helper()
	id, err := agent.NewIdentity(c.token(), nil)
	require.NoError(t, err)
	require.NoError(t, source.Join(t.Context(), id, opts))
	client, err := source.New(id, opts)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return id, client
}

func TestJoin(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	id, err := agent.NewIdentity(c.token(), nil)
	require.NoError(t, err)
	again := *id
	require.NoError(t, source.Join(t.Context(), id, &source.Options{Version: "apn-agent/1"}))
	require.Equal(t, "acme/shop/web-1", id.String())
	require.Empty(t, id.Token, "it works once")
	require.Empty(t, c.last().Header.Get("Authorization"))
	require.Equal(t, "apn-agent/1", c.last().UserAgent())
	require.NoError(t, source.Join(t.Context(), id, nil), "nothing to do")
	require.Len(t, c.requests, 1)
	require.NoError(t, source.Join(t.Context(), &again, nil), "the answer was lost")

	other, err := agent.NewIdentity(c.token(), &agent.IdentityOptions{Managed: true})
	require.NoError(t, err)
	err = source.Join(t.Context(), other, nil)
	require.ErrorIs(t, err, agent.ErrRefused)
	require.ErrorContains(t, err, "make another one")
	require.ErrorContains(t, err, "the token is spent")
	require.False(t, other.Joined())
	require.Empty(t, other.PublicKey())

	c.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) })
	require.ErrorContains(t, source.Join(t.Context(), other, nil), "who the server is")
	c.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) })
	require.ErrorContains(t, source.Join(t.Context(), other, nil), "not what was asked for")
}

func TestPin(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	token := c.token()
	token.Pin = make([]byte, 32)
	id, err := agent.NewIdentity(token, nil)
	require.NoError(t, err)
	err = source.Join(t.Context(), id, nil)
	require.ErrorIs(t, err, source.ErrPin)
	require.Empty(t, c.requests, "the secret did not leave")

	token.Pin = nil // the system's authorities do not know the test server
	id, err = agent.NewIdentity(token, nil)
	require.NoError(t, err)
	require.Error(t, source.Join(t.Context(), id, nil))
	require.Empty(t, c.requests)

	for url, ok := range map[string]bool{
		"http://203.0.113.1": false, "http://apn.example.org/": false, "http://127.0.0.1:8080": true, "http://localhost:1": true,
		"http://[::1]:1": true, "https://apn.example.org": true, "": false, "::": false,
	} {
		_, err := source.New(&agent.Identity{URL: url}, nil)
		require.Equal(t, ok, err == nil, url)
	}
	_, err = source.New(&agent.Identity{URL: "http://203.0.113.1"}, &source.Options{Plain: true})
	require.NoError(t, err)
}

func TestNetmap(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	_, client := join(t, c, &source.Options{Wait: time.Second})
	c.publish(1, "e1", 2)
	d, err := client.Netmap(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, d.From())
	require.Empty(t, c.last().Header.Get("If-None-Match"))
	require.Empty(t, c.last().Header.Get("Prefer"), "the whole comes at once")
	have, err := (*netmap.Signed)(nil).Apply(d)
	require.NoError(t, err)

	c.publish(2, "e1", 3)
	d, err = client.Netmap(t.Context(), have)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2}, []uint64{d.From(), d.To()})
	h := c.last().Header
	require.Equal(t, []string{`"e1-1"`, "wait=1", have.Content()}, []string{h.Get("If-None-Match"), h.Get("Prefer"), h.Get("APN-Content")})
	have, err = have.Apply(d)
	require.NoError(t, err)

	d, err = client.Netmap(t.Context(), have)
	require.NoError(t, err)
	require.Nil(t, d, "nothing came while it waited")

	c.publish(1, "e2", 2)
	_, err = client.Netmap(t.Context(), have)
	require.ErrorIs(t, err, agent.ErrStartOver)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Netmap(ctx, have)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOtherCalls(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	id, client := join(t, c, nil)
	s, err := client.Secrets(t.Context())
	require.NoError(t, err)
	require.Nil(t, s)
	c.secrets = &netmap.Sealed{Epoch: "e1", KeyGen: 4, Enc: []byte{1}, Ciphertext: []byte{2}}
	s, err = client.Secrets(t.Context())
	require.NoError(t, err)
	require.Equal(t, c.secrets, s)

	require.NoError(t, client.Announce(t.Context(), pubOf(3)))
	require.JSONEq(t, `{"public_key":"`+pubOf(3).String()+`"}`, c.bodies[len(c.bodies)-1])
	require.NoError(t, client.Report(t.Context(), netmap.Status{Revision: 7}))
	require.Contains(t, c.bodies[len(c.bodies)-1], `"revision":7`)
	require.NoError(t, client.Leave(t.Context()))
	require.Equal(t, "Bearer "+id.Credential, c.last().Header.Get("Authorization"))

	c.joined["once"] = "somebody else's"
	require.NoError(t, client.Leave(t.Context()), "gone already")
	require.ErrorIs(t, client.Report(t.Context(), netmap.Status{}), agent.ErrRefused)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	_, client := join(t, c, nil)
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(other.Close)
	tests := []struct {
		name   string
		answer http.HandlerFunc
		check  func(err error) bool
		text   string
	}{
		{"gone", status(410, "", ""), func(err error) bool { return errors.Is(err, agent.ErrStartOver) }, "410"},
		{"unauthenticated", status(401, "", ""), func(err error) bool { return errors.Is(err, agent.ErrRefused) }, "401"},
		{"busy", status(503, "7", `{"title":"Temporarily unavailable","detail":"store"}`), func(err error) bool {
			e, ok := errors.AsType[*agent.RetryError](err)
			return ok && e.After == 7*time.Second
		}, "Temporarily unavailable: store"},
		{"too many", status(429, "99999999", ""), func(err error) bool {
			e, ok := errors.AsType[*agent.RetryError](err)
			return ok && e.After == time.Hour
		}, "try again in 1h"},
		{"a page", status(500, "x", "<html>\x1b[31m"), nil, "500"},
		{"no document", status(200, "", "{"), func(err error) bool { return errors.Is(err, netmap.ErrFormat) }, ""},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, nil, "302"},
	}
	for _, tt := range tests {
		c.answers(tt.answer)
		_, err := client.Netmap(t.Context(), nil)
		require.Error(t, err, tt.name)
		require.ErrorContains(t, err, tt.text)
		require.NotContains(t, err.Error(), "\x1b")
		if tt.check != nil {
			require.True(t, tt.check(err), "%s: %v", tt.name, err)
		}
	}
	require.Zero(t, elsewhere, "the credential goes nowhere else")
}

func status(code int, after, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// TestClock: the least late answer counts, and the server's own clock does not.
func TestClock(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	id, err := agent.NewIdentity(c.token(), nil)
	require.NoError(t, err)
	require.NoError(t, source.Join(t.Context(), id, nil))
	var steady time.Duration
	client, err := source.New(id, &source.Options{Elapsed: func() time.Duration { return steady }})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	_, ok := client.Now()
	require.False(t, ok)

	zero := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	steps := []struct {
		elapsed time.Duration // since the step before
		says    time.Duration // the control plane, after zero
		want    time.Duration
	}{
		{0, 100 * time.Millisecond, 100 * time.Millisecond},
		{time.Second, 1050 * time.Millisecond, 1100 * time.Millisecond}, // a slower answer
		{time.Second, 2150 * time.Millisecond, 2150 * time.Millisecond}, // a faster one
		{time.Hour, time.Hour, time.Hour},                               // the clock was set back
		{8 * time.Hour, 9 * time.Hour, 9 * time.Hour},
		{time.Second, 30 * time.Hour, 30 * time.Hour}, // and forward
	}
	for i, step := range steps {
		steady += step.elapsed
		c.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("APN-Time", zero.Add(step.says).Format(time.RFC3339Nano))
			w.WriteHeader(http.StatusNotModified)
		})
		_, err := client.Netmap(t.Context(), nil)
		require.NoError(t, err)
		now, ok := client.Now()
		require.True(t, ok)
		require.Equal(t, step.want, now.Sub(zero), i)
	}
	steady += time.Minute
	now, _ := client.Now()
	require.Equal(t, 30*time.Hour+time.Minute, now.Sub(zero))
}

// TestAgent: the real agent and the real client against a server that speaks
// the protocol.
func TestAgent(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	id, client := join(t, c, nil)
	iface := agenttest.NewInterface()
	a, err := agent.New(agent.Config{Identity: id, Interface: iface, Source: client})
	require.NoError(t, err)
	c.publish(1, "e1", 3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	peers := func(n int) {
		require.Eventually(t, func() bool {
			d, err := iface.Device(t.Context())
			return err == nil && len(d.Peers) == n
		}, 10*time.Second, time.Millisecond)
	}
	peers(2)
	c.publish(2, "e1", 4)
	peers(3)
	c.publish(1, "e2", 2)
	peers(1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
