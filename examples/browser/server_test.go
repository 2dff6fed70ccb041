package browser_test

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// server is the program under test, with a data folder of its own.
type server struct {
	url   string
	token string // of an operator
	api   *apnclient.Client
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	need(t, missing)
	s := new(server)
	args = append([]string{"-addr", "127.0.0.1:0", "-data", filepath.Join(t.TempDir(), "data")}, args...)
	cmd := exec.CommandContext(t.Context(), program, args...)
	var log strings.Builder
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	for s.url == "" || s.token == "" {
		require.True(t, lines.Scan(), "the server says where it listens")
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			s.url = url
		}
		if token, ok := strings.CutPrefix(lines.Text(), "admin token, shown once: "); ok {
			s.token = token
		}
	}
	t.Cleanup(func() { // the test's context has ended, and the server with it
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		require.Empty(t, log.String(), "the server complains about nothing")
	})
	s.api = &apnclient.Client{URL: s.url, Token: s.token}
	return s
}
