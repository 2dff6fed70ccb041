package dnsserver_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

// summary is what two servers must agree on: outcome, flags and sections. The
// order of records and the use of compression are their own business.
func summary(t *testing.T, msg []byte) string {
	t.Helper()
	r := reader{t: t, msg: msg, at: 12}
	var b strings.Builder
	fmt.Fprintf(&b, "rcode %d flags %x", rcode(msg), binary.BigEndian.Uint16(msg[2:])&^15)
	for range r.count(4) {
		r.name()
		r.at += 4
	}
	for section := 6; section < 12; section += 2 {
		var list []string
		for range r.count(section) {
			if rr := r.record(); section < 10 || strings.HasPrefix(rr, "OPT") {
				list = append(list, "\n  "+rr)
			}
		}
		slices.Sort(list)
		fmt.Fprintf(&b, "\n %d:%s", len(list), strings.Join(list, ""))
	}
	return b.String()
}

// reader reads a message without the oracle, which refuses some names.
type reader struct {
	t   *testing.T
	msg []byte
	at  int
}

func (r *reader) count(at int) uint16 { return binary.BigEndian.Uint16(r.msg[at:]) }

func (r *reader) name() string {
	var b strings.Builder
	back := -1
	for {
		require.Less(r.t, r.at, len(r.msg))
		c := int(r.msg[r.at])
		if c >= 0xc0 {
			if back < 0 {
				back = r.at + 2
			}
			r.at = int(r.count(r.at)) & 0x3fff
			continue
		}
		r.at++
		if c == 0 {
			break
		}
		fmt.Fprintf(&b, "%q", strings.ToLower(string(r.msg[r.at:r.at+c])))
		r.at += c
	}
	if back >= 0 {
		r.at = back
	}
	return b.String()
}

func (r *reader) record() string {
	owner := r.name()
	typ, ttl := dnszone.Type(r.count(r.at)), binary.BigEndian.Uint32(r.msg[r.at+4:])
	end := r.at + 10 + int(r.count(r.at+8))
	r.at += 10
	if typ == 41 {
		r.at = end
		return fmt.Sprintf("OPT %x", ttl)
	}
	text := fmt.Sprint(owner, ttl, typ)
	names := map[dnszone.Type]int{dnszone.TypeNS: 1, dnszone.TypeCNAME: 1, dnszone.TypePTR: 1, dnszone.TypeSOA: 2, dnszone.TypeSRV: 1}
	if typ == dnszone.TypeSRV {
		text += fmt.Sprintf(" %x", r.msg[r.at:r.at+6])
		r.at += 6
	}
	for range names[typ] {
		text += " " + r.name()
	}
	text += fmt.Sprintf(" %x", r.msg[r.at:end])
	r.at = end
	return text
}

// differentialSet has one of everything that the others can serve as well.
func differentialSet(t *testing.T, rng *rand.Rand) *dnszone.Set {
	t.Helper()
	cfg := dnszone.Config{
		NS:      []dnszone.NameServer{{Name: "ns1", Addrs: addrs("10.1.16.53", "fd00::53")}, {Name: "ns.example.net"}},
		Reverse: prefixes("10.1.16.0/23", "fd00::/64"),
		Extra: []dnszone.Record{
			dnszone.TXTRecord("apn", "v=1"),
			dnszone.CNAMERecord("www.apn", "web.shop.apn"),
			dnszone.CNAMERecord("chain.apn", "www.apn"),
			dnszone.CNAMERecord("out.apn", "www.example.net"),
			dnszone.CNAMERecord("dead.apn", "nothing.shop.apn"),
			dnszone.CNAMERecord("nodata.apn", "mail.shop.apn"),
			dnszone.CNAMERecord("*.alias.apn", "web.shop.apn"),
			dnszone.SRVRecord("_http._tcp.shop.apn", 1, 2, 80, "web.shop.apn"),
			dnszone.AddrRecord("*.any.apn", netip.MustParseAddr("10.9.9.9")),
			dnszone.TXTRecord("x.any.apn", "here"),
			dnszone.TXTRecord(`a\.b.apn`, "an inner dot"),
			{Name: "blob.apn", Type: 65280, Data: "\x00\x01;\n"},
		},
	}
	hosts := testHosts()
	for i := range 40 {
		h := dnszone.Host{
			ID: fmt.Sprint("r", i), App: []string{"shop", "blog", "crm", "web"}[rng.IntN(4)], Name: fmt.Sprint("n", rng.IntN(40)),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 16, byte(100 + i)})}, Wildcard: rng.IntN(5) == 0,
		}
		for range rng.IntN(3) {
			h.Addrs = append(h.Addrs, netip.AddrFrom16([16]byte{0xfd, 14: byte(rng.IntN(4)), 15: byte(rng.IntN(40))}))
		}
		hosts = append(hosts, h)
	}
	var many []netip.Addr
	for i := range 16 {
		many = append(many, netip.AddrFrom16([16]byte{0xfd, 1, 15: byte(i + 1)}))
	}
	hosts = append(hosts, dnszone.Host{ID: "many", App: "crm", Name: "many", Addrs: many}) // more than 512 octets, with a question
	return build(t, cfg, 7, hosts...)
}

func edns(query []byte, size uint16, version, flags byte, options ...byte) []byte {
	query = slices.Clone(query)
	query[11]++
	query = append(query, 0, 0, 41, byte(size>>8), byte(size), 0, version, flags, 0, 0, byte(len(options)))
	return append(query, options...)
}

// fixedCases are the queries that name servers are known to differ on.
func fixedCases() map[string][]byte {
	with := func(query []byte, change func(b []byte)) []byte {
		change(query)
		return query
	}
	class := func(c byte) func([]byte) { return func(b []byte) { b[len(b)-1] = c } }
	opcode := func(o byte) func([]byte) { return func(b []byte) { b[2] |= o << 3 } }
	return map[string][]byte{
		"A":               ask("web.apn", 1),
		"mixed case":      ask("WeB.sHoP.aPn", 1),
		"NODATA":          ask("web.apn", 15),
		"ENT":             ask("shop.apn", 1),
		"NXDOMAIN":        ask("nothing.apn", 1),
		"below a leaf":    ask("x.web.apn", 1),
		"HTTPS":           ask("web.apn", 65),
		"type 65280":      ask("blob.apn", 65280),
		"apex SOA":        ask("apn", 6),
		"apex NS":         ask("apn", 2),
		"apex A":          ask("apn", 1),
		"name server":     ask("ns1.apn", 28),
		"out of zone":     ask("www.example.com", 1),
		"root NS":         ask(".", 2),
		"CH":              with(ask("version.bind", 16), class(3)),
		"EDNS":            edns(ask("web.apn", 1), 4096, 0, 0),
		"EDNS 1":          edns(ask("web.apn", 1), 4096, 1, 0),
		"DO":              edns(ask("web.apn", 1), 4096, 0, 0x80),
		"unknown option":  edns(ask("web.apn", 1), 4096, 0, 0, 255, 250, 0, 2, 1, 2),
		"NXDOMAIN EDNS":   edns(ask("nothing.apn", 1), 1232, 0, 0),
		"too big":         ask("many.crm.apn", 28),
		"too big for 600": edns(ask("many.crm.apn", 28), 600, 0, 0),
		"fits 1232":       edns(ask("many.crm.apn", 28), 1232, 0, 0),
		"NOTIFY":          with(ask("apn", 6), opcode(4)),
		"UPDATE":          with(ask("apn", 6), opcode(5)),
		"STATUS":          with(ask("apn", 6), opcode(2)),
		"AXFR":            ask("apn", 252),
		"IXFR":            ixfr("apn", 1),
		"inner dot":       ask(`a\.b.apn`, 16),
		"inner dot, none": ask(`web\.shop.apn`, 1),
		"alias":           ask("www.apn", 28),
		"alias itself":    ask("www.apn", 5),
		"chain":           ask("chain.apn", 1),
		"alias out":       ask("out.apn", 1),
		"alias dead":      ask("dead.apn", 1),
		"alias NODATA":    ask("nodata.apn", 1),
		"alias wildcard":  ask("q.alias.apn", 1),
		"wildcard":        ask("q.any.apn", 1),
		"wildcard NODATA": ask("q.any.apn", 28),
		"wildcard, ENT":   ask("any.apn", 1),
		"wildcard, leaf":  ask("x.any.apn", 1),
		"wildcard name":   ask("*.any.apn", 1),
		"below wildcard":  ask("y.*.any.apn", 1),
		"SRV":             ask("_http._tcp.shop.apn", 33),
		"PTR":             ask("1.16.1.10.in-addr.arpa", 12),
		"PTR none":        ask("99.17.1.10.in-addr.arpa", 12),
		"ip6.arpa ENT":    ask("0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", 12),
		"two questions":   with(append(ask("web.apn", 1), ask("web.apn", 1)[12:]...), func(b []byte) { b[5] = 2 }),
		"no question":     with(ask("web.apn", 1)[:12], func(b []byte) { b[5] = 0 }),
		"RD clear":        with(ask("web.apn", 1), func(b []byte) { b[2] = 0 }),
		"AD, Z set":       with(ask("web.apn", 1), func(b []byte) { b[3] = 0x60 }),
	}
}

// ixfr asks for what changed since serial.
func ixfr(zone string, serial uint32) []byte {
	q := ask(zone, dnszone.TypeIXFR)
	q[9] = 1
	q = append(q, 0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0)
	q = append(q, byte(serial>>24), byte(serial>>16), byte(serial>>8), byte(serial))
	return append(q, make([]byte, 16)...)
}

// choices are the cases in which one of the others differs from us, and how.
var choices = map[string]map[string]string{
	"knotd": {
		"udp AXFR":          "NOTIMP",
		"tcp AXFR":          "NOTAUTH to whom it does not know; we refuse",
		"udp IXFR":          "NOTAUTH to whom it does not know; we refuse",
		"tcp IXFR":          "NOTAUTH to whom it does not know; we refuse",
		"udp CH":            "tells its version; we refuse",
		"tcp CH":            "tells its version; we refuse",
		"udp NOTIFY":        "NOTAUTH to whom it does not know; we have no primary",
		"tcp NOTIFY":        "NOTAUTH to whom it does not know; we have no primary",
		"udp UPDATE":        "NOTAUTH to whom it does not know; we take none",
		"tcp UPDATE":        "NOTAUTH to whom it does not know; we take none",
		"udp two questions": "no reply; RFC 9619 says FORMERR",
		"tcp two questions": "no reply; RFC 9619 says FORMERR",
	},
	"nsd": {
		"udp AXFR":          "NOTIMP",
		"udp CH":            "tells its version; we refuse",
		"tcp CH":            "tells its version; we refuse",
		"udp NOTIFY":        "refuses whom it does not know; we have no primary",
		"tcp NOTIFY":        "refuses whom it does not know; we have no primary",
		"udp two questions": "clears RD in the error",
		"tcp two questions": "clears RD in the error",
		"tcp no question":   "no reply",
	},
}

// TestDifferential asks our server and those of others the same questions, over
// both transports, with the zones loaded from our files.
func TestDifferential(t *testing.T) {
	t.Parallel()
	for _, daemon := range daemons {
		t.Run(daemon, func(t *testing.T) {
			t.Parallel()
			tool(t, daemon)
			rng := rand.New(rand.NewPCG(4, 4))
			set := differentialSet(t, rng)
			ours := serve(t, source(set), nil)
			theirs := freePort(t)
			start(t, daemon, theirs, zoneFiles(t, set)...)
			for z := range set.Zones() {
				await(t, theirs, z.Name(), 7)
			}
			patience := time.Second
			compare := func(what string, query []byte) {
				for via, network := range []string{"udp", "tcp"} {
					want := "no reply"
					if msg, err := tryExchange(t, network, theirs, query, patience); err == nil {
						want = summary(t, msg)
					}
					got := summary(t, exchange(t, dnszone.Transport(via), ours, query))
					what := network + " " + what
					if reason, ok := choices[daemon][what]; ok != (want != got) {
						t.Errorf("%s (%s)\n%s: %s\nours: %s", what, reason, daemon, want, got)
					}
				}
			}
			for what, query := range fixedCases() {
				compare(what, query)
			}
			patience = 10 * time.Second
			var names []string
			for z := range set.Zones() {
				for r := range z.Records() {
					names = append(names, r.Name)
				}
			}
			types := []dnszone.Type{1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 257, 65280}
			for range 1500 {
				name := names[rng.IntN(len(names))]
				switch rng.IntN(6) {
				case 0:
					name = "x." + name
				case 1:
					name = "a.b." + name
				case 2:
					_, name, _ = strings.Cut(name, ".")
				case 3:
					name = "*." + name
				}
				typ := types[rng.IntN(len(types))]
				query := ask(name, typ)
				if rng.IntN(2) == 0 {
					query = edns(query, []uint16{0, 512, 1232, 4096}[rng.IntN(4)], 0, byte(rng.IntN(2))<<7)
				}
				compare(fmt.Sprintf("%s %s", name, typ), query)
			}
		})
	}
}
