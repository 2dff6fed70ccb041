package dnszone_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
)

// reply asks set and returns the parts of the answer.
func reply(t *testing.T, set *dnszone.Set, query []byte, via dnszone.Transport) (head dnsmessage.Header, answer, authority, extra []string) {
	t.Helper()
	msg, err := set.AppendReply(nil, query, via)
	require.NoError(t, err)
	require.Equal(t, query[:2], msg[:2], "the ID comes back")
	return unpack(t, msg)
}

const (
	richSOA    = "apn. 10 IN SOA ns1.apn. hostmaster.example.com. 1 300 60 604800 10"
	richRevSOA = "16.1.10.in-addr.arpa. 10 IN SOA ns1.apn. hostmaster.example.com. 1 300 60 604800 10"
)

// TestRFC1034 is the algorithm of section 4.3.2: what exists, what does not.
func TestRFC1034(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	tests := []struct {
		name   string
		typ    dnszone.Type
		rcode  dnsmessage.RCode
		answer []string
		soa    string
	}{
		{name: "web.apn", typ: 1, answer: []string{"web.apn. 30 IN A 10.1.16.1", "web.apn. 30 IN A 10.1.16.11"}},
		{name: "web.shop.apn", typ: 28, answer: []string{"web.shop.apn. 30 IN AAAA fd00::1"}},
		{name: "web.shop.net.internal", typ: 28, answer: []string{"web.shop.net.internal. 30 IN AAAA fd00::1"}},
		{name: "web.apn", typ: 15, soa: richSOA},
		{name: "blog.apn", typ: 1, soa: richSOA}, // an empty non-terminal
		{name: "_tcp.shop.apn", typ: 1, soa: richSOA},
		{name: "apn", typ: 1, soa: richSOA},
		{name: "apn", typ: 6, answer: []string{richSOA}},
		{name: "apn", typ: 2, answer: []string{"apn. 30 IN NS ns1.apn.", "apn. 30 IN NS ns.example.net."}},
		{name: "apn", typ: 16, answer: []string{`apn. 30 IN TXT "v=1"`}},
		{name: "ns1.apn", typ: 1, answer: []string{"ns1.apn. 30 IN A 10.1.16.53"}},
		{name: "nothing.apn", typ: 1, rcode: 3, soa: richSOA},
		{name: "blob.apn", typ: 65280, answer: []string{`blob.apn. 30 IN TYPE65280 \# 4 00013b0a`}},
		{name: "example.com", typ: 1, rcode: 5},
		{name: "", typ: 2, rcode: 5},
		{name: "xapn", typ: 1, rcode: 5},
		{name: "1.16.1.10.in-addr.arpa", typ: 12, answer: []string{"1.16.1.10.in-addr.arpa. 30 IN PTR web.shop.apn."}},
		{name: "9.16.1.10.in-addr.arpa", typ: 12, rcode: 3, soa: richRevSOA},
		{name: "1.15.1.10.in-addr.arpa", typ: 12, rcode: 5},
		{name: "10.in-addr.arpa", typ: 6, rcode: 5},
		{name: "www.apn", typ: 5, answer: []string{"www.apn. 30 IN CNAME web.shop.apn."}},
		{name: "out.apn", typ: 1, answer: []string{"out.apn. 30 IN CNAME www.example.net."}},
	}
	for _, tt := range tests {
		head, answer, authority, extra := reply(t, set, ask(tt.name, tt.typ, false), dnszone.UDP)
		require.Equal(t, tt.rcode, head.RCode, tt.name)
		require.Equal(t, tt.answer, answer, tt.name)
		require.Equal(t, tt.soa, strings.Join(authority, "\n"), tt.name)
		require.Empty(t, extra, "answers are minimal")
		require.Equal(t, tt.rcode != 5, head.Authoritative, tt.name)
		require.True(t, head.Response && head.RecursionDesired)
		require.False(t, head.RecursionAvailable || head.Truncated || head.AuthenticData)
	}
}

// TestRFC1035 is about packets: what is dropped, what is malformed, which
// opcodes and classes are served.
func TestRFC1035(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	good := ask("web.apn", dnszone.TypeA, false)
	with := func(change func(b []byte) []byte) []byte { return change(slices.Clone(good)) }

	for name, b := range map[string][]byte{
		"empty":    nil,
		"short":    good[:11],
		"response": with(func(b []byte) []byte { b[2] |= 0x80; return b }),
	} {
		out, err := set.AppendReply([]byte("kept"), b, dnszone.UDP)
		require.ErrorIs(t, err, dnszone.ErrDrop, name)
		require.Equal(t, "kept", string(out))
	}

	long := append(good[:12:12], slices.Repeat([]byte{1, 'a'}, 127)...)
	tests := []struct {
		name     string
		query    []byte
		rcode    dnszone.Rcode
		question bool
	}{
		{"header alone", good[:12], dnszone.FormErr, false},
		{"cut name", good[:15], dnszone.FormErr, false},
		{"cut type", good[:len(good)-1], dnszone.FormErr, false},
		{"pointer in the question", with(func(b []byte) []byte { return append(b[:12], 0xc0, 12, 0, 1, 0, 1) }), dnszone.FormErr, false},
		{"label of 64", with(func(b []byte) []byte { b[12] = 64; return b }), dnszone.FormErr, false},
		{"name of 255 octets", append(slices.Clone(long), 0, 0, 1, 0, 1), dnszone.Refused, true},
		{"name of 257 octets", append(append(slices.Clone(long), 1, 'a', 0), 0, 1, 0, 1), dnszone.FormErr, false},
		{"trailing octets", append(slices.Clone(good), 1, 2, 3), dnszone.NoError, true},
		{"missing record", with(func(b []byte) []byte { b[11] = 1; return b }), dnszone.FormErr, true},
		{"CH", with(func(b []byte) []byte { b[len(b)-1] = 3; return b }), dnszone.Refused, true},
		{"class ANY", with(func(b []byte) []byte { b[len(b)-1] = 255; return b }), dnszone.Refused, true},
		{"STATUS", with(func(b []byte) []byte { b[2] |= 2 << 3; return b }), dnszone.NotImp, true},
		{"UPDATE", with(func(b []byte) []byte { b[2] |= 5 << 3; return b }), dnszone.NotImp, true},
		{"AXFR", ask("apn", dnszone.TypeAXFR, false), dnszone.Refused, true},
	}
	for _, tt := range tests {
		msg, err := set.AppendReply(nil, tt.query, dnszone.UDP)
		require.NoError(t, err, tt.name)
		require.Equal(t, tt.rcode, dnszone.Rcode(msg[3]&15), tt.name)
		require.Equal(t, tt.query[2]&0x78|0x80, msg[2]&0xf8, "opcode of "+tt.name)
		if tt.question {
			require.EqualValues(t, 1, msg[5], tt.name)
		} else {
			require.Len(t, msg, 12, tt.name)
		}
	}

	// A label with a dot in it is not two labels.
	dotted := append(good[:12:12], "\x08web.shop\x03apn\x00\x00\x01\x00\x01"...)
	msg, err := set.AppendReply(nil, dotted, dnszone.UDP)
	require.NoError(t, err)
	require.Equal(t, dnszone.NXDomain, dnszone.Rcode(msg[3]&15))
}

// TestRFC1123 is section 2.1: labels may begin with a digit; section 6.1.3.2:
// both transports.
func TestRFC1123(t *testing.T) {
	t.Parallel()
	set, report, err := dnszone.Build(dnszone.Config{}, 1, slices.Values([]dnszone.Host{
		{ID: "a", App: "3com", Name: "42", Addrs: addrs("10.0.0.1")},
	}))
	require.NoError(t, err)
	require.Equal(t, []dnszone.Note{{Host: "a", Text: "label 42 has digits only"}}, report.Noted)
	for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
		_, answer, _, _ := reply(t, set, ask("42.3com.apn", dnszone.TypeA, false), via)
		require.Equal(t, []string{"42.3com.apn. 30 IN A 10.0.0.1"}, answer)
	}
}

// TestRFC1982 is serial number arithmetic.
func TestRFC1982(t *testing.T) {
	t.Parallel()
	tests := []struct {
		prev uint32
		rev  uint64
		want uint32
	}{
		{0, 1, 1},
		{1, 2, 2},
		{7, 7, 8},
		{9, 3, 10},                 // restored from an older copy
		{0xffffffff, 1 << 32, 1},   // 0 is skipped
		{0xffffffff, 1<<32 + 5, 5}, // wraps
		{0, 1 << 31, 1},            // too far to be newer
		{0, 1<<31 - 1, 1<<31 - 1},  // the farthest step
		{0xfffffff0, 0xffffffff, 0xffffffff},
		{0xffffffff, 0xffffffff, 1},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, dnszone.NextSerial(tt.prev, tt.rev), "%d %d", tt.prev, tt.rev)
	}
	set, _, err := dnszone.Build(dnszone.Config{}, 0xfffffff0, nil)
	require.NoError(t, err)
	for _, old := range []uint32{0xfffffff0, 0xffffffef, 0x7ffffff0} {
		_, _, err = set.Update(old)
		require.ErrorIs(t, err, dnszone.ErrSerialNotNewer)
	}
	next, _, err := set.Update(3)
	require.NoError(t, err)
	require.EqualValues(t, 3, next.Serial())
}

// TestRFC2181 is section 5: one TTL per set and no record twice; section 10.1:
// nothing beside a CNAME; section 11: any octets in a label, compared as such.
func TestRFC2181(t *testing.T) {
	t.Parallel()
	a, b := dnszone.TXTRecord("x.apn", "a"), dnszone.TXTRecord("x.apn", "b")
	b.TTL = 60
	_, _, err := dnszone.Build(dnszone.Config{Extra: []dnszone.Record{a, b}}, 1, nil)
	require.ErrorIs(t, err, dnszone.ErrConflict)

	set := mustBuild(t, dnszone.Config{Extra: []dnszone.Record{a, a}})
	require.Len(t, set.Lookup("x.apn", dnszone.TypeTXT).Records, 1)

	alias := dnszone.CNAMERecord("x.apn", "y.apn")
	for _, extra := range [][]dnszone.Record{{a, alias}, {alias, a}, {alias, dnszone.CNAMERecord("x.apn", "z.apn")}, {dnszone.CNAMERecord("apn", "y.apn")}} {
		_, _, err := dnszone.Build(dnszone.Config{Extra: extra}, 1, nil)
		require.ErrorIs(t, err, dnszone.ErrConflict)
	}
}

// TestRFC2308 is sections 2 and 3: every negative answer has the SOA, whose TTL
// is that of the negative answer.
func TestRFC2308(t *testing.T) {
	t.Parallel()
	set := mustBuild(t, dnszone.Config{TTL: time.Minute, NegativeTTL: 5 * time.Second}, fleet(1)...)
	for _, name := range []string{"srv-000000.apn", "app-0000.apn", "apn", "nothing.apn"} {
		_, answer, authority, _ := reply(t, set, ask(name, dnszone.TypeTXT, false), dnszone.UDP)
		require.Empty(t, answer)
		require.Equal(t, []string{"apn. 5 IN SOA ns.invalid. hostmaster.apn. 1 300 60 604800 5"}, authority)
	}
}

// TestRFC3597 is unknown types: served by number, written as \#.
func TestRFC3597(t *testing.T) {
	t.Parallel()
	set := mustBuild(t, dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn.", Type: 65280}}})
	got := set.Lookup("x.apn", 65280).Records
	require.Len(t, got, 1)
	require.Equal(t, `x.apn. 30 IN TYPE65280 \# 0`, got[0].String())
}

// TestRFC4343 is case: matched without it, copied as asked.
func TestRFC4343(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	query := ask("wEb.ShOp.aPn", dnszone.TypeA, false)
	msg, err := set.AppendReply(nil, query, dnszone.UDP)
	require.NoError(t, err)
	require.Equal(t, query[12:], msg[12:len(query)])
	_, answer, _, _ := unpack(t, msg)
	require.Len(t, answer, 2)

	// Only letters have case: '[' is not '{'.
	require.Equal(t, dnszone.NXDomain, set.Lookup("[.apn", 1).Rcode)
	require.Equal(t, dnszone.NXDomain, set.Lookup("BLO\xe2.apn", 1).Rcode)
}

// TestRFC4592 is wildcards.
func TestRFC4592(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	tests := []struct {
		name  string
		typ   dnszone.Type
		rcode dnszone.Rcode
		n     int
	}{
		{"x.mail.shop.apn", 28, 0, 1},
		{"y.x.mail.shop.apn", 28, 0, 1},
		{"x.mail.shop.apn", 1, 0, 0},    // the wildcard has no such type
		{"*.mail.shop.apn", 28, 0, 1},   // asked by name
		{"y.*.mail.shop.apn", 28, 3, 0}, // the wildcard itself is the closest encloser
		{"x.mail.apn", 28, 3, 0},        // none on short names
		{"x.shop.apn", 28, 3, 0},        // so they cannot swallow an application
		{"q.any.apn", 1, 0, 1},
		{"x.any.apn", 1, 0, 0}, // exists, so no wildcard
		{"q.x.any.apn", 1, 3, 0},
		{"any.apn", 1, 0, 0},
	}
	for _, tt := range tests {
		got := set.Lookup(tt.name, tt.typ)
		require.Equal(t, tt.rcode, got.Rcode, tt.name)
		require.Len(t, got.Records, tt.n, tt.name)
		if tt.n > 0 {
			require.Equal(t, tt.name+".", got.Records[0].Name)
		}
	}
}

// TestRFC5891 is names in other scripts.
func TestRFC5891(t *testing.T) {
	t.Parallel()
	set := mustBuild(t, dnszone.Config{}, dnszone.Host{ID: "1", App: "Bücher", Name: "Straße", Addrs: addrs("10.0.0.1")})
	require.Equal(t, []string{"xn--strae-oqa.apn", "xn--strae-oqa.xn--bcher-kva.apn"}, set.Names("1"))
}

// TestRFC6604 is the rcode of an alias: that of where it leads.
func TestRFC6604(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	tests := []struct {
		name      string
		typ       dnszone.Type
		rcode     dnsmessage.RCode
		answer    []string
		authority []string
	}{
		{"chain.apn", 28, 0, []string{"chain.apn. 30 IN CNAME www.apn.", "www.apn. 30 IN CNAME web.shop.apn.", "web.shop.apn. 30 IN AAAA fd00::1"}, nil},
		{"dead.apn", 1, 3, []string{"dead.apn. 30 IN CNAME nothing.shop.apn."}, []string{richSOA}},
		{"nodata.apn", 1, 0, []string{"nodata.apn. 30 IN CNAME mail.shop.apn."}, []string{richSOA}},
		{"other.apn", 28, 0, []string{"other.apn. 30 IN CNAME mail.shop.net.internal.", "mail.shop.net.internal. 30 IN AAAA fd00::2"}, nil},
	}
	for _, tt := range tests {
		head, answer, authority, _ := reply(t, set, ask(tt.name, tt.typ, false), dnszone.UDP)
		require.Equal(t, tt.rcode, head.RCode, tt.name)
		require.Equal(t, tt.answer, answer, tt.name)
		require.Equal(t, tt.authority, authority, tt.name)
	}
}

// TestRFC6761 is special names: refused as suffix, reserved as label.
func TestRFC6761(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"localhost", "local", "x.local.", "invalid", "onion", "10.in-addr.arpa", "arpa", "."} {
		_, _, err := dnszone.Build(dnszone.Config{Suffixes: []string{s}}, 1, nil)
		var bad *dnszone.ConfigError
		require.ErrorAs(t, err, &bad, s)
		require.Equal(t, "Suffixes[0]", bad.Field)
	}
	require.ErrorIs(t, dnszone.CheckLabel("localhost"), dnszone.ErrLabelReserved)
}

// TestRFC6891 is EDNS: sizes, version, the DO bit, unknown options.
func TestRFC6891(t *testing.T) {
	t.Parallel()
	var hosts []dnszone.Host
	for i := range 30 {
		h := fleetHost(i)
		h.App, h.Name = "app", "many"
		hosts = append(hosts, h)
	}
	set := mustBuild(t, dnszone.Config{Collisions: dnszone.CollisionMerge}, hosts...) // 30 x 28 octets
	opt := func(size uint16, version, flags byte, rest ...byte) []byte {
		q := ask("many.apn", dnszone.TypeAAAA, true)
		o := q[len(q)-11:]
		binary.BigEndian.PutUint16(o[3:], size)
		o[6], o[7] = version, flags
		o[10] = byte(len(rest))
		return append(q, rest...)
	}
	const answered = "OPT 1232 0 []"
	tests := []struct {
		name  string
		query []byte
		via   dnszone.Transport
		tc    bool
		rcode dnsmessage.RCode
		opt   []string
	}{
		{"no EDNS", ask("many.apn", dnszone.TypeAAAA, false), dnszone.UDP, true, 0, nil},
		{"no EDNS over TCP", ask("many.apn", dnszone.TypeAAAA, false), dnszone.TCP, false, 0, nil},
		{"512", opt(512, 0, 0), dnszone.UDP, true, 0, []string{answered}},
		{"less than 512 is 512", opt(0, 0, 0), dnszone.UDP, true, 0, []string{answered}},
		{"1232", opt(1232, 0, 0), dnszone.UDP, false, 0, []string{answered}},
		{"4096", opt(4096, 0, 0), dnszone.UDP, false, 0, []string{answered}},
		{"unknown option", opt(4096, 0, 0, 0, 10, 0, 2, 9, 9), dnszone.UDP, false, 0, []string{answered}},
		{"DO", opt(4096, 0, 0x80), dnszone.UDP, false, 0, []string{"OPT 1232 8000 []"}},
		{"version 1", opt(4096, 1, 0), dnszone.UDP, false, 0, []string{"OPT 1232 1000000 []"}},
	}
	for _, tt := range tests {
		head, answer, _, extra := reply(t, set, tt.query, tt.via)
		require.Equal(t, tt.tc, head.Truncated, tt.name)
		require.Equal(t, tt.opt, extra, tt.name)
		switch {
		case tt.tc || tt.name == "version 1":
			require.Empty(t, answer, tt.name)
		default:
			require.Len(t, answer, 30, tt.name)
		}
	}
	twice := append(opt(4096, 0, 0), 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0)
	twice[11] = 2
	named := append(ask("many.apn", dnszone.TypeAAAA, false), 1, 'a', 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0)
	named[11] = 1
	for _, q := range [][]byte{twice, named} {
		head, _, _, _ := reply(t, set, q, dnszone.UDP)
		require.Equal(t, dnsmessage.RCodeFormatError, head.RCode)
	}
}

// TestRFC8020 is "nothing below a name that does not exist", and its reverse:
// what is below a leaf does not exist.
func TestRFC8020(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	for _, name := range []string{"x.web.apn", "x.web.shop.apn", "nothing.apn", "x.nothing.apn", "0.1.16.1.10.in-addr.arpa"} {
		require.Equal(t, dnszone.NXDomain, set.Lookup(name, dnszone.TypeA).Rcode, name)
	}
}

// TestRFC8482 is ANY: one set over UDP, all over TCP.
func TestRFC8482(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	for name, sizes := range map[string][2]int{
		"web.apn": {2, 3}, "apn": {1, 4}, "db.apn": {1, 2}, "www.apn": {1, 1}, "ns1.apn": {1, 2}, "blog.apn": {0, 0},
	} {
		for via, want := range sizes {
			_, answer, _, _ := reply(t, set, ask(name, dnszone.TypeANY, false), dnszone.Transport(via))
			require.Len(t, answer, want, "%s %v", name, answer)
		}
	}
}

// TestRFC8914 is the reason for an empty answer.
func TestRFC8914(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	head, answer, authority, extra := reply(t, set, ask("db.apn", dnszone.TypeAAAA, true), dnszone.UDP)
	require.Equal(t, dnsmessage.RCodeSuccess, head.RCode)
	require.Empty(t, answer)
	require.Equal(t, []string{richSOA}, authority)
	text := "\x00\x00withheld: not unique db.blog.apn db.shop.apn"
	require.Equal(t, []string{fmt.Sprintf("OPT 1232 0 %v", []dnsmessage.Option{{Code: 15, Data: []byte(text)}})}, extra)

	// The option is the first thing to go when room is short.
	var hosts []dnszone.Host
	for i := range 9 {
		app := strings.Repeat("a", 60) + fmt.Sprint(i)
		hosts = append(hosts, dnszone.Host{ID: app, App: app, Name: "db", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}})
	}
	set = mustBuild(t, dnszone.Config{}, hosts...)
	small := ask("db.apn", dnszone.TypeA, true)
	binary.BigEndian.PutUint16(small[len(small)-8:], 512)
	head, _, authority, extra = reply(t, set, small, dnszone.UDP)
	require.False(t, head.Truncated)
	require.Len(t, authority, 1)
	require.Equal(t, []string{"OPT 1232 0 []"}, extra)
	require.Len(t, set.Lookup("db.apn", dnszone.TypeTXT).Records[0].Data, 1+len("withheld: not unique")+8*len("9db."+hosts[0].App+".apn"))
}

// TestRFC9619 is QDCOUNT: exactly one question.
func TestRFC9619(t *testing.T) {
	t.Parallel()
	for _, n := range []byte{0, 2} {
		q := ask("web.apn", dnszone.TypeA, false)
		q[5] = n
		q = append(q, q[12:]...)
		msg, err := richSet(t).AppendReply(nil, q, dnszone.UDP)
		require.NoError(t, err)
		require.Equal(t, dnszone.FormErr, dnszone.Rcode(msg[3]&15))
	}
}
