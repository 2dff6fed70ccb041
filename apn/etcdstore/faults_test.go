package etcdstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leader waits until all members but one follow the same leader, and that is
// not the one. It may be nil.
func (c *cluster) leader(except *member) (*member, error) {
	for end := time.After(20 * time.Second); ; {
		if m := c.look(except); m != nil {
			return m, nil
		}
		select {
		case <-end:
			return nil, errors.New("the members find no leader")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// look returns the leader of all members but one, nil if they do not agree.
func (c *cluster) look(except *member) (leader *member) {
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
		if id = st.Leader; id == st.Header.MemberId {
			leader = m
		}
	}
	return leader
}

// replaceLeader disables the leader until the others have a new one.
func (c *cluster) replaceLeader(disable, enable func(*member) error) error {
	m, err := c.leader(nil)
	if err != nil {
		return err
	}
	if err := disable(m); err != nil {
		return err
	}
	_, err = c.leader(m)
	if err = errors.Join(err, enable(m)); err != nil {
		return err
	}
	_, err = c.leader(nil)
	return err
}

// killLeader ends the leader with kill -9.
func (c *cluster) killLeader() error {
	return c.replaceLeader(func(m *member) error { m.kill(); return nil }, (*member).start)
}

// freezeLeader stops the leader, which keeps its connections.
func (c *cluster) freezeLeader() error {
	return c.replaceLeader(
		func(m *member) error { return m.cmd.Process.Signal(syscall.SIGSTOP) },
		func(m *member) error { return m.cmd.Process.Signal(syscall.SIGCONT) },
	)
}

// isolateLeader cuts the leader off from the other members, not from clients.
func (c *cluster) isolateLeader() error {
	return c.replaceLeader(c.isolate, func(*member) error { return c.isolate(nil) })
}

// moveLeader makes each member the leader, by request.
func (c *cluster) moveLeader() error {
	for _, next := range c.members {
		old, err := c.leader(nil)
		if err != nil {
			return err
		}
		if next == old {
			continue
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{old.address}})
		if err != nil {
			return err
		}
		st, err := client.Status(context.Background(), next.address)
		if err == nil {
			_, err = client.MoveLeader(context.Background(), st.Header.MemberId)
		}
		if err = errors.Join(err, client.Close()); err != nil {
			return err
		}
	}
	_, err := c.leader(nil)
	return err
}

// link is a connection from one member to another.
type link struct {
	from string // ID, empty if unknown: a probe
	to   *member
	a, b net.Conn
}

// isolate cuts m off, and lets all others through.
func (c *cluster) isolate(m *member) error {
	if m != nil {
		st, err := c.client.Status(context.Background(), m.address)
		if err != nil {
			return err
		}
		m.id = fmt.Sprintf("%x", st.Header.MemberId)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isolated = m
	for l := range c.links {
		if c.cut(l) {
			_ = l.a.Close()
			_ = l.b.Close()
		}
	}
	return nil
}

func (c *cluster) cut(l *link) bool {
	return c.isolated != nil && (l.to == c.isolated || l.from == c.isolated.id || l.from == "")
}

// forward passes the connections of other members on to m.
func (c *cluster) forward(proxy net.Listener, m *member) {
	for {
		a, err := proxy.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = a.Close() }()
			b, err := net.Dial("tcp", m.peer)
			if err != nil {
				return
			}
			defer func() { _ = b.Close() }()
			request := make([]byte, 4096) // its header says who asks
			n, _ := a.Read(request)
			l := &link{to: m, a: a, b: b}
			if _, id, ok := bytes.Cut(request[:n], []byte("X-Server-From: ")); ok {
				id, _, _ = bytes.Cut(id, []byte("\r\n"))
				l.from = string(id)
			}
			c.mu.Lock()
			cut := c.cut(l)
			c.links[l] = true
			c.mu.Unlock()
			if _, err := b.Write(request[:n]); err == nil && !cut {
				go func() {
					_, _ = io.Copy(b, a)
					_ = b.Close()
				}()
				_, _ = io.Copy(a, b)
			}
			c.mu.Lock()
			delete(c.links, l)
			c.mu.Unlock()
		}()
	}
}
