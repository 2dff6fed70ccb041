package dnszone_test

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
)

// ixfr asks for what changed since serial.
func ixfr(zone string, serial uint32) []byte {
	q := ask(zone, dnszone.TypeIXFR, false)
	q[9] = 1
	q = append(q, 0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0)
	q = append(q, byte(serial>>24), byte(serial>>16), byte(serial>>8), byte(serial))
	return append(q, make([]byte, 16)...)
}

// received reads the messages of a transfer.
func received(t *testing.T, query []byte, messages iter.Seq[[]byte]) (list []string) {
	t.Helper()
	for msg := range messages {
		require.LessOrEqual(t, len(msg), 1<<16-1)
		require.Equal(t, query[:2], msg[:2])
		head, answer, authority, extra := unpack(t, msg)
		require.True(t, head.Response && head.Authoritative)
		require.Equal(t, dnsmessage.RCodeSuccess, head.RCode)
		require.Empty(t, authority)
		require.Empty(t, extra)
		require.NotEmpty(t, answer)
		list = append(list, answer...)
	}
	return list
}

func texts(records iter.Seq[dnszone.Record]) (list []string) {
	for r := range records {
		list = append(list, r.String())
	}
	return list
}

// TestRFC5936 is AXFR: the whole zone between two copies of the SOA.
func TestRFC5936(t *testing.T) {
	t.Parallel()
	big := mustBuild(t, dnszone.Config{Extra: []dnszone.Record{{Name: "blob.apn", Type: 65280, Data: strings.Repeat("x", 50_000)}}}, fleet(3000)...)
	for _, set := range []*dnszone.Set{richSet(t), big} {
		for z := range set.Zones() {
			query := ask(strings.ToUpper(strings.TrimSuffix(z.Name(), ".")), dnszone.TypeAXFR, true)
			want := texts(z.Records())
			got := received(t, query, z.AXFR(query))
			require.Equal(t, want, lower(got[:len(want)]))
			require.Equal(t, []string{want[0]}, lower(got[len(want):]))
		}
	}
	z, _ := big.Zone("apn")
	query := ask("apn", dnszone.TypeAXFR, false)
	n := 0
	for range z.AXFR(query) {
		if n++; n == 2 {
			break
		}
	}
	require.Equal(t, 2, n)
	for _, bad := range [][]byte{nil, query[:12], ask("x.apn", dnszone.TypeAXFR, false)} {
		require.Empty(t, slices.Collect(z.AXFR(bad)))
	}
}

func lower(list []string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		owner, rest, _ := strings.Cut(s, " ")
		out[i] = strings.ToLower(owner) + " " + rest
	}
	return out
}

// TestRFC1995 is IXFR: for each step the old SOA, what goes, the new SOA, what
// comes.
func TestRFC1995(t *testing.T) {
	t.Parallel()
	first := richSet(t)
	second, _, err := first.Update(5, dnszone.Change{Host: dnszone.Host{ID: "9", App: "crm", Name: "new", Addrs: addrs("10.1.16.9")}})
	require.NoError(t, err)
	third, _, err := second.Update(6, dnszone.Change{Host: dnszone.Host{ID: "9"}, Remove: true}, dnszone.Change{Host: dnszone.Host{ID: "3"}, Remove: true})
	require.NoError(t, err)
	zone := func(s *dnszone.Set) *dnszone.Zone {
		z, ok := s.Zone("apn")
		require.True(t, ok)
		return z
	}
	soa := func(s *dnszone.Set) string { return texts(zone(s).Records())[0] }

	query := ixfr("apn", 1)
	serial, ok := dnszone.TransferSerial(query)
	require.True(t, ok)
	require.EqualValues(t, 1, serial)
	got := received(t, query, zone(third).IXFR(query, dnszone.Diff(zone(first), zone(second)), dnszone.Diff(zone(second), zone(third))))
	require.Equal(t, []string{
		soa(third),
		soa(first),
		soa(second), "new.crm.apn. 30 IN A 10.1.16.9", "new.apn. 30 IN A 10.1.16.9",
		soa(second), "new.crm.apn. 30 IN A 10.1.16.9",
		"db.apn. 30 IN A 10.9.9.1", `db.apn. 30 IN TXT "withheld: not unique" "db.blog.apn" "db.shop.apn"`,
		"new.apn. 30 IN A 10.1.16.9", "db.shop.apn. 30 IN A 10.1.17.3",
		soa(third), "db.apn. 30 IN A 10.1.17.4", // one db is left: the name is its
		soa(third),
	}, got)
	require.Equal(t, []string{soa(third)}, received(t, query, zone(third).IXFR(query)))

	for _, bad := range [][]byte{nil, query[:20], query[:len(query)-1], ask("apn", dnszone.TypeIXFR, false), ask("apn", dnszone.TypeAXFR, false)} {
		_, ok := dnszone.TransferSerial(bad)
		require.False(t, ok)
	}
	compressed := ixfr("apn", 1)
	spelt := append(slices.Clone(compressed[:21]), 3, 'a', 'p', 'n', 0)
	spelt = append(spelt, compressed[23:]...)
	serial, ok = dnszone.TransferSerial(spelt)
	require.True(t, ok)
	require.EqualValues(t, 1, serial)
}

func TestParseQuestion(t *testing.T) {
	t.Parallel()
	q, ok := dnszone.ParseQuestion(ask("WeB.apn", dnszone.TypeAAAA, true))
	require.True(t, ok)
	require.Equal(t, dnszone.Question{Name: "web.apn.", Type: dnszone.TypeAAAA, Class: 1, RD: true, EDNS: true, Size: 1232, Len: 25}, q)
	notify := ask("apn", dnszone.TypeSOA, false)
	notify[2] |= 4 << 3
	response := ask("apn", dnszone.TypeSOA, false)
	response[2] |= 0x80
	for _, bad := range [][]byte{nil, notify, response, ask("apn", 1, false)[:15]} {
		_, ok := dnszone.ParseQuestion(bad)
		require.False(t, ok)
	}
}
