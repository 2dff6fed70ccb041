package netmap_test

import (
	"fmt"

	"github.com/apnkit/apnkit/apn/netmap"
)

// The control plane signs one document per app and revision; what a server has
// already, it does not get again.
func Example() {
	key, pub := signer(1)

	m := mesh(1000)
	first, _ := netmap.Sign(key, m, nil)
	m = next(m)
	m.Peers = append(m.Peers, server(1001))
	second, _ := netmap.Sign(key, m, first)
	body := netmap.Diff(first, second).Append(nil)

	// The agent has the first revision, and gets the body.
	delta, _ := netmap.ParseDelta(body)
	signed, _ := first.Apply(delta)
	opened, err := signed.Open(pub)
	if err != nil {
		fmt.Println(err)
		return
	}
	config, _ := opened.For(netmap.ServerID("shop", "web-00001"))
	fmt.Println(len(config.Peers), "peers at revision", config.Revision)
	fmt.Println("whole:", len(first.Append(nil)) > 200_000, "delta:", len(body) < 600)
	// Output:
	// 1000 peers at revision 2
	// whole: true delta: true
}
