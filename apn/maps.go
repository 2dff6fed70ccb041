package apn

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/lease"
)

// ServerMap returns all that a server may know: its interface, its peers, who
// may send to its port, and the names of its peers.
func (n *Network) ServerMap(_ context.Context, app, server string) (*netmap.Map, error) {
	m, err := n.serverMap(app, server)
	if err != nil {
		return nil, &Error{Op: "server map", Object: app + "/" + server, Err: err}
	}
	return m, nil
}

func (n *Network) serverMap(app, server string) (*netmap.Map, error) {
	s := n.view()
	key := srvKey(app, server)
	r, ok := find[*srvRow](s, key)
	k, has := find[*keyRow](s, keyKey(key))
	if !ok || !has {
		return nil, ErrNotFound
	}
	zone, err := n.zoneOf(s)
	if err != nil {
		return nil, err
	}
	net := s.net()
	m := &netmap.Map{
		Format: netmap.Format, Network: n.name, App: app, Server: server,
		Epoch: net.Epoch, Revision: uint64(s.rev),
		Interface: netmap.Interface{
			PublicKey: k.pub, KeyGen: k.Gen, Addresses: slices.Clone(r.Addrs), ListenPort: net.Port,
			Routes: s.routes(app),
		},
		Openings: lease.OpeningsOf(s.leasesOf(app), s.rulesOf(app), n.ctl.now()),
		Names:    netmap.Names{Suffix: net.Suffix, Serial: zone.Serial()},
	}
	known := func(id string, addrs []netip.Addr) {
		for _, name := range zone.Names(id) {
			m.Names.Hosts = append(m.Names.Hosts, netmap.Host{Name: strings.TrimSuffix(name, "."), Addrs: slices.Clone(addrs)})
		}
	}
	known(app+"/"+server, r.Addrs)
	for p := range s.linkedTo(app, server) {
		m.Peers = append(m.Peers, p.netmap(preSrv, net))
		known(p.id, p.addr)
	}
	for p := range s.devicesInto(app) {
		m.Peers = append(m.Peers, p.netmap(preDev, net))
	}
	slices.SortFunc(m.Peers, func(a, b netmap.Peer) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(m.Names.Hosts, func(a, b netmap.Host) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

func (p *peer) netmap(prefix string, net *netRow) netmap.Peer {
	out := netmap.Peer{ID: prefix + p.id, Name: p.name(), PublicKey: p.key.pub, AllowedIPs: hosts(p.addr)}
	if !p.end.IsZero() {
		out.Endpoint, out.Keepalive = p.end.String(), net.keepalive()
	}
	return out
}

// routes returns the prefixes that an app's servers reach, merged.
func (s *state) routes(app string) []netip.Prefix {
	var b netipx.IPSetBuilder
	for other, r := range under[*appRow](s, preApp) {
		if s.linked(app, other) {
			for _, p := range r.Subnets {
				b.AddPrefix(p)
			}
		}
	}
	for p := range s.devicesInto(app) {
		for _, a := range p.addr {
			b.Add(a)
		}
	}
	set, err := b.IPSet()
	if err != nil { // only for invalid prefixes, which the pool refuses
		return nil
	}
	return set.Prefixes()
}

func (s *state) leasesOf(app string) iter.Seq[lease.Lease] {
	return func(yield func(lease.Lease) bool) {
		for _, r := range under[*leaseRow](s, preLse+app+"/") {
			if !yield(r.Lease) {
				return
			}
		}
	}
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
