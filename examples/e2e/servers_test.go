//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// mesh has all servers reach each other, those of linked apps, too.
func (b *bed) mesh(t *testing.T) {
	t.Helper()
	for _, from := range b.servers {
		for _, to := range b.servers {
			if from != to {
				from.reaches(t, to.addr)
			}
		}
	}
}

// links cuts the link between two apps, and restores it.
func (b *bed) links(t *testing.T) {
	t.Helper()
	web, db, blog := b.servers[0], b.servers[1], b.servers[2]
	b.admin.put(t, acme+"/links/shop/blog", `{"linked":false}`)
	for _, s := range []*server{web, db} {
		b.parted(t, s, blog)
		b.parted(t, blog, s)
	}
	web.blocked(t, blog.addr)
	blog.blocked(t, web.addr)
	web.reaches(t, db.addr) // in one app as before

	b.admin.put(t, acme+"/links/shop/blog", `{"linked":true}`)
	web.reaches(t, blog.addr)
	blog.reaches(t, db.addr)
}

// added brings one server more while packets flow between the others.
func (b *bed) added(t *testing.T) {
	t.Helper()
	web, db, blog := b.servers[0], b.servers[1], b.servers[2]
	flows := []*flow{web.steady(t, db.addr), blog.steady(t, web.addr), b.laptop.steady(t, web.addr)}
	began := time.Now()
	s := b.server(t, "shop", "web-2", "203.0.113.14/24")
	s.join(t, b)
	for _, other := range []*server{web, db, blog} {
		other.reaches(t, s.addr)
		s.reaches(t, other.addr)
		t.Logf("%s reaches it %v after it was added", other.name, time.Since(began).Round(time.Millisecond))
	}
	require.Equal(t, s.addr, b.laptop.lookup(t, web.addr, "web-2.shop.apn"))
	b.unharmed(t, flows...)
}

// unharmed requires that flows have lost nothing.
func (b *bed) unharmed(t *testing.T, flows ...*flow) {
	t.Helper()
	at := time.Now()
	for _, f := range flows {
		var lost, sent int
		eventually(t, "all packets come back", func() bool {
			lost, sent = f.missing(at)
			return lost == 0 || time.Since(at) > time.Second
		})
		require.Zero(t, lost, "of %d packets", sent)
		t.Logf("%d packets, none lost, at most %v between two", sent, f.gap().Round(time.Millisecond))
	}
}

// rotated changes the key of a server while packets flow, and while another
// server sleeps.
func (b *bed) rotated(t *testing.T) {
	t.Helper()
	web, db, blog := b.servers[0], b.servers[1], b.servers[2]
	f := db.flow(t, web.addr, 5*time.Millisecond)
	f.flows(t)
	old := b.publicKey(t, web.path())
	require.NoError(t, blog.agent.cmd.Process.Signal(unix.SIGSTOP))
	began := time.Now()
	b.admin.post(t, web.path()+"/rotate", "")
	var key keys.PublicKey
	eventually(t, "the server announces its key", func() bool {
		key = b.publicKey(t, web.path())
		return key != old
	})
	eventually(t, "both go over to it", func() bool {
		d := db.wireguard(t)
		return has(d, key) && !has(d, old) && web.wireguard(t).PublicKey == wgtypes.Key(key)
	})
	switched := time.Since(began)
	f.flows(t)
	t.Logf("switched after %v; nothing came back for %v", switched.Round(time.Millisecond), f.gap().Round(time.Millisecond))

	require.NoError(t, blog.agent.cmd.Process.Signal(unix.SIGCONT))
	t.Logf("who slept is back after %v", blog.reaches(t, web.addr).Round(time.Millisecond))

	// The laptop's file is out of date, and the control plane knows why.
	laptop := b.ada.get(t, acme+"/members/ada/devices/laptop")
	require.Equal(t, true, laptop["stale"])
	t.Logf("the laptop's file is out of date: %v", laptop["reasons"])
	b.laptop.app.signal(unix.SIGTERM)
	b.config = b.laptop.download(t, b.ada, "ada")
	require.Equal(t, false, b.ada.get(t, acme+"/members/ada/devices/laptop")["stale"])
	for _, s := range b.servers {
		b.laptop.reaches(t, s.addr)
	}
}

// parted waits until a server does not have another one as a peer any more.
func (b *bed) parted(t *testing.T, s, other *server) {
	t.Helper()
	s.drops(t, b.publicKey(t, other.path()))
}

// drops waits until the server does not have a peer any more.
func (s *server) drops(t *testing.T, peer keys.PublicKey) {
	t.Helper()
	eventually(t, s.name+" drops a peer", func() bool { return !has(s.wireguard(t), peer) })
}

// status is what a running agent tells.
type status struct {
	Applied  uint64          `json:"applied"`
	Wanted   uint64          `json:"wanted"`
	Kind     string          `json:"kind"`
	Openings netmap.Openings `json:"openings"`
	Table    struct{ Knocks, Spoofed uint64 }
}

// opens waits until the server has opened its port for an address.
func (s *server) opens(t *testing.T, to netip.Addr) {
	t.Helper()
	eventually(t, s.name+" opens", func() bool {
		st := s.status(t)
		return st.Applied == st.Wanted && slices.ContainsFunc(st.Openings.Leases, func(l netmap.Opening) bool { return l.Source.Addr() == to })
	})
}

// status asks the agent as "agent status" does.
func (s *server) status(t *testing.T) status {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.dial(ctx, "unix", "/var/lib/apn-agent/agent.sock")
		},
	}}
	resp, err := c.Get("http://agent/status")
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var out status
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	return out
}

// route has the host send to a prefix by a gateway.
func (h *host) route(t *testing.T, to netip.Prefix, by netip.Addr) {
	t.Helper()
	h.must(t, func() error {
		return netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: by.AsSlice(),
		})
	})
}
