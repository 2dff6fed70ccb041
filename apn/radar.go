package apn

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/apnkit/apnkit/apn/store"
)

// radar knows which devices' configs are out of date. Each device costs as much
// as the apps that its member reaches, not as their servers: sums of lines are
// compared, which do not depend on order.
type radar struct {
	mu    sync.Mutex
	seed  maphash.Seed
	at    store.Rev
	ready bool
	given map[string]givenSum // by member/device
	stale []string            // member/device, sorted
}

// givenSum is the sum of what a device was given. It holds as long as the row
// does, which is never changed in memory.
type givenSum struct {
	row *handRow
	sum uint64
}

// StaleCount returns how many devices hold a config that is out of date.
func (n *Network) StaleCount() int { return len(n.radar.look(n.view())) }

// StaleDevices returns the devices that hold a config that is out of date, with
// the reasons, sorted by member and name, and whether there are more. opts may
// be nil; After is "member/device".
func (n *Network) StaleDevices(opts *ListOptions) (devices []Device, more bool) {
	if opts == nil {
		opts = new(ListOptions)
	}
	s := n.view()
	ids := n.radar.look(s)
	first, found := slices.BinarySearch(ids, opts.After)
	if found {
		first++
	}
	ids = ids[first:]
	if more = opts.Limit > 0 && len(ids) > opts.Limit; more {
		ids = ids[:opts.Limit]
	}
	devices = make([]Device, 0, len(ids))
	for _, id := range ids {
		member, name, _ := strings.Cut(id, "/")
		if d, ok := s.device(member, name); ok {
			devices = append(devices, d)
		}
	}
	return devices, more
}

// StaleIDs returns the devices that hold a config that is out of date as
// "member/device", sorted. It costs little, and less if nothing has changed.
func (n *Network) StaleIDs() []string { return slices.Clone(n.radar.look(n.view())) }

// look returns the stale devices of a state. The caller does not change them.
func (r *radar) look(s *state) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready && r.at == s.rev {
		return r.stale
	}
	if r.given == nil {
		r.seed = maphash.MakeSeed()
	}
	apps := map[string]uint64{}
	for app := range under[*appRow](s, preApp) {
		var sum uint64
		for p := range s.serversOf(app) {
			sum += maphash.String(r.seed, p.line())
		}
		apps[app] = sum
	}
	given := map[string]givenSum{}
	stale := []string{}
	for id, h := range under[*handRow](s, preHand) {
		member, device, _ := strings.Cut(id, "/")
		g, ok := r.given[id]
		if !ok || g.row != h {
			g = givenSum{row: h}
			for line := range s.handedPeers(member, device) {
				g.sum += maphash.String(r.seed, line)
			}
		}
		given[id] = g
		var want uint64
		for _, app := range s.appsOf(member) {
			want += apps[app]
		}
		key := devKey(member, device)
		k, ok := find[*keyRow](s, keyKey(key))
		if !ok || k.Gen != h.Gen || want != g.sum || s.interfaceLine(key) != h.Interface {
			stale = append(stale, id)
		}
	}
	r.at, r.ready, r.given, r.stale = s.rev, true, given, stale
	return stale
}

// Loaded returns the networks that are in memory, sorted by name: those that
// somebody asked for lately.
func (c *Control) Loaded() []*Network {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Network
	for _, o := range c.networks {
		if o.net != nil {
			list = append(list, o.net)
		}
	}
	slices.SortFunc(list, func(a, b *Network) int { return strings.Compare(a.name, b.name) })
	return list
}
