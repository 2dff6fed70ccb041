package apn_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

func exampleNetwork(ctx context.Context) *apn.Network {
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(&testKEK{id: "example"})})
	if err != nil {
		log.Fatal(err)
	}
	n, err := ctl.CreateNetwork(ctx, "acme", &apn.NetworkOptions{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")},
	})
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	ctx := context.Background()
	n := exampleNetwork(ctx)
	must(n.AddApp(ctx, "shop", nil))
	web := must(n.AddServer(ctx, "shop", "web-1", &apn.ServerOptions{Endpoint: "203.0.113.7:51820"}))
	must(n.AddMember(ctx, "ada", nil))
	check(n.SetRole(ctx, "ada", "shop", apn.Developer, nil))
	must(n.AddDevice(ctx, "ada", "laptop", nil))
	cfg := must(n.DeviceConfig(ctx, "ada", "laptop"))

	fmt.Println(web.Addresses, web.Names)
	for _, p := range cfg.Peers {
		fmt.Println(p.Name, p.AllowedIPs, p.Endpoint, p.Keepalive)
	}
	// Output:
	// [10.66.0.2] [web-1.apn web-1.shop.apn]
	// web-1.shop [10.66.0.2/32] 203.0.113.7:51820 25s
}

func ExampleNetwork_Lease() {
	ctx := context.Background()
	n := exampleNetwork(ctx)
	must(n.AddApp(ctx, "shop", nil))
	must(n.AddMember(ctx, "ada", nil))
	check(n.SetRole(ctx, "ada", "shop", apn.Developer, nil))

	leases := must(n.Lease(ctx, "shop", "ada", []netip.Addr{netip.MustParseAddr("198.51.100.9")}, nil))
	fmt.Println(leases[0].Source, leases[0].ExpiresAt.Sub(leases[0].IssuedAt))
	// Output: 198.51.100.9/32 24h0m0s
}

func ExamplePlan() {
	ctx := context.Background()
	n := exampleNetwork(ctx)
	must(n.AddApp(ctx, "shop", nil))
	must(n.AddServer(ctx, "shop", "web-1", nil))

	var plan apn.Plan
	must(n.AddServer(ctx, "shop", "web-2", &apn.ServerOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}}))
	fmt.Println(plan.Servers)
	for _, name := range plan.Names {
		fmt.Println(name.Object, name.After)
	}
	// Output:
	// [shop/web-1 shop/web-2]
	// web-2.apn 10.66.0.3
	// web-2.shop.apn 10.66.0.3
}

// A config that was handed out tells why it is out of date.
func ExampleNetwork_Device_stale() {
	ctx := context.Background()
	n := exampleNetwork(ctx)
	must(n.AddApp(ctx, "shop", nil))
	must(n.AddMember(ctx, "ada", nil))
	check(n.SetRole(ctx, "ada", "shop", apn.Developer, nil))
	must(n.AddDevice(ctx, "ada", "laptop", nil))
	must(n.DeviceConfig(ctx, "ada", "laptop"))

	must(n.AddServer(ctx, "shop", "web-1", nil))
	for _, reason := range must(n.Device("ada", "laptop")).Stale {
		fmt.Println(reason.Kind, reason.Object)
	}
	// Output: server_added shop/web-1
}

func ExampleNetwork_Audit() {
	ctx := context.Background()
	n := exampleNetwork(ctx)
	must(n.AddApp(apn.WithActor(ctx, apn.Actor{ID: "ops"}), "shop", nil))
	events, _, err := n.Audit(ctx, 0, 10)
	check(err)
	for _, e := range events {
		fmt.Println(e.N, e.Actor.ID, e.Action, e.Object)
	}
	// Output:
	// 1  network.create acme
	// 2 ops app.add shop
}
