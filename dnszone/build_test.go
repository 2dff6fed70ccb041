package dnszone_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

func TestBuildConfigErrors(t *testing.T) {
	t.Parallel()
	v4 := addrs("10.0.0.53")
	tests := []struct {
		field string
		cfg   dnszone.Config
		err   error
	}{
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{""}}, err: dnszone.ErrBadName},
		{field: "Suffixes[1]", cfg: dnszone.Config{Suffixes: []string{"apn", "apn."}}},
		{field: "Suffixes[1]", cfg: dnszone.Config{Suffixes: []string{"apn", "x.apn"}}},
		{field: "Suffixes[1]", cfg: dnszone.Config{Suffixes: []string{"x.apn", "apn"}}},
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{"a..b"}}, err: dnszone.ErrBadName},
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{"a;b"}}, err: dnszone.ErrLabelBadRune},
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{"a\nb"}}, err: dnszone.ErrLabelBadRune},
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{"a_b"}}, err: dnszone.ErrBadName},
		{field: "Suffixes[0]", cfg: dnszone.Config{Suffixes: []string{strings.Repeat("a.", 127) + "a"}}, err: dnszone.ErrNameTooLong},
		{field: "TTL", cfg: dnszone.Config{TTL: -1}},
		{field: "TTL", cfg: dnszone.Config{TTL: time.Millisecond}},
		{field: "TTL", cfg: dnszone.Config{TTL: 1500 * time.Millisecond}},
		{field: "TTL", cfg: dnszone.Config{TTL: 1 << 31 * time.Second}},
		{field: "NegativeTTL", cfg: dnszone.Config{NegativeTTL: -time.Second}},
		{field: "Collisions", cfg: dnszone.Config{Collisions: 9}},
		{field: "Mbox", cfg: dnszone.Config{Mbox: "x@"}},
		{field: "Mbox", cfg: dnszone.Config{Mbox: "nodomain"}},
		{field: "NS[0].Name", cfg: dnszone.Config{NS: []dnszone.NameServer{{}}}, err: dnszone.ErrBadName},
		{field: "NS[0].Name", cfg: dnszone.Config{NS: []dnszone.NameServer{{Name: "NS_1", Addrs: v4}}}, err: dnszone.ErrLabelBadRune},
		{field: "NS[1].Name", cfg: dnszone.Config{NS: []dnszone.NameServer{{Name: "a", Addrs: v4}, {Name: "a", Addrs: v4}}}, err: dnszone.ErrLabelReserved},
		{field: "NS[0].Name", cfg: dnszone.Config{NS: []dnszone.NameServer{{Name: "ns.apn", Addrs: v4}}}},
		{field: "NS[0].Addrs", cfg: dnszone.Config{NS: []dnszone.NameServer{{Name: "ns"}}}, err: dnszone.ErrAddrCount},
		{field: "NS[0].Addrs", cfg: dnszone.Config{NS: []dnszone.NameServer{{Name: "ns", Addrs: []netip.Addr{{}}}}}, err: dnszone.ErrBadAddr},
		{field: "Reverse[0]", cfg: dnszone.Config{Reverse: []netip.Prefix{{}}}, err: dnszone.ErrBadAddr},
		{field: "Reverse[0]", cfg: dnszone.Config{Reverse: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}}, err: dnszone.ErrBadAddr},
		{field: "Reverse[0]", cfg: dnszone.Config{Reverse: prefixes("::ffff:10.0.0.0/104")}, err: dnszone.ErrBadAddr},
		{field: "Reverse[1]", cfg: dnszone.Config{Reverse: prefixes("10.0.0.0/8", "0.0.0.0/0")}, err: dnszone.ErrNotOwnedPrefix},
		{field: "Extra[0].Name", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("x.example.com", "a")}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0].Name", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("5.0.0.10.in-addr.arpa", "a")}}, err: dnszone.ErrNotOwnedPrefix},
		{field: "Extra[0].Name", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("x\n.apn", "a")}}, err: dnszone.ErrBadName},
		{field: "Extra[0].Name", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("x.*.apn", "a")}}, err: dnszone.ErrBadName},
		{field: "Extra[0].Name", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("x*.apn", "a")}}, err: dnszone.ErrBadName},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.CNAMERecord("x.apn", "x.apn")}}, err: dnszone.ErrConflict},
		{field: "Extra[1]", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("t.apn", "t"), dnszone.CNAMERecord("x.apn", "y.apn"), dnszone.CNAMERecord("y.apn", "X.apn")}}, err: dnszone.ErrConflict},
		{field: "Mbox", cfg: dnszone.Config{Suffixes: []string{strings.Repeat("a.", 124) + "a"}}, err: dnszone.ErrNameTooLong},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.TXTRecord("x.apn")}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeNS, Data: "\x00"}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeSOA}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: 41}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeANY}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeA, Data: "12345"}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeAAAA, Data: "1234"}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeTXT, Data: "\x05abc"}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: dnszone.TypeMX, Data: "\x00\x01"}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.CNAMERecord("x.apn", "a..b")}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{dnszone.SRVRecord("x.apn", 1, 1, 1, strings.Repeat("a", 64))}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: 99, Data: strings.Repeat("a", 61_000)}}}, err: dnszone.ErrBadRecord},
		{field: "Extra[0]", cfg: dnszone.Config{Extra: []dnszone.Record{{Name: "x.apn", Type: 99, TTL: 1 << 31}}}, err: dnszone.ErrBadRecord},
	}
	for i, tt := range tests {
		set, report, err := dnszone.Build(tt.cfg, 1, nil)
		var bad *dnszone.ConfigError
		require.ErrorAs(t, err, &bad, "case %d", i)
		require.Equal(t, tt.field, bad.Field, "%v", err)
		if tt.err != nil {
			require.ErrorIs(t, err, tt.err)
		}
		require.True(t, strings.HasPrefix(err.Error(), "dnszone: config "+tt.field+": "), err.Error())
		require.Nil(t, set)
		require.Nil(t, report)
	}
}

// TestBuildSkips is hosts that get no name, with the reason.
func TestBuildSkips(t *testing.T) {
	t.Parallel()
	ok := addrs("10.0.0.1")
	many := make([]netip.Addr, 17)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	deep := "a." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 61)
	tests := []struct {
		host dnszone.Host
		err  error
	}{
		{dnszone.Host{App: "a", Name: "b", Addrs: ok}, dnszone.ErrNoID},
		{dnszone.Host{ID: "1", App: "a", Addrs: ok}, dnszone.ErrLabelEmpty},
		{dnszone.Host{ID: "2", Name: "b", Addrs: ok}, dnszone.ErrLabelEmpty},
		{dnszone.Host{ID: "3", App: "a", Name: "b\n", Addrs: ok}, dnszone.ErrLabelBadRune},
		{dnszone.Host{ID: "4", App: "a", Name: "wpad", Addrs: ok}, dnszone.ErrLabelReserved},
		{dnszone.Host{ID: "5", App: "ns", Name: "b", Addrs: ok}, dnszone.ErrLabelReserved},
		{dnszone.Host{ID: "6", App: "a", Name: "b"}, dnszone.ErrAddrCount},
		{dnszone.Host{ID: "7", App: "a", Name: "b", Addrs: many}, dnszone.ErrAddrCount},
		{dnszone.Host{ID: "8", App: "a", Name: "b", Addrs: []netip.Addr{{}}}, dnszone.ErrBadAddr},
		{dnszone.Host{ID: "9", App: "a", Name: "b", Addrs: addrs("0.0.0.0")}, dnszone.ErrBadAddr},
		{dnszone.Host{ID: "10", App: "a", Name: "b", Addrs: addrs("224.0.0.1")}, dnszone.ErrBadAddr},
		{dnszone.Host{ID: "11", App: "a", Name: "b", Addrs: addrs("fe80::1%eth0")}, dnszone.ErrBadAddr},
		{dnszone.Host{ID: "12", App: strings.Repeat("a", 63), Name: strings.Repeat("b", 63), Addrs: ok, Wildcard: true}, dnszone.ErrNameTooLong},
	}
	cfg := dnszone.Config{
		NS:       []dnszone.NameServer{{Name: "ns", Addrs: ok}},
		Suffixes: []string{"apn", deep},
	}
	for _, tt := range tests {
		set, report, err := dnszone.Build(cfg, 1, slices.Values([]dnszone.Host{tt.host}))
		require.NoError(t, err)
		require.Len(t, report.Skipped, 1, tt.host)
		require.ErrorIs(t, report.Skipped[0].Err, tt.err)
		require.Equal(t, tt.host.ID, report.Skipped[0].Host)
		require.NotContains(t, report.Skipped[0].Reason, "dnszone")
		require.Zero(t, set.Len())
		require.Nil(t, set.Names(tt.host.ID))

		// The same through an update, and cured by another one.
		set, report, err = mustBuild(t, cfg).Update(2, dnszone.Change{Host: tt.host})
		require.NoError(t, err)
		require.ErrorIs(t, report.Skipped[0].Err, tt.err)
		set, report, err = set.Update(3, dnszone.Change{Host: dnszone.Host{ID: tt.host.ID, App: "a", Name: "b", Addrs: ok}})
		require.NoError(t, err)
		require.Equal(t, tt.host.ID == "", len(report.Skipped) == 1)
		require.Equal(t, set.Report(), report)
	}
	four := netip.MustParseAddr("::ffff:10.0.0.1")
	set := mustBuild(t, cfg, dnszone.Host{ID: "1", App: "a", Name: "b", Addrs: []netip.Addr{four, ok[0]}})
	require.Equal(t, "b.apn. 30 IN A 10.0.0.1", fmt.Sprint(set.Lookup("b.apn", dnszone.TypeA).Records[0]))
	require.Len(t, set.Lookup("b.apn", dnszone.TypeA).Records, 1, "4-in-6 is IPv4, and each address counts once")
}

func TestBuildSameID(t *testing.T) {
	t.Parallel()
	hosts := []dnszone.Host{
		{ID: "x", App: "a", Name: "one", Addrs: addrs("10.0.0.1")},
		{ID: "y", App: "a", Name: "two", Addrs: addrs("10.0.0.2")},
		{ID: "x", App: "a", Name: "three", Addrs: addrs("10.0.0.3")},
		{ID: "z", App: "a", Name: "four", Addrs: addrs("10.0.0.4")},
		{ID: "z", App: "a", Name: "wpad", Addrs: addrs("10.0.0.5")},
	}
	for range 2 {
		set, report, err := dnszone.Build(dnszone.Config{}, 1, slices.Values(hosts))
		require.NoError(t, err)
		require.Equal(t, 1, set.Len())
		require.Len(t, report.Skipped, 2)
		for i, id := range []string{"x", "z"} {
			require.Equal(t, id, report.Skipped[i].Host)
			require.ErrorIs(t, report.Skipped[i].Err, dnszone.ErrSameID)
			require.Nil(t, set.Names(id))
		}
		slices.Reverse(hosts)
	}
}

// collisionHosts clash in every way there is.
func collisionHosts() []dnszone.Host {
	return []dnszone.Host{
		{ID: "s1", App: "shop", Name: "db", Addrs: addrs("10.0.0.1")},
		{ID: "b1", App: "blog", Name: "db", Addrs: addrs("10.0.0.2")},
		{ID: "s2", App: "shop", Name: "web", Addrs: addrs("10.0.0.3")},
		{ID: "s3", App: "shop", Name: "Web", Addrs: addrs("10.0.0.4")},
		{ID: "c1", App: "crm", Name: "one", Addrs: addrs("10.0.0.5")},
		{ID: "c2", App: "CRM", Name: "two", Addrs: addrs("10.0.0.6")},
		{ID: "b2", App: "blog", Name: "mail", Addrs: addrs("10.0.0.7")},
		{ID: "b3", App: "blog", Name: "smtp", Addrs: addrs("10.0.0.7")},
		{ID: "b4", App: "blog", Name: "shop", Addrs: addrs("10.0.0.8")},
	}
}

func TestCollisions(t *testing.T) {
	t.Parallel()
	cfg := dnszone.Config{Reverse: prefixes("10.0.0.0/24")}
	hosts := collisionHosts()
	set, report, err := dnszone.Build(cfg, 1, slices.Values(hosts))
	require.NoError(t, err)
	require.Equal(t, []dnszone.Collision{
		{Name: "7.0.0.10.in-addr.arpa", Kind: dnszone.Address, Hosts: []string{"b2", "b3"}, Names: []string{"mail.blog.apn", "smtp.blog.apn"}},
		{Name: "crm.apn", Kind: dnszone.ApplicationLabel, Hosts: []string{}, Names: []string{"CRM", "crm"}},
		{Name: "db.apn", Kind: dnszone.ShortName, Hosts: []string{"b1", "s1"}, Names: []string{"db.blog.apn", "db.shop.apn"}},
		{Name: "web.apn", Kind: dnszone.ShortName, Hosts: []string{"s2", "s3"}, Names: []string{}},
		{Name: "web.shop.apn", Kind: dnszone.QualifiedName, Hosts: []string{"s2", "s3"}, Names: []string{}},
	}, report.Withheld)
	for id, want := range map[string][]string{
		"s1": {"db.shop.apn"}, "b1": {"db.blog.apn"}, "s2": nil, "s3": nil,
		"c1": {"one.apn"}, "c2": {"two.apn"}, "b2": {"mail.apn", "mail.blog.apn"}, "b4": {"shop.apn", "shop.blog.apn"},
	} {
		require.Equal(t, want, set.Names(id), id)
	}
	for name, want := range map[string]int{
		"db.apn": 0, "db.shop.apn": 1, "web.apn": 0, "web.shop.apn": 0, "one.apn": 1, "one.crm.apn": 0, "mail.apn": 1, "shop.apn": 1,
	} {
		got := set.Lookup(name, dnszone.TypeA)
		require.Equal(t, dnszone.NoError, got.Rcode, name)
		require.Len(t, got.Records, want, name)
	}
	for last, want := range map[int]int{1: 1, 3: 0, 5: 0, 7: 0, 8: 1} {
		require.Len(t, set.Lookup(fmt.Sprintf("%d.0.0.10.in-addr.arpa", last), dnszone.TypePTR).Records, want, last)
	}

	// No order of the hosts makes a difference.
	slices.Reverse(hosts)
	again, report2, err := dnszone.Build(cfg, 1, slices.Values(hosts))
	require.NoError(t, err)
	require.Equal(t, report, report2)
	require.Equal(t, zones(t, set), zones(t, again))

	// An update reports what it touches.
	_, part, err := set.Update(2, dnszone.Change{Host: dnszone.Host{ID: "n", App: "new", Name: "db", Addrs: addrs("10.0.0.9")}})
	require.NoError(t, err)
	require.Equal(t, []dnszone.Collision{{
		Name: "db.apn", Kind: dnszone.ShortName, Hosts: []string{"b1", "n", "s1"}, Names: []string{"db.blog.apn", "db.new.apn", "db.shop.apn"},
	}}, part.Withheld)
}

func TestCollisionMerge(t *testing.T) {
	t.Parallel()
	set, report, err := dnszone.Build(dnszone.Config{Collisions: dnszone.CollisionMerge}, 1, slices.Values(collisionHosts()))
	require.NoError(t, err)
	require.Len(t, report.Withheld, 2, "the others stay withheld")
	for _, name := range []string{"web.apn", "web.shop.apn"} {
		require.Len(t, set.Lookup(name, dnszone.TypeA).Records, 2)
	}
	require.Equal(t, []string{"web.apn", "web.shop.apn"}, set.Names("s2"))

	var crowd []dnszone.Host
	for i := range dnszone.MaxMerge + 1 {
		h := fleetHost(i)
		h.App, h.Name = "shop", "web"
		crowd = append(crowd, h)
	}
	set, report, err = dnszone.Build(dnszone.Config{Collisions: dnszone.CollisionMerge}, 1, slices.Values(crowd))
	require.NoError(t, err)
	require.Len(t, report.Withheld, 2)
	require.Empty(t, set.Lookup("web.shop.apn", dnszone.TypeA).Records)
}

// TestCollisionCrowd: a name that thousands want costs an update no more than
// its own claim, and a report not all of them.
func TestCollisionCrowd(t *testing.T) {
	t.Parallel()
	hosts := fleet(3000)
	for i := range hosts {
		hosts[i].App, hosts[i].Name = fmt.Sprintf("a%04d", i), "web"
	}
	set := mustBuild(t, dnszone.Config{}, hosts...)
	require.Len(t, set.Report().Withheld, 1)
	require.Equal(t, 2000, set.Report().Withheld[0].More)
	require.Len(t, set.Report().Withheld[0].Hosts, 1000)
	for _, app := range []string{"a0000x", "zz", "0"} {
		h := hosts[7]
		h.App = app
		next, _, err := set.Update(2, dnszone.Change{Host: h})
		require.NoError(t, err)
		hosts := slices.Clone(hosts)
		hosts[7] = h
		fresh, _, err := dnszone.Build(dnszone.Config{}, 2, slices.Values(hosts))
		require.NoError(t, err)
		require.Equal(t, zones(t, fresh), zones(t, next))
	}
	_, _, err := dnszone.Build(dnszone.Config{Collisions: dnszone.CollisionReject}, 2, slices.Values(hosts))
	require.ErrorContains(t, err, "and 2996 more")
}

// TestCollisionLongNames: applications are told apart by what they are called,
// however long that is.
func TestCollisionLongNames(t *testing.T) {
	t.Parallel()
	long := "a" + strings.Repeat(" ", 300)
	for _, other := range []string{long + " ", "a", "a" + strings.Repeat("_", 200)} {
		set := mustBuild(t, dnszone.Config{},
			dnszone.Host{ID: "1", App: long, Name: "x", Addrs: addrs("10.0.0.1")},
			dnszone.Host{ID: "2", App: other, Name: "y", Addrs: addrs("10.0.0.2")})
		require.Len(t, set.Report().Withheld, 1)
		require.Equal(t, dnszone.ApplicationLabel, set.Report().Withheld[0].Kind)
		require.Equal(t, []string{"x.apn"}, set.Names("1"))
		set, _, err := set.Update(2, dnszone.Change{Host: dnszone.Host{ID: "2"}, Remove: true})
		require.NoError(t, err)
		require.Equal(t, []string{"x.apn", "x.a.apn"}, set.Names("1"))
	}
}

func TestCollisionReject(t *testing.T) {
	t.Parallel()
	cfg := dnszone.Config{Collisions: dnszone.CollisionReject}
	set, report, err := dnszone.Build(cfg, 1, slices.Values(collisionHosts()))
	var c *dnszone.CollisionError
	require.ErrorAs(t, err, &c)
	require.Equal(t, "crm.apn", c.Name)
	require.EqualError(t, err, `dnszone: application label "crm.apn": wanted by CRM, crm`)
	require.Nil(t, set)
	require.Len(t, report.Withheld, 4)

	set = mustBuild(t, cfg, collisionHosts()[0])
	_, report, err = set.Update(2, dnszone.Change{Host: collisionHosts()[1]})
	require.EqualError(t, err, `dnszone: short name "db.apn": wanted by b1, s1`)
	require.Len(t, report.Withheld, 1)
	require.Equal(t, []string{"db.apn", "db.shop.apn"}, set.Names("s1"))
}

func TestExtraAgainstGenerated(t *testing.T) {
	t.Parallel()
	cfg := dnszone.Config{Extra: []dnszone.Record{
		dnszone.AddrRecord("web.apn", netip.MustParseAddr("10.9.9.9")),
		dnszone.TXTRecord("web.apn", "fine"),
		dnszone.CNAMERecord("mail.apn", "web.apn"),
	}}
	set := mustBuild(t, cfg)
	require.Empty(t, set.Report().Skipped)
	require.Len(t, set.Lookup("mail.apn", dnszone.TypeA).Records, 2)

	set, report, err := set.Update(2,
		dnszone.Change{Host: dnszone.Host{ID: "1", App: "shop", Name: "web", Addrs: addrs("10.0.0.1")}},
		dnszone.Change{Host: dnszone.Host{ID: "2", App: "shop", Name: "mail", Addrs: addrs("10.0.0.2")}})
	require.NoError(t, err)
	require.Equal(t, set.Report(), report)
	require.Len(t, report.Skipped, 2)
	require.Equal(t, "mail.apn", report.Skipped[0].Name)
	require.Equal(t, "CNAME record clashes with another one", report.Skipped[0].Reason)
	require.ErrorIs(t, report.Skipped[1].Err, dnszone.ErrConflict)
	require.Equal(t, "web.apn. 30 IN A 10.0.0.1", fmt.Sprint(set.Lookup("web.apn", dnszone.TypeA).Records[0]))
	require.Equal(t, "mail.apn. 30 IN A 10.0.0.2", fmt.Sprint(set.Lookup("mail.apn", dnszone.TypeA).Records[0]))
	require.Len(t, set.Lookup("web.apn", dnszone.TypeTXT).Records, 1)
}

func TestReportJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(mustBuild(t, dnszone.Config{}).Report())
	require.NoError(t, err)
	require.JSONEq(t, `{"withheld":[],"skipped":[],"noted":[]}`, string(b))

	set := mustBuild(t, dnszone.Config{}, append(collisionHosts(), dnszone.Host{ID: "w", App: "7", Name: "wpad"}, dnszone.Host{ID: "v", App: "7", Name: "x", Addrs: addrs("10.1.1.1")})...)
	b, err = json.MarshalIndent(set.Report(), "", "  ")
	require.NoError(t, err)
	golden(t, "report.json", append(b, '\n'))
	var back dnszone.Report
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, set.Report().Withheld, back.Withheld)
}

// TestBuildCopies: neither a Config nor a Host is kept.
func TestBuildCopies(t *testing.T) {
	t.Parallel()
	cfg := dnszone.Config{
		Suffixes: []string{"apn"}, Labels: dnszone.LabelPolicy{Reserved: []string{"x"}},
		NS:    []dnszone.NameServer{{Name: "ns", Addrs: addrs("10.0.0.53")}},
		Extra: []dnszone.Record{dnszone.TXTRecord("t.apn", "t")},
	}
	host := dnszone.Host{ID: "1", App: "shop", Name: "web", Addrs: addrs("10.0.0.1")}
	set := mustBuild(t, cfg, host)
	before := zones(t, set)
	cfg.Suffixes[0], cfg.Labels.Reserved[0], cfg.NS[0].Addrs[0] = "y", "y", netip.MustParseAddr("10.0.0.9")
	cfg.Extra[0].Name = "y.apn"
	host.Addrs[0] = cfg.NS[0].Addrs[0]
	require.Equal(t, before, zones(t, set))
	_, report, err := set.Update(2, dnszone.Change{Host: dnszone.Host{ID: "2", App: "shop", Name: "x", Addrs: addrs("10.0.0.2")}})
	require.NoError(t, err)
	require.ErrorIs(t, report.Skipped[0].Err, dnszone.ErrLabelReserved)
}

func TestReverseZones(t *testing.T) {
	t.Parallel()
	tests := []struct {
		prefix      string
		n           int
		first, last string
	}{
		{"10.0.0.0/8", 1, "10.in-addr.arpa.", "10.in-addr.arpa."},
		{"10.1.16.0/20", 16, "16.1.10.in-addr.arpa.", "31.1.10.in-addr.arpa."},
		{"10.128.0.0/9", 128, "128.10.in-addr.arpa.", "255.10.in-addr.arpa."},
		{"192.0.2.4/30", 4, "4.2.0.192.in-addr.arpa.", "7.2.0.192.in-addr.arpa."},
		{"192.0.2.4/32", 1, "4.2.0.192.in-addr.arpa.", "4.2.0.192.in-addr.arpa."},
		{"fd00::/8", 1, "d.f.ip6.arpa.", "d.f.ip6.arpa."},
		{"fd12:3456:7800::/45", 8, "0.0.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", "7.0.8.7.6.5.4.3.2.1.d.f.ip6.arpa."},
		{"fd12:3456:7880::/42", 4, "8.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", "b.8.7.6.5.4.3.2.1.d.f.ip6.arpa."},
	}
	for _, tt := range tests {
		got, err := dnszone.ReverseZones(netip.MustParsePrefix(tt.prefix))
		require.NoError(t, err)
		require.Len(t, got, tt.n)
		require.Equal(t, tt.first, got[0])
		require.Equal(t, tt.last, got[len(got)-1])
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::ffff:10.0.0.0/104")} {
		_, err := dnszone.ReverseZones(bad)
		require.Error(t, err)
	}
	// A prefix inside another one adds no zone.
	set := mustBuild(t, dnszone.Config{Reverse: prefixes("10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "192.0.2.0/24")})
	var names []string
	for z := range set.Zones() {
		names = append(names, z.Name())
	}
	require.Equal(t, []string{"apn.", "10.in-addr.arpa.", "2.0.192.in-addr.arpa."}, names)
}

func TestWriteHosts(t *testing.T) {
	t.Parallel()
	set := mustBuild(t, dnszone.Config{Suffixes: []string{"apn", "net.internal"}}, append(collisionHosts(),
		dnszone.Host{ID: "m", App: "shop", Name: "multi", Addrs: addrs("fd00::1", "10.0.0.10", "10.0.0.9"), Wildcard: true})...)
	for file, opts := range map[string]*dnszone.HostsOptions{
		"hosts": nil, "hosts-bare": {Bare: true, Tag: "acme/apn"},
	} {
		var b bytes.Buffer
		n, err := set.WriteHosts(&b, opts)
		require.NoError(t, err)
		require.EqualValues(t, b.Len(), n)
		golden(t, file, b.Bytes())
	}
	var b bytes.Buffer
	_, err := set.WriteHosts(&b, &dnszone.HostsOptions{Limit: 5})
	var many *dnszone.TooManyNamesError
	require.ErrorAs(t, err, &many)
	require.Equal(t, 5, many.Limit)
	require.Equal(t, 24, many.Names)
	_, err = set.WriteHosts(&b, &dnszone.HostsOptions{Tag: "a\nb"})
	require.ErrorIs(t, err, dnszone.ErrBadName)
	require.Zero(t, b.Len())
}

// TestZoneInjection: no name or text reaches a file as more than itself.
func TestZoneInjection(t *testing.T) {
	t.Parallel()
	evil := []string{
		"a\n$INCLUDE /etc/passwd", "a; b", `a" "b`, `a\`, "a\x00b", "(", "a\tb", "é\r\n", "$ORIGIN x.", "@", strings.Repeat("x", 600),
	}
	var extra []dnszone.Record
	var hosts []dnszone.Host
	for i, s := range evil {
		extra = append(extra, dnszone.TXTRecord(fmt.Sprintf("t%d.apn", i), s), dnszone.CNAMERecord(fmt.Sprintf("c%d.apn", i), "x."+strings.NewReplacer(".", `\.`, `\`, `\\`).Replace(s[:min(len(s), 40)])))
		hosts = append(hosts, dnszone.Host{ID: s, App: "a", Name: s, Addrs: addrs("10.0.0.1")}, dnszone.Host{ID: s + "2", App: s, Name: "b", Addrs: addrs("10.0.0.1")})
	}
	set := mustBuild(t, dnszone.Config{Extra: extra}, hosts...)
	z, _ := set.Zone("apn")
	file := masterFile(t, z)
	for line := range strings.Lines(string(file)) {
		require.Regexp(t, `^[a-z0-9.-]+ [0-9]+ IN [A-Z]+ [ -~]+\n$`, line)
	}
	require.Equal(t, slices.Collect(z.Records()), parseMaster(t, file))
}

func TestSetZone(t *testing.T) {
	t.Parallel()
	set := richSet(t)
	for name, want := range map[string]string{
		"apn": "apn.", "APN.": "apn.", "x.y.apn": "apn.", "net.internal.": "net.internal.", "internal.": "", ".": "", "": "", "a..b": "", "5.17.1.10.in-addr.arpa": "17.1.10.in-addr.arpa.",
	} {
		z, ok := set.Zone(name)
		require.Equal(t, want != "", ok, name)
		if ok {
			require.Equal(t, want, z.Name())
			require.EqualValues(t, 1, z.Serial())
		}
	}
	for z := range set.Zones() {
		require.Equal(t, "apn.", z.Name())
		break
	}
}

// TestUpdateGrows fills an empty Set by updates, past every change of layout.
func TestUpdateGrows(t *testing.T) {
	t.Parallel()
	cfg := dnszone.Config{Reverse: fleetReverse}
	set := mustBuild(t, cfg)
	const n = 3000
	for i := 0; i < n; i += 10 {
		var changes []dnszone.Change
		for j := range 10 {
			changes = append(changes, dnszone.Change{Host: fleetHost(i + j)})
		}
		var err error
		set, _, err = set.Update(set.Serial()+1, changes...)
		require.NoError(t, err)
	}
	fresh, _, err := dnszone.Build(cfg, set.Serial(), slices.Values(fleet(n)))
	require.NoError(t, err)
	require.Equal(t, zones(t, fresh), zones(t, set))
	for i := range n {
		set, _, err = set.Update(set.Serial()+1, dnszone.Change{Host: dnszone.Host{ID: fleetHost(i).ID}, Remove: true})
		require.NoError(t, err)
	}
	require.Zero(t, set.Len())
	fresh, _, err = dnszone.Build(cfg, set.Serial(), nil)
	require.NoError(t, err)
	require.Equal(t, zones(t, fresh), zones(t, set))
}
