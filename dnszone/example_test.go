package dnszone_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/dnszone"
)

func exampleHosts() []dnszone.Host {
	return []dnszone.Host{
		{ID: "s1", App: "shop", Name: "web-1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}},
		{ID: "s2", App: "shop", Name: "db", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}},
		{ID: "b1", App: "blog", Name: "db", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.1")}},
	}
}

func Example() {
	set, report, err := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.Names("s1"))
	fmt.Println(set.Names("s2"))
	for _, c := range report.Withheld {
		fmt.Println("withheld:", c.Name, c.Names)
	}
	fmt.Println(set.Lookup("web-1.apn", dnszone.TypeA).Records)
	// Output:
	// [web-1.apn web-1.shop.apn]
	// [db.shop.apn]
	// withheld: db.apn [db.blog.apn db.shop.apn]
	// [web-1.apn. 30 IN A 10.0.0.1]
}

func ExampleZone_WriteTo() {
	set, _, _ := dnszone.Build(dnszone.Config{
		NS:      []dnszone.NameServer{{Name: "ns1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.53")}}},
		Reverse: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
	}, 7, slices.Values(exampleHosts()))
	for zone := range set.Zones() {
		_, _ = zone.WriteTo(os.Stdout)
	}
	// Output:
	// apn. 10 IN SOA ns1.apn. hostmaster.apn. 7 300 60 604800 10
	// apn. 30 IN NS ns1.apn.
	// db.blog.apn. 30 IN A 10.0.1.1
	// db.apn. 30 IN TXT "withheld: not unique" "db.blog.apn" "db.shop.apn"
	// ns1.apn. 30 IN A 10.0.0.53
	// db.shop.apn. 30 IN A 10.0.0.2
	// web-1.shop.apn. 30 IN A 10.0.0.1
	// web-1.shop.apn. 30 IN AAAA fd00::1
	// web-1.apn. 30 IN A 10.0.0.1
	// web-1.apn. 30 IN AAAA fd00::1
	// 0.0.10.in-addr.arpa. 10 IN SOA ns1.apn. hostmaster.0.0.10.in-addr.arpa. 7 300 60 604800 10
	// 0.0.10.in-addr.arpa. 30 IN NS ns1.apn.
	// 1.0.0.10.in-addr.arpa. 30 IN PTR web-1.shop.apn.
	// 2.0.0.10.in-addr.arpa. 30 IN PTR db.shop.apn.
}

func ExampleSet_WriteHosts() {
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	_, _ = set.WriteHosts(os.Stdout, nil)
	// Output:
	// # BEGIN apn (serial 1)
	// 10.0.0.1 web-1.shop.apn web-1.apn
	// 10.0.0.2 db.shop.apn
	// 10.0.1.1 db.blog.apn
	// fd00::1 web-1.shop.apn web-1.apn
	// # END apn
}

func ExampleSet_AppendReply() {
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	query := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // an ID, recursion desired, one question
	query = dnszone.AppendQuestion(query, "DB.shop.apn", dnszone.TypeA)

	reply, err := set.AppendReply(nil, query, dnszone.UDP)
	fmt.Println(err, dnszone.Rcode(reply[3]&15) == dnszone.NoError, netip.AddrFrom4([4]byte(reply[len(reply)-4:])))
	_, err = set.AppendReply(nil, reply, dnszone.UDP) // a reply is no query
	fmt.Println(errors.Is(err, dnszone.ErrDrop))
	// Output:
	// <nil> true 10.0.0.2
	// true
}

func ExampleAppendError() {
	query := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	query = dnszone.AppendQuestion(query, "web-1.apn", dnszone.TypeA)
	reply, _ := dnszone.AppendError(nil, query, dnszone.ServFail, false)
	fmt.Println(reply[3] & 15)
	// Output: 2
}

func ExampleSet_Update() {
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	next, report, err := set.Update(2,
		dnszone.Change{Host: dnszone.Host{ID: "b1"}, Remove: true},
		dnszone.Change{Host: dnszone.Host{ID: "s3", App: "shop", Name: "wpad", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}}},
	)
	fmt.Println(err, set.Names("s2"), next.Names("s2"))
	fmt.Println(report.Skipped[0].Host, report.Skipped[0].Reason)
	_, _, err = next.Update(2)
	fmt.Println(errors.Is(err, dnszone.ErrSerialNotNewer))
	// Output:
	// <nil> [db.shop.apn] [db.apn db.shop.apn]
	// s3 label "wpad": label is reserved
	// true
}

func ExampleSet_Report() {
	hosts := append(exampleHosts(), dnszone.Host{ID: "x", App: "blog", Name: "db", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.2")}})
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(hosts))
	for _, c := range set.Report().Withheld {
		fmt.Printf("%s: %s, wanted by %s\n", c.Name, c.Kind, strings.Join(c.Hosts, ", "))
	}
	// Output:
	// db.apn: short name, wanted by b1, s2, x
	// db.blog.apn: qualified name, wanted by b1, x
}

func ExampleDiff() {
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	next, _, _ := set.Update(2, dnszone.Change{Host: dnszone.Host{ID: "b1"}, Remove: true})
	was, _ := set.Zone("apn")
	is, _ := next.Zone("apn")
	d := dnszone.Diff(was, is)
	for _, r := range d.Removed {
		fmt.Println("-", r)
	}
	for _, r := range d.Added {
		fmt.Println("+", r)
	}
	fmt.Println(was.Digest() == is.Digest())
	// Output:
	// - db.blog.apn. 30 IN A 10.0.1.1
	// - db.apn. 30 IN TXT "withheld: not unique" "db.blog.apn" "db.shop.apn"
	// + db.apn. 30 IN A 10.0.0.2
	// false
}

func ExampleZone_AXFR() {
	set, _, _ := dnszone.Build(dnszone.Config{}, 1, slices.Values(exampleHosts()))
	zone, _ := set.Zone("apn")
	query := dnszone.AppendQuestion([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "apn", dnszone.TypeAXFR)
	for msg := range zone.AXFR(query) {
		fmt.Println(msg[7], "records")
	}
	// Output: 10 records
}

func ExampleConfig_extra() {
	cfg := dnszone.Config{
		Suffixes: []string{"apn.internal"},
		Extra: []dnszone.Record{
			dnszone.CNAMERecord("www.apn.internal", "web-1.shop.apn.internal"),
			dnszone.SRVRecord("_http._tcp.apn.internal", 0, 0, 80, "web-1.apn.internal"),
			dnszone.TXTRecord("apn.internal", "owner=ops"),
		},
	}
	set, _, _ := dnszone.Build(cfg, 1, slices.Values(exampleHosts()))
	for _, r := range set.Lookup("www.apn.internal", dnszone.TypeA).Records {
		fmt.Println(r)
	}
	// Output:
	// www.apn.internal. 30 IN CNAME web-1.shop.apn.internal.
	// web-1.shop.apn.internal. 30 IN A 10.0.0.1
}

func ExampleNormalizeLabel() {
	for _, s := range []string{"Web_1", "MÜNCHEN", "ada's laptop", "wpad", "a;b"} {
		label, err := dnszone.NormalizeLabel(s, dnszone.LabelPolicy{})
		fmt.Println(label, err)
	}
	// Output:
	// web-1 <nil>
	// xn--mnchen-3ya <nil>
	// adas-laptop <nil>
	//  dnszone: label "wpad": label is reserved
	//  dnszone: label "a;b": label holds a character that names cannot have: ';' at 1
}

func ExampleCheckLabel() {
	fmt.Println(dnszone.CheckLabel("web-1"))
	fmt.Println(dnszone.CheckLabel("Web_1"))
	// Output:
	// <nil>
	// dnszone: label "Web_1": label holds a character that names cannot have: 'W' at 0
}

func ExampleReverseZones() {
	zones, _ := dnszone.ReverseZones(netip.MustParsePrefix("10.1.16.0/23"))
	fmt.Println(zones)
	// Output: [16.1.10.in-addr.arpa. 17.1.10.in-addr.arpa.]
}

func ExampleNextSerial() {
	fmt.Println(dnszone.NextSerial(7, 8), dnszone.NextSerial(7, 3), dnszone.NextSerial(1<<32-1, 1<<32))
	// Output: 8 8 1
}
