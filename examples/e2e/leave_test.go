//go:build linux

package e2e_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// left has an agent leave. Nothing of it is left on its server.
func (b *bed) left(t *testing.T) {
	t.Helper()
	s := b.server(t, "shop", "web-3", "203.0.113.15/24")
	before := s.everything(t)
	s.join(t, b)
	s.reaches(t, b.servers[0].addr)
	during := s.everything(t)
	t.Logf("the agent made:\n%s", strings.Join(without(during, before), "\n"))
	s.run(t, program("agent"), "leave")
	<-s.agent.done
	require.NoError(t, s.agent.err)
	require.Equal(t, before, s.everything(t))
	b.remove(t, s)
}

// remove takes a server out of the network.
func (b *bed) remove(t *testing.T, s *server) {
	t.Helper()
	key := b.publicKey(t, s.path())
	b.admin.call(t, "DELETE", s.path(), "")
	b.servers = slices.DeleteFunc(b.servers, func(o *server) bool { return o == s })
	for _, o := range b.servers {
		o.drops(t, key)
	}
}

// namespaced has the interface in the namespace of an application, and its UDP
// socket on the host.
func (b *bed) namespaced(t *testing.T) {
	t.Helper()
	s := b.server(t, "shop", "web-4", "203.0.113.16/24")
	app := s.namespace(t, "app")
	before, inside := s.everything(t), app.everything(t)
	s.join(t, b, "-netns", "app")
	web := b.servers[0]
	app.reaches(t, web.addr)
	web.reaches(t, s.addr)
	require.Equal(t, web.addr, app.lookup(t, s.addr, "web-1.shop.apn"))
	s.blocked(t, web.addr) // the host itself is outside
	var links []string
	app.must(t, func() error {
		list, err := net.Interfaces()
		for _, l := range list {
			links = append(links, l.Name)
		}
		return err
	})
	require.Equal(t, []string{"lo", apn0}, links, "the application has the network and nothing else")

	s.run(t, program("agent"), "leave", "-netns", "app")
	<-s.agent.done
	require.NoError(t, s.agent.err)
	require.Equal(t, before, s.everything(t))
	require.Equal(t, inside, app.everything(t))
	b.remove(t, s)
}

// namespace makes a network namespace on the host, as "ip netns add" does.
func (h *host) namespace(t *testing.T, name string) *host {
	t.Helper()
	app := &host{t: h.t, name: h.name + "/" + name, mnt: h.mnt}
	path := filepath.Join("/run/netns", name)
	h.must(t, func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		var err error
		if app.net, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		return up("lo")
	})
	h.t.Cleanup(func() { _ = unix.Close(app.net) })
	app.echo(t)
	return app
}

// everything lists what an agent could leave behind on a host: links, addresses,
// routes, tables, sockets, files.
func (h *host) everything(t *testing.T) []string {
	t.Helper()
	var all []string
	add := func(kind string, v ...any) { all = append(all, kind+" "+fmt.Sprint(v...)) }
	h.must(t, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			add("link", l.Attrs().Name)
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if !a.IP.IsLinkLocalUnicast() {
					add("address", a.IPNet)
				}
			}
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for _, r := range routes {
			add("route", r.Dst, " ", r.Table)
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		if err != nil {
			return err
		}
		for _, table := range tables {
			add("table", table.Name)
		}
		for _, protocol := range []string{"udp", "udp6", "tcp", "tcp6", "unix"} {
			list, err := sockets(protocol)
			if err != nil {
				return err
			}
			all = append(all, list...)
		}
		for _, dir := range []string{"/etc", "/run", "/var/lib"} {
			if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				text := ""
				if err == nil && d.Type().IsRegular() && path == "/etc/hosts" {
					data, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					text = string(data)
				}
				if path != "/run/wireguard" { // belongs to all of WireGuard's programs
					add("file", path, " ", text)
				}
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(all)
	return all
}

// sockets lists those of a protocol in the namespace of this thread, but for
// connections that have ended.
func sockets(protocol string) (list []string, err error) {
	data, err := os.ReadFile("/proc/thread-self/net/" + protocol)
	if err != nil {
		return nil, err
	}
	const ended = " 04 05 06 08 09 0B "
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case protocol == "unix":
			if len(f) == 8 {
				list = append(list, "socket "+f[7])
			}
		case f[0] != "sl" && !strings.Contains(ended, " "+f[3]+" "):
			list = append(list, "socket "+protocol+" "+f[1])
		}
	}
	return list, nil
}

// without returns what is in all and not in some.
func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}
