package leasetest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/apnkit/apnkit/lease"
)

// Senders returns the addresses that the kit knocks from: of documentation
// prefixes, some of them neighbours.
func Senders() []netip.Addr {
	list := make([]netip.Addr, 0, len(senders))
	for _, a := range senders {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

const (
	ada = iota
	bob
	eve
	ada6
	ada6b // in the /64 of ada6
	bob6  // in the next one
	eve6
)

var senders = [...]string{ //nolint:gochecknoglobals // never written
	ada: "198.51.100.7", bob: "198.51.100.8", eve: "192.0.2.66",
	ada6: "2001:db8:0:1::7", ada6b: "2001:db8:0:1:ffff::8", bob6: "2001:db8:0:2::7", eve6: "2001:db8:666::6",
}

func at(who int) netip.Addr { return netip.MustParseAddr(senders[who]) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

const long = time.Hour

func checks() []check {
	return []check{
		{"StartsClosed", func(k *kit) { k.out(Senders()...) }},
		{"LetsInOneAddress", func(k *kit) {
			k.apply(k.lease(at(ada), long))
			k.in(at(ada))
			k.out(at(bob), at(eve), at(ada6))
		}},
		{"LetsInOneSite6", func(k *kit) {
			k.apply(k.lease(at(ada6), long))
			k.in(at(ada6), at(ada6b))
			k.out(at(bob6), at(eve6), at(ada))
		}},
		{"EndsByItself", func(k *kit) { endsByItself(k, ada) }},
		{"EndsByItself6", func(k *kit) { endsByItself(k, ada6b) }},
		{"Renews", func(k *kit) {
			k.apply(k.lease(at(ada), time.Second), k.lease(at(bob), long))
			k.in(at(ada))
			l := k.lease(at(ada), 1600*time.Millisecond)
			k.apply(l, k.lease(at(bob), long))
			k.ends(at(ada), l.ExpiresAt)
			k.in(at(bob))
		}},
		{"Shortens", func(k *kit) {
			k.apply(k.lease(at(ada), long), k.lease(at(ada6), long))
			k.in(at(ada))
			l, l6 := k.lease(at(ada), 700*time.Millisecond), k.lease(at(ada6), 700*time.Millisecond)
			k.apply(l, l6)
			k.ends(at(ada), l.ExpiresAt)
			k.out(at(ada6))
		}},
		{"DoesNotLengthen", func(k *kit) {
			l := k.lease(at(ada), 1200*time.Millisecond)
			for k.Now().Before(l.ExpiresAt.Add(-200 * time.Millisecond)) {
				k.apply(l)
				k.in(at(ada))
			}
			k.ends(at(ada), l.ExpiresAt)
		}},
		{"Revokes", func(k *kit) {
			k.apply(k.lease(at(ada), long), k.lease(at(bob), long), k.lease(at(ada6), long))
			k.in(at(ada), at(bob), at(ada6))
			k.apply(k.lease(at(bob), long))
			k.out(at(ada), at(ada6))
			k.in(at(bob))
			k.apply()
			k.out(at(bob))
		}},
		{"Permanent", func(k *kit) {
			l := k.lease(at(eve), 500*time.Millisecond)
			k.apply(prefix("198.51.100.0/25"), prefix("2001:db8::/62"), l)
			k.ends(at(eve), l.ExpiresAt)
			k.in(at(ada), at(bob), at(ada6), at(ada6b), at(bob6))
			k.out(at(eve), at(eve6))
			k.apply(prefix("198.51.100.8/32"), prefix("2001:db8:0:2::/64"))
			k.in(at(bob), at(bob6))
			k.out(at(ada), at(ada6))
		}},
		{"PermanentBesideLease", func(k *kit) {
			l := k.lease(at(ada), 500*time.Millisecond)
			k.apply(prefix("198.51.100.7/32"), l)
			k.apply(prefix("198.51.100.7/32"), k.lease(at(bob), long)) // only the lease goes
			k.in(at(ada))
			k.apply(k.lease(at(ada), long)) // only the rule goes
			k.in(at(ada))
		}},
		{"PermanentForAll", func(k *kit) {
			k.apply(prefix("0.0.0.0/0"), prefix("::/0"))
			k.in(Senders()...)
			k.apply(prefix("0.0.0.0/0"))
			k.in(at(eve))
			k.out(at(eve6))
			k.apply(prefix("128.0.0.0/1"), prefix("8000::/1")) // up to the last address
			k.in(at(eve))
			k.out(at(eve6))
		}},
		{"IsTheWholeSet", func(k *kit) {
			k.apply(k.lease(at(ada), long), prefix("2001:db8:666::/48"))
			k.apply(k.lease(at(bob), long), k.lease(at(ada6), long), prefix("192.0.2.0/24"))
			k.in(at(bob), at(ada6), at(eve))
			k.out(at(ada), at(eve6))
		}},
		{"EndedIsOut", func(k *kit) {
			k.apply(k.lease(at(ada), long))
			k.apply(k.lease(at(ada), 0), k.lease(at(bob), -long), k.lease(at(ada6), time.Microsecond), k.lease(at(bob6), long))
			k.out(at(ada), at(bob), at(ada6))
			k.in(at(bob6))
		}},
		{"FailsWhole", failsWhole},
		{"CancelledChangesNothing", func(k *kit) {
			k.apply(k.lease(at(ada), long))
			ctx, cancel := context.WithCancel(k.Context())
			cancel()
			k.refused(ctx, "a cancelled context", openings([]any{k.lease(at(bob), long)}))
			k.in(at(ada))
			k.out(at(bob))
		}},
		{"KeepsNoSlice", func(k *kit) {
			o := openings([]any{k.lease(at(ada), long), prefix("192.0.2.0/24")})
			for _, who := range []int{ada, bob} { // the second time in the same memory
				o.Leases[0] = k.lease(at(who), long)
				if err := k.Firewall.Apply(k.Context(), o); err != nil {
					k.Fatalf("Apply: %v", err)
				}
			}
			k.in(at(bob), at(eve))
			k.out(at(ada))
			o.Permanent[0] = prefix("203.0.113.0/24")
			if err := k.Firewall.Apply(k.Context(), o); err != nil {
				k.Fatalf("Apply: %v", err)
			}
			k.out(at(eve))
		}},
		{"Many", many},
		{"Concurrent", concurrent},
	}
}

func endsByItself(k *kit, who int) {
	l := k.lease(at(who), time.Second)
	k.apply(l)
	k.in(at(who))
	k.ends(at(who), l.ExpiresAt)
	k.out(at(who))
	k.apply(k.lease(at(who), long))
	k.in(at(who))
}

func failsWhole(k *kit) {
	k.apply(k.lease(at(ada), long), prefix("192.0.2.0/24"))
	ctx := k.Context()
	good := k.lease(at(bob), long)
	for why, bad := range map[string]netip.Prefix{
		"a lease for a subnet":        prefix("198.51.100.8/31"),
		"a lease for one IPv6 host":   prefix("2001:db8:0:2::7/128"),
		"a lease for a mapped source": netip.PrefixFrom(netip.MustParseAddr("::ffff:198.51.100.8"), 128),
		"a lease for no source":       {},
	} {
		k.refused(ctx, why, lease.Openings{Leases: []lease.Opening{good, {Source: bad, ExpiresAt: good.ExpiresAt}}})
	}
	k.refused(ctx, "a lease without an end", lease.Openings{Leases: []lease.Opening{{Source: good.Source}}})
	k.refused(ctx, "a source twice", lease.Openings{Leases: []lease.Opening{good, good}})
	k.refused(ctx, "a rule with host bits", lease.Openings{Leases: []lease.Opening{good}, Permanent: []netip.Prefix{prefix("198.51.100.8/24")}})
	k.in(at(ada), at(eve))
	k.out(at(bob))
	k.apply(good)
	k.in(at(bob))
	k.out(at(ada), at(eve))
}

// many sets more than fits into one message of most kernels, changes one of
// them, then all.
func many(k *kit) {
	const n = 3000
	var list []any
	for i := range n {
		list = append(list, k.lease(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), long))
		list = append(list, prefix(fmt.Sprintf("10.%d.%d.0/25", i>>8, i&0xff)))
	}
	k.apply(list...)
	k.out(at(ada), at(ada6))
	k.apply(append(list, k.lease(at(ada), long), k.lease(at(ada6), long))...)
	k.in(at(ada), at(ada6))
	k.out(at(bob))
	k.apply(list...)
	k.out(at(ada), at(ada6))
	k.apply(k.lease(at(bob), long))
	k.in(at(bob))
}

// concurrent wants the last Apply to win, whatever went on before.
func concurrent(k *kit) {
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				o := openings([]any{k.lease(at(ada+(g+i)%3), long)})
				if err := k.Firewall.Apply(k.Context(), o); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		k.Fatalf("Apply: %v", err)
	default:
	}
	k.apply(k.lease(at(bob6), long))
	k.in(at(bob6))
	k.out(at(ada), at(bob), at(eve))
}
