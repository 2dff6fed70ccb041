package apn_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
	"github.com/apnkit/apnkit/keys"
)

// twin is the plain model of a network.
type twin struct {
	apps    map[string]map[string]netip.Addr // app -> server -> IPv4 address
	roles   map[string]map[string]apn.Role   // member -> app
	devices map[string]map[string]bool       // member -> device
	rests   map[netip.Addr]rest              // released addresses
	leases  map[string]time.Time             // app/member -> end
}

type rest struct {
	owner string
	until time.Time
}

// runModel gives random commands to a network and to its twin, and compares
// after each: results, reach, addresses. Each command goes to one of the
// replicas, whose store has faults. It reopens the network at times.
func runModel(tb testing.TB, seed uint64, steps, replicas int, faults storetest.Faults) {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	clk := newClock()
	mem := store.NewMem()
	_, err := open(tb, mem, withClock(clk)).CreateNetwork(tb.Context(), "acme", testPool())
	require.NoError(tb, err)
	st := storetest.NewChaos(mem, seed, faults)
	all := make([]*apn.Network, replicas)
	for i := range all {
		all[i] = openPatiently(tb, open(tb, st, withClock(clk)))
	}
	w := &twin{
		apps: map[string]map[string]netip.Addr{}, roles: map[string]map[string]apn.Role{},
		devices: map[string]map[string]bool{}, rests: map[netip.Addr]rest{}, leases: map[string]time.Time{},
	}
	var trace []string
	last := all[0] // has seen every command
	pick := func(kind string, of int) string { return fmt.Sprintf("%s%d", kind, rnd.IntN(of)) }
	for range steps {
		app, server, member, device := pick("app", 4), pick("s", 12), pick("m", 3), pick("d", 2)
		op := rnd.IntN(14)
		trace = append(trace, fmt.Sprintf("%d %s %s %s %s", op, app, server, member, device))
		if len(trace) > 20 {
			trace = trace[1:]
		}
		fail := func(format string, args ...any) {
			tb.Fatalf("seed %d, last steps %q: %s", seed, trace, fmt.Sprintf(format, args...))
		}
		var got, want error
		ctx := tb.Context()
		at := rnd.IntN(replicas)
		n := all[at]
		switch op {
		case 0:
			want = exists(w.apps, app)
			if _, got = n.AddApp(ctx, app, nil); got == nil {
				w.apps[app] = map[string]netip.Addr{}
			}
		case 1:
			if rnd.IntN(4) > 0 {
				continue
			}
			want = missing(w.apps, app)
			got = n.RemoveApp(ctx, app, &apn.RemoveAppOptions{Servers: true})
			if got == nil {
				for server, a := range w.apps[app] {
					w.rests[a] = rest{app + "/" + server, clk.now().Add(48 * time.Hour)}
				}
				delete(w.apps, app)
				for m := range w.roles {
					delete(w.roles[m], app)
					delete(w.leases, app+"/"+m)
				}
			}
		case 2, 3, 4, 5:
			if want = missing(w.apps, app); want == nil {
				want = exists(w.apps[app], server)
			}
			var s apn.Server
			if s, got = n.AddServer(ctx, app, server, nil); got == nil {
				a := s.Addresses[0]
				if r, ok := w.rests[a]; ok && clk.now().Before(r.until) && r.owner != app+"/"+server {
					fail("%v was reissued before %v", a, r.until)
				}
				delete(w.rests, a)
				w.apps[app][server] = a
			}
		case 6:
			want = missing(w.apps[app], server)
			if got = n.RemoveServer(ctx, app, server, nil); got == nil {
				w.rests[w.apps[app][server]] = rest{app + "/" + server, clk.now().Add(48 * time.Hour)}
				delete(w.apps[app], server)
			}
		case 7:
			want = missing(w.apps[app], server)
			_, got = n.RotateServer(ctx, app, server, keys.PublicKey{}, nil)
		case 8:
			want = exists(w.roles, member)
			if _, got = n.AddMember(ctx, member, nil); got == nil {
				w.roles[member], w.devices[member] = map[string]apn.Role{}, map[string]bool{}
			}
		case 9:
			if want = missing(w.roles, member); want == nil {
				want = missing(w.apps, app)
			}
			role := apn.Role(rnd.IntN(4))
			if got = n.SetRole(ctx, member, app, role, nil); got == nil {
				w.roles[member][app] = role
				if role < apn.Developer {
					delete(w.leases, app+"/"+member)
				}
			}
		case 10:
			if want = missing(w.roles, member); want == nil {
				want = exists(w.devices[member], device)
			}
			if _, got = n.AddDevice(ctx, member, device, nil); got == nil {
				w.devices[member][device] = true
			}
		case 11:
			want = missing(w.devices[member], device)
			if got = n.RemoveDevice(ctx, member, device, nil); got == nil {
				delete(w.devices[member], device)
			}
		case 12:
			switch {
			case w.apps[app] == nil || w.roles[member] == nil:
				want = apn.ErrNotFound
			case w.roles[member][app] < apn.Developer:
				want = apn.ErrForbidden
			}
			if _, got = n.Lease(ctx, app, member, []netip.Addr{addr("198.51.100.9")}, nil); got == nil {
				w.leases[app+"/"+member] = clk.now().Add(24 * time.Hour)
			}
		case 13:
			clk.advance(time.Duration(rnd.IntN(10)) * time.Hour)
			if rnd.IntN(4) == 0 {
				before := dump(tb, last)
				all[at] = openPatiently(tb, open(tb, st, withClock(clk)))
				require.Equal(tb, before, dump(tb, all[at]), "seed %d", seed)
			}
			n = last
		}
		last = n
		if !errors.Is(got, want) || (want == nil) != (got == nil) {
			fail("got %v, want %v", got, want)
		}
		w.compare(tb, n, clk.now(), fail)
	}
	servers := 0
	for _, list := range w.apps {
		servers += len(list)
	}
	st.Calm(tb.Context())
	requireSound(tb, last, servers)
	v, err := open(tb, mem).Verify(tb.Context(), "acme")
	require.NoError(tb, err, "seed %d", seed)
	require.Empty(tb, v.Problems, "seed %d", seed)
}

// TestModelOfReplicas runs the model on replicas over a store that fails, loses
// acknowledgements and answers late. Commands resolve all of that by themselves.
func TestModelOfReplicas(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		runModel(t, seed, 1500, 3, storetest.Faults{Compacted: 0.02, Conflict: 0.1, Before: 0.05, After: 0.1, Late: 0.05, Wait: 0.1})
	})
}

func exists[V any](m map[string]V, name string) error {
	if _, ok := m[name]; ok {
		return apn.ErrExists
	}
	return nil
}

func missing[V any](m map[string]V, name string) error {
	if _, ok := m[name]; !ok {
		return apn.ErrNotFound
	}
	return nil
}

func (w *twin) compare(tb testing.TB, n *apn.Network, now time.Time, fail func(string, ...any)) {
	tb.Helper()
	apps, _ := n.Apps(nil)
	if len(apps) != len(w.apps) {
		fail("%d apps, want %d", len(apps), len(w.apps))
	}
	for _, app := range apps {
		list, _, err := n.Servers(app.Name, nil)
		require.NoError(tb, err)
		if len(list) != len(w.apps[app.Name]) {
			fail("%d servers in %s, want %d", len(list), app.Name, len(w.apps[app.Name]))
		}
		for _, s := range list {
			if s.Addresses[0] != w.apps[app.Name][s.Name] {
				fail("%s/%s moved from %v to %v", app.Name, s.Name, w.apps[app.Name][s.Name], s.Addresses[0])
			}
			if !slices.ContainsFunc(app.Subnets, func(p netip.Prefix) bool { return p.Contains(s.Addresses[0]) }) {
				fail("%v is outside of %v", s.Addresses[0], app.Subnets)
			}
		}
		leases, err := n.Leases(app.Name)
		require.NoError(tb, err)
		live := 0
		for m := range w.roles {
			if w.leases[app.Name+"/"+m].After(now) {
				live++
			}
		}
		if len(leases) != live {
			fail("%d leases of %s, want %d", len(leases), app.Name, live)
		}
	}
	for m, devices := range w.devices {
		reach := 0
		for app, role := range w.roles[m] {
			if role >= apn.Developer {
				reach += len(w.apps[app])
			}
		}
		for d := range devices {
			got, err := n.Device(m, d)
			require.NoError(tb, err)
			if got.Servers != reach {
				fail("%s/%s has %d peers, want %d", m, d, got.Servers, reach)
			}
		}
	}
}
