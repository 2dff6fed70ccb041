package apn_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/render"
)

// FuzzNames gives any names to a network. Those that it takes must be plain in
// every place where they turn up: paths, files, zones.
func FuzzNames(f *testing.F) {
	for _, seed := range [][5]string{
		{"acme", "shop", "web-1", "ada", "laptop"},
		{"acct_42", "shop", "web-1", "ada@example.com", "phone"},
		{"a/b", "sh\nop", "web\x00", "ada\n[Peer]", "../x"},
		{"..", "xn--p", "W", "ADA", "\u0430"},
		{"ACCT.1", "a", "1", "a+b", "localhost"},
		{strings.Repeat("a", 64), strings.Repeat("b", 64), "$INCLUDE", "a;b", "a b"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, network, app, server, member, device string) {
		n, err := open(t, store.NewMem()).CreateNetwork(t.Context(), network, testPool())
		if err != nil {
			require.ErrorIs(t, err, apn.ErrInvalid)
			return
		}
		plain(t, network, 63)
		ctx := t.Context()
		_, err = n.AddApp(ctx, app, nil)
		if !accepted(t, app, 63, err) {
			return
		}
		_, err = n.AddServer(ctx, app, server, &apn.ServerOptions{Endpoint: "203.0.113.1"})
		if !accepted(t, server, 63, err) {
			return
		}
		_, err = n.AddMember(ctx, member, nil)
		if !accepted(t, member, 64, err) {
			return
		}
		_, err = n.AddDevice(ctx, member, device, nil)
		if !accepted(t, device, 63, err) {
			return
		}
		require.NoError(t, n.SetRole(ctx, member, app, apn.Developer, nil))

		cfg, err := n.DeviceConfig(ctx, member, device)
		require.NoError(t, err)
		file, err := render.Quick.Append(nil, cfg, nil)
		require.NoError(t, err)
		parsed, err := render.Parse(file, nil)
		require.NoError(t, err)
		require.True(t, cfg.Equal(parsed))
		name, err := render.Quick.Filename(cfg)
		require.NoError(t, err)
		require.Equal(t, filepath.Base(name), name)
		got, err := n.Server(app, server)
		require.NoError(t, err)
		require.Equal(t, []string{server + ".apn", server + "." + app + ".apn"}, got.Names)
	})
}

// accepted checks that a name was taken and is plain, or refused as invalid.
func accepted(t *testing.T, name string, limit int, err error) bool {
	t.Helper()
	if err != nil {
		require.ErrorIs(t, err, apn.ErrInvalid)
		return false
	}
	plain(t, name, limit)
	return true
}

func plain(t *testing.T, name string, limit int) {
	t.Helper()
	require.NotEmpty(t, name)
	require.LessOrEqual(t, len(name), limit)
	require.NotContains(t, name, "..")
	for _, c := range []byte(name) {
		require.True(t, c > ' ' && c < 0x7f && !strings.ContainsRune(`/\"'$;:#%`, rune(c)), "%q", name)
	}
}
