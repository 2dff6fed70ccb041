package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeyCommands runs every key command against a server at work, and then
// without it.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := launch(t, dir)
	s.fill(t, 60)

	require.Contains(t, s.command(t, "kek", "status"), "acme")
	out := s.command(t, "kek", "rotate")
	require.Contains(t, out, "new KEK")
	require.Contains(t, out, "verified, all 60 key pairs open")
	out = s.command(t, "keys", "rotate")
	require.Contains(t, out, "acme: 50 of 60 key pairs\nacme: 60 of 60 key pairs\n")
	require.Contains(t, out, "verified, all 60 key pairs open")
	out = s.command(t, "kek", "status")
	require.Contains(t, out, "before it")
	require.NotContains(t, out, "run kek")
	require.Contains(t, s.command(t, "kek", "prune"), "1 old KEKs forgotten")
	require.Equal(t, http.StatusOK, s.get(t, "/apps/app/servers/s0001/config"))
	s.stop(t)

	require.Contains(t, s.command(t, "keys", "verify"), "all 60 key pairs open")
	s = launch(t, dir, s.token)
	require.Equal(t, http.StatusOK, s.get(t, "/apps/app/servers/s0001/config"))
	s.stop(t)
}

// TestRotationKilled ends the server with SIGKILL while it rotates, again and
// again. Whatever it had done, the next server reads everything, and the command
// finishes the work.
func TestRotationKilled(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{{"keys", "rotate"}, {"kek", "rotate"}} {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := launch(t, dir)
			s.fill(t, 400)
			for round := range 6 {
				// The progress line to wait for moves through the work.
				cmd := exec.CommandContext(t.Context(), binary(t), append(words, "-data", dir)...)
				progress, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				lines := bufio.NewScanner(progress)
				for range round + 1 {
					if !lines.Scan() {
						break
					}
				}
				s.kill(t)
				_ = cmd.Wait() // it may have been done already

				s = launch(t, dir, s.token)
				require.Equal(t, http.StatusOK, s.get(t, "/apps/app/servers/s0000/config"), "round %d", round)
				require.Contains(t, s.command(t, "keys", "verify"), "all 400 key pairs open")
			}
			require.Contains(t, s.command(t, words...), "verified, all 400 key pairs open")
			out := s.command(t, "kek", "status")
			require.NotContains(t, out, "decrypt", "no data key is left over")
			require.NotContains(t, out, "run kek rotate")
			s.stop(t)
		})
	}
}

func TestCommandWithoutData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"kek", "rotate", "-data", dir}, &out, &errs))
	require.Contains(t, errs.String(), "there is no database")
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist, "a command makes nothing")
}

// TestConfigCheck asks, with and without a server, what a file is worth.
func TestConfigCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, c := begin(t, dir)
	s.fill(t, 3)
	c.call(http.MethodPost, "/v1/networks/acme/members", `{"name":"ada"}`)
	c.call(http.MethodPut, "/v1/networks/acme/members/ada/roles/app", `{"role":"developer"}`)
	c.call(http.MethodPost, "/v1/networks/acme/members/ada/devices", `{"name":"laptop"}`)
	file := filepath.Join(t.TempDir(), "acme-laptop.conf")
	text := c.call(http.MethodGet, "/v1/networks/acme/members/ada/devices/laptop/config", "").body
	require.NoError(t, os.WriteFile(file, text, 0o600))
	check := func(words ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"config", "check"}, words...), &out, &out)
		require.NotContains(t, out.String(), "PrivateKey")
		return code, out.String()
	}

	code, out := check(file, "-data", dir)
	require.Zero(t, code, out)
	require.Contains(t, out, "current: laptop of ada")
	edited := filepath.Join(t.TempDir(), "edited.conf")
	require.NoError(t, os.WriteFile(edited, bytes.Replace(text, []byte("= 25"), []byte("= 26"), 1), 0o600))
	code, out = check(edited, "-data", dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, "superseded")
	c.call(http.MethodPost, "/v1/networks/acme/apps/app/servers", `{"name":"web-9"}`)
	s.stop(t)
	code, out = check(file, "-data", dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, "server_added app/web-9\n")
	require.Contains(t, out, "stale")

	for _, words := range [][]string{nil, {"-data", dir}, {filepath.Join(dir, "none.conf")}, {filepath.Join(dir, "apn.db")}} {
		code, _ = check(words...)
		require.Equal(t, 2, code)
	}
}

// launched is a server process.
type launched struct {
	dir, url, token, dns string
	cmd                  *exec.Cmd
	done                 chan error
}

// launch starts a server on dir and a free port. Words that start with "-" and
// what follows are flags; a word before them is the token of an earlier start.
func launch(t *testing.T, dir string, words ...string) *launched {
	t.Helper()
	s := &launched{dir: dir, done: make(chan error, 1)}
	if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		s.token, words = words[0], words[1:]
	}
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary(t), append([]string{"-data", dir, "-addr", "127.0.0.1:0"}, words...)...)
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // this process, if it still runs
	lines := bufio.NewScanner(stdout)
	for s.url == "" || s.token == "" || s.dns == "" && slices.Contains(words, "-dns") {
		require.True(t, lines.Scan(), "the server says where it listens")
		before, what, _ := strings.Cut(lines.Text(), " on ")
		if token, ok := strings.CutPrefix(lines.Text(), "admin token, shown once: "); ok {
			s.token = token
		} else if dns, ok := strings.CutPrefix(lines.Text(), "answering DNS at "); ok {
			s.dns = dns
		} else if before == "listening" {
			s.url = what
		}
	}
	go func() { s.done <- s.cmd.Wait() }()
	return s
}

func (s *launched) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Kill())
	require.Error(t, <-s.done, "killed")
}

func (s *launched) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, <-s.done, "it ends cleanly")
}

func (s *launched) command(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary(t), append(words, "-data", s.dir)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func (s *launched) do(t *testing.T, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/v1/networks"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func (s *launched) get(t *testing.T, path string) int {
	t.Helper()
	return s.do(t, http.MethodGet, "/acme"+path, "")
}

// fill makes a network with an app of some servers.
func (s *launched) fill(t *testing.T, servers int) {
	t.Helper()
	type named struct {
		Name string `json:"name"`
	}
	app := struct {
		named
		Servers []named `json:"servers"`
	}{named: named{"app"}}
	for i := range servers {
		app.Servers = append(app.Servers, named{fmt.Sprintf("s%04d", i)})
	}
	inventory, err := json.Marshal(map[string]any{"apps": []any{app}})
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, s.do(t, http.MethodPost, "", `{"name":"acme"}`))
	status := s.do(t, http.MethodPost, "/acme/import", string(inventory))
	require.Less(t, status, 300)
}
