package apn

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/apnkit/apnkit/dnszone"
)

// zoneCache keeps the zone of the last serial that somebody asked for, and what
// changed since, so that one server more does not build all names anew.
type zoneCache struct {
	mu      sync.Mutex
	epoch   string
	serial  uint32
	set     *dnszone.Set
	pending []zoneChange
}

// zoneChange leads from one serial to the next.
type zoneChange struct {
	from, to uint32
	changes  []dnszone.Change
}

// pendingMax is how many changes are worth applying one by one.
const pendingMax = 256

// Zone returns the network's private DNS: forward and reverse zones with
// <server>.<app>.<suffix> for every server, and <server>.<suffix> where only one
// server of the network has that name. Its Report tells which names are withheld,
// and why.
func (n *Network) Zone(context.Context) (*dnszone.Set, error) {
	set, err := n.zoneOf(n.view())
	if err != nil {
		return nil, &Error{Op: "build zone", Object: n.name, Err: err}
	}
	return set, nil
}

// names returns the DNS names that a server really has, as the zone would: the
// short one only if no other app has a server of that name.
func (s *state) names(app, server string) []string {
	suffix := s.net().Suffix
	qualified := server + "." + app + "." + suffix
	apps := 0
	s.srvs.Ascend(server+"/", func(key, _ string) bool {
		same := strings.HasPrefix(key, server+"/")
		if same {
			apps++
		}
		return same && apps < 2
	})
	if apps > 1 {
		return []string{qualified}
	}
	return []string{server + "." + suffix, qualified}
}

// zoneOf returns the zone of a state.
func (n *Network) zoneOf(s *state) (*dnszone.Set, error) {
	c := &n.zone
	c.mu.Lock()
	defer c.mu.Unlock()
	serial, epoch := s.ctr().Serial, s.net().Epoch
	if c.set != nil && c.serial == serial && c.epoch == epoch {
		return c.set, nil
	}
	set, err := c.follow(serial, epoch)
	if set == nil && err == nil {
		set, err = buildZone(s)
	}
	if err != nil {
		return nil, err
	}
	c.set, c.serial, c.epoch = set, serial, epoch
	return set, nil
}

// follow applies the pending changes, if they lead to serial.
func (c *zoneCache) follow(serial uint32, epoch string) (*dnszone.Set, error) {
	pending := c.pending
	c.pending = nil
	if c.set == nil || c.epoch != epoch {
		return nil, nil
	}
	var changes []dnszone.Change
	at := c.serial
	for _, p := range pending {
		if p.from == at {
			at = p.to
			changes = append(changes, p.changes...)
		}
	}
	if at != serial {
		return nil, nil
	}
	set, _, err := c.set.Update(serial, changes...)
	return set, err
}

// changed notes what a commit of this process changed. Nil changes: more than
// hosts.
func (c *zoneCache) changed(from, to uint32, changes []dnszone.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set == nil || changes == nil || len(c.pending) == pendingMax {
		c.set, c.pending = nil, nil // nobody asks, or it is cheaper to build
		return
	}
	c.pending = append(c.pending, zoneChange{from, to, changes})
}

func buildZone(s *state) (*dnszone.Set, error) {
	net := s.net()
	set, _, err := dnszone.Build(dnszone.Config{
		Suffixes: []string{net.Suffix}, Reverse: slices.Clone(net.Pool.Prefixes),
	}, s.ctr().Serial, s.dnsHosts())
	return set, err
}

// dnsHosts yields the servers as hosts of the zone.
func (s *state) dnsHosts() iter.Seq[dnszone.Host] {
	return func(yield func(dnszone.Host) bool) {
		for id, r := range under[*srvRow](s, preSrv) {
			if !yield(dnsHost(id, r.Addrs)) {
				return
			}
		}
	}
}

func dnsHost(id string, addrs []netip.Addr) dnszone.Host {
	app, server, _ := strings.Cut(id, "/")
	return dnszone.Host{ID: id, App: app, Name: server, Addrs: addrs}
}

// hostChanges returns what a commit's rows change for DNS; nil if that is more
// than hosts.
func hostChanges(writes map[string]row) []dnszone.Change {
	var changes []dnszone.Change
	for key, r := range writes {
		if key == rowNet {
			return nil
		}
		id, ok := strings.CutPrefix(key, preSrv)
		if !ok {
			continue
		}
		if r == nil {
			changes = append(changes, dnszone.Change{Host: dnszone.Host{ID: id}, Remove: true})
		} else if srv, ok := r.(*srvRow); ok {
			changes = append(changes, dnszone.Change{Host: dnsHost(id, srv.Addrs)})
		}
	}
	return changes
}
