package netmap

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// Format is the version of the document. A reader refuses a newer one.
const Format = 1

// Bounds of a document.
const (
	// MaxPeers is how many peers a WireGuard interface takes.
	MaxPeers = 1 << 16
	// MaxOpenings is how many leases and how many rules there may be.
	MaxOpenings = 100_000
	// MaxRoutes is how many routes there may be.
	MaxRoutes = 1 << 16
	// MaxBytes is how long an encoded document may be, in bytes.
	MaxBytes = 64 << 20
)

// Map is what the servers of one app may know.
type Map struct {
	Format   int    `json:"format"`
	Network  string `json:"network"`
	App      string `json:"app"`
	Epoch    string `json:"epoch"`    // changes when the control plane's store was restored
	Revision uint64 `json:"revision"` // grows within an epoch, from 1
	// ListenPort is the UDP port of the app's servers.
	ListenPort uint16 `json:"listen_port"`
	// Suffix is the zone that the peers' names are in, without the last dot.
	Suffix string `json:"suffix"`
	// Preshared is 0 if peers have no preshared keys; otherwise it changes when
	// all of them do.
	Preshared uint64 `json:"preshared,omitempty"`
	// Routes are the prefixes that lie behind the interface: the subnets of the
	// app, of linked apps and of devices. Sorted, not overlapping.
	Routes []netip.Prefix `json:"routes"`
	// Peers are the servers of the app and of linked apps, and the devices that
	// reach the app. Sorted by ID.
	Peers    []Peer   `json:"peers"`
	Openings Openings `json:"openings"`
}

// Peer is a server, or a member's device.
type Peer struct {
	ID        string         `json:"id,omitempty"` // "srv/shop/web-1" or "dev/ada/laptop"
	Name      string         `json:"name"`         // for people: "web-1.shop"
	PublicKey keys.PublicKey `json:"public_key"`
	KeyGen    uint64         `json:"key_gen,omitempty"`
	// RotateTo asks the server to make a key of this generation, if it keeps its
	// key itself. 0, or not above KeyGen: it does not.
	RotateTo uint64 `json:"rotate_to,omitempty"`
	// AllowedIPs are the peer's own addresses, as prefixes.
	AllowedIPs []netip.Prefix `json:"allowed_ips"`
	// Endpoint is "host:port"; empty if the peer calls us.
	Endpoint string `json:"endpoint,omitempty"`
	// Keepalive is in nanoseconds, whole seconds; 0 is off.
	Keepalive time.Duration `json:"keepalive,omitempty"`
	// Via is the ID of the gateway that the peer is reached through; empty:
	// directly.
	Via string `json:"via,omitempty"`
	// Names are the DNS names that lead to the peer, without the last dot.
	// Collisions were decided over the whole network.
	Names []string `json:"names,omitempty"`
}

// Openings are who may send to the port of the app's servers. The zero Openings
// let nobody in.
type Openings struct {
	// Permanent is sorted and merged: no prefix overlaps another.
	Permanent []netip.Prefix `json:"permanent,omitempty"`
	// Leases is sorted by source, each source once. Some may have ended.
	Leases []Opening `json:"leases,omitempty"`
}

// Opening lets one source in until a time. Both times are of the control plane's
// clock.
type Opening struct {
	Source    netip.Prefix `json:"source,omitzero"` // IPv4 /32 or IPv6 /64
	IssuedAt  time.Time    `json:"issued_at"`
	ExpiresAt time.Time    `json:"expires_at"`
}

// ServerID returns the peer ID of a server.
func ServerID(app, server string) string { return "srv/" + app + "/" + server }

// Peer returns the peer with the given ID.
func (m *Map) Peer(id string) (*Peer, bool) {
	i, ok := slices.BinarySearchFunc(m.Peers, id, func(p Peer, id string) int { return strings.Compare(p.ID, id) })
	if !ok {
		return nil, false
	}
	return &m.Peers[i], true
}

func (p *Peer) equal(q *Peer) bool {
	return p.ID == q.ID && p.Name == q.Name && p.PublicKey == q.PublicKey && p.KeyGen == q.KeyGen &&
		p.RotateTo == q.RotateTo && p.Endpoint == q.Endpoint && p.Keepalive == q.Keepalive && p.Via == q.Via &&
		slices.Equal(p.AllowedIPs, q.AllowedIPs) && slices.Equal(p.Names, q.Names)
}

func (o *Opening) equal(q *Opening) bool {
	return o.Source == q.Source && o.IssuedAt.Equal(q.IssuedAt) && o.ExpiresAt.Equal(q.ExpiresAt)
}
