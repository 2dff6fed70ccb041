package dnszone_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
)

// naive answers from a plain list of records, as RFC 1034 section 4.3.2 and RFC
// 4592 tell it.
type naive struct {
	records map[string][]dnszone.Record // by owner
	exist   map[string]bool             // owners and empty non-terminals
	apexes  []string
}

func newNaive(set *dnszone.Set) *naive {
	n := &naive{records: map[string][]dnszone.Record{}, exist: map[string]bool{}}
	for z := range set.Zones() {
		n.apexes = append(n.apexes, z.Name())
		for r := range z.Records() {
			n.records[r.Name] = append(n.records[r.Name], r)
			for name := r.Name; ; _, name, _ = strings.Cut(name, ".") {
				n.exist[name] = true
				if name == z.Name() {
					break
				}
			}
		}
	}
	return n
}

func (n *naive) zone(name string) string {
	for _, a := range n.apexes {
		if name == a || strings.HasSuffix(name, "."+a) {
			return a
		}
	}
	return ""
}

// answer returns the rcode, the answer section and whether there is an SOA in
// the authority section.
func (n *naive) answer(name string, t dnszone.Type) (rcode dnszone.Rcode, answer []string, soa bool) {
	asked := name
	name = strings.ToLower(name)
	for range 8 {
		zone := n.zone(name)
		if zone == "" {
			if len(answer) > 0 {
				return dnszone.NoError, answer, false
			}
			return dnszone.Refused, nil, false
		}
		source := name
		for up := name; !n.exist[source]; {
			_, up, _ = strings.Cut(up, ".")
			if n.exist[up] {
				if source = "*." + up; !n.exist[source] {
					return dnszone.NXDomain, answer, true
				}
			}
		}
		var alias string
		was := len(answer)
		for _, r := range n.records[source] {
			if r.Type == t || r.Type == dnszone.TypeCNAME || t == dnszone.TypeANY {
				r.Name = asked
				answer = append(answer, r.String())
				if r.Type == dnszone.TypeCNAME && t != dnszone.TypeANY && t != r.Type {
					f := strings.Fields(r.String())
					alias = f[len(f)-1]
				}
			}
		}
		if len(answer) == was {
			return dnszone.NoError, answer, true
		}
		if alias == "" {
			return dnszone.NoError, answer, false
		}
		name, asked = alias, alias
	}
	return dnszone.NoError, answer, false
}

// unpack reads msg with the oracle and returns the sections as text.
func unpack(t *testing.T, msg []byte) (head dnsmessage.Header, answer, authority, extra []string) {
	t.Helper()
	var m dnsmessage.Message
	require.NoError(t, m.Unpack(msg))
	texts := func(list []dnsmessage.Resource) (out []string) {
		for _, r := range list {
			out = append(out, resourceText(t, r))
		}
		return out
	}
	return m.Header, texts(m.Answers), texts(m.Authorities), texts(m.Additionals)
}

func resourceText(t *testing.T, r dnsmessage.Resource) string {
	t.Helper()
	rec := dnszone.Record{Name: r.Header.Name.String(), Type: dnszone.Type(r.Header.Type), TTL: r.Header.TTL}
	name := func(n dnsmessage.Name) string { return dnszone.CNAMERecord("x", n.String()).Data }
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		rec.Data = string(b.A[:])
	case *dnsmessage.AAAAResource:
		rec.Data = string(b.AAAA[:])
	case *dnsmessage.PTRResource:
		rec.Data = name(b.PTR)
	case *dnsmessage.NSResource:
		rec.Data = name(b.NS)
	case *dnsmessage.CNAMEResource:
		rec.Data = name(b.CNAME)
	case *dnsmessage.TXTResource:
		rec.Data = dnszone.TXTRecord("x", b.TXT...).Data
	case *dnsmessage.SRVResource:
		rec.Data = dnszone.SRVRecord("x", b.Priority, b.Weight, b.Port, b.Target.String()).Data
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %d IN SOA %s %s %d %d %d %d %d", strings.ToLower(rec.Name), rec.TTL, b.NS, b.MBox, b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL)
	case *dnsmessage.OPTResource:
		return fmt.Sprintf("OPT %d %x %v", r.Header.Class, r.Header.TTL, b.Options)
	case *dnsmessage.UnknownResource:
		rec.Data = string(b.Data)
	default:
		require.Failf(t, "unexpected record", "%T", b)
	}
	return rec.String()
}

// richSet is a Set with a bit of everything.
func richSet(tb testing.TB) *dnszone.Set {
	tb.Helper()
	cfg := dnszone.Config{
		Suffixes: []string{"apn", "net.internal."},
		NS:       []dnszone.NameServer{{Name: "ns1", Addrs: addrs("10.1.16.53", "fd00::53")}, {Name: "ns.example.net"}},
		Mbox:     "hostmaster@example.com",
		Reverse:  []netip.Prefix{netip.MustParsePrefix("10.1.16.0/22"), netip.MustParsePrefix("fd00::/64")},
		Extra: []dnszone.Record{
			dnszone.TXTRecord("apn", "v=1"),
			dnszone.CNAMERecord("www.apn", "web.shop.apn"),
			dnszone.CNAMERecord("chain.apn", "WWW.apn"),
			dnszone.CNAMERecord("out.apn", "www.example.net"),
			dnszone.CNAMERecord("dead.apn", "nothing.shop.apn"),
			dnszone.CNAMERecord("nodata.apn", "mail.shop.apn"),
			dnszone.CNAMERecord("other.apn", "mail.shop.net.internal"),
			dnszone.SRVRecord("_http._tcp.shop.apn", 1, 2, 80, "web.shop.apn"),
			dnszone.AddrRecord("*.any.apn", netip.MustParseAddr("10.9.9.9")),
			dnszone.TXTRecord("x.any.apn", "here"),
			{Name: "blob.apn", Type: 65280, Data: "\x00\x01;\n"},
			dnszone.AddrRecord("db.apn", netip.MustParseAddr("10.9.9.1")), // the operator's own choice
		},
	}
	return mustBuild(tb, cfg,
		dnszone.Host{ID: "1", App: "shop", Name: "web", Addrs: addrs("10.1.16.1", "10.1.16.11", "fd00::1")},
		dnszone.Host{ID: "2", App: "shop", Name: "mail", Addrs: addrs("fd00::2"), Wildcard: true},
		dnszone.Host{ID: "3", App: "shop", Name: "db", Addrs: addrs("10.1.17.3")},
		dnszone.Host{ID: "4", App: "blog", Name: "db", Addrs: addrs("10.1.17.4")},
		dnszone.Host{ID: "5", App: "blog", Name: "shop", Addrs: addrs("10.1.17.4")},
	)
}

// TestReplyAgainstNaive asks about every name, its parents, its children and
// random mixtures.
func TestReplyAgainstNaive(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 5))
	sets := []*dnszone.Set{richSet(t)}
	for range 4 {
		var hosts []dnszone.Host
		for i := range 40 {
			hosts = append(hosts, randomHost(rng, fmt.Sprint(i), 10))
		}
		sets = append(sets, mustBuild(t, dnszone.Config{Reverse: fleetReverse}, hosts...))
	}
	types := []dnszone.Type{1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 65280, dnszone.TypeANY}
	for _, set := range sets {
		n := newNaive(set)
		var names []string
		for name := range n.exist {
			names = append(names, name)
		}
		slices.Sort(names)
		for i := range 4000 {
			name := names[rng.IntN(len(names))]
			if i < len(names) {
				name = names[i]
			}
			switch rng.IntN(6) {
			case 0:
				name = "x." + name
			case 1:
				name = "*." + name
			case 2:
				_, name, _ = strings.Cut(name, ".")
			case 3:
				name = "a.b." + name
			}
			name = strings.TrimSuffix(name, ".")
			if rng.IntN(3) == 0 {
				name = strings.ToUpper(name)
			}
			typ := types[rng.IntN(len(types))]
			reply, err := set.AppendReply(nil, ask(name, typ, rng.IntN(2) == 0), dnszone.TCP)
			require.NoError(t, err)
			head, answer, authority, _ := unpack(t, reply)
			rcode, want, soa := n.answer(name+".", typ)
			require.Equalf(t, rcode, dnszone.Rcode(head.RCode), "%q %s", name, typ)
			slices.Sort(want)
			slices.Sort(answer)
			require.Equalf(t, want, answer, "%q %s", name, typ)
			require.Equalf(t, soa, len(authority) == 1, "%q %s: %v", name, typ, authority)
			require.Equal(t, rcode != dnszone.Refused, head.Authoritative)

			look := set.Lookup(name+".", typ)
			require.Equal(t, rcode, look.Rcode)
			require.Len(t, look.Records, len(want))
		}
	}
}
