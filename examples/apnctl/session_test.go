package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(w.dir, "apnctl", "session.json")
	w.env = map[string]string{}
	w.stdin = w.token + "\n"
	require.Contains(t, w.must(t, "login", "https://apn.test/"), "signed in at https://apn.test as root")
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), p)
	}
	w.stdin = ""
	require.Contains(t, w.must(t, "whoami"), "root")

	// A URL of the environment does not get the token.
	w.env = map[string]string{"APN_URL": "https://elsewhere.test"}
	_, stderr, status := w.run(t, "whoami")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "not signed in")

	// A file that others can read is refused.
	w.env = map[string]string{}
	require.NoError(t, os.Chmod(path, 0o644))
	_, stderr, status = w.run(t, "whoami")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "chmod 600")

	// Signing in again mends it.
	w.env = map[string]string{"APN_TOKEN": w.token}
	require.Contains(t, w.must(t, "login", "https://apn.test", "-json"), `"operator": true`)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

// TestLoginRefused leaves no session behind.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, url, token string
		status           int
		want             string
	}{
		{"in clear", "http://apn.test", "apn_x", 2, "in clear"},
		{"no URL", "apn.test", "apn_x", 2, "must look like"},
		{"a password in it", "https://me:secret@apn.test", "apn_x", 2, "must look like"},
		{"no token", "https://apn.test", "", 1, "no token"},
		{"a wrong token", "https://apn.test", "apn_wrong", 1, "Sign in again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env, w.stdin = map[string]string{}, tt.token+"\n"
			stdout, stderr, status := w.run(t, "login", tt.url)
			require.Equal(t, tt.status, status)
			require.Contains(t, stderr, tt.want)
			require.NotContains(t, stdout+stderr, "secret")
			require.NotContains(t, stdout+stderr, "apn_")
			require.NoDirExists(t, filepath.Join(w.dir, "apnctl"))
		})
	}
	t.Run("plain is for laboratories", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.env = map[string]string{"APN_TOKEN": w.token}
		w.must(t, "login", "http://apn.test", "-plain")
		w.must(t, "whoami")
	})
}

// TestRedirect does not carry the token elsewhere.
func TestRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.before = func(r *http.Request) *http.Response {
			require.Equal(t, "apn.test", r.URL.Host)
			return &http.Response{
				StatusCode: http.StatusMovedPermanently, Header: http.Header{"Location": {"http://other.test/v1/whoami"}},
				Body: io.NopCloser(strings.NewReader("")), Request: r,
			}
		}
		_, stderr, status := w.run(t, "whoami")
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "http://other.test now")
	})
}

func TestNetworkOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	w.must(t, "networks", "add", "globex")
	_, stderr, status := w.run(t, "apps")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "several networks")
	require.Contains(t, w.must(t, "apps", "-n", "acme"), "shop")
	w.env["APN_NETWORK"] = "acme"
	require.Contains(t, w.must(t, "apps"), "shop")
	require.NotContains(t, w.must(t, "apps", "-n", "globex"), "shop")
	delete(w.env, "APN_NETWORK")
	w.as(t, "ada")
	require.Contains(t, w.must(t, "apps"), "shop")
	require.Contains(t, w.must(t, "devices"), "ada/laptop")
	require.Contains(t, w.must(t, "devices", "show", "laptop"), "managed")
	require.Contains(t, w.must(t, "roles"), "developer")
	_, stderr, status = w.run(t, "apps", "add", "blog")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "Forbidden")
}
