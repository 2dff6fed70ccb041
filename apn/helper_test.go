package apn_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// testKEK wraps under a key that is its ID repeated, and counts calls.
type testKEK struct {
	id    string
	calls atomic.Int64
	fail  atomic.Pointer[error]
}

func (k *testKEK) KeyID() string { return k.id }

func (k *testKEK) aead() cipher.AEAD {
	key := make([]byte, 32)
	for i := range key {
		key[i] = k.id[i%len(k.id)]
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (k *testKEK) Wrap(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	k.calls.Add(1)
	if err := k.fail.Load(); err != nil {
		return nil, *err
	}
	return k.aead().Seal(nil, nil, plaintext, aad), nil
}

func (k *testKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	k.calls.Add(1)
	if err := k.fail.Load(); err != nil {
		return nil, *err
	}
	return k.aead().Open(nil, nil, wrapped, aad)
}

// start is the time at which tests with a clock of their own begin.
func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(start().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func open(tb testing.TB, st store.Store, change ...func(*apn.Config)) *apn.Control {
	tb.Helper()
	cfg := apn.Config{Store: st, KEK: keys.Multi(&testKEK{id: "kek-1"})}
	for _, f := range change {
		f(&cfg)
	}
	ctl, err := apn.Open(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, ctl.Close()) })
	return ctl
}

func withClock(c *clock) func(*apn.Config) { return func(cfg *apn.Config) { cfg.Now = c.now } }

// network returns a fresh network in a fresh in-memory store. Its pool is
// 10.66.0.0/16 and fd66::/48.
func network(tb testing.TB, change ...func(*apn.Config)) *apn.Network {
	tb.Helper()
	n, err := open(tb, store.NewMem(), change...).CreateNetwork(tb.Context(), "acme", testPool())
	require.NoError(tb, err)
	return n
}

func testPool() *apn.NetworkOptions {
	return &apn.NetworkOptions{Prefixes: []netip.Prefix{
		netip.MustParsePrefix("10.66.0.0/16"), netip.MustParsePrefix("fd66::/48"),
	}}
}

// shop fills a network: apps shop (web-1, web-2, db-1) and blog (web-1), ada with
// Developer on both, her laptop.
func shop(tb testing.TB, n *apn.Network) {
	tb.Helper()
	ctx := tb.Context()
	for _, app := range []string{"shop", "blog"} {
		_, err := n.AddApp(ctx, app, nil)
		require.NoError(tb, err)
	}
	for _, s := range []struct{ app, name, endpoint string }{
		{"shop", "web-1", "203.0.113.1:51820"},
		{"shop", "web-2", "203.0.113.2:51820"},
		{"shop", "db-1", "[2001:db8::3]:51820"},
		{"blog", "web-1", "blog.example.com:51820"},
	} {
		_, err := n.AddServer(ctx, s.app, s.name, &apn.ServerOptions{Endpoint: s.endpoint})
		require.NoError(tb, err)
	}
	_, err := n.AddMember(ctx, "ada", nil)
	require.NoError(tb, err)
	require.NoError(tb, n.SetRole(ctx, "ada", "shop", apn.Developer, nil))
	require.NoError(tb, n.SetRole(ctx, "ada", "blog", apn.Developer, nil))
	_, err = n.AddDevice(ctx, "ada", "laptop", nil)
	require.NoError(tb, err)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// brokenStore is a store that can be made to fail.
type brokenStore struct {
	*store.Mem
	err atomic.Pointer[error]
}

func (s *brokenStore) set(err error) {
	if err == nil {
		s.err.Store(nil)
		return
	}
	s.err.Store(&err)
}

func (s *brokenStore) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	if err := s.err.Load(); err != nil {
		return store.Page{}, *err
	}
	return s.Mem.Since(ctx, space, after, limit)
}

func (s *brokenStore) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if err := s.err.Load(); err != nil {
		return 0, *err
	}
	return s.Mem.Commit(ctx, space, b)
}

// limitedStore calls a function after some commits.
type limitedStore struct {
	*store.Mem
	left atomic.Int64
	stop func()
}

func (s *limitedStore) after(commits int, stop func()) {
	s.stop = stop
	s.left.Store(int64(commits) + 1)
}

func (s *limitedStore) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	rev, err := s.Mem.Commit(ctx, space, b)
	if space == "net/acme" && s.left.Add(-1) == 0 {
		s.stop()
	}
	return rev, err
}

func addrs(s ...string) []netip.Addr {
	list := make([]netip.Addr, len(s))
	for i := range s {
		list[i] = addr(s[i])
	}
	return list
}
