package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/netmap"
)

// named returns the config of a server at 127.0.0.1 with the names of n peers.
func named(n int) *netmap.Config {
	c := &netmap.Config{
		ID: "srv/shop/web-1", Revision: 7, Suffix: "apn",
		Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Routes:    []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16"), netip.MustParsePrefix("fd00:66::/64")},
	}
	for i := range n {
		six := netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x66, 15: byte(i + 1)})
		c.Names = append(c.Names, netmap.Named{
			ID: fmt.Sprintf("srv/shop/web-%d", i+1), Names: []string{fmt.Sprintf("web-%d.apn", i+1), fmt.Sprintf("web-%d.shop.apn", i+1)},
			Addrs: []netip.Addr{addrOf(i + 1).Addr(), six},
		})
	}
	return c
}

// freePort returns a port that is free for UDP and TCP.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().(*net.TCPAddr)
		u, err := net.ListenPacket("udp", addr.String())
		require.NoError(t, l.Close())
		if err == nil {
			require.NoError(t, u.Close())
			return uint16(addr.Port)
		}
	}
	require.Fail(t, "no port")
	return 0
}

func TestDNS(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o644))
	d := agent.NewDNS(&agent.DNSOptions{Port: port, Host: &agent.HostResolver{HostsFile: hosts}})
	wrote, err := d.Apply(t.Context(), named(3))
	require.NoError(t, err)
	require.True(t, wrote)
	wrote, err = d.Apply(t.Context(), named(3))
	require.NoError(t, err)
	require.False(t, wrote, "nothing changed")

	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
		}}
		for _, name := range []string{"web-2.apn.", "web-2.shop.apn."} {
			addrs, err := r.LookupNetIP(t.Context(), "ip", name)
			require.NoError(t, err)
			slices.SortFunc(addrs, netip.Addr.Compare)
			require.Equal(t, []netip.Addr{addrOf(2).Addr(), netip.MustParseAddr("fd00:66::2")}, addrs)
		}
		for _, addr := range []string{"10.66.0.2", "fd00:66::2"} {
			names, err := r.LookupAddr(t.Context(), addr)
			require.NoError(t, err)
			require.Equal(t, []string{"web-2.shop.apn."}, names)
		}
		_, err = r.LookupHost(t.Context(), "web-9.apn.")
		require.True(t, isNotFound(err), "%v", err)
	}
	text, err := os.ReadFile(hosts)
	require.NoError(t, err)
	require.Contains(t, string(text), "10.66.0.2\tweb-2.apn web-2.shop.apn\n")

	// Another address of the server: the old one is no longer answered.
	c := named(1)
	c.Addresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	wrote, err = d.Apply(t.Context(), c)
	require.NoError(t, err)
	require.True(t, wrote)
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	require.NoError(t, err)
	require.NoError(t, l.Close())

	require.NoError(t, d.Close(t.Context()))
	l, err = net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port).String())
	require.NoError(t, err)
	text, err = os.ReadFile(hosts)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1 localhost\n", string(text))

	// A port that is taken is said, and the rest is done.
	_, err = d.Apply(t.Context(), c)
	require.ErrorContains(t, err, "answer DNS")
	require.NoError(t, l.Close())
	_, err = d.Apply(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, d.Close(t.Context()))
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

func TestHostsFile(t *testing.T) {
	t.Parallel()
	block := "# BEGIN apn (written by the apn agent)\n10.66.0.1\tweb-1.apn web-1.shop.apn\nfd00:66::1\tweb-1.apn web-1.shop.apn\n# END apn\n"
	tests := []struct{ name, before, want, after string }{
		{"empty", "", block, ""},
		{"appended", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + block, "127.0.0.1 localhost\n"},
		{"no newline at the end", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + block, "127.0.0.1 localhost\n"},
		{"replaced", "a\n# BEGIN apn (written by the apn agent)\nold\n# END apn\nb\n", "a\nb\n" + block, "a\nb\n"},
		{"somebody else's section", "# BEGIN apn-2\nx\n# END apn-2\n", "# BEGIN apn-2\nx\n# END apn-2\n" + block, "# BEGIN apn-2\nx\n# END apn-2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "hosts")
			require.NoError(t, os.WriteFile(path, []byte(tt.before), 0o640))
			// A link to the file stays a link.
			link := path + "-link"
			require.NoError(t, os.Symlink(path, link))
			d := agent.NewDNS(&agent.DNSOptions{Port: freePort(t), Host: &agent.HostResolver{HostsFile: link}})
			defer func() { require.NoError(t, d.Close(context.WithoutCancel(t.Context()))) }()
			_, err := d.Apply(t.Context(), named(1))
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm())

			// Another process takes it back.
			require.NoError(t, agent.NewDNS(&agent.DNSOptions{Host: &agent.HostResolver{HostsFile: link}}).Close(t.Context()))
			got, err = os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, tt.after, string(got))
		})
	}
}

func TestHostsFileRefuses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hosts")
	cut := "# BEGIN apn (written by the apn agent)\nold\n127.0.0.1 localhost\n"
	require.NoError(t, os.WriteFile(path, []byte(cut), 0o600))
	apply := func(h *agent.HostResolver) error {
		d := agent.NewDNS(&agent.DNSOptions{Port: freePort(t), Host: h})
		defer func() { _ = d.Close(context.WithoutCancel(t.Context())) }()
		_, err := d.Apply(t.Context(), named(2))
		return err
	}
	require.ErrorContains(t, apply(&agent.HostResolver{HostsFile: path}), `the line "# END apn" is missing`)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, cut, string(got), "nothing of somebody else's is lost")

	require.ErrorContains(t, apply(&agent.HostResolver{HostsFile: path, HostsLimit: 3}), "4 addresses are more")
	err = apply(&agent.HostResolver{HostsFile: path + "-gone"})
	require.ErrorContains(t, err, "names resolve only for those who ask 127.0.0.1:")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// resolved is systemd-resolved as resolvectl shows it.
type resolved struct {
	mu    sync.Mutex
	links map[string][]string
	calls []string
	fail  error
}

func (r *resolved) run(_ context.Context, args ...string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return "", r.fail
	}
	if len(args) == 2 && args[0] != "revert" {
		return "Link 7 (" + args[1] + "): " + strings.Join(r.links[args[0]], " ") + "\n", nil
	}
	r.calls = append(r.calls, strings.Join(args, " "))
	if args[0] == "revert" {
		r.links = nil
		return "", nil
	}
	if r.links == nil {
		r.links = map[string][]string{}
	}
	r.links[args[0]] = args[2:]
	return "", nil
}

func TestResolved(t *testing.T) {
	t.Parallel()
	r := new(resolved)
	port := freePort(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(hosts, nil, 0o600))
	d := agent.NewDNS(&agent.DNSOptions{Port: port, Host: &agent.HostResolver{Interface: "apn0", HostsFile: hosts, Resolvectl: r.run}})
	_, err := d.Apply(t.Context(), named(1))
	require.NoError(t, err)
	want := []string{
		fmt.Sprintf("dns apn0 127.0.0.1:%d", port),
		"domain apn0 apn ~apn ~66.10.in-addr.arpa ~0.0.0.0.0.0.0.0.6.6.0.0.0.0.d.f.ip6.arpa",
		"default-route apn0 false",
		"dnssec apn0 no",
	}
	require.Equal(t, want, r.calls)
	wrote, err := d.Apply(t.Context(), named(1))
	require.NoError(t, err)
	require.False(t, wrote)
	require.Len(t, r.calls, 4)
	text, err := os.ReadFile(hosts)
	require.NoError(t, err)
	require.Empty(t, text, "the hosts file is left alone")

	r.links = nil // systemd-resolved restarted
	wrote, err = d.Apply(t.Context(), named(1))
	require.NoError(t, err)
	require.True(t, wrote)
	require.Len(t, r.calls, 8)

	require.NoError(t, d.Close(t.Context()))
	require.Equal(t, "revert apn0", r.calls[8])

	r.fail = errDown
	_, err = d.Apply(t.Context(), named(1))
	require.ErrorIs(t, err, errDown)
	require.NoError(t, d.Close(t.Context()))
}

func TestZone(t *testing.T) {
	t.Parallel()
	c := named(3)
	// Somebody else on the network is called web-2, too: nobody has the short name.
	c.Names[1].Names = []string{"web-2.shop.apn"}
	z, err := agent.Zone(c, 9)
	require.NoError(t, err)
	require.Equal(t, uint32(10), z.Serial())
	require.Empty(t, z.Lookup("web-2.apn.", 1).Records)
	require.Len(t, z.Lookup("web-2.shop.apn.", 1).Records, 1)
	c.Names[1].Names = []string{strings.Repeat("a", 64) + ".apn"}
	_, err = agent.Zone(c, 9)
	require.Error(t, err)
}
