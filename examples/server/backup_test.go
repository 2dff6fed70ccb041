package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBackupRestore takes a backup while the server is changed, and restores it
// on what could be another machine.
func TestBackupRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := launch(t, dir)
	s.fill(t, 50)
	file := filepath.Join(t.TempDir(), "apn.backup")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				send(http.DefaultClient, s.token, http.MethodPost, s.url+"/v1/networks/acme/apps/app/servers", fmt.Sprintf(`{"name":"busy-%d"}`, i))
			}
		}
	}()
	for range 5 {
		require.Contains(t, s.command(t, "backup", file), "holds 1 networks")
	}
	close(stop)
	<-done
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	var refused bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"restore", file, "-data", dir}, &refused, &refused))
	require.Contains(t, refused.String(), "in use by another process")
	s.stop(t)
	refused.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"restore", file, "-data", dir}, &refused, &refused))
	require.Contains(t, refused.String(), "holds networks already")

	other := t.TempDir()
	kek, err := os.ReadFile(filepath.Join(dir, "kek.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(other, "kek.key"), kek, 0o600))
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"restore", file, "-data", other}, &out, &out), "%s", &out)
	require.Contains(t, out.String(), "restored 1 networks")
	require.Contains(t, out.String(), "audit events verified")
	s = launch(t, other, s.token)
	require.Equal(t, http.StatusOK, s.get(t, "/apps/app/servers/s0007/config"))
	require.Contains(t, s.command(t, "verify"), "acme: ")
	s.stop(t)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text[:len(text)-100], 0o600))
	refused.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"restore", file, "-data", t.TempDir()}, &refused, &refused))
	require.Contains(t, refused.String(), "not a whole backup")
}

// TestMove takes a network from a file to PostgreSQL, to etcd, to SQLite and
// back.
func TestMove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := launch(t, dir)
	s.fill(t, 120)
	s.stop(t)
	kek := "file:" + filepath.Join(dir, "kek.key")
	from := "bolt:" + filepath.Join(dir, "apn.db")
	for _, to := range []string{startPostgres(t), startEtcd(t), "sqlite:" + filepath.Join(t.TempDir(), "apn.db"), "bolt:" + filepath.Join(t.TempDir(), "apn.db")} {
		out := s.command(t, "move", to, "-store", from)
		require.Contains(t, out, "copied 1 networks")
		require.Contains(t, out, "acme: 120 servers, 0 devices, 120 key pairs")
		moved := launch(t, t.TempDir(), s.token, "-store", to, "-kek", kek)
		require.Equal(t, http.StatusOK, moved.get(t, "/apps/app/servers/s0007/config"))
		moved.stop(t)
		from = to
	}
}

func TestStoreFlag(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"bolt":                        "must be bolt:PATH",
		"mysql://db":                  "must be bolt:PATH",
		"postgres:db":                 "must be bolt:PATH",
		"sqlite:" + t.TempDir() + "/": "",
		"postgres://apn:hunter2@127.0.0.1:1/apn?connect_timeout=2": "cannot be opened",
		"etcd://apn:hunter2@127.0.0.1:1/apn":                       "cannot be opened",
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			require.NotZero(t, run(t.Context(), []string{"-data", t.TempDir(), "-addr", "127.0.0.1:0", "-store", flag}, &out, &out))
			require.Contains(t, out.String(), want)
			require.NotContains(t, out.String(), "hunter2")
		})
	}
}

func TestBuildWithoutEngine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.Equal(t, 1, start(t.Context(), []string{"-data", t.TempDir(), "-store", "etcd://127.0.0.1:1/apn"}, &out, &out, engines{}))
	require.Contains(t, out.String(), "build it with -tags etcd")
}
