package nft_test

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/apnkit/apnkit/lease/nft"
)

func ExampleBootFile() {
	file, err := nft.BootFile(nft.Options{
		Port:      51820,
		Interface: "apn0",
		Protected: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = os.Stdout.Write(file)
	// Output:
	// # The WireGuard port is closed until the agent opens it.
	// table inet apn
	// delete table inet apn
	// table inet apn {
	// 	chain input {
	// 		type filter hook input priority -10; policy accept;
	// 		udp dport 51820 counter drop
	// 	}
	// 	chain output {
	// 		type filter hook output priority -10; policy accept;
	// 		udp sport 51820 counter drop
	// 	}
	// 	chain antispoof {
	// 		type filter hook prerouting priority raw; policy accept;
	// 		iifname { "apn0", "lo" } accept
	// 		ip saddr 10.66.0.0/24 counter drop
	// 		ip daddr 10.66.0.0/24 counter drop
	// 	}
	// }
}
