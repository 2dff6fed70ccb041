package apn_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

const planeURL = "https://apn.example.com"

// server is a server that joins by a token, and follows its documents.
type server struct {
	*apn.Agent
	tb    testing.TB
	token netmap.JoinToken
	body  netmap.Join
	seal  *ecdh.PrivateKey
	own   keys.PrivateKey
	have  *netmap.Signed
}

// newServer returns a server with a fresh token, that will keep its own key.
func newServer(tb testing.TB, n *apn.Network, app, name string) *server {
	tb.Helper()
	s := &server{tb: tb}
	var err error
	s.token, _, err = n.AddJoinToken(tb.Context(), app, name, planeURL, nil)
	require.NoError(tb, err)
	s.seal, err = ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(tb, err)
	s.own, err = keys.GeneratePrivateKey()
	require.NoError(tb, err)
	s.body = netmap.Join{
		Secret: s.token.Secret, Credential: rand.Text() + rand.Text(), PublicKey: s.own.PublicKey(),
		SealKey: s.seal.PublicKey().Bytes(), Version: "1.0",
	}
	return s
}

// join returns a server that has joined, keeping its own key.
func join(tb testing.TB, ctl *apn.Control, n *apn.Network, app, name string) *server {
	tb.Helper()
	s := newServer(tb, n, app, name)
	s.join(ctl)
	return s
}

func (s *server) join(ctl *apn.Control) netmap.Joined {
	s.tb.Helper()
	out, err := ctl.Join(s.tb.Context(), s.body)
	require.NoError(s.tb, err)
	s.identify(ctl)
	return out
}

func (s *server) identify(ctl *apn.Control) {
	s.tb.Helper()
	var err error
	s.Agent, err = ctl.Agent(s.tb.Context(), s.body.Credential)
	require.NoError(s.tb, err)
}

// held is what the server tells of its document.
func (s *server) held() apn.Held {
	if s.have == nil {
		return apn.Held{}
	}
	return apn.Held{Epoch: s.have.Epoch(), Revision: s.have.Revision(), Content: s.have.Content()}
}

// poll goes over to the next document and returns what the server does with it,
// nil if none came.
func (s *server) poll(wait time.Duration) *netmap.Config {
	s.tb.Helper()
	u, err := s.Netmap(s.tb.Context(), s.held(), wait)
	require.NoError(s.tb, err)
	if u == nil {
		return nil
	}
	return s.take(u)
}

// answer is what a poll in the background came to.
type answer struct {
	update *apn.Update
	err    error
}

// wait polls in the background.
func (s *server) wait(wait time.Duration) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		u, err := s.Netmap(s.tb.Context(), s.held(), wait)
		out <- answer{u, err}
	}()
	return out
}

func (s *server) take(u *apn.Update) *netmap.Config {
	s.tb.Helper()
	d, err := netmap.ParseDelta(u.Body)
	require.NoError(s.tb, err)
	next, err := s.have.Apply(d)
	require.NoError(s.tb, err)
	require.NoError(s.tb, next.Newer(s.have))
	require.Equal(s.tb, u.Revision, next.Revision())
	require.Equal(s.tb, u.Epoch, next.Epoch())
	m, err := next.Open(s.token.Key)
	require.NoError(s.tb, err)
	c, err := m.For(netmap.ServerID(s.App, s.Server))
	require.NoError(s.tb, err)
	s.have = next
	return c
}

func TestJoinTokens(t *testing.T) {
	t.Parallel()
	c := newClock()
	n := network(t, withClock(c))
	shop(t, n)
	ctx := t.Context()
	require.Nil(t, n.SigningKey(), "nobody has needed it yet")

	pin := bytes.Repeat([]byte{7}, 32)
	token, ends, err := n.AddJoinToken(ctx, "shop", "web-1", planeURL, &apn.JoinOptions{Pin: pin})
	require.NoError(t, err)
	require.Equal(t, start().Add(time.Hour), ends)
	require.Equal(t, planeURL, token.URL)
	require.Equal(t, pin, token.Pin)
	require.Equal(t, n.SigningKey(), token.Key)
	text, err := token.Encode()
	require.NoError(t, err)
	parsed, err := netmap.ParseJoinToken(text)
	require.NoError(t, err)
	require.Equal(t, token.Secret, parsed.Secret)
	next, ends, err := n.AddJoinToken(ctx, "shop", "web-1", planeURL, &apn.JoinOptions{TTL: time.Minute})
	require.NoError(t, err)
	require.Equal(t, start().Add(time.Minute), ends)
	require.Equal(t, token.Key, next.Key)
	require.NotEqual(t, token.Secret, next.Secret)

	rev := n.Rev()
	for _, tt := range []struct {
		name, server, url string
		opts              apn.JoinOptions
		want              error
	}{
		{"no server", "web-9", planeURL, apn.JoinOptions{}, apn.ErrNotFound},
		{"no URL", "web-1", "", apn.JoinOptions{}, apn.ErrInvalid},
		{"no host", "web-1", "https://", apn.JoinOptions{}, apn.ErrInvalid},
		{"another scheme", "web-1", "ftp://a.example.com", apn.JoinOptions{}, apn.ErrInvalid},
		{"half a pin", "web-1", planeURL, apn.JoinOptions{Pin: pin[:16]}, apn.ErrInvalid},
		{"no time", "web-1", planeURL, apn.JoinOptions{TTL: -time.Hour}, apn.ErrInvalid},
		{"for ever", "web-1", planeURL, apn.JoinOptions{TTL: apn.MaxJoinTTL + 1}, apn.ErrInvalid},
	} {
		_, _, err := n.AddJoinToken(ctx, "shop", tt.server, tt.url, &tt.opts)
		require.ErrorIs(t, err, tt.want, tt.name)
	}
	require.Equal(t, rev, n.Rev(), "what is refused changes nothing")
	var plan apn.Plan
	_, _, err = n.AddJoinToken(ctx, "shop", "web-1", planeURL, &apn.JoinOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}})
	require.NoError(t, err)
	require.Equal(t, rev, n.Rev())
}

func TestJoin(t *testing.T) {
	t.Parallel()
	c, st := newClock(), store.NewMem()
	ctl := open(t, st, withClock(c))
	ctx := t.Context()
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	before, err := n.Server("shop", "web-1")
	require.NoError(t, err)

	s := newServer(t, n, "shop", "web-1")
	require.Equal(t, netmap.Joined{Network: "acme", App: "shop", Server: "web-1", Custody: keys.Self}, s.join(ctl))
	now, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	require.Equal(t, s.own.PublicKey(), now.PublicKey)
	require.Equal(t, before.KeyGen+1, now.KeyGen)
	require.Equal(t, keys.Self, now.Custody)
	require.Greater(t, now.Rev, before.Rev)

	// The answer was lost: the same again, also when the token has ended.
	rev := n.Rev()
	c.advance(2 * time.Hour)
	s.join(ctl)
	require.Equal(t, rev, n.Rev())

	// Nothing of the secrets is in the store.
	for _, space := range []string{"dir", "net/acme"} {
		page, err := st.List(ctx, space, "", "", 0)
		require.NoError(t, err)
		for _, e := range page.Entries {
			for _, secret := range []string{s.body.Secret, s.body.Secret[len("acme."):], s.body.Credential} {
				require.NotContains(t, e.Key+string(e.Value), secret)
			}
		}
	}

	// In custody Managed the key stays here; a server that kept its own gets one.
	m := newServer(t, n, "shop", "web-2")
	before, err = n.Server("shop", "web-2")
	require.NoError(t, err)
	m.body.PublicKey = keys.PublicKey{}
	require.Equal(t, keys.Managed, m.join(ctl).Custody)
	now, err = n.Server("shop", "web-2")
	require.NoError(t, err)
	require.Equal(t, before.PublicKey, now.PublicKey)
	m = newServer(t, n, "shop", "web-1")
	m.body.PublicKey = keys.PublicKey{}
	require.Equal(t, keys.Managed, m.join(ctl).Custody)
	now, err = n.Server("shop", "web-1")
	require.NoError(t, err)
	require.EqualValues(t, 3, now.KeyGen)
	require.Equal(t, keys.Managed, now.Custody)

	// The agent before it is void, and so is the way to it.
	_, err = ctl.Agent(ctx, s.body.Credential)
	require.ErrorIs(t, err, apn.ErrForbidden)
	_, err = s.Secrets(ctx)
	require.ErrorIs(t, err, apn.ErrForbidden)
	require.ErrorIs(t, s.SetKey(ctx, s.own.PublicKey()), apn.ErrForbidden)
	require.ErrorIs(t, s.Report(ctx, netmap.Status{}), apn.ErrForbidden)
	require.ErrorIs(t, s.Leave(ctx), apn.ErrForbidden)
	page, err := st.List(ctx, "dir", "agent/", "", 0)
	require.NoError(t, err)
	require.Len(t, page.Entries, 2)
	verified, err := ctl.Verify(ctx, "acme")
	require.NoError(t, err)
	require.Empty(t, verified.Problems)
}

// TestJoinRefused: a token that is not good, or not any more, opens nothing.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	c := newClock()
	ctl := open(t, store.NewMem(), withClock(c))
	ctx := t.Context()
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	_, err = ctl.CreateNetwork(ctx, "other", nil)
	require.NoError(t, err)

	refused := func(s *server, why string) {
		t.Helper()
		out, err := ctl.Join(ctx, s.body)
		require.ErrorIs(t, err, apn.ErrForbidden)
		require.ErrorContains(t, err, why)
		require.Zero(t, out)
		_, err = ctl.Agent(ctx, s.body.Credential)
		require.ErrorIs(t, err, apn.ErrForbidden)
		require.NotContains(t, err.Error(), s.body.Credential)
	}
	used := join(t, ctl, n, "shop", "web-1")
	thief := newServer(t, n, "shop", "web-1")
	thief.body.Secret = used.body.Secret
	refused(thief, "used already")
	refused(thief, "used already")

	late := newServer(t, n, "shop", "web-2")
	c.advance(time.Hour)
	refused(late, "has ended")

	gone := newServer(t, n, "shop", "db-1")
	require.NoError(t, n.RemoveServer(ctx, "shop", "db-1", nil))
	refused(gone, "is gone")
	_, err = n.AddServer(ctx, "shop", "db-1", nil)
	require.NoError(t, err)
	refused(gone, "is gone") // another server of that name

	for _, secret := range []string{
		"", "x", ".", "acme.", "acme." + rand.Text(), "../x." + rand.Text(), "nothing." + rand.Text(),
		"other." + strings.TrimPrefix(late.body.Secret, "acme."), late.body.Secret + "A", strings.ToLower(late.body.Secret),
		strings.Repeat("a", 1<<16),
	} {
		stranger := newServer(t, n, "shop", "web-2")
		stranger.body.Secret = secret
		refused(stranger, "unknown")
	}

	// Malformed, or a key that another peer has: the token stays good.
	s := newServer(t, n, "shop", "web-2")
	good := s.body
	for name, spoil := range map[string]func(*netmap.Join){
		"short credential": func(j *netmap.Join) { j.Credential = "short" },
		"long credential":  func(j *netmap.Join) { j.Credential = strings.Repeat("x", 256) },
		"blanks":           func(j *netmap.Join) { j.Credential = strings.Repeat("x ", 20) },
		"no seal key":      func(j *netmap.Join) { j.SealKey = nil },
		"weak seal key":    func(j *netmap.Join) { j.SealKey = make([]byte, 32) },
		"weak key":         func(j *netmap.Join) { j.PublicKey = keys.PublicKey{1} },
		"taken key":        func(j *netmap.Join) { j.PublicKey = used.own.PublicKey() },
	} {
		s.body = good
		spoil(&s.body)
		_, err := ctl.Join(ctx, s.body)
		require.ErrorIs(t, err, apn.ErrInvalid, name)
	}
	s.body = good
	s.join(ctl)

	// What became of real tokens is in the audit log, once each.
	events, _, err := n.Audit(ctx, 0, 1000)
	require.NoError(t, err)
	var got []string
	for _, e := range events {
		if strings.HasPrefix(e.Action, "join.refuse") || strings.HasPrefix(e.Action, "agent.") || e.Action == "signing.add" {
			got = append(got, e.Action+" "+e.Object+": "+e.Detail)
		}
	}
	require.Equal(t, []string{
		"signing.add acme: ",
		"agent.join shop/web-1: custody self",
		"join.refuse shop/web-1: the join token was used already",
		"join.refuse shop/web-2: the join token has ended",
		"join.refuse shop/db-1: the server of the join token is gone",
		"agent.join shop/web-2: custody self",
	}, got)

	// Old tokens are forgotten, some with each new one.
	c.advance(8 * 24 * time.Hour)
	known := func() bool {
		_, err := ctl.Join(ctx, late.body)
		return !strings.Contains(err.Error(), "unknown")
	}
	for i := 0; known(); i++ {
		require.Less(t, i, 1000)
		newServer(t, n, "shop", "web-2")
	}
}

// TestJoinAtOnce: of many that redeem one token, one joins.
func TestJoinAtOnce(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	one, two := open(t, st), open(t, st)
	n, err := one.CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	first := newServer(t, n, "shop", "web-1")
	results := make(chan error, 16)
	for i := range cap(results) {
		s := newServer(t, n, "shop", "web-1")
		s.body.Secret = first.body.Secret
		ctl := []*apn.Control{one, two}[i%2]
		go func() {
			_, err := ctl.Join(t.Context(), s.body)
			if err == nil {
				_, err = ctl.Agent(t.Context(), s.body.Credential)
			}
			results <- err
		}()
	}
	joined := 0
	for range cap(results) {
		if err := <-results; err == nil {
			joined++
		} else {
			require.ErrorIs(t, err, apn.ErrForbidden)
		}
	}
	require.Equal(t, 1, joined)
}

// TestAgentElsewhere: an agent that joined by one process is known to another at
// once, and one that was removed is forgotten.
func TestAgentElsewhere(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	one, two := open(t, st), open(t, st)
	ctx := t.Context()
	n, err := one.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	_, err = two.Network(ctx, "acme")
	require.NoError(t, err)
	s := join(t, one, n, "shop", "web-1")
	s.identify(two)
	require.NotNil(t, s.poll(0))

	// The document is the same there, so nothing is new.
	s.identify(one)
	require.Nil(t, s.poll(0))
	s.identify(two)
	require.NoError(t, n.SetRole(ctx, "ada", "shop", apn.NoRole, nil))
	peers := len(s.poll(time.Minute).Peers)
	s.identify(one)
	if c := s.poll(0); c != nil { // at another revision, perhaps
		require.Len(t, c.Peers, peers)
	}

	require.NoError(t, n.RemoveServer(ctx, "shop", "web-1", nil))
	_, err = one.Agent(ctx, s.body.Credential)
	require.ErrorIs(t, err, apn.ErrForbidden)
	require.Eventually(t, func() bool {
		_, err := two.Agent(ctx, s.body.Credential)
		return err != nil
	}, 5*time.Second, time.Millisecond)
	_, err = two.Agent(ctx, s.body.Credential)
	require.ErrorIs(t, err, apn.ErrForbidden)
	page, err := st.List(ctx, "dir", "agent/", "", 0)
	require.NoError(t, err)
	require.Empty(t, page.Entries, "the way to it is forgotten")
}

func TestAgentSecrets(t *testing.T) {
	t.Parallel()
	ctl := open(t, store.NewMem())
	ctx := t.Context()
	opts := testPool()
	opts.PresharedKeys = true
	n, err := ctl.CreateNetwork(ctx, "acme", opts)
	require.NoError(t, err)
	shop(t, n)
	s := newServer(t, n, "shop", "web-1")
	s.body.PublicKey = keys.PublicKey{}
	s.join(ctl)
	c := s.poll(0)
	binding := netmap.Sealing{Network: "acme", Server: "srv/shop/web-1", Epoch: c.Epoch, KeyGen: c.KeyGen}
	for range 3 {
		sealed, err := s.Secrets(ctx)
		require.NoError(t, err)
		secrets, err := sealed.Open(s.seal, binding)
		require.NoError(t, err)
		require.Equal(t, c.PublicKey, secrets.PrivateKey.PublicKey())
		require.Equal(t, c.Preshared, secrets.Preshared)
		require.Len(t, secrets.PSKs, len(c.Peers))
		cfg, err := n.ServerConfig(ctx, "shop", "web-1")
		require.NoError(t, err)
		for _, p := range cfg.Peers {
			require.True(t, p.PresharedKey.Equal(secrets.PSKs[p.PublicKey]), p.Name)
		}
		require.Len(t, cfg.Peers, len(c.Peers))
	}
	// The private key left once.
	events, _, err := n.Audit(ctx, 0, 1000)
	require.NoError(t, err)
	left := 0
	for _, e := range events {
		if e.Action == "agent.secrets" {
			left++
			require.Equal(t, "key 1", e.Detail)
		}
	}
	require.Equal(t, 1, left)

	// Without preshared keys only the private key is secret, and in custody Self
	// nothing.
	no := false
	_, err = n.Update(ctx, apn.NetworkUpdate{PresharedKeys: &no})
	require.NoError(t, err)
	require.Zero(t, s.poll(time.Minute).Preshared)
	sealed, err := s.Secrets(ctx)
	require.NoError(t, err)
	secrets, err := sealed.Open(s.seal, binding)
	require.NoError(t, err)
	require.Empty(t, secrets.PSKs)
	own := join(t, ctl, n, "shop", "web-2")
	sealed, err = own.Secrets(ctx)
	require.NoError(t, err)
	require.Nil(t, sealed)
}

// TestAgentKeys: a server that keeps its own key changes it by itself or because
// it was asked to.
func TestAgentKeys(t *testing.T) {
	t.Parallel()
	ctl := open(t, store.NewMem())
	ctx := t.Context()
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	s, peer := join(t, ctl, n, "shop", "web-1"), join(t, ctl, n, "shop", "web-2")
	s.poll(0)
	peer.poll(0)
	next, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	require.NoError(t, s.SetKey(ctx, next.PublicKey()))
	rev := n.Rev()
	require.NoError(t, s.SetKey(ctx, next.PublicKey()))
	require.Equal(t, rev, n.Rev(), "the same key again is no change")
	require.ErrorIs(t, s.SetKey(ctx, peer.own.PublicKey()), apn.ErrInvalid)
	require.ErrorIs(t, s.SetKey(ctx, keys.PublicKey{1}), apn.ErrInvalid)

	c := s.poll(time.Minute)
	require.Equal(t, next.PublicKey(), c.PublicKey)
	require.EqualValues(t, 3, c.KeyGen)
	require.Zero(t, c.RotateTo)
	seen := 0
	for _, p := range peer.poll(time.Minute).Peers {
		require.NotEqual(t, s.own.PublicKey(), p.PublicKey)
		if p.PublicKey == next.PublicKey() {
			seen++
		}
	}
	require.Equal(t, 1, seen, "peers change in the same step")

	out, err := n.RotateServer(ctx, "shop", "web-1", keys.PublicKey{}, nil)
	require.NoError(t, err)
	require.Equal(t, next.PublicKey(), out.PublicKey, "the agent makes the next one")
	c = s.poll(time.Minute)
	require.EqualValues(t, 4, c.RotateTo)
	next, err = keys.GeneratePrivateKey()
	require.NoError(t, err)
	require.NoError(t, s.SetKey(ctx, next.PublicKey()))
	require.EqualValues(t, 4, s.poll(time.Minute).KeyGen)

	// Nobody is there to be asked; and the key is kept here.
	require.NoError(t, s.Leave(ctx))
	_, err = n.RotateServer(ctx, "shop", "web-1", keys.PublicKey{}, nil)
	require.ErrorIs(t, err, apn.ErrInvalid)
	m := newServer(t, n, "shop", "db-1")
	m.body.PublicKey = keys.PublicKey{}
	m.join(ctl)
	require.ErrorIs(t, m.SetKey(ctx, next.PublicKey()), apn.ErrManaged)
}

// TestSigningKeyRotation: the signing key outlives the data key that sealed it.
func TestSigningKeyRotation(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	ctl := open(t, st)
	ctx := t.Context()
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	s := join(t, ctl, n, "shop", "web-1")
	s.poll(0)
	require.NoError(t, n.RotateDEK(ctx, nil))
	require.NoError(t, n.RotateDEK(ctx, nil))
	_, err = n.AddServer(ctx, "shop", "web-3", nil)
	require.NoError(t, err)
	require.NotNil(t, s.poll(time.Minute))
	_, err = n.VerifyKeys(ctx)
	require.NoError(t, err)

	// A seed that was tampered with is noticed.
	page, err := st.Get(ctx, "net/acme", "sign")
	require.NoError(t, err)
	row := bytes.Replace(page.Entries[0].Value, []byte(`"seed":"A`), []byte(`"seed":"B`), 1)
	if bytes.Equal(row, page.Entries[0].Value) {
		row = bytes.Replace(row, []byte(`"pub":"`), []byte(`"pub":"AAAA`), 1)
	}
	_, err = st.Commit(ctx, "net/acme", store.Batch{Writes: []store.Write{{Key: "sign", Value: row}}})
	require.NoError(t, err)
	_, err = ctl.Verify(ctx, "acme")
	require.ErrorIs(t, err, apn.ErrDamaged)
}
