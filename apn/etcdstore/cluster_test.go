package etcdstore_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/logutil"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cluster is an etcd cluster of some processes, whose traffic among each other
// goes through proxies that the test can cut.
type cluster struct {
	client    *clientv3.Client
	endpoints string // host:port,host:port
	members   []*member

	mu       sync.Mutex
	isolated *member // hears nobody, and nobody hears it; nil if there is none
	links    map[*link]bool
}

type member struct {
	name, id    string // id is known once it was isolated
	address     string // where clients connect
	peer, proxy string // where members connect, and where they believe to
	args        []string
	log         string
	cmd         *exec.Cmd
}

// startCluster starts so many members, with args more, that end with the test.
// Their clients use TLS unless it is nil.
func startCluster(tb testing.TB, size int, secure *tls.Config, args ...string) *cluster {
	tb.Helper()
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			tb.Fatalf("etcd: %v", err)
		}
		tb.Skipf("etcd: %v", err)
	}
	c := &cluster{links: map[*link]bool{}}
	var initial []string
	for i := range size {
		proxy, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = proxy.Close() })
		m := &member{name: fmt.Sprintf("m%d", i), address: freePort(tb), peer: freePort(tb), proxy: "http://" + proxy.Addr().String()}
		initial = append(initial, m.name+"="+m.proxy)
		c.members = append(c.members, m)
		go c.forward(proxy, m)
	}
	scheme := "http://"
	if secure != nil {
		scheme = "https://"
	}
	var endpoints []string
	for _, m := range c.members {
		dir := tb.TempDir()
		m.log, m.args = filepath.Join(dir, "log"), append([]string{
			etcd, "--name", m.name, "--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", scheme + m.address, "--advertise-client-urls", scheme + m.address,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", m.proxy,
			"--initial-cluster", strings.Join(initial, ","),
			"--heartbeat-interval", "50", "--election-timeout", "500",
		}, args...)
		endpoints = append(endpoints, m.address)
		require.NoError(tb, m.start())
		tb.Cleanup(m.kill)
	}
	c.client = connect(tb, clientv3.Config{Endpoints: endpoints, TLS: secure})
	if _, err := c.leader(nil); err != nil {
		out, _ := os.ReadFile(c.members[0].log)
		tb.Fatalf("%v\n%s", err, out)
	}
	c.endpoints = strings.Join(endpoints, ",")
	return c
}

func freePort(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	require.NoError(tb, l.Close())
	return l.Addr().String()
}

// connect returns a client that ends with the test.
func connect(tb testing.TB, config clientv3.Config) *clientv3.Client {
	tb.Helper()
	log, err := logutil.CreateDefaultZapLogger(logutil.ConvertToZapLevel("fatal"))
	require.NoError(tb, err)
	config.Logger = log
	client, err := clientv3.New(config)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, client.Close()) })
	return client
}

func (m *member) start() error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	m.cmd = exec.Command(m.args[0], m.args[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return m.cmd.Start()
}

func (m *member) kill() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}
