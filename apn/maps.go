package apn

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go4.org/netipx"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/lease"
)

// AppMap returns all that the servers of an app may know, as one document for
// all of them: peers, who may send to their port, and names. It is the same on
// every replica that shows the same revision.
func (n *Network) AppMap(_ context.Context, app string) (*netmap.Map, error) {
	m, err := n.appMap(n.view(), app)
	if err != nil {
		return nil, &Error{Op: "app map", Object: app, Err: err}
	}
	return m, nil
}

// ServerMap returns what one server does with the [Network.AppMap] of its app.
func (n *Network) ServerMap(_ context.Context, app, server string) (*netmap.Config, error) {
	m, err := n.appMap(n.view(), app)
	var c *netmap.Config
	if err == nil {
		c, err = m.For(netmap.ServerID(app, server))
	}
	if errors.Is(err, netmap.ErrForeign) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, &Error{Op: "server map", Object: app + "/" + server, Err: err}
	}
	return c, nil
}

func (n *Network) appMap(s *state, app string) (*netmap.Map, error) {
	if _, ok := find[*appRow](s, appKey(app)); !ok {
		return nil, notFound("app")
	}
	net := s.net()
	m := &netmap.Map{
		Format: netmap.Format, Network: n.name, App: app, Epoch: net.Epoch, Revision: uint64(s.rev),
		ListenPort: net.Port, Suffix: net.Suffix, Routes: s.routes(app), Openings: s.openings(app), Preshared: net.preshare(),
	}
	for p := range s.devicesInto(app) {
		m.Peers = append(m.Peers, p.netmap(preDev, net))
	}
	slices.SortFunc(m.Peers, peersByID)
	servers := n.peers.of(s)
	m.Peers = slices.Grow(m.Peers, len(servers)) // "dev/" sorts before "srv/"
	for len(servers) > 0 {
		other, _, _ := strings.Cut(servers[0].ID[len(preSrv):], "/")
		prefix := srvKey(other, "")
		end := slices.IndexFunc(servers, func(p netmap.Peer) bool { return !strings.HasPrefix(p.ID, prefix) })
		if end < 0 {
			end = len(servers)
		}
		if s.linked(app, other) {
			m.Peers = append(m.Peers, servers[:end]...)
		}
		servers = servers[end:]
	}
	for server, r := range under[*agentRow](s, agentKey(app, "")) {
		if p, ok := m.Peer(netmap.ServerID(app, server)); ok {
			p.RotateTo = r.RotateTo
		}
	}
	return m, nil
}

// serverPeers are the servers of a network as peers. The documents of all its
// apps are made of them.
type serverPeers struct {
	mu    sync.Mutex
	epoch string
	moved store.Rev
	list  []netmap.Peer // sorted by ID
}

// of returns the servers of s. The result is shared and must not be changed.
func (c *serverPeers) of(s *state) []netmap.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	net := s.net()
	if c.list != nil && c.epoch == net.Epoch && c.moved == s.moved {
		return c.list
	}
	list := make([]netmap.Peer, 0, len(c.list))
	for app := range under[*appRow](s, preApp) {
		for p := range s.serversOf(app) {
			peer := p.netmap(preSrv, net)
			peer.Names = s.names(app, p.id[len(app)+1:])
			list = append(list, peer)
		}
	}
	slices.SortFunc(list, peersByID)
	c.epoch, c.moved, c.list = net.Epoch, s.moved, list
	return list
}

func peersByID(a, b netmap.Peer) int { return strings.Compare(a.ID, b.ID) }

func (p *peer) netmap(prefix string, net *netRow) netmap.Peer {
	out := netmap.Peer{
		ID: prefix + p.id, Name: p.name(), PublicKey: p.key.pub, KeyGen: p.key.Gen, AllowedIPs: hosts(p.addr),
	}
	if !p.end.IsZero() {
		out.Endpoint, out.Keepalive = p.end.String(), net.keepalive()
	}
	return out
}

// routes returns the prefixes that an app's servers reach, merged: the subnets
// of apps, and the range of the devices if any of them reaches the app.
func (s *state) routes(app string) []netip.Prefix {
	var b netipx.IPSetBuilder
	for other, r := range under[*appRow](s, preApp) {
		if s.linked(app, other) {
			for _, p := range r.Subnets {
				b.AddPrefix(p)
			}
		}
	}
	for range s.devicesInto(app) {
		for _, p := range s.deviceRanges() {
			b.AddPrefix(p)
		}
		break
	}
	set, err := b.IPSet()
	if err != nil { // only for invalid prefixes, which the pool refuses
		return nil
	}
	return set.Prefixes()
}

// deviceRanges returns the prefixes that devices have addresses in.
func (s *state) deviceRanges() []netip.Prefix {
	var list []netip.Prefix
	pool := s.net().Pool
	for _, r := range under[*addrRow](s, preAddr) {
		if !r.IsRange() || r.App != devicePool || !r.Released.IsZero() {
			continue
		}
		list = append(list, r.Prefix)
		if pool.V6 != ipam.Derived || !r.Prefix.Addr().Is4() {
			continue
		}
		for _, base := range pool.Prefixes { // the first that is IPv6
			if six, err := ipam.Derive6(base, r.Prefix.Addr()); err == nil {
				list = append(list, netip.PrefixFrom(six, 96+r.Prefix.Bits()))
				break
			}
		}
	}
	return list
}

// openings returns who may send to the port of an app's servers. Leases that
// have ended stay until they are swept, so that a revision always says the same.
func (s *state) openings(app string) netmap.Openings {
	last := map[netip.Prefix]*leaseRow{}
	for _, r := range under[*leaseRow](s, preLse+app+"/") {
		if have, ok := last[r.Source]; !ok || r.ExpiresAt.After(have.ExpiresAt) {
			last[r.Source] = r
		}
	}
	var o netmap.Openings
	for source, r := range last {
		o.Leases = append(o.Leases, netmap.Opening{Source: source, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt})
	}
	slices.SortFunc(o.Leases, func(a, b netmap.Opening) int { return a.Source.Compare(b.Source) })
	o.Permanent = lease.OpeningsOf(nil, s.rulesOf(app), time.Time{}).Permanent
	return o
}

func (s *state) rulesOf(app string) iter.Seq[lease.Rule] {
	return func(yield func(lease.Rule) bool) {
		for _, r := range under[*ruleRow](s, preRule+app+"/") {
			if !yield(r.Rule) {
				return
			}
		}
	}
}
