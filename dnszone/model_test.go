package dnszone_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

// model is the naive way to the same zones: maps of everything, built anew for
// each question.
type model struct {
	cfg   dnszone.Config
	hosts map[string]dnszone.Host
}

// modelHost is a host that has a place in the zones.
type modelHost struct {
	dnszone.Host
	name, app string
}

func (h modelHost) qualified() string { return h.name + "." + h.app }

func (m model) placed() (list []modelHost) {
	for _, id := range slices.Sorted(maps.Keys(m.hosts)) {
		h := m.hosts[id]
		name, err := dnszone.NormalizeLabel(h.Name, m.cfg.Labels)
		app, err2 := dnszone.NormalizeLabel(h.App, m.cfg.Labels)
		if err == nil && err2 == nil && len(h.Addrs) > 0 {
			list = append(list, modelHost{h, name, app})
		}
	}
	return list
}

// records are the lines "name type data" that all zones should have, without
// those at their apexes.
func (m model) records() []string {
	lines := map[string]bool{}
	hosts := m.placed()
	merge := m.cfg.Collisions == dnszone.CollisionMerge
	apps := map[string]map[string]bool{}
	byName := map[string][]modelHost{}  // qualified
	byShort := map[string][]modelHost{} // label
	byAddr := map[netip.Addr][]modelHost{}
	wild := map[string][]modelHost{}
	for _, h := range hosts {
		if apps[h.app] == nil {
			apps[h.app] = map[string]bool{}
		}
		apps[h.app][h.App] = true
		byName[h.qualified()] = append(byName[h.qualified()], h)
		byShort[h.name] = append(byShort[h.name], h)
		for _, a := range h.Addrs {
			if !slices.ContainsFunc(byAddr[a], func(o modelHost) bool { return o.ID == h.ID }) {
				byAddr[a] = append(byAddr[a], h)
			}
		}
		if h.Wildcard {
			wild[h.qualified()] = append(wild[h.qualified()], h)
		}
	}
	published := func(h modelHost) bool {
		return len(apps[h.app]) == 1 && (merge || len(byName[h.qualified()]) == 1)
	}
	add := func(name string, hosts []modelHost) {
		for _, h := range hosts {
			for _, a := range h.Addrs {
				kind := "A"
				if a.Is6() {
					kind = "AAAA"
				}
				lines[fmt.Sprintf("%s %s %s", name, kind, a)] = true
			}
		}
	}
	withhold := func(name, suffix string, hosts []modelHost) {
		text := name + ` TXT "withheld: not unique"`
		var names []string
		for _, h := range hosts {
			if published(h) {
				names = append(names, h.app+" "+h.name)
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		for i, n := range names {
			if i < 8 {
				app, name, _ := strings.Cut(n, " ")
				text += fmt.Sprintf(" %q", name+"."+app+"."+suffix)
			}
		}
		lines[text] = true
	}
	sameName := func(hosts []modelHost) bool {
		return len(hosts) == 1 || merge && !slices.ContainsFunc(hosts, func(h modelHost) bool {
			return h.qualified() != hosts[0].qualified()
		})
	}
	for _, suffix := range m.cfg.Suffixes {
		for label, list := range byShort {
			if sameName(list) {
				add(label+"."+suffix, list)
			} else {
				withhold(label+"."+suffix, suffix, list)
			}
		}
		for name, list := range byName {
			if published(list[0]) {
				add(name+"."+suffix, list)
			} else {
				withhold(name+"."+suffix, suffix, nil)
			}
			if w := wild[name]; w != nil && published(list[0]) {
				add("*."+name+"."+suffix, w)
			} else if w != nil {
				withhold("*."+name+"."+suffix, suffix, nil)
			}
		}
	}
	for a, list := range byAddr {
		if !slices.ContainsFunc(m.cfg.Reverse, func(p netip.Prefix) bool { return p.Contains(a) }) {
			continue
		}
		if sameName(list) && published(list[0]) {
			lines[fmt.Sprintf("%s PTR %s.%s.", reverse(a), list[0].qualified(), m.cfg.Suffixes[0])] = true
		} else {
			withhold(reverse(a), m.cfg.Suffixes[0], list)
		}
	}
	return slices.Sorted(maps.Keys(lines))
}

// reverse is the reverse name of a.
func reverse(a netip.Addr) string {
	parts, suffix := strings.Split(a.String(), "."), "in-addr.arpa"
	if a.Is6() {
		parts, suffix = strings.Split(strings.ReplaceAll(a.StringExpanded(), ":", ""), ""), "ip6.arpa"
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + suffix
}

// lines are the records of all zones in the form of model.records.
func lines(set *dnszone.Set) (list []string) {
	for z := range set.Zones() {
		for r := range z.Records() {
			if r.Name != z.Name() {
				f := strings.SplitN(r.String(), " ", 5)
				list = append(list, strings.TrimSuffix(f[0], ".")+" "+f[3]+" "+f[4])
			}
		}
	}
	slices.Sort(list)
	return list
}

// zones is everything that a Set shows, as text.
func zones(t *testing.T, set *dnszone.Set) string {
	t.Helper()
	var b strings.Builder
	for z := range set.Zones() {
		fmt.Fprintf(&b, "zone %s %x\n", z.Name(), z.Digest())
		_, err := z.WriteTo(&b)
		require.NoError(t, err)
	}
	_, err := set.WriteHosts(&b, &dnszone.HostsOptions{Limit: -1})
	require.NoError(t, err)
	r := set.Report()
	fmt.Fprintf(&b, "%+v\n%+v\n", r.Withheld, r.Noted)
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped %s %s %s\n", s.Host, s.Name, s.Reason)
	}
	return b.String()
}

// randomHost draws from few names and addresses, so that they clash.
func randomHost(rng *rand.Rand, id string, dense int) dnszone.Host {
	h := dnszone.Host{ID: id, Wildcard: rng.IntN(4) == 0}
	h.Name = []string{"web", "db", "Web", "mail", "shop", "w_1", "wpad", ""}[rng.IntN(min(8, dense))]
	if rng.IntN(2) == 0 {
		h.Name = fmt.Sprintf("n%d", rng.IntN(dense*4))
	}
	h.App = []string{"shop", "blog", "web", "Blog", "b_1", "b 1"}[rng.IntN(min(6, dense))]
	for range rng.IntN(4) {
		a := netip.AddrFrom4([4]byte{10, 1, byte(16 + rng.IntN(5)), byte(rng.IntN(dense * 2))})
		if rng.IntN(3) == 0 {
			a = netip.AddrFrom16([16]byte{0xfd, 0, 14: byte(rng.IntN(3)), 15: byte(rng.IntN(dense * 2))})
		}
		h.Addrs = append(h.Addrs, a)
	}
	return h
}

// TestModel drives a chain of updates and compares each step with the model and
// with a Set built from scratch.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			m := model{hosts: map[string]dnszone.Host{}, cfg: dnszone.Config{
				Suffixes:   []string{"apn", "net.internal"}[:1+seed%2],
				Reverse:    []netip.Prefix{netip.MustParsePrefix("10.1.16.0/22"), netip.MustParsePrefix("fd00::/64")},
				Collisions: dnszone.CollisionPolicy(seed % 3 % 2),
			}}
			dense := 2 + rng.IntN(40)
			set := mustBuild(t, m.cfg)
			var steps []string
			for step := range 60 {
				var changes []dnszone.Change
				for range 1 + rng.IntN(3) {
					id := fmt.Sprint("h", rng.IntN(dense))
					c := dnszone.Change{Host: randomHost(rng, id, dense)}
					if c.Remove = rng.IntN(4) == 0; c.Remove {
						delete(m.hosts, id)
					} else {
						m.hosts[id] = c.Host
					}
					changes = append(changes, c)
				}
				steps = append(steps, fmt.Sprintf("%+v", changes))
				before := zones(t, set)
				next, part, err := set.Update(set.Serial()+1, changes...)
				require.NoError(t, err)
				requirePart(t, set.Report(), next.Report(), part)
				require.Equal(t, before, zones(t, set), "the old Set changed")

				story := func() string { return fmt.Sprintf("seed %d, step %d\n%s", seed, step, strings.Join(steps, "\n")) }
				require.Equal(t, m.records(), lines(next), story)

				hosts := slices.Collect(maps.Values(m.hosts))
				fresh, report, err := dnszone.Build(m.cfg, next.Serial(), slices.Values(hosts))
				require.NoError(t, err)
				require.Equal(t, zones(t, fresh), zones(t, next), story)
				require.Equal(t, report, fresh.Report())
				requireDelta(t, set, next, fresh, story)
				for _, h := range hosts {
					require.Equal(t, fresh.Names(h.ID), next.Names(h.ID))
				}
				set = next
			}
		})
	}
}

// requireDelta checks that the differences from old to next are the same, and
// right, whether they follow the update or compare everything.
func requireDelta(t *testing.T, old, next, fresh *dnszone.Set, story func() string) {
	t.Helper()
	for z := range next.Zones() {
		was, _ := old.Zone(z.Name())
		again, _ := fresh.Zone(z.Name())
		quick := dnszone.Diff(was, z)
		require.Equal(t, dnszone.Diff(was, again), quick, story)
		require.Equal(t, quick.Empty(), was.Digest() == z.Digest())

		list := slices.Collect(was.Records())[1:]
		list = slices.DeleteFunc(list, func(r dnszone.Record) bool { return slices.Contains(quick.Removed, r) })
		require.ElementsMatch(t, slices.Collect(z.Records())[1:], append(list, quick.Added...), story)
	}
}

// requirePart checks the report of an update: nothing that the Set does not
// report as a whole, and everything that is new in that.
func requirePart(t *testing.T, before, after, part *dnszone.Report) {
	t.Helper()
	require.Subset(t, after.Withheld, part.Withheld)
	for _, c := range after.Withheld {
		if !slices.ContainsFunc(before.Withheld, func(b dnszone.Collision) bool { return b.Name == c.Name && b.Kind == c.Kind }) {
			require.Contains(t, part.Withheld, c)
		}
	}
	for _, c := range part.Skipped {
		require.True(t, slices.ContainsFunc(after.Skipped, func(a dnszone.Skip) bool { return a.Host == c.Host && a.Reason == c.Reason }))
	}
	require.Subset(t, after.Noted, part.Noted)
}
