package apn

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
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
	id    string // "shop/web-1" or "ada/laptop"
	key   *keyRow
	addr  []netip.Addr
	end   render.Endpoint
	place string
}

// line is what a config says of a peer, in fields that tell one change from
// another: ID, incarnation and generation of the key, addresses, endpoint.
func (p *peer) line() string { return string(p.appendLine(make([]byte, 0, 128))) }

func (p *peer) appendLine(b []byte) []byte {
	b = append(append(b, p.id...), ' ')
	b = append(append(b, p.key.UID...), '.')
	b = append(strconv.AppendUint(b, p.key.Gen, 10), ' ')
	return append(b, p.place...)
}

// placeOf returns addresses and endpoint as the last two fields of a line.
func placeOf(addrs []netip.Addr, end render.Endpoint) string {
	b := make([]byte, 0, 64)
	for i, a := range addrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.AppendTo(b)
	}
	b = append(b, ' ')
	return string(b) + end.String()
}

// serversOf yields an app's servers, sorted by name.
func (s *state) serversOf(app string) iter.Seq[peer] {
	return func(yield func(peer) bool) {
		for id, both := range s.keyed(srvKey(app, "")) {
			r, ok := both.row.(*srvRow)
			if ok && !yield(peer{id, both.key, r.Addrs, r.Endpoint, r.place}) {
				return
			}
		}
	}
}

// rowKey is a srv or dev row with its key pair.
type rowKey struct {
	row row
	key *keyRow
}

// keyed yields the rows below prefix, which begins with srv/ or dev/, that have a
// key pair, by what follows that. Both ranges have the same order, so it walks
// them side by side.
func (s *state) keyed(prefix string) iter.Seq2[string, rowKey] {
	return func(yield func(string, rowKey) bool) {
		rows, pairs := s.rows.Iter(), s.rows.Iter()
		ok := pairs.Seek(keyKey(prefix)) && strings.HasPrefix(pairs.Key(), preKey)
		for more := rows.Seek(prefix); more; more = rows.Next() {
			want := rows.Key()
			if !strings.HasPrefix(want, prefix) {
				return
			}
			for ok && pairs.Key()[len(preKey):] < want {
				if ok = pairs.Next(); ok {
					ok = strings.HasPrefix(pairs.Key(), preKey)
				}
			}
			if !ok || pairs.Key()[len(preKey):] != want {
				continue
			}
			if k, fits := pairs.Value().row.(*keyRow); fits && !yield(want[len(preSrv):], rowKey{rows.Value().row, k}) {
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
			for id, both := range s.keyed(devKey(member, "")) {
				r, ok := both.row.(*devRow)
				if ok && !yield(peer{id: id, key: both.key, addr: r.Addrs, place: r.place}) {
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

// app returns the app of a server.
func (p *peer) app() string {
	app, _, _ := strings.Cut(p.id, "/")
	return app
}

// hosts returns addresses as prefixes of one address each.
func hosts(addrs []netip.Addr) []netip.Prefix {
	return appendHosts(make([]netip.Prefix, 0, len(addrs)), addrs)
}

func appendHosts(prefixes []netip.Prefix, addrs []netip.Addr) []netip.Prefix {
	for _, a := range addrs {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return prefixes
}

// keepalive returns the network's keepalive interval, 0 for none.
func (r *netRow) keepalive() time.Duration { return max(r.Keepalive, 0) }

// preshare returns the number of the preshared keys that servers are told, 0 if
// there are none.
func (r *netRow) preshare() uint64 {
	if !r.PSK {
		return 0
	}
	return uint64(r.PSKEpoch) + 1
}

// preshared returns the preshared key between two peers, none if the network
// does without.
func (r *netRow) preshared(ring *keys.Ring, a, b keys.PublicKey) keys.PresharedKey {
	if !r.PSK {
		return keys.PresharedKey{}
	}
	return ring.PSK(r.PSKEpoch, a, b)
}
