//go:build linux

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/render"
)

// bed is the Internet and who is on it.
type bed struct {
	t         *testing.T
	control   *control
	admin     *client
	ada       *client // from her laptop
	servers   []*server
	nat       *host // ada's router
	laptop    *host
	config    *render.Config // of the laptop
	stranger  *host
	neighbour *host
}

// server is a host that an agent runs on.
type server struct {
	*host
	app, label string
	addr       netip.Addr // in the network
	agent      *process
}

func (s *server) path() string { return acme + "/apps/" + s.app + "/servers/" + s.label }

func newBed(t *testing.T) *bed {
	t.Helper()
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}))
	t.Cleanup(func() {
		l, err := netlink.LinkByName(bridge)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkDel(l))
	})
	require.NoError(t, up(bridge))
	b := &bed{t: t}
	b.control = newControl(t, newHost(t, "control").plug(t, "203.0.113.2/24"))
	b.admin = b.control.client(b.control.host, b.control.admin)

	// The account: two apps, ada and bob, who may reach both.
	b.admin.post(t, "/v1/networks", `{"name":"acme","prefixes":["10.66.0.0/16"]}`)
	for _, app := range []string{"shop", "blog"} {
		b.admin.post(t, acme+"/apps", fmt.Sprintf(`{"name":%q}`, app))
	}
	for _, member := range []string{"ada", "bob"} {
		b.admin.post(t, acme+"/members", fmt.Sprintf(`{"name":%q}`, member))
		for _, app := range []string{"shop", "blog"} {
			b.admin.put(t, acme+"/members/"+member+"/roles/"+app, `{"role":"developer"}`)
		}
		b.admin.post(t, acme+"/members/"+member+"/devices", `{"name":"laptop"}`)
	}
	var all sync.WaitGroup
	for i, name := range []string{"shop/web-1", "shop/db-1", "blog/web-1"} {
		s := b.server(t, name[:4], name[5:], fmt.Sprintf("203.0.113.%d/24", 11+i))
		all.Go(func() { s.join(t, b) })
	}
	all.Wait()

	b.nat = newHost(t, "nat").plug(t, "203.0.113.50/24")
	b.laptop = newHost(t, "laptop")
	b.router(t)
	b.stranger = newHost(t, "stranger").plug(t, "203.0.113.60/24")
	b.neighbour = newHost(t, "neighbour").plug(t, "203.0.113.70/24")
	secret := b.admin.post(t, "/v1/tokens", `{"name":"ada","network":"acme","member":"ada"}`).text("secret")
	b.ada = b.control.client(b.laptop, secret)
	b.config = b.laptop.download(t, b.ada, "ada")
	b.laptop.echo(t)
	b.stranger.download(t, b.admin, "bob")
	return b
}

// server adds a server to the network, on a host of its own.
func (b *bed) server(t *testing.T, app, name, addr string) *server {
	t.Helper()
	s := &server{host: newHost(b.t, app+"-"+name).plug(t, addr), app: app, label: name}
	o := b.admin.post(t, acme+"/apps/"+app+"/servers", fmt.Sprintf(`{"name":%q,"endpoint":%q}`, name, s.wire))
	s.addr = netip.MustParseAddr(o["addresses"].([]any)[0].(string))
	s.echo(t)
	b.servers = append(b.servers, s)
	return s
}

// join makes the server's host that server, and starts its agent.
func (s *server) join(t *testing.T, b *bed, flags ...string) {
	t.Helper()
	s.run(t, program("agent"), "join", b.admin.post(t, s.path()+"/join", "").text("token"))
	s.begin(t, flags...)
}

// begin starts the agent and waits until it has set the server up.
func (s *server) begin(t *testing.T, flags ...string) {
	t.Helper()
	s.agent = s.start(t, "", program("agent"), append([]string{"run"}, flags...)...)
	s.agent.says(t, "running")
	eventually(t, s.name+" follows its document", func() bool {
		st := s.status(t)
		return st.Applied > 0 && st.Applied == st.Wanted
	})
}

// download brings up the config of a member's laptop on the host.
func (h *host) download(t *testing.T, as *client, member string) *render.Config {
	t.Helper()
	file := as.call(t, http.MethodGet, acme+"/members/"+member+"/devices/laptop/config", "")
	c, err := render.Parse(file, nil)
	require.NoError(t, err)
	h.app = h.use(t, file)
	return c
}

// router puts the laptop behind a router that translates its address.
func (b *bed) router(t *testing.T) {
	t.Helper()
	b.nat.must(t, func() error {
		v := netlink.NewVeth(netlink.LinkAttrs{Name: "home"})
		v.PeerName, v.PeerNamespace = "eth0", netlink.NsFd(b.laptop.net)
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		chain := c.AddChain(&nftables.Chain{
			Table: c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}), Name: "out",
			Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte("eth0"), make([]byte, unix.IFNAMSIZ-4)...)},
			&expr.Masq{},
		}})
		return c.Flush()
	})
	outside := b.nat.wire
	b.nat.address(t, "home", "192.168.7.1/24")
	b.nat.wire = outside
	b.laptop.address(t, "eth0", "192.168.7.2/24")
	b.laptop.must(t, func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 168, 7, 1)})
	})
}
