package netmap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/keys"
)

// Config is what one server does with a [Map]: its interface, its peers, who may
// send to its port, and the names that it knows.
type Config struct {
	ID        string         `json:"id"` // peer ID of the server itself
	Name      string         `json:"name"`
	Network   string         `json:"network"`
	App       string         `json:"app"`
	Epoch     string         `json:"epoch"`
	Revision  uint64         `json:"revision"`
	PublicKey keys.PublicKey `json:"public_key"`
	KeyGen    uint64         `json:"key_gen"`
	RotateTo  uint64         `json:"rotate_to,omitempty"` // see [Peer]
	Preshared uint64         `json:"preshared,omitempty"` // see [Map]

	Addresses  []netip.Prefix `json:"addresses"` // the server's own
	ListenPort uint16         `json:"listen_port"`
	// Routes are the prefixes behind the interface. Sorted, not overlapping.
	Routes []netip.Prefix `json:"routes"`
	// Peers are those that the server talks to directly, sorted by ID. Their
	// AllowedIPs hold the addresses of all that lie behind them; Via is empty.
	Peers    []Peer   `json:"peers"`
	Openings Openings `json:"openings"`
	Suffix   string   `json:"suffix"`
	// Names leads from each peer that has names, the server itself included, to
	// its addresses. Sorted by ID.
	Names []Named `json:"names"`
	// Forward reports whether the server is a gateway: others reach peers
	// through it.
	Forward bool `json:"forward,omitempty"`
}

// Named is a peer with its names and addresses.
type Named struct {
	ID    string       `json:"id"`
	Names []string     `json:"names"`
	Addrs []netip.Addr `json:"addrs"`
}

// For returns what the server with the given peer ID does with m, which has
// passed [Map.Check]. If m has no such server, or it is one of a linked app, the
// error wraps [ErrForeign].
//
// The result shares memory with m; neither may be changed.
//
// The gateway itself and the peer behind it talk directly; for all others the
// peer's addresses are among the gateway's AllowedIPs.
func (m *Map) For(server string) (*Config, error) {
	self, ok := m.Peer(server)
	if !ok || !strings.HasPrefix(self.ID, ServerID(m.App, "")) {
		return nil, fmt.Errorf("netmap: config of %q from revision %d: %w", server, m.Revision, ErrForeign)
	}
	c := &Config{
		ID: self.ID, Name: self.Name, Network: m.Network, App: m.App, Epoch: m.Epoch, Revision: m.Revision,
		PublicKey: self.PublicKey, KeyGen: self.KeyGen, RotateTo: self.RotateTo, Preshared: m.Preshared,
		Addresses: self.AllowedIPs, ListenPort: m.ListenPort, Routes: m.Routes, Openings: m.Openings, Suffix: m.Suffix,
	}
	behind := map[string][]netip.Prefix{} // by gateway
	c.Peers, c.Names = make([]Peer, 0, len(m.Peers)), make([]Named, 0, len(m.Peers))
	addrs := make([]netip.Addr, 0, 2*len(m.Peers)) // cut into the lists of c.Names
	for i := range m.Peers {
		p := &m.Peers[i]
		if len(p.Names) > 0 {
			first := len(addrs)
			for _, prefix := range p.AllowedIPs {
				if prefix.IsSingleIP() {
					addrs = append(addrs, prefix.Addr())
				}
			}
			c.Names = append(c.Names, Named{ID: p.ID, Names: p.Names, Addrs: slices.Clip(addrs[first:])})
		}
		switch gateway := between(self, p); {
		case p == self:
		case gateway == "":
			c.Peers = append(c.Peers, *p)
		default:
			behind[gateway] = append(behind[gateway], p.AllowedIPs...)
		}
		c.Forward = c.Forward || p.Via == self.ID
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		p.Via = ""
		if more := behind[p.ID]; len(more) > 0 {
			p.AllowedIPs = slices.Concat(p.AllowedIPs, more)
		}
	}
	return c, nil
}

// between returns the gateway through which self reaches p; empty: directly.
func between(self, p *Peer) string {
	if self.Via != "" { // all of self's traffic goes through its gateway
		if p.ID == self.Via {
			return ""
		}
		return self.Via
	}
	if p.Via == self.ID {
		return ""
	}
	return p.Via
}
