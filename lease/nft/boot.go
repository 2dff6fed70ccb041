package nft

import (
	"bytes"
	"fmt"
)

// BootFile returns a file for nft(8) that closes the port from the start of the
// host until [Open]: load it before the network is up, for instance with
// "nft -f" in a unit that is ordered before network-pre.target. It lets nobody
// in, and guards the prefixes of o.
func BootFile(o Options) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("nft: boot file: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# The WireGuard port is closed until the agent opens it.
table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain input {
		type filter hook input priority %[2]d; policy accept;
		udp dport %[3]d counter drop
	}
	chain output {
		type filter hook output priority %[2]d; policy accept;
		udp sport %[3]d counter drop
	}
`, o.Name, priority, o.Port)
	if o.guards() {
		fmt.Fprintf(&b, "\tchain antispoof {\n\t\ttype filter hook prerouting priority raw; policy accept;\n\t\tiifname { %q, \"lo\" } accept\n", o.Interface)
		for _, p := range o.Protected {
			fmt.Fprintf(&b, "\t\t%s saddr %v counter drop\n", familyOf(p), p)
		}
		for _, name := range o.Inside {
			fmt.Fprintf(&b, "\t\tiifname %q accept\n", name)
		}
		for _, p := range o.Protected {
			fmt.Fprintf(&b, "\t\t%s daddr %v counter drop\n", familyOf(p), p)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}
