package agent_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/netmap"
)

// An agent in a program of one's own. In place of the fakes stand an interface of
// package wgdev, a table of package nft, and a client of package source.
func Example() {
	signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	control := &agenttest.Source{Key: signer, Clock: time.Now}

	token := netmap.JoinToken{URL: "https://apn.example.org", Key: signer.Public().(ed25519.PublicKey), Secret: "once"}
	id, err := agent.NewIdentity(token, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	id.Network, id.App, id.Server = "acme", "shop", "web-1" // joining says so

	iface := agenttest.NewInterface()
	a, err := agent.New(agent.Config{Identity: id, Interface: iface, Source: control})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()

	peer := func(name string, n int) netmap.Peer {
		return netmap.Peer{
			ID: netmap.ServerID("shop", name), Name: name + ".shop", PublicKey: pubOf(n), KeyGen: 1, AllowedIPs: []netip.Prefix{addrOf(n)},
		}
	}
	self := peer("web-1", 1)
	self.PublicKey = id.PublicKey()
	_, err = control.Publish(&netmap.Map{
		Format: netmap.Format, Network: "acme", App: "shop", Epoch: "e1", Revision: 1, ListenPort: 51820, Suffix: "apn",
		Routes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24")}, Peers: []netmap.Peer{self, peer("web-2", 2)},
	})
	for dev := (&agent.Links{}); err == nil && len(dev.Addresses) == 0 && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		*dev = iface.Links()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	fmt.Println(iface.Links().Addresses, iface.Links().Routes)
	// Output: [10.66.0.1/32] [10.66.0.0/24]
}

func ExamplePlan() {
	iface := agenttest.NewInterface()
	have, _ := iface.Device(context.Background())
	want := &agent.Desired{PrivateKey: privOf(1), ListenPort: 51820, Peers: []agent.Peer{
		{ID: "srv/shop/web-2", PublicKey: pubOf(2), AllowedIPs: []netip.Prefix{addrOf(2)}},
	}}
	c, _ := agent.Plan(have, want, nil)
	fmt.Println(len(c.Peers), "peer to write")
	_ = iface.Configure(context.Background(), c)

	have, _ = iface.Device(context.Background())
	c, _ = agent.Plan(have, want, nil)
	fmt.Println("nothing left:", agent.Empty(c))
	// Output:
	// 1 peer to write
	// nothing left: true
}
