//go:build linux

package nft_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// nft runs nft(8) in the namespace, with a script on its standard input if
// there is one.
func (b *bed) nft(tb testing.TB, script string, args ...string) string {
	tb.Helper()
	program, err := exec.LookPath("nft")
	if err != nil {
		b.skip("nft(8) is missing")
	}
	var out []byte
	b.do(func() {
		cmd := exec.CommandContext(tb.Context(), program, args...)
		if script != "" {
			cmd = exec.CommandContext(tb.Context(), program, "-f", "-")
			cmd.Stdin = strings.NewReader(script)
		}
		out, err = cmd.CombinedOutput()
	})
	require.NoError(tb, err, "%s", out)
	return string(out)
}

func guarded() nft.Options {
	return nft.Options{
		Port: port, Interface: "apn0", Inside: []string{"docker0", "br-*"},
		Protected: prefixes("10.66.0.0/24", "10.66.1.0/24", "fd00:66::/64"),
	}
}

func TestBootFile(t *testing.T) {
	t.Parallel()
	file, err := nft.BootFile(guarded())
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/boot.nft", file, 0o644))
	}
	want, err := os.ReadFile("testdata/boot.nft")
	require.NoError(t, err)
	require.Equal(t, string(want), string(file))

	s := newStreet(t, guarded())
	s.apply(t, let(time.Hour, ada))
	s.nft(t, string(file))
	s.nft(t, string(file)) // again
	s.out(t, ada)
	require.False(t, s.answer(t, ada))
	s.apply(t, let(time.Hour, ada))
	s.in(t, ada)
	require.True(t, s.answer(t, ada))
	s.out(t, bob)
}

// TestEstablishedEndsToo has a firewall that accepts whatever belongs to a flow,
// as most do. The flow ends with the lease.
func TestEstablishedEndsToo(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	s.nft(t, `table inet host {
		chain in { type filter hook input priority 0; policy drop; ct state established,related accept; udp dport 51820 accept; }
		chain out { type filter hook output priority 0; policy drop; ct state established,related accept; oifname "lo" accept; }
	}`)
	s.apply(t, let(time.Hour, ada))
	s.in(t, ada)
	require.Eventually(t, func() bool { return s.answer(t, ada) }, 5*time.Second, time.Millisecond)
	s.in(t, ada)
	s.apply(t, lease.Openings{})
	s.out(t, ada)
	require.False(t, s.answer(t, ada))
}

func TestOtherTablesStay(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	s.nft(t, `
		table ip apn {
			set lease4 { type ipv4_addr; elements = { 192.0.2.1 }; }
			chain input { type filter hook input priority -10; ip saddr @lease4 accept; }
		}
		table ip6 filter {
			chain input { type filter hook input priority 0; counter; }
		}
		table inet apn2 {
			chain antispoof { drop; }
		}
	`)
	others := func() string {
		return s.nft(t, "", "-s", "list", "table", "ip", "apn") + s.nft(t, "", "-s", "list", "table", "ip6", "filter") + s.nft(t, "", "-s", "list", "table", "inet", "apn2")
	}
	before := others()
	s.apply(t, let(time.Hour, ada))
	require.NoError(t, s.table.Guard(t.Context(), port, guarded().Protected))
	s.apply(t, lease.Openings{})
	require.Equal(t, before, others())
	require.NoError(t, s.table.Remove(t.Context()))
	require.Equal(t, before, others())
	require.Equal(t, 3, strings.Count(s.nft(t, "", "list", "tables"), "table "))
}

func TestFlushRuleset(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	o := let(time.Hour, ada)
	s.apply(t, o)
	for _, script := range []string{
		"flush ruleset", "delete table inet apn", "flush table inet apn", "flush chain inet apn knock",
		"flush set inet apn lease4", "add element inet apn lease4 { 192.0.2.66 timeout 1h }", "insert rule inet apn input accept",
	} {
		s.nft(t, script)
		s.apply(t, o)
		s.out(t, eve)
		s.in(t, ada)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	const hook = "type filter hook input priority 0; policy drop; "
	tests := []struct {
		name   string
		script string
		want   string // family, table and chain of the warning; empty: none
	}{
		{"nothing", ``, ""},
		{"policy accept", `table inet f { chain in { type filter hook input priority 0; policy accept; tcp dport 22 accept; }; }`, ""},
		{"policy drop", `table inet f { chain in { ` + hook + `tcp dport 22 accept; }; }`, "inet f in"},
		{"established only", `table ip f { chain in { ` + hook + `ct state established,related accept; iifname "lo" accept; }; }`, "ip f in"},
		{"last rule rejects", `table ip6 f { chain in { type filter hook input priority 0; policy accept; tcp dport 22 accept; reject; }; }`, "ip6 f in"},
		{"last rule drops udp", `table inet f { chain in { type filter hook input priority 0; policy accept; meta l4proto udp drop; }; }`, "inet f in"},
		{"drops tcp", `table inet f { chain in { type filter hook input priority 0; policy accept; meta l4proto tcp drop; }; }`, ""},
		{"accepts the port", `table inet f { chain in { ` + hook + `udp dport 51820 accept; }; }`, ""},
		{"accepts another port", `table inet f { chain in { ` + hook + `udp dport 51821 accept; }; }`, "inet f in"},
		{"accepts all but the port", `table inet f { chain in { ` + hook + `udp dport != 51820 accept; }; }`, "inet f in"},
		{"accepts the port of a family", `table ip f { chain in { ` + hook + `ip protocol udp udp dport 51820 accept; }; }`, ""},
		{"accepts a set", `table inet f { chain in { ` + hook + `udp dport { 53, 51820 } accept; }; }`, ""},
		{"accepts a set without it", `table inet f { chain in { ` + hook + `udp dport { 53, 51821 } accept; }; }`, "inet f in"},
		{"accepts a range", `table inet f { chain in { ` + hook + `udp dport 51000-52000 accept; }; }`, ""},
		{"accepts ranges", `table inet f { chain in { ` + hook + `udp dport { 53, 51000-52000 } accept; }; }`, ""},
		{"accepts ranges without it", `table inet f { chain in { ` + hook + `udp dport { 53, 51821-52000 } accept; }; }`, "inet f in"},
		{"accepts all udp", `table inet f { chain in { ` + hook + `meta l4proto { tcp, udp } accept; }; }`, ""},
		{"accepts everything", `table inet f { chain in { ` + hook + `counter accept; }; }`, ""},
		{"accepts the port on one interface", `table inet f { chain in { ` + hook + `iifname "eth0" udp dport 51820 accept; }; }`, ""},
		{"jumps", `table inet f { chain users { udp dport 51820 accept; }; chain in { ` + hook + `tcp dport 22 accept; iifname "eth0" jump users; }; }`, ""},
		{"jumps to what accepts all", `table inet f { chain trusted { accept; }; chain in { ` + hook + `iifname "lo" jump trusted; }; }`, "inet f in"},
		{"jumps to a drop", `table inet f { chain no { drop; }; chain in { type filter hook input priority 0; jump no; }; }`, "inet f in"},
		{"some drop", `table inet f { chain in { type filter hook input priority 0; ip saddr 192.0.2.1 drop; ct state invalid drop; }; }`, ""},
		{"returns", `table inet f { chain u { return; udp dport 51820 accept; }; chain in { ` + hook + `jump u; }; }`, "inet f in"},
		{"a map", `table inet f { chain in { ` + hook + `ct state vmap { established : accept, invalid : drop }; udp dport 51820 accept; }; }`, ""},
		{"forward", `table inet f { chain f { type filter hook forward priority 0; policy drop; }; }`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			table, err := nft.Open(t.Context(), nft.Options{Port: port, Namespace: b.fd})
			require.NoError(t, err)
			if tt.script != "" {
				b.nft(t, strings.ReplaceAll(tt.script, "; }; }", "; }\n}"))
			}
			got, err := table.Warnings(t.Context())
			require.NoError(t, err)
			if tt.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, tt.want, fmt.Sprintf("%s %s %s", got[0].Family, got[0].Table, got[0].Chain))
			require.Contains(t, got[0].String(), "udp port 51820")
		})
	}
}

// TestSpoofing has two hosts on one wire. The neighbour sends to the private
// address of the other one without WireGuard.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	host, neighbour := newBed(t), newBed(t)
	host.do(func() {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(neighbour.fd)}
		if err := netlink.LinkAdd(veth); err != nil {
			t.Error(err)
			return
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "apn0"}, PeerName: "apn0-peer"}); err != nil {
			t.Error(err)
			return
		}
		host.up(t, "eth0", "203.0.113.1/24", "2001:db8::1/64")
		host.up(t, "apn0", "10.66.0.10/24", "fd00:66::10/64")
	})
	neighbour.do(func() {
		neighbour.up(t, "eth0", "203.0.113.2/24", "2001:db8::2/64", "10.66.0.11/32", "fd00:66::11/128")
		for prefix, via := range map[string]string{"10.66.0.0/24": "203.0.113.1", "fd00:66::/64": "2001:db8::1"} {
			n := address(prefix)
			if err := netlink.RouteAdd(&netlink.Route{Dst: n.IPNet, Gw: net.ParseIP(via)}); err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range []string{"all", "eth0", "apn0"} {
		host.sysctl(t, "net/ipv4/conf/"+name+"/rp_filter", "0")
	}

	service := map[bool]*net.UDPConn{true: host.listen(t, "10.66.0.10:5432"), false: host.listen(t, "[fd00:66::10]:5432")}
	public := host.listen(t, "203.0.113.1:5432")
	from := map[string]*net.UDPConn{}
	for name, at := range map[string]string{
		"neighbour": "203.0.113.2:0", "neighbour6": "[2001:db8::2]:0", "liar": "10.66.0.11:0", "liar6": "[fd00:66::11]:0",
	} {
		from[name] = neighbour.listen(t, at)
	}
	itself := host.listen(t, "10.66.0.10:0")
	i := 0
	reaches := func(from, to *net.UDPConn, within time.Duration) bool {
		for end := time.Now().Add(within); time.Now().Before(end); i++ {
			if hears(t, from, to, fmt.Sprint(i)) {
				return true
			}
		}
		return false
	}
	const patience, moment = 5 * time.Second, 80 * time.Millisecond
	require.True(t, reaches(from["neighbour"], service[true], patience), "the weak host model")
	require.True(t, reaches(from["neighbour6"], service[false], patience))
	require.True(t, reaches(from["liar"], public, patience))

	o := nft.Options{Port: port, Interface: "apn0", Namespace: host.fd}
	table, err := nft.Open(t.Context(), o)
	require.NoError(t, err)
	o.Protected = prefixes("10.66.0.0/24", "fd00:66::/64")
	require.NoError(t, table.Guard(t.Context(), port, o.Protected))
	require.False(t, reaches(from["neighbour"], service[true], moment))
	require.False(t, reaches(from["neighbour6"], service[false], moment))
	require.False(t, reaches(from["liar"], public, moment), "spoofed source")
	require.False(t, reaches(from["liar6"], service[false], moment))
	require.True(t, reaches(from["neighbour"], public, patience), "other traffic goes on")
	require.True(t, reaches(itself, service[true], patience), "the host reaches itself")
	state, err := table.State(t.Context())
	require.NoError(t, err)
	require.NotZero(t, state.Spoofed)

	o.Inside = []string{"et*"}
	_, err = nft.Open(t.Context(), o)
	require.NoError(t, err)
	require.True(t, reaches(from["neighbour"], service[true], patience), "an inside interface")
	require.False(t, reaches(from["liar"], service[true], moment), "and still no liar")
	o.Inside, o.Interface = nil, "eth0"
	_, err = nft.Open(t.Context(), o)
	require.NoError(t, err)
	require.True(t, reaches(from["liar"], service[true], patience), "through the tunnel")
	require.True(t, reaches(from["neighbour6"], service[false], patience))
}

// TestForward has a gateway with devices on one side and a LAN on the other. A
// bridge stands for the tunnel.
func TestForward(t *testing.T) {
	t.Parallel()
	gateway, ada, bob, lan := newBed(t), newBed(t), newBed(t), newBed(t)
	gateway.do(func() {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "apn0"}}); err != nil {
			t.Error(err)
		}
	})
	gateway.wire(t, "port1", ada, "10.66.0.11/24")
	gateway.wire(t, "port2", bob, "10.66.0.12/24")
	gateway.wire(t, "eth0", lan, "192.168.1.2/24")
	gateway.do(func() {
		gateway.up(t, "apn0", "10.66.0.1/24")
		gateway.up(t, "eth0", "192.168.1.1/24")
		for _, port := range []string{"port1", "port2"} {
			bridge, err := netlink.LinkByName("apn0")
			if err == nil {
				err = netlink.LinkSetMasterByIndex(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}}, bridge.Attrs().Index)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	gateway.sysctl(t, "net/ipv4/ip_forward", "1")
	for b, route := range map[*bed][2]string{ada: {"10.66.0.12/32", "10.66.0.1"}, bob: {"192.168.1.0/24", "10.66.0.1"}, lan: {"10.66.0.0/24", "192.168.1.1"}} {
		b.route(t, route[0], route[1])
	}
	ada.route(t, "192.168.1.0/24", "10.66.0.1")

	service, client := lan.listen(t, "192.168.1.2:5432"), lan.listen(t, "192.168.1.2:0")
	device, neighbour := ada.listen(t, "10.66.0.11:0"), bob.listen(t, "10.66.0.12:7")
	i := 0
	reaches := func(from, to *net.UDPConn) bool {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); i++ {
			if hears(t, from, to, fmt.Sprint(i)) {
				return true
			}
		}
		return false
	}
	fresh := func() *net.UDPConn { return ada.listen(t, "10.66.0.11:0") } // a flow that nobody knows yet
	require.True(t, reaches(fresh(), service), "a gateway forwards everywhere")

	o := nft.Options{Port: port, Interface: "apn0", Namespace: gateway.fd}
	table, err := nft.Open(t.Context(), o)
	require.NoError(t, err)
	require.True(t, reaches(fresh(), service), "the host's own business")
	require.NoError(t, table.Forward(t.Context(), true))
	stray := fresh()
	for i := range 4 {
		require.False(t, hears(t, stray, service, fmt.Sprint("stray ", i)))
	}
	state, err := table.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, nft.State{Installed: true, Strays: 4}, state)
	require.True(t, reaches(device, neighbour), "back into the tunnel")
	require.True(t, reaches(client, device), "into the tunnel is the host's business")
	require.True(t, reaches(device, client), "an answer")

	again := o
	again.Forward = true
	_, err = nft.Open(t.Context(), again)
	require.NoError(t, err)
	require.False(t, hears(t, fresh(), service, "after a restart"))

	gateway.nft(t, `table ip nat { chain in { type nat hook prerouting priority -100; iifname "apn0" udp dport 8080 dnat to 192.168.1.2:5432; }
	}`)
	published := gateway.listen(t, "10.66.0.1:8080") // does not get it
	sender, buf := fresh(), make([]byte, 100)
	require.Eventually(t, func() bool {
		send(t, sender, published, "published")
		_ = service.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, _ := service.Read(buf)
		return string(buf[:n]) == "published"
	}, 5*time.Second, time.Millisecond)

	o.Forward, o.Inside = true, []string{"eth0"}
	inside, err := nft.Open(t.Context(), o)
	require.NoError(t, err)
	require.True(t, reaches(fresh(), service), "a network inside")
	require.NoError(t, inside.Forward(t.Context(), false))
	require.NoError(t, table.Forward(t.Context(), true))
	require.NoError(t, table.Forward(t.Context(), false))
	require.True(t, reaches(fresh(), service), "off again")
}

// wire connects the namespace with eth0 of another one.
func (b *bed) wire(tb testing.TB, name string, peer *bed, addr string) {
	tb.Helper()
	b.do(func() {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.fd)})
		if err != nil {
			tb.Error(err)
		}
		b.up(tb, name)
	})
	peer.do(func() { peer.up(tb, "eth0", addr) })
}

func (b *bed) route(tb testing.TB, to, via string) {
	tb.Helper()
	var err error
	b.do(func() { err = netlink.RouteAdd(&netlink.Route{Dst: address(to).IPNet, Gw: net.ParseIP(via)}) })
	require.NoError(tb, err)
}

func (b *bed) sysctl(tb testing.TB, name, value string) {
	tb.Helper()
	var err error
	b.do(func() { err = os.WriteFile("/proc/sys/"+name, []byte(value), 0o600) })
	require.NoError(tb, err)
}
