package render

import (
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// Config is one WireGuard interface and its peers.
//
// Keys are not comparable: use [Config.Equal], never == or reflect.DeepEqual.
type Config struct {
	Name      string // a comment, and the source of file and interface names; may be empty
	Interface Interface
	Peers     []Peer // any order
}

// Interface is the side of the tunnel whose file this is.
type Interface struct {
	PrivateKey keys.PrivateKey // zero: not at hand, see the package text
	// PublicKey belongs to PrivateKey. Zero: computed from it, about 50
	// microseconds each time. A caller who keeps private keys sealed sets it alone
	// and gets the same fingerprint. If both are set they are taken to match;
	// [Config.Validate] proves it.
	PublicKey  keys.PublicKey
	Addresses  []netip.Prefix // own addresses with the network's mask, host bits kept
	ListenPort uint16         // zero: any free port
	FwMark     uint32         // zero: none. Linux only
	MTU        uint16         // bytes; zero: the client's default
	DNS        []netip.Addr   // resolvers. Most clients send them every query
	Search     []string       // search domains; they need a resolver in DNS
	Table      Table          // zero: routes in the main table
	Hooks      Hooks          // zero: none. Rendered only with [Options.Hooks]
}

// Peer is one remote side.
type Peer struct {
	Name         string // a comment; may be empty
	PublicKey    keys.PublicKey
	PresharedKey keys.PresharedKey // zero: none
	// PresharedDigest stands for PresharedKey in fingerprints where the key is not
	// at hand. Zero: none, or computed from PresharedKey. A config whose peer has
	// a digest and no key is not rendered.
	PresharedDigest PresharedDigest
	AllowedIPs      []netip.Prefix // no two peers may have the same one
	Endpoint        Endpoint       // zero: the peer calls us
	Keepalive       time.Duration  // whole seconds up to 65535; zero: off
}

// Table is where wg-quick puts routes: [TableAuto], [TableOff] or the number of
// a table (Linux, Windows).
type Table int64

const (
	// TableAuto routes through the main table, and a default route by policy.
	TableAuto Table = 0
	// TableOff adds no routes.
	TableOff Table = -1
)

// Hooks are shell commands that wg-quick runs as root. They come from the code
// of the caller, never from users' data.
type Hooks struct {
	PreUp, PostUp, PreDown, PostDown []string
}

// IsZero reports whether there are no hooks.
func (h *Hooks) IsZero() bool {
	return len(h.PreUp) == 0 && len(h.PostUp) == 0 && len(h.PreDown) == 0 && len(h.PostDown) == 0
}

// Clone returns a copy that shares no slice with c. Keys are immutable and
// shared.
func (c *Config) Clone() *Config {
	o := *c
	i := &o.Interface
	i.Addresses = slices.Clone(i.Addresses)
	i.DNS = slices.Clone(i.DNS)
	i.Search = slices.Clone(i.Search)
	i.Hooks = Hooks{slices.Clone(i.Hooks.PreUp), slices.Clone(i.Hooks.PostUp), slices.Clone(i.Hooks.PreDown), slices.Clone(i.Hooks.PostDown)}
	o.Peers = slices.Clone(o.Peers)
	for k := range o.Peers {
		o.Peers[k].AllowedIPs = slices.Clone(o.Peers[k].AllowedIPs)
	}
	return &o
}

// Equal reports whether c and o mean the same to WireGuard: all but names and
// the order of peers and allowed IPs. Secrets are compared in constant time.
func (c *Config) Equal(o *Config) bool {
	c, o = c.normalized(), o.normalized()
	return c.Interface.equal(&o.Interface) && slices.EqualFunc(c.Peers, o.Peers, func(a, b Peer) bool {
		return a.PublicKey == b.PublicKey && a.PresharedKey.Equal(b.PresharedKey) && a.digest() == b.digest() &&
			slices.Equal(a.AllowedIPs, b.AllowedIPs) && a.Endpoint == b.Endpoint && a.Keepalive == b.Keepalive
	})
}

func (i *Interface) equal(o *Interface) bool {
	return i.PrivateKey.Equal(o.PrivateKey) && i.public() == o.public() &&
		i.ListenPort == o.ListenPort && i.FwMark == o.FwMark && i.sameSettings(o)
}

// sameSettings compares what WireGuard itself does not know.
func (i *Interface) sameSettings(o *Interface) bool {
	return slices.Equal(i.Addresses, o.Addresses) && i.MTU == o.MTU &&
		slices.Equal(i.DNS, o.DNS) && slices.Equal(i.Search, o.Search) && i.Table == o.Table &&
		slices.Equal(i.Hooks.PreUp, o.Hooks.PreUp) && slices.Equal(i.Hooks.PostUp, o.Hooks.PostUp) &&
		slices.Equal(i.Hooks.PreDown, o.Hooks.PreDown) && slices.Equal(i.Hooks.PostDown, o.Hooks.PostDown)
}

// public returns the interface's public key, or zero if nothing tells it.
func (i *Interface) public() keys.PublicKey {
	if i.PublicKey.IsZero() {
		return i.PrivateKey.PublicKey()
	}
	return i.PublicKey
}

// label names the peer in errors. Public keys stay out of logs, so out of
// errors too.
func (p *Peer) label() string {
	if p.Name != "" {
		return string(appendName(nil, p.Name))
	}
	return p.PublicKey.Fingerprint()
}
