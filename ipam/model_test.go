package ipam_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func pfx(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// modelConfigs spell everything out for the naive twin. Negative values become
// zero there.
func modelConfigs() map[string]ipam.Config {
	v4 := ipam.Bits{Default: 27, Min: 23, Max: 30}
	v6 := ipam.Bits{Default: 123, Min: 121, Max: 126}
	return map[string]ipam.Config{
		"plain":       {Prefixes: pfx("10.0.0.0/22"), Subnet4: v4, CoolDown: time.Hour, Reserve: 1},
		"odd base":    {Prefixes: pfx("10.0.3.128/25", "10.0.0.64/26"), Subnet4: ipam.Bits{Default: 29, Min: 26, Max: 32}, CoolDown: time.Hour, Reserve: -1},
		"pack hashed": {Prefixes: pfx("10.0.0.0/22"), Subnet4: v4, Placement: ipam.Pack, Order: ipam.Hashed, Salt: "n1", CoolDown: time.Minute, Reserve: 3},
		"no rest":     {Prefixes: pfx("10.0.0.0/23"), Subnet4: v4, CoolDown: -1, Reserve: 1},
		"derived": {
			Prefixes: pfx("fd12:3456:789a::/48", "10.0.0.0/23"), Subnet4: v4, CoolDown: time.Hour, Reserve: 2, Order: ipam.Hashed,
			Exclude: []ipam.Exclusion{{Prefix: netip.MustParsePrefix("fd12:3456:789a::a00:110/126")}, {Prefix: netip.MustParsePrefix("10.0.0.0/26")}},
		},
		"independent": {Prefixes: pfx("10.0.0.0/23", "fd00::100/120"), Subnet4: v4, Subnet6: v6, V6: ipam.Independent, CoolDown: time.Hour, Reserve: 1},
		"ipv6 only":   {Prefixes: pfx("fd00::/119"), Subnet6: v6, CoolDown: time.Hour, Reserve: 1, Order: ipam.Hashed},
	}
}

// model runs one script of random commands on a Pool, on a second Pool that is
// loaded from records now and then, and on the naive twin.
type model struct {
	t     testing.TB
	n     func(int) int // the next choice, below its argument
	cfg   ipam.Config
	p, q  *ipam.Pool
	naive *naive
	now   time.Time
	steps []string

	excluded bool                 // an exclusion came later
	gens     map[[2]string]uint64 // the highest generation an owner of a lasting app has had
}

func (m *model) log(format string, args ...any) {
	m.steps = append(m.steps, fmt.Sprintf(format, args...))
}

func newModel(tb testing.TB, cfg ipam.Config, n func(int) int) *model {
	tb.Helper()
	m := &model{t: tb, n: n, cfg: cfg, now: start, gens: map[[2]string]uint64{}}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(strings.Join(m.steps[max(0, len(m.steps)-60):], "\n"))
		}
	})
	m.p = load(tb, cfg, nil)
	m.naive = newNaive(spelt(cfg))
	m.reload()
	return m
}

func spelt(cfg ipam.Config) ipam.Config {
	cfg.CoolDown = max(cfg.CoolDown, 0)
	cfg.Reserve = max(cfg.Reserve, 0)
	return cfg
}

// state is what a Pool shows of itself.
func state(p *ipam.Pool) []ipam.Record { return slices.Collect(p.Records()) }

func load(tb testing.TB, cfg ipam.Config, records []ipam.Record) *ipam.Pool {
	tb.Helper()
	p, err := ipam.Load(cfg, len(records), slices.Values(records))
	require.NoError(tb, err)
	return p
}

// reload replaces the second Pool by one that is loaded from shuffled records.
func (m *model) reload() {
	m.log("reload")
	records := state(m.p)
	for i := range records {
		j := i + m.n(len(records)-i)
		records[i], records[j] = records[j], records[i]
	}
	m.q = load(m.t, m.cfg, records)
	require.Equal(m.t, state(m.p), state(m.q))
	require.Equal(m.t, slices.Collect(m.p.Subnets()), slices.Collect(m.q.Subnets()))
	require.Equal(m.t, m.p.Usage(""), m.q.Usage(""))
}

// decide compares one decision of all three and applies it.
func (m *model) decide(on func(*ipam.Pool) (ipam.Change, error), twin func() (delta, error)) bool {
	before := m.p.Usage("")
	c, err := on(m.p)
	require.Equal(m.t, before, m.p.Usage(""), "deciding changed the state")
	want, wantErr := twin()
	require.Equal(m.t, wantErr, sentinel(err))
	c2, err2 := on(m.q)
	require.Equal(m.t, err, err2, "loaded pool")
	require.Equal(m.t, c, c2, "loaded pool")
	if err != nil {
		m.log("  %v", err)
		require.True(m.t, c.Empty())
		return false
	}
	got := delta{}
	for _, s := range c.Steps {
		key := cmp.Or(s.Before, s.After).Key()
		require.NotContains(m.t, got, key)
		got[key] = s
		m.log("  %s %+v -> %+v", key, s.Before, s.After)
	}
	if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		require.Equal(m.t, want, got)
	}

	i := m.n(len(c.Steps) + 1)
	c.Steps = append(slices.Clone(c.Steps[i:]), c.Steps[:i]...)
	require.NoError(m.t, m.p.Apply(c))
	if m.n(40) == 0 {
		require.NoError(m.t, m.p.Apply(c.Inverse()))
		require.Equal(m.t, before, m.p.Usage(""))
		require.Equal(m.t, state(m.q), state(m.p), "undone")
		require.NoError(m.t, m.p.Apply(c))
	}
	if !c.Empty() {
		require.ErrorIs(m.t, m.p.Apply(c), ipam.ErrStale)
	}
	require.NoError(m.t, m.q.Apply(c))
	for _, s := range c.Steps {
		if s.After != nil {
			m.checkNew(s.Before, s.After)
		}
	}
	m.naive.apply(want)
	return true
}

// checkNew looks at a record on its own: an address is not excluded, reserved,
// or resting for another owner, and its generation is new to its owner.
func (m *model) checkNew(before, after *ipam.Record) {
	if after.IsRange() || !after.Released.IsZero() {
		return
	}
	if live, _, _ := m.naive.owned(after.App, after.Owner); len(live) == 0 {
		require.Greater(m.t, after.Gen, m.gens[[2]string{after.App, after.Owner}])
	}
	s, ok := m.p.SubnetOf(after.App)
	require.True(m.t, ok)
	for _, p := range s.Prefixes {
		if p.Contains(after.Addr) {
			require.Contains(m.t, m.naive.usable(p), after.Addr)
		}
	}
	if before != nil && (before.App != after.App || before.Owner != after.Owner) {
		require.True(m.t, m.naive.rested(*before, m.naive.clock(m.now)), "%v was given out too early", after.Addr)
	}
}

var (
	modelApps   = []string{"shop", "blog", "mail", "@devices", "x"}
	modelOwners = 40
)

func (m *model) owner() string { return fmt.Sprint("srv-", m.n(modelOwners)) }

func (m *model) app() string { return modelApps[m.n(len(modelApps))] }

// addr is a random address, mostly inside a range.
func (m *model) addr() netip.Addr {
	ps := m.cfg.Prefixes
	if s, ok := m.p.SubnetOf(m.app()); ok && m.n(8) > 0 {
		ps = s.Prefixes
	}
	p := ps[m.n(len(ps))]
	a := p.Addr()
	for range m.n(1 << min(a.BitLen()-p.Bits(), 6)) {
		a = a.Next()
	}
	return a
}

func (m *model) step() {
	app, owner := m.app(), m.owner()
	switch op := m.n(100); {
	case op < 45:
		var at netip.Addr
		if m.n(6) == 0 {
			at = m.addr()
		}
		auto := m.n(4) == 0
		m.acquire(app, owner, at, auto)
	case op < 65:
		gen := uint64(m.n(3))
		m.log("release %s %s %d", app, owner, gen)
		if ok := m.decide(func(p *ipam.Pool) (ipam.Change, error) { return p.Release(m.now, app, owner, gen) },
			func() (delta, error) { return m.naive.Release(m.now, app, owner, gen) }); ok {
			again, err := m.p.Release(m.now, app, owner, gen)
			require.NoError(m.t, err)
			require.True(m.t, again.Empty())
		}
	case op < 72:
		var to netip.Addr
		if m.n(2) == 0 {
			to = m.addr()
		}
		m.log("move %s %s %v", app, owner, to)
		var got ipam.Assignment
		if ok := m.decide(func(p *ipam.Pool) (c ipam.Change, err error) {
			got, c, err = p.Move(m.now, app, owner, to)
			return c, err
		},
			func() (delta, error) { return m.naive.Acquire(m.now, app, owner, to, false, true) }); ok {
			m.holds(got)
		}
	case op < 80:
		m.subnet(app)
	case op < 84:
		free := uint64(m.n(40))
		m.log("grow %s %d", app, free)
		old, _ := m.p.SubnetOf(app)
		held := slices.Collect(m.p.Assignments(app))
		var got ipam.Subnet
		if ok := m.decide(func(p *ipam.Pool) (c ipam.Change, err error) { got, c, err = p.Grow(m.now, app, free); return c, err },
			func() (delta, error) { return m.naive.Grow(m.now, app, free) }); ok {
			now, _ := m.p.SubnetOf(app)
			require.Equal(m.t, got, now)
			require.Equal(m.t, held, slices.Collect(m.p.Assignments(app)))
			for _, p := range old.Prefixes {
				require.True(m.t, slices.ContainsFunc(now.Prefixes, func(q netip.Prefix) bool { return q.Addr() == p.Addr() && q.Bits() <= p.Bits() }))
			}
		}
	case op < 87:
		m.log("release subnet %s", app)
		if ok := m.decide(func(p *ipam.Pool) (ipam.Change, error) { return p.ReleaseSubnet(m.now, app) },
			func() (delta, error) { return m.naive.ReleaseSubnet(m.now, app) }); ok {
			again, err := m.p.ReleaseSubnet(m.now, app)
			require.NoError(m.t, err)
			require.True(m.t, again.Empty())
		}
	case op < 88:
		m.log("release all of %s", app)
		for _, a := range slices.Collect(m.p.Assignments(app)) {
			m.decide(func(p *ipam.Pool) (ipam.Change, error) { return p.Release(m.now, app, a.Owner, a.Gen) },
				func() (delta, error) { return m.naive.Release(m.now, app, a.Owner, a.Gen) })
		}
	case op < 98:
		d := time.Duration(m.n(30)) * time.Minute
		if m.n(4) == 0 {
			d *= 4
		}
		m.now = m.now.Add(d)
		m.log("now %v", m.now)
	case op < 99:
		// A clock goes backwards. The loaded pool knows no release that was
		// forgotten since, so it only compares when none was.
		for _, r := range state(m.p) {
			if r.Released.Equal(m.naive.seen) && !m.naive.seen.IsZero() {
				m.now = m.now.Add(-time.Duration(m.n(3000)) * time.Second)
				m.log("clock back to %v", m.now)
				break
			}
		}
	case m.n(4) > 0:
		m.reload()
	default:
		m.widen()
	}
}

func (m *model) acquire(app, owner string, at netip.Addr, auto bool) {
	m.log("acquire %s %s %v %v", app, owner, at, auto)
	opts := &ipam.AcquireOptions{At: at, AutoGrow: auto}
	var got ipam.Assignment
	ok := m.decide(func(p *ipam.Pool) (c ipam.Change, err error) {
		got, c, err = p.Acquire(m.now, app, owner, opts)
		return c, err
	},
		func() (delta, error) { return m.naive.Acquire(m.now, app, owner, at, auto, false) })
	if !ok {
		return
	}
	m.holds(got)
	again, c, err := m.p.Acquire(m.now, app, owner, opts)
	require.NoError(m.t, err)
	require.True(m.t, c.Empty())
	require.Equal(m.t, got, again)
}

// holds checks what is to be found after an address was given out.
func (m *model) holds(got ipam.Assignment) {
	found, ok := m.p.Assignment(got.App, got.Owner)
	require.True(m.t, ok)
	require.Equal(m.t, got, found)
	for _, a := range got.Addrs {
		found, ok := m.p.Lookup(a)
		require.True(m.t, ok)
		require.Equal(m.t, got, found)
	}
	id := [2]string{got.App, got.Owner}
	require.GreaterOrEqual(m.t, got.Gen, m.gens[id])
	m.gens[id] = got.Gen
}

func (m *model) subnet(app string) {
	opts := &ipam.SubnetOptions{}
	switch m.n(4) {
	case 0:
		opts.Bits = 24 + m.n(8)
	case 1:
		for range 1 + m.n(2) {
			a := m.addr()
			opts.At = append(opts.At, netip.PrefixFrom(a, a.BitLen()-m.n(8)))
			if m.n(8) > 0 {
				opts.At[len(opts.At)-1] = opts.At[len(opts.At)-1].Masked()
			}
		}
	}
	m.log("subnet %s %+v", app, opts)
	var got ipam.Subnet
	_, had := m.p.SubnetOf(app)
	if ok := m.decide(func(p *ipam.Pool) (c ipam.Change, err error) { got, c, err = p.Subnet(m.now, app, opts); return c, err },
		func() (delta, error) { return m.naive.Subnet(m.now, app, opts.At, opts.Bits) }); ok {
		now, _ := m.p.SubnetOf(app)
		require.Equal(m.t, got, now)
		if !had {
			maps.DeleteFunc(m.gens, func(k [2]string, _ uint64) bool { return k[0] == app })
		}
	}
}

// check compares the whole state with the twin's.
func (m *model) check() {
	want := slices.Concat(slices.Collect(maps.Values(m.naive.addrs)), slices.Collect(maps.Values(m.naive.ranges)))
	slices.SortFunc(want, func(a, b ipam.Record) int { return strings.Compare(a.Key(), b.Key()) })
	got := state(m.p)
	if len(want)+len(got) > 0 {
		require.Equal(m.t, want, got)
	}
	for _, x := range m.p.Audit() {
		require.True(m.t, m.excluded && x.Kind == ipam.Excluded, "%+v", x)
	}
	require.NoError(m.t, ipam.Check(m.p))
	require.Equal(m.t, m.naive.Usage(""), m.p.Usage(""))
	for _, app := range modelApps {
		u := m.p.Usage(app)
		require.Equal(m.t, m.naive.Usage(app), u)
		require.Equal(m.t, u.Total, u.Live+u.Cooling+u.Reserved+u.Excluded+u.Free)
	}
	sound(m.t, got)
}

// sound checks records on their own: no two ranges meet, every address is in
// exactly one range of its app, no owner has two of a family.
func sound(tb testing.TB, records []ipam.Record) {
	tb.Helper()
	type holder struct {
		app, owner string
		f          int
	}
	var ranges []ipam.Record
	seen := map[netip.Addr]bool{}
	holders := map[holder]bool{}
	for _, r := range records {
		if r.IsRange() {
			require.False(tb, slices.ContainsFunc(ranges, func(o ipam.Record) bool { return o.Prefix.Overlaps(r.Prefix) }), "%v overlaps", r.Prefix)
			ranges = append(ranges, r)
		}
	}
	for _, r := range records {
		if r.IsRange() {
			continue
		}
		require.False(tb, seen[r.Addr], "%v twice", r.Addr)
		seen[r.Addr] = true
		i := slices.IndexFunc(ranges, func(o ipam.Record) bool { return o.Prefix.Contains(r.Addr) && o.App == r.App })
		require.GreaterOrEqual(tb, i, 0, "%v has no range", r.Addr)
		if r.Released.IsZero() {
			require.True(tb, ranges[i].Released.IsZero())
			h := holder{r.App, r.Owner, r.Addr.BitLen()}
			require.False(tb, holders[h], "%v has two addresses", h)
			holders[h] = true
		}
	}
}

// widen changes the Config under way: an exclusion is added, or a prefix.
func (m *model) widen() {
	cfg := m.cfg
	cfg.Exclude, cfg.Prefixes = slices.Clone(cfg.Exclude), slices.Clone(cfg.Prefixes)
	if a := m.addr(); len(cfg.Exclude) < 4 {
		p, err := a.Prefix(a.BitLen() - m.n(4))
		require.NoError(m.t, err)
		cfg.Exclude = append(cfg.Exclude, ipam.Exclusion{Prefix: p, Reason: "added later"})
		m.excluded = true
	} else {
		p := "10.9.0.0/27"
		switch four := slices.Contains(m.naive.families(), 32); {
		case !four, cfg.V6 == ipam.Independent && m.n(2) == 0:
			p = "fd00:9::/123"
		case four && cfg.V6 == ipam.Derived && m.n(2) == 0:
			p = "fd00:9::/48" // addresses get an IPv6 side
		}
		if p := netip.MustParsePrefix(p); !slices.Contains(cfg.Prefixes, p) {
			cfg.Prefixes = append(cfg.Prefixes, p)
		}
	}
	m.log("config %+v", cfg)
	records := state(m.p)
	m.cfg = cfg
	m.p = load(m.t, cfg, records)
	m.naive.cfg = spelt(cfg)
	m.naive.seen = time.Time{}
	for _, r := range records {
		if r.Released.After(m.naive.seen) {
			m.naive.seen = r.Released
		}
	}
	m.reload()
}

func TestModel(t *testing.T) {
	t.Parallel()
	for name, cfg := range modelConfigs() {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(name, "/seed=", seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, 1))
				m := newModel(t, cfg, rng.IntN)
				for i := range 3000 {
					m.step()
					if i%100 == 0 {
						m.check()
					}
				}
				m.check()
			})
		}
	}
}
