package apn_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

type renderConfig = render.Config

var errTest = errors.New("test failure")

// addServers adds the servers s<from> to s<to-1>, and the app if need be.
func addServers(tb testing.TB, n *apn.Network, app string, from, to int) {
	tb.Helper()
	inv := apn.InventoryApp{Name: app}
	for i := from; i < to; i++ {
		inv.Servers = append(inv.Servers, apn.InventoryServer{
			Name: fmt.Sprintf("s%04d", i), Endpoint: fmt.Sprintf("203.0.%d.%d:51820", i/250, i%250+1),
		})
	}
	_, err := n.Import(tb.Context(), apn.Inventory{Apps: []apn.InventoryApp{inv}}, nil)
	require.NoError(tb, err)
}

// dump is all that readers can see of a network, as text.
func dump(tb testing.TB, n *apn.Network) string {
	tb.Helper()
	var b strings.Builder
	show := func(v any) {
		text, err := json.Marshal(v)
		require.NoError(tb, err)
		b.Write(text)
		b.WriteByte('\n')
	}
	info := n.Info()
	info.Head = 0
	show(info)
	apps, _ := n.Apps(nil)
	for _, app := range apps {
		show(app)
		servers, _, err := n.Servers(app.Name, nil)
		require.NoError(tb, err)
		show(servers)
		leases, err := n.Leases(app.Name)
		require.NoError(tb, err)
		show(leases)
		rules, err := n.Rules(app.Name)
		require.NoError(tb, err)
		show(rules)
	}
	members, _ := n.Members(nil)
	for _, m := range members {
		show(m)
		devices, err := n.Devices(m.Name)
		require.NoError(tb, err)
		show(devices)
	}
	show(n.Links())
	return b.String()
}

func TestReopen(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	_, err = n.Lease(t.Context(), "shop", "ada", []netip.Addr{addr("198.51.100.9")}, nil)
	require.NoError(t, err)
	_, err = n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	require.NoError(t, n.SetLink(t.Context(), "shop", "blog", false, nil))
	require.NoError(t, n.RemoveServer(t.Context(), "shop", "web-2", nil))

	again, err := open(t, st).Network(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, dump(t, n), dump(t, again))
	a, err := n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	b, err := again.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	require.True(t, a.Equal(b))
}

// TestAtRest looks for keys in all that the store was given.
func TestAtRest(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	var secrets [][]byte
	cfg, err := n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	private := cfg.Interface.PrivateKey.Reveal()
	secrets = append(secrets, private[:], cfg.Interface.PublicKey[:])
	for _, p := range cfg.Peers {
		secrets = append(secrets, p.PublicKey[:])
	}
	_, _, err = n.Audit(t.Context(), 0, 0)
	require.NoError(t, err)

	var all bytes.Buffer
	for _, space := range []string{"net/acme", "audit/acme", "dir"} {
		page, err := st.List(t.Context(), space, "", "", 0)
		require.NoError(t, err)
		require.NotEmpty(t, page.Entries)
		for _, e := range page.Entries {
			fmt.Fprintf(&all, "%s\n%s\n", e.Key, e.Value)
			// Sealed bytes are base64 in the rows: look inside as well.
			var fields map[string]any
			require.NoError(t, json.Unmarshal(e.Value, &fields))
			for _, v := range fields {
				if text, ok := v.(string); ok {
					raw, err := base64.StdEncoding.DecodeString(text)
					if err == nil {
						all.Write(raw)
					}
				}
			}
		}
	}
	for _, s := range secrets {
		for _, form := range [][]byte{
			s, []byte(hex.EncodeToString(s)), []byte(strings.ToUpper(hex.EncodeToString(s))),
			[]byte(base64.RawStdEncoding.EncodeToString(s)), []byte(base64.RawURLEncoding.EncodeToString(s)),
			[]byte(strings.TrimRight(base32.StdEncoding.EncodeToString(s), "=")),
		} {
			require.False(t, bytes.Contains(all.Bytes(), form), "a key is readable")
		}
	}
}

func TestWrongKEK(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)

	other := open(t, st, func(c *apn.Config) { c.KEK = keys.Multi(&testKEK{id: "kek-2"}) })
	_, err = other.Network(t.Context(), "acme")
	require.ErrorIs(t, err, keys.ErrWrongKEK)
	require.ErrorContains(t, err, "kek-1")
	require.ErrorContains(t, err, "kek-2")

	both := open(t, st, func(c *apn.Config) { c.KEK = keys.Multi(&testKEK{id: "kek-2"}, &testKEK{id: "kek-1"}) })
	_, err = both.Network(t.Context(), "acme")
	require.NoError(t, err)
}

func TestOneKEKCall(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	addServers(t, n, "shop", 0, 100)

	kek := &testKEK{id: "kek-1"}
	cold, err := open(t, st, func(c *apn.Config) { c.KEK = keys.Multi(kek) }).Network(t.Context(), "acme")
	require.NoError(t, err)
	for i := range 100 {
		_, err := cold.ServerConfig(t.Context(), "shop", fmt.Sprintf("s%04d", i))
		require.NoError(t, err)
	}
	require.Equal(t, int64(1), kek.calls.Load())
}

func TestDamagedRows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, key string
		value     string
		want      error
	}{
		{"garbage", "srv/shop/web-1", "garbage", apn.ErrDamaged},
		{"newer format", "srv/shop/web-1", `{"v":2}`, apn.ErrDamaged},
		{"no format", "srv/shop/web-1", `{}`, apn.ErrDamaged},
		{"unknown kind", "what/is/this", `{"v":1}`, apn.ErrDamaged},
		{"tampered key", "key/srv/shop/web-1", `{"v":1,"uid":"x","gen":1,"pub":"AAAA"}`, apn.ErrDamaged},
		{"address twice", "addr/a4-0a420099", `{"v":1,"app":"nope","owner":"x","addr":"10.66.0.153"}`, apn.ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := store.NewMem()
			n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
			require.NoError(t, err)
			shop(t, n)
			_, err = st.Commit(t.Context(), "net/acme", store.Batch{Writes: []store.Write{{Key: tt.key, Value: []byte(tt.value)}}})
			require.NoError(t, err)
			_, err = open(t, st).Network(t.Context(), "acme")
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// TestSwappedKeys moves sealed keys between rows: they must not open there.
func TestSwappedKeys(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	page, err := st.Get(t.Context(), "net/acme", "key/srv/shop/web-1")
	require.NoError(t, err)
	_, err = st.Commit(t.Context(), "net/acme", store.Batch{Writes: []store.Write{
		{Key: "key/srv/shop/web-2", Value: page.Entries[0].Value},
	}})
	require.NoError(t, err)
	_, err = open(t, st).Network(t.Context(), "acme")
	require.ErrorIs(t, err, keys.ErrWrongOwner)
}

func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	n := network(t)
	_, err := n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)
	const callers, each = 16, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				_, err := n.AddServer(t.Context(), "shop", fmt.Sprintf("s%d-%d", c, i), nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	requireSound(t, n, callers*each)
}

// requireSound checks that servers have addresses and keys of their own, inside
// their app's subnets, and that the audit chain is whole.
func requireSound(tb testing.TB, n *apn.Network, servers int) {
	tb.Helper()
	addrs, pubs, count := map[netip.Addr]string{}, map[keys.PublicKey]string{}, 0
	apps, _ := n.Apps(nil)
	for _, app := range apps {
		list, _, err := n.Servers(app.Name, nil)
		require.NoError(tb, err)
		for _, s := range list {
			count++
			id := s.App + "/" + s.Name
			require.NotEmpty(tb, s.Addresses)
			require.NotEmpty(tb, s.Names)
			require.Empty(tb, pubs[s.PublicKey], id)
			pubs[s.PublicKey] = id
			for _, a := range s.Addresses {
				require.Empty(tb, addrs[a], id)
				addrs[a] = id
			}
		}
	}
	require.Equal(tb, servers, count)
	_, err := n.VerifyAudit(tb.Context())
	require.NoError(tb, err)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)
	const replicas, each = 4, 40
	var wg sync.WaitGroup
	for r := range replicas {
		other, err := open(t, st).Network(t.Context(), "acme")
		require.NoError(t, err)
		wg.Go(func() {
			for i := range each {
				if _, err := other.AddServer(t.Context(), "shop", fmt.Sprintf("s%d-%d", r, i), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range n.Watch(t.Context(), 0) { // this replica only follows
		require.NoError(t, err)
		if app, err := n.App("shop"); err == nil && app.Servers == replicas*each {
			break
		}
	}
	requireSound(t, n, replicas*each)
	fresh, err := open(t, st).Network(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, dump(t, n), dump(t, fresh))
}

func TestAudit(t *testing.T) {
	t.Parallel()
	st := store.NewMem()
	n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	ctx := apn.WithActor(t.Context(), apn.Actor{ID: "ops", From: addr("198.51.100.1")})
	_, err = n.AddApp(ctx, "shop", nil)
	require.NoError(t, err)
	_, err = n.AddApp(ctx, "shop", nil)
	require.Error(t, err)

	events, more, err := n.Audit(t.Context(), 0, 0)
	require.NoError(t, err)
	require.False(t, more)
	require.Len(t, events, 2)
	require.Equal(t, "network.create", events[0].Action)
	require.Equal(t, "app.add", events[1].Action)
	require.Equal(t, "ops", events[1].Actor.ID)
	require.Equal(t, n.Rev(), events[1].Rev)
	count, err := n.VerifyAudit(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(2), count)

	for name, forge := range map[string]func([]byte) []byte{
		"changed": func(v []byte) []byte { return bytes.Replace(v, []byte("ops"), []byte("eve"), 1) },
		"removed": func([]byte) []byte { return nil },
	} {
		key := fmt.Sprintf("event/%016x", 2)
		page, err := st.Get(t.Context(), "audit/acme", key)
		require.NoError(t, err)
		was := page.Entries[0].Value
		_, err = st.Commit(t.Context(), "audit/acme", store.Batch{Writes: []store.Write{{Key: key, Value: forge(was)}}})
		require.NoError(t, err)
		_, err = n.VerifyAudit(t.Context())
		require.ErrorIs(t, err, apn.ErrDamaged, name)
		_, err = st.Commit(t.Context(), "audit/acme", store.Batch{Writes: []store.Write{{Key: key, Value: was}}})
		require.NoError(t, err)
	}
	_, err = n.VerifyAudit(t.Context())
	require.NoError(t, err)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	clk := newClock()
	ctl := open(t, store.NewMem(), withClock(clk))
	secret, token, err := ctl.AddToken(t.Context(), "ops", &apn.TokenOptions{TTL: 1e9})
	require.NoError(t, err)
	require.Greater(t, len(secret), 50)
	got, err := ctl.Token(t.Context(), secret)
	require.NoError(t, err)
	require.Equal(t, token, got)
	for _, wrong := range []string{"", "apn_", secret + "x", secret[:len(secret)-1], strings.ToLower(secret), "apn_" + strings.Repeat("A", 60)} {
		_, err := ctl.Token(t.Context(), wrong)
		require.ErrorIs(t, err, apn.ErrForbidden)
		if wrong != "" && wrong != "apn_" {
			require.NotContains(t, err.Error(), wrong)
		}
	}
	clk.advance(1e9)
	_, err = ctl.Token(t.Context(), secret)
	require.ErrorIs(t, err, apn.ErrForbidden, "expired")

	n, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	_, _, err = ctl.AddToken(t.Context(), "bob", &apn.TokenOptions{Network: "acme", Member: "bob"})
	require.ErrorIs(t, err, apn.ErrNotFound)
	secret, token, err = ctl.AddToken(t.Context(), "ada", &apn.TokenOptions{Network: "acme", Member: "ada"})
	require.NoError(t, err)
	list, err := ctl.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = ctl.Token(t.Context(), secret)
	require.NoError(t, err)
	require.NoError(t, n.RemoveMember(t.Context(), "ada", nil))
	_, err = ctl.Token(t.Context(), secret)
	require.ErrorIs(t, err, apn.ErrForbidden)
	_, err = n.AddMember(t.Context(), "ada", nil)
	require.NoError(t, err)
	_, err = ctl.Token(t.Context(), secret)
	require.ErrorIs(t, err, apn.ErrForbidden, "another ada")
	require.NoError(t, ctl.RemoveToken(t.Context(), token.ID))
	_, err = ctl.Token(t.Context(), secret)
	require.ErrorIs(t, err, apn.ErrForbidden)
	require.ErrorIs(t, ctl.RemoveToken(t.Context(), token.ID), apn.ErrNotFound)
}

// FuzzRow opens networks in which any row may hold anything.
func FuzzRow(f *testing.F) {
	for _, seed := range []struct{ key, value string }{
		{"net", `{"v":1}`},
		{"app/shop", `{"v":1,"subnets":["10.66.0.0/24"]}`},
		{"srv/shop/web-1", `{"v":1,"uid":"x","addrs":["10.66.0.2"],"endpoint":"h:1"}`},
		{"mem/ada", `{"v":1,"roles":{"shop":"developer"}}`},
		{"dev/ada/laptop", `{"v":1}`},
		{"key/dev/ada/laptop", `{"v":1,"pub":"AQE="}`},
		{"hand/ada/laptop", `{"v":1,"servers":-1}`},
		{"hand/ada/laptop/0000", `{"v":1,"peers":["x"]}`},
		{"dek/00000001", `{"v":1}`},
		{"lease/shop/x", `{"v":1}`},
		{"rule/shop/x", `{"v":1,"source":"1.2.3.4/99"}`},
		{"link/a/b", `{"v":1}`},
		{"addr/a4-0a420002", `{"v":1,"app":"shop","owner":"x","addr":"10.66.0.2"}`},
		{"ctr", `{"v":1,"serial":4294967295}`},
		{"out/0000000000000009", `{"v":1,"n":9}`},
		{"op/x", `{"v":1}`},
		{"req/x", `{"v":1}`},
	} {
		f.Add(seed.key, []byte(seed.value))
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		st := store.NewMem()
		ctl := open(t, st)
		n, err := ctl.CreateNetwork(t.Context(), "acme", testPool())
		require.NoError(t, err)
		shop(t, n)
		if _, err := st.Commit(t.Context(), "net/acme", store.Batch{Writes: []store.Write{{Key: key, Value: value}}}); err != nil {
			return
		}
		other := open(t, st)
		n, err = other.Network(t.Context(), "acme")
		if err != nil {
			return
		}
		dump(t, n)
		_, _ = n.AddServer(t.Context(), "shop", "new", nil)
		_, _ = n.DeviceConfig(t.Context(), "ada", "laptop")
		_, _ = n.ServerMap(t.Context(), "shop", "web-1")
	})
}

// randomSteps is the number of commands of the model test.
const randomSteps = 3000

func TestModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	runModel(t, seed, randomSteps, 1, storetest.Faults{})
}
