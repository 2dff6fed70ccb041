package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/dnszone"
)

// Zone returns the zones that a server answers for: the names of its netmap, and
// for each address the name that is longest, which no other server can take.
// The serial follows prev, that of the zone before; 0 if there is none.
//
// Which of several servers has a short name was decided over the whole network,
// of which the server knows a part. So the names stand as records of their own
// here, instead of being derived again.
func Zone(c *netmap.Config, prev uint32) (*dnszone.Set, error) {
	var extra []dnszone.Record
	for _, n := range c.Names {
		longest := ""
		for _, name := range n.Names {
			if len(name) > len(longest) {
				longest = name
			}
			for _, a := range n.Addrs {
				extra = append(extra, dnszone.AddrRecord(name+".", a))
			}
		}
		for _, a := range n.Addrs {
			extra = append(extra, dnszone.Record{Name: reverseName(a), Type: dnszone.TypePTR, Data: wire(longest)})
		}
	}
	set, _, err := dnszone.Build(dnszone.Config{
		Suffixes: []string{c.Suffix}, Reverse: c.Routes, Extra: extra,
	}, dnszone.NextSerial(prev, c.Revision), nil)
	if err != nil {
		return nil, fmt.Errorf("agent: build zone: %w", err)
	}
	return set, nil
}

// reverseName returns the name that an address has in DNS (RFC 1035 section 3.5,
// RFC 3596 section 2.5).
func reverseName(a netip.Addr) string {
	var b strings.Builder
	for _, octet := range slices.Backward(a.AsSlice()) {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", octet)
		} else {
			fmt.Fprintf(&b, "%x.%x.", octet&0xf, octet>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa."
	}
	return b.String() + "ip6.arpa."
}

// wire returns a name in the form of a message (RFC 1035 section 3.1).
func wire(name string) string {
	var b strings.Builder
	for label := range strings.SplitSeq(name, ".") {
		b.WriteByte(byte(len(label))) //nolint:gosec // a longer one fails in Build
		b.WriteString(label)
	}
	return b.String() + "\x00"
}
