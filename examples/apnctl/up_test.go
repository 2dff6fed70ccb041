package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	path := filepath.Join(w.dir, "laptop.conf")
	w.must(t, "config", "ada/laptop", path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(text), w.must(t, "config", "ada/laptop", "-"))
	require.Contains(t, w.must(t, "config", "ada/laptop", "-", "-format", "json"), `"peers"`)
	require.Contains(t, w.must(t, "config", "ada/laptop", "-", "-format", "setconf"), "[Peer]")
	_, stderr, status := w.run(t, "config", "ada/laptop", "-", "-format", "pdf")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "-format")
	w.must(t, "config", "ada/laptop", path, "-force")
	left, err := filepath.Glob(filepath.Join(w.dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no temporary file stays")
}

// TestOwnKey makes a key that the control plane never sees.
func TestOwnKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	sent := new(strings.Builder)
	w.before = func(r *http.Request) *http.Response {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		sent.Write(body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return nil
	}
	key, path := filepath.Join(w.dir, "own.key"), filepath.Join(w.dir, "own.conf")
	w.must(t, "devices", "add", "ada/own", "-key", key, "-dry-run")
	require.NoFileExists(t, key)
	w.must(t, "devices", "add", "ada/own", "-key", key)
	secret, err := os.ReadFile(key)
	require.NoError(t, err)
	_, stderr, _ := w.run(t, "config", "ada/own", path)
	require.Contains(t, stderr, "private key")
	w.must(t, "config", "ada/own", path, "-force", "-key", key)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), strings.TrimSpace(string(secret)))
	w.must(t, "check", path)

	w.must(t, "servers", "add", "shop/web-3")
	w.must(t, "up", "ada/own", path, "-once")
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), strings.TrimSpace(string(secret)), "the key of the old file goes into the new one")
	require.Contains(t, string(text), "web-3")
	w.must(t, "check", path)

	_, stderr, status := w.run(t, "config", "ada/own", "-", "-key", path)
	require.Equal(t, 1, status)
	require.NotContains(t, stderr, "PrivateKey")
	w.must(t, "devices", "add", "ada/other", "-key", key+"2")
	_, stderr, status = w.run(t, "config", "ada/own", "-", "-key", key+"2")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "of ada/own is not here")
	require.NotContains(t, sent.String(), strings.TrimSpace(string(secret)))
}

func TestUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		path, ran := filepath.Join(w.dir, "laptop.conf"), filepath.Join(w.dir, "ran")
		ctx, cancel := context.WithCancel(t.Context())
		out, errs, done := w.begin(ctx, "up", "ada/laptop", path, "-every", "30s",
			"-exec", `echo "$APN_CONFIG ${APN_TOKEN:-none}" >> `+ran)
		pass := func() {
			time.Sleep(31 * time.Second)
			synctest.Wait()
		}
		hooks := func() int {
			text, err := os.ReadFile(ran)
			require.NoError(t, err)
			return strings.Count(string(text), path+" none\n")
		}
		pass()
		require.Contains(t, out.take(), "new file (missing)")
		require.Equal(t, 1, hooks())
		pass()
		require.Empty(t, out.take(), "nothing has changed")

		w.must(t, "servers", "add", "shop/web-3")
		pass()
		require.Contains(t, out.take(), "new file (server added shop/web-3)")
		require.Equal(t, 2, hooks())
		w.must(t, "check", path)

		w.must(t, "devices", "rotate", "ada/laptop", "-yes")
		pass()
		require.Contains(t, out.take(), "new file (unknown)")
		w.must(t, "check", path)

		text, err := os.ReadFile(path)
		require.NoError(t, err)
		mine := "MTU = 1280\nDNS = 10.66.0.2\nPostUp = logger up\n"
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), "\n[Peer]", mine+"\n[Peer]", 1)), 0o600))
		pass()
		require.Empty(t, out.take(), "what the owner adds does not make it stale")
		require.Contains(t, w.must(t, "check", path), "with changes made here")
		w.must(t, "servers", "rm", "shop/web-3", "-yes")
		pass()
		require.Contains(t, out.take(), "server removed shop/web-3")
		text, err = os.ReadFile(path)
		require.NoError(t, err)
		for line := range strings.Lines(mine) {
			require.Contains(t, string(text), line, "and it stays")
		}
		require.NotContains(t, string(text), "web-3")
		w.must(t, "check", path)

		w.set(func() {
			w.before = func(r *http.Request) *http.Response {
				return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(strings.NewReader("")), Request: r}
			}
		})
		pass()
		require.Contains(t, errs.take(), "Service Unavailable")
		w.set(func() { w.before = nil })
		pass()
		require.Empty(t, errs.take())

		text, err = os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(text, "\n[Peer]\nPublicKey = garbage\n"...), 0o600))
		pass()
		require.Equal(t, 1, <-done, "what is not a config file is not overwritten")
		require.Contains(t, errs.take(), "move it away")

		require.NoError(t, os.Remove(path))
		_, _, done = w.begin(ctx, "up", "ada/laptop", path)
		pass()
		cancel()
		require.Zero(t, <-done, "an interrupted command is done")

		w.must(t, "devices", "add", "ada/phone")
		_, stderr, status := w.run(t, "up", "ada/phone", path, "-once")
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "is the config of ada/laptop")

		_, errs, done = w.begin(t.Context(), "up", "ada/laptop", path)
		pass()
		w.must(t, "devices", "rm", "ada/laptop", "-yes")
		time.Sleep(2 * upEvery)
		require.Equal(t, 1, <-done)
		require.Contains(t, errs.take(), "Not found")
		require.FileExists(t, path)
	})
}

// TestUpHook runs a command again that has failed.
func TestUpHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		ready := filepath.Join(w.dir, "ready")
		ctx, cancel := context.WithCancel(t.Context())
		out, errs, done := w.begin(ctx, "up", "ada/laptop", filepath.Join(w.dir, "x.conf"), "-json", "-exec", "cat "+ready)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, out.take(), `"state":"missing"`)
		require.Contains(t, errs.take(), "-exec: exit status 1")
		require.NoError(t, os.WriteFile(ready, []byte("done\n"), 0o600))
		time.Sleep(upEvery)
		synctest.Wait()
		require.Equal(t, "done\n", errs.take())
		time.Sleep(upEvery)
		require.Empty(t, errs.take(), "once is enough")
		cancel()
		require.Zero(t, <-done)
	})
}

func TestQR(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	require.NotContains(t, w.must(t, "qr", "ada/laptop"), "\x1b")
	w.tty = true
	require.Contains(t, w.must(t, "qr", "ada/laptop"), "\x1b[")
	w.tty = false
	for name := range strings.FieldsSeq("a b c d e f g h i") {
		w.must(t, "servers", "add", "shop/"+name)
	}
	_, stderr, status := w.run(t, "qr", "ada/laptop")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "11 servers and a QR code takes 10")
	require.Contains(t, stderr, "apnctl config")
	require.Equal(t, 10, render.MaxQRServers)
}
