package ipam_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/ipam"
)

// A caller that keeps its records in a map.
func Example() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg := ipam.Config{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd12:3456:789a::/48")},
		Exclude:  ipam.DefaultExclusions(),
	}
	pool, err := ipam.New(cfg)
	if err != nil {
		panic(err)
	}
	store := map[string]ipam.Record{}
	commit := func(c ipam.Change, err error) {
		if err != nil {
			panic(err)
		}
		for _, s := range c.Steps {
			if s.After == nil {
				delete(store, s.Before.Key())
			} else {
				store[s.After.Key()] = *s.After
			}
		}
		if err := pool.Apply(c); err != nil {
			panic(err)
		}
	}

	subnet, change, err := pool.Subnet(now, "shop", nil)
	commit(change, err)
	fmt.Println(subnet.Prefixes)
	for _, server := range []string{"web-1", "web-2"} {
		got, change, err := pool.Acquire(now, "shop", server, nil)
		commit(change, err)
		fmt.Println(got.Owner, got.Addrs)
	}
	who, _ := pool.Lookup(netip.MustParseAddr("fd12:3456:789a::a14:3"))
	fmt.Println("::a14:3 is", who.Owner)
	for r := range pool.Records() {
		fmt.Println(r.Key(), r.App, r.Owner)
	}
	// Output:
	// [10.20.0.0/24 fd12:3456:789a::a14:0/120]
	// web-1 [10.20.0.2 fd12:3456:789a::a14:2]
	// web-2 [10.20.0.3 fd12:3456:789a::a14:3]
	// ::a14:3 is web-2
	// a4-0a140002 shop web-1
	// a4-0a140003 shop web-2
	// r4-0a140000 shop
}

// shop returns a Pool with a subnet of the given length for the app "shop".
func shop(bits int) (*ipam.Pool, time.Time) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pool, err := ipam.New(ipam.Config{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}})
	if err != nil {
		panic(err)
	}
	_, change, err := pool.Subnet(now, "shop", &ipam.SubnetOptions{Bits: bits})
	if err != nil {
		panic(err)
	}
	if err := pool.Apply(change); err != nil {
		panic(err)
	}
	return pool, now
}

func ExamplePool_Subnet() {
	pool, now := shop(24)
	chosen := []netip.Prefix{netip.MustParsePrefix("10.20.5.0/24")}
	blog, _, err := pool.Subnet(now, "blog", &ipam.SubnetOptions{At: chosen})
	fmt.Println(blog.Prefixes, err)

	chosen[0] = netip.MustParsePrefix("10.20.0.128/25")
	_, _, err = pool.Subnet(now, "blog", &ipam.SubnetOptions{At: chosen})
	var overlap *ipam.OverlapError
	fmt.Println(errors.As(err, &overlap), overlap.Holder)
	fmt.Println(err)
	// Output:
	// [10.20.5.0/24] <nil>
	// true shop
	// ipam: subnet of "blog": 10.20.0.128/25 overlaps 10.20.0.0/24 of app "shop"
}

func ExamplePool_Grow() {
	pool, now := shop(26)
	grown, change, _ := pool.Grow(now, "shop", 200)
	fmt.Println(grown.Prefixes)
	for _, s := range change.Steps {
		fmt.Println(s.Before.Key(), s.Before.Prefix, "becomes", s.After.Prefix)
	}
	// Output:
	// [10.20.0.0/24]
	// r4-0a140000 10.20.0.0/26 becomes 10.20.0.0/24
}

func ExamplePool_Acquire() {
	pool, now := shop(30)
	got, change, _ := pool.Acquire(now, "shop", "web-1", nil)
	_ = pool.Apply(change)
	again, change, _ := pool.Acquire(now, "shop", "web-1", nil)
	fmt.Println(got.Addrs, again.Addrs, change.Empty())

	_, _, err := pool.Acquire(now, "shop", "web-2", nil)
	fmt.Println(errors.Is(err, ipam.ErrExhausted))
	next, change, _ := pool.Acquire(now, "shop", "web-2", &ipam.AcquireOptions{AutoGrow: true})
	fmt.Println(next.Addrs, "in", change.Steps[0].After.Prefix)
	// Output:
	// [10.20.0.2] [10.20.0.2] true
	// true
	// [10.20.0.3] in 10.20.0.0/29
}

func ExamplePool_Release() {
	pool, now := shop(30)
	first, change, _ := pool.Acquire(now, "shop", "web-1", nil)
	_ = pool.Apply(change)
	change, _ = pool.Release(now, "shop", "web-1", first.Gen)
	_ = pool.Apply(change)

	_, _, err := pool.Acquire(now.Add(time.Hour), "shop", "web-2", nil)
	fmt.Println(err)
	back, _, _ := pool.Acquire(now.Add(time.Hour), "shop", "web-1", nil)
	fmt.Println("web-1", back.Addrs, back.Gen)
	other, _, _ := pool.Acquire(now.Add(48*time.Hour), "shop", "web-2", nil)
	fmt.Println("web-2", other.Addrs, other.Gen)
	// Output:
	// ipam: acquire "web-2" in "shop": app "shop" exhausted: 0 live, 1 cooling, 3 reserved, next free at 2026-01-04T03:04:05Z
	// web-1 [10.20.0.2] 2
	// web-2 [10.20.0.2] 2
}

func ExamplePool_Move() {
	pool, now := shop(24)
	_, change, _ := pool.Acquire(now, "shop", "web-1", nil)
	_ = pool.Apply(change)
	moved, change, _ := pool.Move(now, "shop", "web-1", netip.MustParseAddr("10.20.0.77"))
	fmt.Println(moved.Addrs, moved.Gen, len(change.Steps), "records")
	// Output: [10.20.0.77] 2 2 records
}

func ExamplePool_ReleaseSubnet() {
	pool, now := shop(24)
	change, err := pool.ReleaseSubnet(now, "shop")
	fmt.Println(change.Steps[0].After.Released, err)
	_ = pool.Apply(change)
	fmt.Println(pool.Usage("").Cooling)
	// Output:
	// 2026-01-02 03:04:05 +0000 UTC <nil>
	// 256
}

func ExampleJoin() {
	pool, now := shop(24)
	var done []ipam.Change
	for i := range 1000 {
		_, change, err := pool.Acquire(now, "shop", fmt.Sprint("server-", i), &ipam.AcquireOptions{AutoGrow: true})
		if err != nil || pool.Apply(change) != nil {
			_ = pool.Apply(ipam.Join(done...).Inverse())
			return
		}
		done = append(done, change)
	}
	bulk := ipam.Join(done...)
	subnet, _ := pool.SubnetOf("shop")
	fmt.Println(len(bulk.Steps), "records,", subnet.Prefixes)

	// The commit fails: nothing has happened.
	_ = pool.Apply(bulk.Inverse())
	fmt.Println(pool.Usage("shop").Live, "live")
	// Output:
	// 1001 records, [10.20.0.0/22]
	// 0 live
}

func ExampleLoad() {
	cfg := ipam.Config{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}}
	records := []ipam.Record{
		{App: "shop", Owner: "web-1", Addr: netip.MustParseAddr("10.20.0.2"), Gen: 1},
		{App: "shop", Prefix: netip.MustParsePrefix("10.20.0.0/24")},
		{App: "blog", Prefix: netip.MustParsePrefix("10.20.0.128/25")},
	}
	pool, err := ipam.Load(cfg, len(records), func(yield func(ipam.Record) bool) {
		for _, r := range records {
			if !yield(r) {
				return
			}
		}
	})
	fmt.Println(err)
	for _, p := range pool.Audit() {
		fmt.Println(p.Kind, p.Detail)
	}
	// Output:
	// <nil>
	// overlap 10.20.0.128/25 overlaps 10.20.0.0/24 of app "shop"
}

func ExamplePool_Usage() {
	pool, now := shop(26)
	_, change, _ := pool.Acquire(now, "shop", "web-1", nil)
	_ = pool.Apply(change)
	fmt.Printf("%+v\n", pool.Usage("shop"))
	fmt.Println(pool.Usage("").Total, "in the pool")
	// Output:
	// {Total:64 Live:1 Cooling:0 Reserved:3 Excluded:0 Free:60}
	// 65536 in the pool
}

func ExamplePool_Assignments() {
	pool, now := shop(24)
	for _, server := range []string{"web-1", "web-2"} {
		_, change, _ := pool.Acquire(now, "shop", server, nil)
		_ = pool.Apply(change)
	}
	for s := range pool.Subnets() {
		for a := range pool.Assignments(s.App) {
			fmt.Println(s.App, a.Owner, a.Addrs)
		}
	}
	// Output:
	// shop web-1 [10.20.0.2]
	// shop web-2 [10.20.0.3]
}

// A row of another replica is applied on top of what is held.
func ExamplePool_Record() {
	pool, _ := shop(24)
	row := ipam.Record{App: "shop", Owner: "web-1", Addr: netip.MustParseAddr("10.20.0.2"), Gen: 1}
	step := ipam.Step{After: &row}
	if before, ok := pool.Record(row.Key()); ok {
		step.Before = &before
	}
	fmt.Println(pool.Apply(ipam.Change{Steps: []ipam.Step{step}}))
	fmt.Println(pool.Assignment("shop", "web-1"))
	// Output:
	// <nil>
	// {shop web-1 [10.20.0.2] 1} true
}

func ExampleUsable() {
	for _, s := range []string{"10.0.0.0/24", "10.0.0.0/23", "10.0.0.0/31", "fd00::/126"} {
		fmt.Println(s, ipam.Usable(netip.MustParsePrefix(s)))
	}
	// Output:
	// 10.0.0.0/24 254
	// 10.0.0.0/23 508
	// 10.0.0.0/31 2
	// fd00::/126 3
}

func ExampleRandomULA() {
	p, err := ipam.RandomULA(bytes.NewReader([]byte{0x12, 0x34, 0x56, 0x78, 0x9a})) // crypto/rand.Reader
	fmt.Println(p, err)
	// Output: fd12:3456:789a::/48 <nil>
}

func ExampleRandomPool4() {
	p, err := ipam.RandomPool4(bytes.NewReader([]byte{66}), 16) // crypto/rand.Reader
	fmt.Println(p, err)
	// Output: 10.66.0.0/16 <nil>
}

func ExampleDerive6() {
	a, err := ipam.Derive6(netip.MustParsePrefix("fd12:3456:789a::/48"), netip.MustParseAddr("10.20.0.2"))
	fmt.Println(a, err)
	// Output: fd12:3456:789a::a14:2 <nil>
}

// Two sites use 10.1.2.0/24 behind their servers.
func ExampleVia() {
	base := netip.MustParsePrefix("fd12:3456:789a:4::/64")
	for site := range uint32(2) {
		via, _ := ipam.Via(base, site, netip.MustParsePrefix("10.1.2.0/24"))
		site, v4, _ := ipam.FromVia(base, via)
		fmt.Println(via, site, v4)
	}
	// Output:
	// fd12:3456:789a:4::a01:200/120 0 10.1.2.0/24
	// fd12:3456:789a:4:0:1:a01:200/120 1 10.1.2.0/24
}

func ExampleDefaultExclusions() {
	for _, x := range ipam.DefaultExclusions()[:2] {
		fmt.Println(x.Prefix, x.Reason)
	}
	// Output:
	// 10.42.0.0/15 k3s pods and services
	// 10.96.0.0/12 Kubernetes services (kubeadm)
}
