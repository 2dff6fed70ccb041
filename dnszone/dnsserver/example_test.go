package dnsserver_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// A server on loopback, asked by the resolver of the standard library.
func Example() {
	set, _, err := dnszone.Build(dnszone.Config{}, 1, slices.Values([]dnszone.Host{
		{ID: "1", App: "shop", Name: "web-1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	src := &dnsserver.Source{}
	src.Store(set)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- dnsserver.New(src, nil).ServePacket(ctx, conn) }()

	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	fmt.Println(resolver.LookupHost(ctx, "web-1.apn."))
	cancel()
	fmt.Println(<-done)
	// Output:
	// [10.0.0.1] <nil>
	// <nil>
}

// Names that are none of ours go to the resolvers of the site, the network's
// secondaries may copy the zones, and one source gets 200 queries a second.
func ExampleNew() {
	src := &dnsserver.Source{}
	upstreams := dnsserver.NewUpstreams([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, &dnsserver.UpstreamsOptions{RejectPrivate: true})
	srv := dnsserver.New(src, &dnsserver.Options{
		Allow:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Forward:  upstreams,
		Transfer: dnsserver.TransferPolicy{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.54/32")}, Notify: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.54:53")}},
		Limits:   dnsserver.Limits{Rate: 200},
		OnQuery:  func(e dnsserver.Event) { fmt.Println(e.Question.Name, e.Rcode) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(srv.Notify(ctx))
	// Output: <nil>
}

func ExampleSource_Subscribe() {
	src := &dnsserver.Source{}
	changed, stop := src.Subscribe()
	defer stop()
	set, _, _ := dnszone.Build(dnszone.Config{}, 3, nil)
	src.Store(set)
	<-changed
	fmt.Println(src.Load().Serial())
	// Output: 3
}
