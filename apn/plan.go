package apn

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/render"
)

// Plan is what a mutation would change. All lists are sorted.
type Plan struct {
	Servers []string     // "shop/web-1": its config would change, come or go
	Devices []string     // "ada/laptop": likewise
	Leases  []PlanChange // by ID
	Rules   []PlanChange // by app and ID
	Names   []PlanChange // DNS names, with their addresses
}

// PlanChange is one line of a plan.
type PlanChange struct {
	Object string
	Before string // empty: it would be new
	After  string // empty: it would be gone
}

// planOf compares two states.
func planOf(before, after *state) Plan {
	seed := maphash.MakeSeed()
	a, b := digest(before, seed), digest(after, seed)
	return Plan{
		Servers: differing(a.servers, b.servers),
		Devices: differing(a.devices, b.devices),
		Leases:  changes(before.leaseLines(), after.leaseLines()),
		Rules:   changes(before.ruleLines(), after.ruleLines()),
		Names:   changes(nameLines(before, after)),
	}
}

// digests tell for each server and device what its config holds.
type digests struct{ servers, devices map[string]uint64 }

// digest sums hashes of lines: a sum does not depend on order, and a server's own
// line can be taken out of its app's.
func digest(s *state, seed maphash.Seed) digests {
	d := digests{map[string]uint64{}, map[string]uint64{}}
	if s.net() == nil {
		return d
	}
	line := func(p peer) uint64 { return maphash.String(seed, p.line()) }
	sums := map[string]uint64{}
	for app := range under[*appRow](s, preApp) {
		for p := range s.serversOf(app) {
			sums[app] += line(p)
		}
	}
	for app := range under[*appRow](s, preApp) {
		var peers uint64
		for other, sum := range sums {
			if s.linked(app, other) {
				peers += sum
			}
		}
		for p := range s.devicesInto(app) {
			peers += line(p)
		}
		for p := range s.serversOf(app) {
			all := line(p)
			p.place = placeOf(p.addr, render.Endpoint{}) // its endpoint is not in its own config
			d.servers[p.id] = maphash.Comparable(seed, [2]uint64{peers - all, line(p)})
		}
	}
	for member := range under[*memRow](s, preMem) {
		var peers uint64
		for _, app := range s.appsOf(member) {
			peers += sums[app]
		}
		for device := range under[*devRow](s, devKey(member, "")) {
			key := devKey(member, device)
			k, _ := find[*keyRow](s, keyKey(key))
			own := maphash.String(seed, s.interfaceLine(key)+k.pub.String())
			d.devices[member+"/"+device] = maphash.Comparable(seed, [2]uint64{peers, own})
		}
	}
	return d
}

func differing(a, b map[string]uint64) []string {
	var out []string
	for id, sum := range a {
		if other, ok := b[id]; !ok || other != sum {
			out = append(out, id)
		}
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func changes(a, b map[string]string) []PlanChange {
	var out []PlanChange
	for object, was := range a {
		if is := b[object]; is != was {
			out = append(out, PlanChange{object, was, is})
		}
	}
	for object, is := range b {
		if _, ok := a[object]; !ok {
			out = append(out, PlanChange{object, "", is})
		}
	}
	slices.SortFunc(out, func(x, y PlanChange) int { return strings.Compare(x.Object, y.Object) })
	return out
}

func (s *state) leaseLines() map[string]string {
	lines := map[string]string{}
	for id, r := range under[*leaseRow](s, preLse) {
		lines[id] = detailOf([]lease.Lease{r.Lease})
	}
	return lines
}

func (s *state) ruleLines() map[string]string {
	lines := map[string]string{}
	for id, r := range under[*ruleRow](s, preRule) {
		lines[id] = r.Source.String()
	}
	return lines
}

// nameLines returns the names of both states, nothing if DNS stays as it is.
func nameLines(before, after *state) (a, b map[string]string) {
	if before.ctr().Serial == after.ctr().Serial {
		return nil, nil
	}
	return before.nameAddrs(), after.nameAddrs()
}

func (s *state) nameAddrs() map[string]string {
	lines := map[string]string{}
	zone, err := buildZone(s)
	if err != nil {
		return lines
	}
	for h := range s.dnsHosts() {
		var addrs []string
		for _, a := range h.Addrs {
			addrs = append(addrs, a.String())
		}
		for _, name := range zone.Names(h.ID) {
			lines[name] = strings.Join(addrs, " ")
		}
	}
	return lines
}
