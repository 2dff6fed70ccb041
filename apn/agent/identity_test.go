package agent_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/netmap"
)

// frozen is an identity as agents in the field have it on disk.
const frozen = `{
	"format": 1,
	"url": "https://apn.example.org",
	"pin": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	"key": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=",
	"network": "acme",
	"app": "shop",
	"server": "web-00000",
	"credential": "apna_secret",
	"seal_key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
	"private_keys": [
		"KEY"
	]
}`

func TestIdentityFormat(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	s.id.Pin = make([]byte, 32)
	require.NoError(t, s.cfg.Dir.SaveIdentity(s.id))
	path := filepath.Join(s.cfg.Dir.Path(), "identity.json")
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	id, err := s.cfg.Dir.Identity()
	require.NoError(t, err)
	require.Equal(t, privOf(0).PublicKey(), id.PublicKey())
	require.Equal(t, "srv/shop/web-00000", id.PeerID())

	var form struct {
		PrivateKeys []string `json:"private_keys"`
	}
	require.NoError(t, json.Unmarshal(got, &form))
	require.Len(t, form.PrivateKeys, 1)
	want := strings.Replace(frozen, "KEY", form.PrivateKeys[0], 1)
	require.Equal(t, want, string(got))

	for _, bad := range []string{
		"", "{}", "null", strings.Replace(want, `"format": 1`, `"format": 2`, 1), strings.Replace(want, "BwcHB", "", 1),
		strings.Replace(want, "O2onv", "", 1), strings.Replace(want, form.PrivateKeys[0], "AAAA", 1),
	} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err := s.cfg.Dir.Identity()
		require.Error(t, err)
		require.NotContains(t, err.Error(), "apna_secret")
	}
}

// TestIdentityHides: secrets are in the file, and nowhere else.
func TestIdentityHides(t *testing.T) {
	t.Parallel()
	id, err := agent.NewIdentity(netmap.JoinToken{URL: "https://apn.example.org", Secret: "the token"}, nil)
	require.NoError(t, err)
	id.Network, id.App, id.Server = "acme", "shop", "web-1"
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "id", id)
	printed := fmt.Sprintf("%v %+v %#v %s %v %x %d", id, id, id, id, *id, *id, *id) + log.String()
	require.Contains(t, printed, "acme/shop/web-1")
	require.NotContains(t, printed, "the token")
	require.NotContains(t, printed, id.Credential)
	_, err = json.Marshal(id)
	require.Error(t, err)

	managed, err := agent.NewIdentity(netmap.JoinToken{}, &agent.IdentityOptions{Managed: true})
	require.NoError(t, err)
	require.Zero(t, managed.PublicKey())
	require.NotEqual(t, id.Credential, managed.Credential)
}
