package apn

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// Who reaches whom. A member's devices reach the servers of every app on which
// the member is Developer or higher; servers reach the servers of their own and
// of linked apps. Both sides have the other as a peer, so reach is symmetric.

// appsOf returns the apps whose servers a member reaches, sorted.
func (s *state) appsOf(member string) []string {
	r, ok := find[*memRow](s, memKey(member))
	if !ok {
		return nil
	}
	var apps []string
	for app, role := range r.Roles {
		if role >= Developer {
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	return apps
}

// peer is what one side of a tunnel needs to know of the other.
type peer struct {
	id   string // "shop/web-1" or "ada/laptop"
	key  *keyRow
	addr []netip.Addr
	end  render.Endpoint
}

// serversOf yields an app's servers, sorted by name.
func (s *state) serversOf(app string) iter.Seq[peer] {
	return func(yield func(peer) bool) {
		prefix := srvKey(app, "")
		for name, r := range under[*srvRow](s, prefix) {
			k, ok := find[*keyRow](s, keyKey(prefix+name))
			if ok && !yield(peer{id: app + "/" + name, key: k, addr: r.Addrs, end: r.Endpoint}) {
				return
			}
		}
	}
}

// reachedBy yields the servers that a member reaches.
func (s *state) reachedBy(member string) iter.Seq[peer] {
	return func(yield func(peer) bool) {
		for _, app := range s.appsOf(member) {
			for p := range s.serversOf(app) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// linkedTo yields the servers of an app and of the apps linked to it, but for
// the server itself.
func (s *state) linkedTo(app, server string) iter.Seq[peer] {
	self := app + "/" + server
	return func(yield func(peer) bool) {
		for other := range under[*appRow](s, preApp) {
			if !s.linked(app, other) {
				continue
			}
			for p := range s.serversOf(other) {
				if p.id != self && !yield(p) {
					return
				}
			}
		}
	}
}

// devicesInto yields the devices that reach an app.
func (s *state) devicesInto(app string) iter.Seq[peer] {
	return func(yield func(peer) bool) {
		for member, m := range under[*memRow](s, preMem) {
			if m.Roles[app] < Developer {
				continue
			}
			prefix := devKey(member, "")
			for device, r := range under[*devRow](s, prefix) {
				k, ok := find[*keyRow](s, keyKey(prefix+device))
				if ok && !yield(peer{id: member + "/" + device, key: k, addr: r.Addrs}) {
					return
				}
			}
		}
	}
}

// name returns the peer's name as a person reads it: "web-1.shop".
func (p *peer) name() string {
	app, server, _ := strings.Cut(p.id, "/")
	return server + "." + app
}

// hosts returns addresses as prefixes of one address each.
func hosts(addrs []netip.Addr) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		prefixes[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return prefixes
}

// keepalive returns the network's keepalive interval, 0 for none.
func (r *netRow) keepalive() time.Duration { return max(r.Keepalive, 0) }

// preshared returns the preshared key between two peers, none if the network
// does without.
func (r *netRow) preshared(ring *keys.Ring, a, b keys.PublicKey) keys.PresharedKey {
	if !r.PSK {
		return keys.PresharedKey{}
	}
	return ring.PSK(r.PSKEpoch, a, b)
}
