package dnszone_test

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func TestSmoke(t *testing.T) {
	cfg := dnszone.Config{
		Reverse: []netip.Prefix{netip.MustParsePrefix("10.1.16.0/22"), netip.MustParsePrefix("fd00:1::/46")},
		Extra:   []dnszone.Record{dnszone.CNAMERecord("www.apn", "web-1.apn"), dnszone.TXTRecord("apn", "a;b\"\n"), dnszone.SRVRecord("_x._tcp.apn", 1, 2, 3, "web-1.shop.apn")},
	}
	set, rep, err := dnszone.Build(cfg, 7, slices.Values([]dnszone.Host{
		{ID: "1", App: "shop", Name: "web-1", Addrs: addrs("10.1.16.1", "fd00:1::1")},
		{ID: "2", App: "shop", Name: "db", Addrs: addrs("10.1.16.2"), Wildcard: true},
		{ID: "3", App: "blog", Name: "db", Addrs: addrs("10.1.17.2")},
		{ID: "4", App: "blog", Name: "wpad", Addrs: addrs("10.1.17.3")},
		{ID: "5", App: "blog", Name: "12", Addrs: addrs("10.1.17.2")},
		{ID: "6", App: "Blog", Name: "14", Addrs: addrs("10.1.17.9")},
	}))
	require.NoError(t, err)
	t.Logf("%+v", rep)
	for z := range set.Zones() {
		_, _ = z.WriteTo(os.Stdout)
	}
	_, _ = set.WriteHosts(os.Stdout, nil)
	t.Log(set.Names("1"), set.Names("2"))
	t.Log(set.Lookup("www.apn", dnszone.TypeA), set.Lookup("x.db.shop.apn", dnszone.TypeA), set.Lookup("x.apn", dnszone.TypeA))
}
