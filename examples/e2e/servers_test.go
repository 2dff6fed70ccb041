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

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/apnkit/apnkit/apn/netmap"
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

// parted waits until a server does not have another one as a peer any more.
func (b *bed) parted(t *testing.T, s, other *server) {
	t.Helper()
	key := b.publicKey(t, other.path())
	eventually(t, s.name+" drops "+other.name, func() bool { return !has(s.wireguard(t), key) })
}

// status is what a running agent tells.
type status struct {
	Applied uint64   `json:"applied"`
	Wanted  uint64   `json:"wanted"`
	Kind    string   `json:"kind"`
	Errors  []string `json:"errors"`
	Table   struct{ Knocks, Answers, Spoofed uint64 }

	Openings netmap.Openings `json:"openings"`
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
