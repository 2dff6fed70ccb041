// Package netmap is the document between control plane and agent: all that one
// server may know of its network, and nothing more.
//
// A [Map] is a plain value with a JSON form. It holds no private and no preshared
// key; those travel sealed. Its Revision tells old from new within one Epoch.
package netmap

import (
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

// Format is the version of the document. A reader refuses a newer one.
const Format = 1

// Map is what one server may know.
type Map struct {
	Format    int            `json:"format"`
	Network   string         `json:"network"`
	App       string         `json:"app"`
	Server    string         `json:"server"`
	Epoch     string         `json:"epoch"`    // changes when the control plane's store was restored
	Revision  uint64         `json:"revision"` // grows within an epoch
	Interface Interface      `json:"interface"`
	Peers     []Peer         `json:"peers"` // sorted by ID
	Openings  lease.Openings `json:"openings"`
	Names     Names          `json:"names"`
}

// Interface is the server's own side.
type Interface struct {
	PublicKey  keys.PublicKey `json:"public_key"`
	KeyGen     uint64         `json:"key_gen"`
	Addresses  []netip.Addr   `json:"addresses"`
	ListenPort uint16         `json:"listen_port"`
	// Routes are the prefixes that lie behind the interface: the subnets of the
	// server's app, of linked apps and of devices. Sorted, not overlapping.
	Routes []netip.Prefix `json:"routes"`
}

// Peer is another server, or a member's device.
type Peer struct {
	ID        string         `json:"id"`   // "srv/shop/web-1" or "dev/ada/laptop"
	Name      string         `json:"name"` // "web-1.shop"
	PublicKey keys.PublicKey `json:"public_key"`
	// AllowedIPs are the peer's addresses.
	AllowedIPs []netip.Prefix `json:"allowed_ips"`
	// Endpoint is "host:port"; empty if the peer calls us.
	Endpoint string `json:"endpoint,omitempty"`
	// Keepalive is in nanoseconds; 0 is off.
	Keepalive time.Duration `json:"keepalive,omitempty"`
}

// Names is the part of the private DNS that concerns the server: the names of
// its peers and its own. Collisions were decided over the whole network.
type Names struct {
	Suffix string `json:"suffix"`
	Serial uint32 `json:"serial"`
	Hosts  []Host `json:"hosts"` // sorted by name
}

// Host is a name with its addresses.
type Host struct {
	Name  string       `json:"name"` // fully qualified, without the last dot
	Addrs []netip.Addr `json:"addrs"`
}
