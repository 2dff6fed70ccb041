package ipam_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

// The benchmarks measure the full way of one command over a store in memory:
// decide, write the rows, apply. Every few commands the state is put back
// outside of the clock, so that the number of addresses stays what the name
// says. The naive twin takes the same way.

var sizes = []int{10, 1000, 10000, 60000, 1000000}

// ownerNames returns n names.
func ownerNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = prefix + strconv.Itoa(i)
	}
	return names
}

// filled returns a Config and the records of n owners in one subnet that has a
// little room left.
func filled(n int) (ipam.Config, []ipam.Record) {
	bits := 24
	for ipam.Usable(netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), bits)) < uint64(n)+batch+2 {
		bits--
	}
	p := netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), bits)
	records := make([]ipam.Record, 0, n+1)
	records = append(records, ipam.Record{App: "app", Prefix: p})
	names := ownerNames("server-", n)
	for a := p.Addr().Next().Next(); len(records) <= n; a = a.Next() {
		if last := a.As4()[3]; last != 0 && last != 255 {
			records = append(records, ipam.Record{App: "app", Owner: names[len(records)-1], Addr: a, Gen: 1})
		}
	}
	return ipam.Config{Prefixes: pfx("10.0.0.0/8"), CoolDown: 1, Reserve: 1, Subnet4: ipam.Bits{Default: 24, Min: 8, Max: 30}}, records
}

const batch = 64

// rows is the store.
type rows map[string]*ipam.Record

func (s rows) commit(c ipam.Change) {
	for _, st := range c.Steps {
		if st.After == nil {
			delete(s, st.Before.Key())
		} else {
			s[st.After.Key()] = st.After
		}
	}
}

// run measures command with name i over and over, and undoes a batch at a time.
// It has a clock of its own: to stop the benchmark's stops the world, and the
// allocator starts cold after it.
func run(b *testing.B, p *ipam.Pool, records []ipam.Record, name func(i int) string, command func(name string) (ipam.Change, error)) {
	b.Helper()
	store := rows{}
	for _, r := range records {
		store[r.Key()] = &r
	}
	names := make([]string, min(batch, len(records)-1))
	done := make([]ipam.Change, 0, len(names))
	var took time.Duration
	runtime.GC()
	for i := 0; b.Loop(); i++ {
		for k := range names {
			names[k] = name(i*len(names) + k)
		}
		began := time.Now()
		for _, name := range names {
			c, err := command(name)
			if err != nil {
				b.Fatal(err)
			}
			store.commit(c)
			if err := p.Apply(c); err != nil {
				b.Fatal(err)
			}
			done = append(done, c)
		}
		took += time.Since(began)
		for _, c := range slices.Backward(done) {
			store.commit(c.Inverse())
			if err := p.Apply(c.Inverse()); err != nil {
				b.Fatal(err)
			}
		}
		done = done[:0]
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*len(names)), "ns/op")
}

func BenchmarkAcquire(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			cfg, records := filled(n)
			p := load(b, cfg, records)
			run(b, p, records, func(i int) string { return "new-" + strconv.Itoa(i) }, func(name string) (ipam.Change, error) {
				_, c, err := p.Acquire(start, "app", name, nil)
				return c, err
			})
		})
	}
}

func BenchmarkRelease(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			cfg, records := filled(n)
			p := load(b, cfg, records)
			// All over the range; a batch names nobody twice.
			name := func(i int) string { return "server-" + strconv.Itoa(i*7919%n) }
			run(b, p, records, name, func(name string) (ipam.Change, error) {
				return p.Release(start, "app", name, 0)
			})
		})
	}
}

func BenchmarkNaive(b *testing.B) {
	for _, n := range sizes[:4] {
		cfg, records := filled(n)
		twin := newNaive(cfg)
		d := delta{}
		for _, r := range records {
			d.put(nil, &r)
		}
		twin.apply(d)
		for name, command := range map[string]func() (delta, error){
			"Acquire": func() (delta, error) { return twin.Acquire(start, "app", "new", netip.Addr{}, false, false) },
			"Release": func() (delta, error) { return twin.Release(start, "app", records[n].Owner, 0) },
		} {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				for b.Loop() {
					if _, err := command(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkCarve adds subnets to a pool in which every other /24 is held.
func BenchmarkCarve(b *testing.B) {
	const fragments = 32768
	b.Run(fmt.Sprint("fragments=", fragments), func(b *testing.B) {
		var records []ipam.Record
		for i := range fragments {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0})
			records = append(records, ipam.Record{App: fmt.Sprint("app-", i), Prefix: netip.PrefixFrom(a, 24)})
		}
		p := load(b, ipam.Config{Prefixes: pfx("10.0.0.0/8")}, records)
		run(b, p, records, func(i int) string { return "new-" + strconv.Itoa(i) }, func(name string) (ipam.Change, error) {
			_, c, err := p.Subnet(start, name, nil)
			return c, err
		})
	})
}

func BenchmarkLoad(b *testing.B) {
	const n = 1000000
	b.Run(strconv.Itoa(n), func(b *testing.B) {
		cfg, records := filled(n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var p *ipam.Pool
		for b.Loop() {
			p = load(b, cfg, records)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/address")
		runtime.KeepAlive(p)
		runtime.KeepAlive(records)
	})
}

func BenchmarkLookup(b *testing.B) {
	cfg, records := filled(60000)
	p := load(b, cfg, records)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := p.Lookup(records[1+i*7919%60000].Addr); !ok {
			b.Fatal("not found")
		}
		i++
	}
}

// TestMemory pins what an address costs besides its owner's name.
func TestMemory(t *testing.T) { // not parallel: it reads the size of the heap
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	cfg, records := filled(200000)
	before := heap()
	p := load(t, cfg, records)
	perAddress := float64(heap()-before) / 200000
	t.Logf("%.1f B per allocated address", perAddress)
	require.Less(t, perAddress, 100.0)
	runtime.KeepAlive(p)
	runtime.KeepAlive(records)

	// The bitmap reaches up to the highest address that is held.
	one := []ipam.Record{
		{App: "app", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		{App: "app", Owner: "last", Addr: netip.MustParseAddr("10.255.255.254"), Gen: 1},
	}
	before = heap()
	q := load(t, cfg, one)
	perUnused := float64(heap()-before) / (1 << 24)
	t.Logf("%.3f B per unused address", perUnused)
	require.Less(t, perUnused, 0.13)
	runtime.KeepAlive(q)
}
