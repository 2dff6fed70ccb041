package customstore_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/examples/customstore"
)

// urlEnv tells the child process that the kit kills where the server is.
const urlEnv = "CUSTOMSTORE_URL"

// server is a Redis or Valkey server of its own.
type server struct {
	url  string
	args []string
	cmd  *exec.Cmd
}

// startServer starts a server that ends with the test.
func startServer(t *testing.T, appendfsync string) *server {
	t.Helper()
	if url := os.Getenv(urlEnv); url != "" {
		return &server{url: url}
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		path, err = exec.LookPath("valkey-server")
	}
	if err != nil && os.Getenv("APN_REQUIRE") == "all" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s := &server{url: "redis://:secret@" + l.Addr().String(), args: []string{
		path, "--bind", host, "--port", port, "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", appendfsync, "--requirepass", "secret",
	}}
	t.Cleanup(s.kill)
	require.NoError(t, s.start())
	t.Setenv(urlEnv, s.url)
	return s
}

// start starts the process, and waits until it serves.
func (s *server) start() error {
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	opts, err := redis.ParseURL(s.url)
	if err != nil {
		return err
	}
	client := redis.NewClient(opts)
	for range 1000 {
		if err = client.Ping(context.Background()).Err(); err == nil {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	return errors.Join(err, client.Close())
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// crash ends the server with kill -9, and starts it again.
func (s *server) crash(tb testing.TB) {
	tb.Helper()
	s.kill()
	if err := s.start(); err != nil {
		tb.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		startServer(t, "everysec").url:    `customstore: open: appendfsync is "everysec", want "always"`,
		"redis://:secret%zz@127.0.0.1:1/": "customstore: open: want redis://user:password@host:port/0",
	} {
		_, err := customstore.Open(t.Context(), url, "")
		require.EqualError(t, err, want)
	}
}
