//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

// start runs one command and returns its exit status and what it printed.
func start(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	o := &options{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	code = o.start(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	tests := []struct {
		args string
		code int
		text string // in what is printed to stderr
	}{
		{"", 2, "a command is missing"},
		{"fly", 2, `unknown command "fly"`},
		{"join", 2, "join takes 1 arguments, not 0"},
		{"join a b", 2, "not 2"},
		{"run now", 2, "run takes 0 arguments"},
		{"run -wings", 2, "not defined: -wings"},
		{"-h", 0, "usage: agent COMMAND"},
		{"join hello -state STATE", 1, "not a join token: does not begin with apnjoin_"},
		{"join - -managed -state STATE", 1, "not a join token"},
		{"join -managed -state STATE -", 1, "not a join token"},
		{"run -state STATE", 1, `run "agent join TOKEN" first`},
		{"status -state STATE", 1, `run "agent join TOKEN" first`},
		{"doctor -state STATE", 1, `run "agent join TOKEN" first`},
		{"rotate -state STATE", 1, "the agent does not run here"},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "STATE", state)
		}
		code, _, stderr := start(t, "nothing", args...)
		require.Equal(t, tt.code, code, tt.args)
		require.Contains(t, stderr, tt.text, tt.args)
	}
}

// TestJoin: a server joins a real control plane, once.
func TestJoin(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kek, err := localkek.CreateFile(filepath.Join(t.TempDir(), "kek"), nil)
	require.NoError(t, err)
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: kek})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctl.Close()) })
	h, err := apnhttp.New(apnhttp.Config{Control: ctl, Authenticate: func(*http.Request) (apnhttp.Principal, error) {
		return apnhttp.Principal{}, apnhttp.ErrUnauthenticated
	}})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	n, err := ctl.CreateNetwork(ctx, "acme", nil)
	require.NoError(t, err)
	_, err = n.AddApp(ctx, "shop", nil)
	require.NoError(t, err)
	_, err = n.AddServer(ctx, "shop", "web-1", nil)
	require.NoError(t, err)
	token, _, err := n.AddJoinToken(ctx, "shop", "web-1", srv.URL, nil)
	require.NoError(t, err)
	text, err := token.Encode()
	require.NoError(t, err)

	state := filepath.Join(t.TempDir(), "state")
	code, out, stderr := start(t, text+"\n", "join", "-", "-state", state)
	require.Zero(t, code, stderr)
	require.Contains(t, out, "this server is acme/shop/web-1")
	server, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	require.Contains(t, out, server.PublicKey.String())
	require.Equal(t, keys.Self, server.Custody)

	code, _, stderr = start(t, text, "join", "-", "-state", state)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, `this server is acme/shop/web-1 already: run "agent leave" first`)
	code, _, stderr = start(t, text, "join", "-", "-state", state+"-2")
	require.Equal(t, 1, code, "a token works once")
	require.Contains(t, stderr, "make another one")
	require.NotContains(t, stderr, token.Secret)

	code, out, stderr = start(t, "", "status", "-state", state)
	require.Zero(t, code, stderr)
	require.Contains(t, out, "acme/shop/web-1: no document yet\n! the agent does not run here")
	code, out, _ = start(t, "", "doctor", "-state", state, "-interface", "no-such-one")
	require.Equal(t, 1, code)
	require.Contains(t, out, "WRONG  agent          does not run")
	require.Contains(t, out, "ok     control plane  "+srv.URL+" answers")
	require.Contains(t, out, "ok     clock")
	require.NoError(t, n.RemoveServer(context.WithoutCancel(ctx), "shop", "web-1", nil))
	_, out, _ = start(t, "", "doctor", "-state", state, "-interface", "no-such-one")
	require.Contains(t, out, "agent leave, then join with a new token")
}

func TestPrint(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pfx := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	s := &state{
		Server: "acme/shop/web-1", Interface: "apn0", Kind: "userspace", Port: 51820, Wanted: 9, Applied: 8,
		ClockOffset: time.Hour, Names: []string{"web-1.apn", "web-1.shop.apn"}, Addresses: pfx("10.66.0.2/32"),
		Errors: []string{"one thing is wrong"},
		Peers: []peer{
			{Name: "web-2.shop", AllowedIPs: pfx("10.66.0.3/32", "fd66::3/128"), Endpoint: "203.0.113.2:51820", Handshake: now.Add(-72 * time.Second), Received: 1 << 30, Sent: 1536},
			{Name: "gw.shop", AllowedIPs: pfx("10.66.0.4/32", "10.66.1.1/32", "10.66.1.2/32", "10.66.1.3/32", "10.66.1.4/32")},
		},
		Openings: netmap.Openings{Permanent: pfx("192.0.2.0/24"), Leases: []netmap.Opening{
			{Source: pfx("198.51.100.7/32")[0], ExpiresAt: now.Add(22*time.Hour + 30*time.Minute)},
			{Source: pfx("198.51.100.8/32")[0], ExpiresAt: now.Add(-time.Hour)}, // over, by the control plane's clock
		}},
	}
	var out strings.Builder
	require.NoError(t, s.print(&out, now))
	require.Equal(t, `acme/shop/web-1: revision 9, not applied (last: 8)
apn0: 10.66.0.2, UDP port 51820, userspace
names: web-1.apn, web-1.shop.apn
! one thing is wrong

PEER        ADDRESS                                  ENDPOINT           HANDSHAKE  RECEIVED  SENT
web-2.shop  10.66.0.3, fd66::3                       203.0.113.2:51820  1m12s ago  1.0 GiB   1.5 KiB
gw.shop     10.66.0.4, 10.66.1.1, 10.66.1.2, 2 more  -                  never      0 B       0 B

OPEN TO       TIME LEFT
192.0.2.0/24  permanent
198.51.100.7  23h30m
`, out.String())
	require.Equal(t, "2d3h", span(51*time.Hour))
	require.Equal(t, "0s", span(-time.Second))
}

// TestLock: two agents do not share a state directory.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lock(dir)
	require.NoError(t, err)
	_, err = lock(dir)
	require.ErrorContains(t, err, "another agent runs on "+dir)
	unlock()
	unlock, err = lock(dir)
	require.NoError(t, err)
	unlock()
}

func TestInside(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, inside("no-such-namespace", func() error { return io.EOF }), os.ErrNotExist)
}
