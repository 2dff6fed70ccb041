package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startPostgres starts a PostgreSQL server that ends with the test, and returns
// its URL.
func startPostgres(t *testing.T) string {
	t.Helper()
	bin := ""
	if debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin"); len(debian) > 0 {
		bin = debian[len(debian)-1]
	} else {
		bin = filepath.Dir(tool(t, "initdb"))
	}
	dir, err := os.MkdirTemp("", "apn") //nolint:usetesting // open to another user, and short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // for whom PostgreSQL does not work
		u, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, uid, gid))
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		return cmd
	}
	out, err := command("initdb", "-D", dir+"/data", "-A", "trust", "-U", "apn", "-N").CombinedOutput()
	require.NoError(t, err, "%s", out)
	keep(t, command("postgres", "-D", dir+"/data", "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=200"))
	eventually(t, func() bool {
		return command("pg_isready", "-h", dir, "-U", "apn", "-d", "postgres").Run() == nil
	})
	return "postgres://apn@/postgres?host=" + dir
}

// startEtcd starts a cluster of three members that ends with the test, and
// returns its URL.
func startEtcd(t *testing.T) string {
	t.Helper()
	etcd := tool(t, "etcd")
	var peers, clients, initial []string
	for i := range 3 {
		peers, clients = append(peers, freeAddress(t)), append(clients, freeAddress(t))
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, peers[i]))
	}
	for i := range 3 {
		cmd := exec.CommandContext(t.Context(), etcd, "--name", fmt.Sprintf("m%d", i), "--data-dir", t.TempDir(),
			"--listen-client-urls", "http://"+clients[i], "--advertise-client-urls", "http://"+clients[i],
			"--listen-peer-urls", "http://"+peers[i], "--initial-advertise-peer-urls", "http://"+peers[i],
			"--initial-cluster", strings.Join(initial, ","))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		keep(t, cmd)
	}
	eventually(t, func() bool {
		resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + clients[0] + "/health")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return "etcd://" + strings.Join(clients, ",") + "/apn"
}

// keep starts a program and ends it with the test.
func keep(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

// eventually asks until something is so.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 50*time.Millisecond)
}
