package etcdstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
	isolated string // ID of the member that hears nobody and that nobody hears
	conns    map[*link]bool
}

type member struct {
	id, address string
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
	c := &cluster{conns: map[*link]bool{}, members: make([]*member, size)}
	listeners, peers := make([]string, size), make([]string, size)
	var initial []string
	for i := range size {
		proxy, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = proxy.Close() })
		listeners[i] = freePort(tb)
		go c.forward(proxy, i, listeners[i])
		peers[i] = "http://" + proxy.Addr().String()
		initial = append(initial, fmt.Sprintf("m%d=%s", i, peers[i]))
	}
	scheme := "http://"
	if secure != nil {
		scheme = "https://"
	}
	var endpoints []string
	for i := range size {
		dir, address := tb.TempDir(), freePort(tb)
		c.members[i] = &member{address: address, log: filepath.Join(dir, "log"), args: append([]string{
			etcd, "--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", scheme + address, "--advertise-client-urls", scheme + address,
			"--listen-peer-urls", "http://" + listeners[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(initial, ","),
			"--heartbeat-interval", "50", "--election-timeout", "500",
		}, args...)}
		endpoints = append(endpoints, address)
		require.NoError(tb, c.members[i].start())
		tb.Cleanup(c.members[i].kill)
	}
	c.client = connect(tb, clientv3.Config{Endpoints: endpoints, TLS: secure})
	list, err := c.client.MemberList(tb.Context())
	require.NoError(tb, err)
	for _, m := range list.Members {
		for i := range size {
			if m.Name == fmt.Sprintf("m%d", i) {
				c.members[i].id = fmt.Sprintf("%x", m.ID)
			}
		}
	}
	if !within(10*time.Second, func() bool { return c.healthy() }) {
		out, _ := os.ReadFile(c.members[0].log)
		tb.Fatalf("the cluster does not start:\n%s", out)
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

// within waits until ok is true.
func within(limit time.Duration, ok func() bool) bool {
	for end := time.After(limit); ; {
		if ok() {
			return true
		}
		select {
		case <-end:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// leader is the member that the members except one believe to lead; nil if
// they do not agree. Without an exception except is nil.
func (c *cluster) leader(except *member) *member {
	var id uint64
	for _, m := range c.members {
		if m == except {
			continue
		}
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		st, err := c.client.Status(ctx, m.address)
		stop()
		if err != nil || st.Leader == 0 || id != 0 && st.Leader != id {
			return nil
		}
		id = st.Leader
	}
	for _, m := range c.members {
		if m.id == fmt.Sprintf("%x", id) && m != except {
			return m
		}
	}
	return nil
}

// healthy reports whether all members follow one leader.
func (c *cluster) healthy() bool { return c.leader(nil) != nil }

// killLeader ends the leader with kill -9, and starts it again once the others
// have a new one.
func (c *cluster) killLeader() error {
	m := c.leader(nil)
	m.kill()
	ok := within(20*time.Second, func() bool { return c.leader(m) != nil })
	if err := m.start(); err != nil || !ok {
		return errors.Join(err, errors.New("kill: no new leader"))
	}
	return c.recovered("kill")
}

// isolateLeader cuts the leader off from the other members, not from its
// clients, until the others have a new one.
func (c *cluster) isolateLeader() error {
	m := c.leader(nil)
	c.isolate(m.id)
	ok := within(20*time.Second, func() bool { return c.leader(m) != nil })
	c.isolate("")
	if !ok {
		return errors.New("partition: no new leader")
	}
	return c.recovered("partition")
}

// freezeLeader stops the leader, which keeps its connections, until the others
// have a new one.
func (c *cluster) freezeLeader() error {
	m := c.leader(nil)
	err := m.cmd.Process.Signal(syscall.SIGSTOP)
	ok := within(20*time.Second, func() bool { return c.leader(m) != nil })
	if err = errors.Join(err, m.cmd.Process.Signal(syscall.SIGCONT)); err != nil || !ok {
		return errors.Join(err, errors.New("freeze: no new leader"))
	}
	return c.recovered("freeze")
}

// moveLeader makes each of the other members the leader.
func (c *cluster) moveLeader() error {
	for _, next := range c.members {
		old := c.leader(nil)
		if old == nil || next == old {
			continue
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{old.address}})
		if err != nil {
			return err
		}
		var id uint64
		_, _ = fmt.Sscanf(next.id, "%x", &id)
		_, err = client.MoveLeader(context.Background(), id)
		if err = errors.Join(err, client.Close()); err != nil {
			return err
		}
		if err := c.recovered("move"); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) recovered(from string) error {
	if !within(20*time.Second, c.healthy) {
		return fmt.Errorf("%s: the cluster does not recover", from)
	}
	return nil
}

// link is a connection from one member to another.
type link struct {
	from string // ID, empty if unknown: a probe
	to   string
	a, b net.Conn
}

// isolate cuts the member off, and lets all others through.
func (c *cluster) isolate(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isolated = id
	for l := range c.conns {
		if c.cut(l) {
			_ = l.a.Close()
			_ = l.b.Close()
		}
	}
}

func (c *cluster) cut(l *link) bool {
	return c.isolated != "" && (l.to == c.isolated || l.from == c.isolated || l.from == "")
}

// forward passes connections to the i-th member on to address.
func (c *cluster) forward(proxy net.Listener, i int, address string) {
	for {
		a, err := proxy.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = a.Close() }()
			b, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer func() { _ = b.Close() }()
			head := make([]byte, 4096) // of the first request, which says who asks
			n, _ := a.Read(head)
			l := &link{to: c.members[i].id, a: a, b: b}
			if _, after, ok := bytes.Cut(head[:n], []byte("X-Server-From: ")); ok {
				id, _, _ := bytes.Cut(after, []byte("\r\n"))
				l.from = string(id)
			}
			c.mu.Lock()
			cut := c.cut(l)
			c.conns[l] = true
			c.mu.Unlock()
			defer func() {
				c.mu.Lock()
				delete(c.conns, l)
				c.mu.Unlock()
			}()
			if cut {
				return
			}
			if _, err := b.Write(head[:n]); err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(b, a)
				_ = b.Close()
				_ = a.Close()
			}()
			_, _ = io.Copy(a, b)
		}()
	}
}
