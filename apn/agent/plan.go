package agent

import (
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/keys"
)

// Desired is what a WireGuard interface should be.
type Desired struct {
	PrivateKey keys.PrivateKey
	ListenPort uint16
	Peers      []Peer
}

// Peer is a peer of an interface.
type Peer struct {
	ID           string // for people
	PublicKey    keys.PublicKey
	PresharedKey keys.PresharedKey // zero: none
	// Pending says that the preshared key is not known yet: a peer that is there
	// keeps the one it has, a new one is not added.
	Pending    bool
	Endpoint   netip.AddrPort // zero: the peer calls us
	Keepalive  time.Duration  // zero: off
	AllowedIPs []netip.Prefix
}

// Endpoints are what was last written as the endpoint of each peer. WireGuard
// changes a peer's endpoint when the peer roams, so the interface itself does
// not tell.
type Endpoints map[keys.PublicKey]netip.AddrPort

// Plan returns what leads from have to want: removed peers first, then changed
// and new ones, and of those only what differs. Nothing to do gives a Config for
// which [Empty] holds.
//
// An endpoint counts as changed if it differs from what was last written, or if
// nothing is known of that, from the one that have shows. A peer with the
// interface's own key is an error that wraps [ErrOwnKey]: the interface would
// ignore it silently.
func Plan(have *wgtypes.Device, want *Desired, wrote Endpoints) (wgtypes.Config, error) {
	var c wgtypes.Config
	self := want.PrivateKey.PublicKey()
	if keys.PublicKey(have.PublicKey) != self {
		c.PrivateKey = (*wgtypes.Key)(want.PrivateKey.Reveal())
	}
	if port := int(want.ListenPort); have.ListenPort != port {
		c.ListenPort = &port
	}
	wanted := make(map[keys.PublicKey]int, len(want.Peers))
	for i := range want.Peers {
		p := &want.Peers[i]
		if p.PublicKey == self {
			return wgtypes.Config{}, fmt.Errorf("agent: plan: peer %s: %w", p.ID, ErrOwnKey)
		}
		wanted[p.PublicKey] = i
	}
	existing := make([]*wgtypes.Peer, len(want.Peers))
	for i := range have.Peers {
		was := &have.Peers[i]
		if n, ok := wanted[keys.PublicKey(was.PublicKey)]; ok {
			existing[n] = was
		} else {
			c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: was.PublicKey, Remove: true})
		}
	}
	var scratch []netip.Prefix
	for i := range want.Peers {
		p, was := &want.Peers[i], existing[i]
		if was == nil {
			if !p.Pending {
				c.Peers = append(c.Peers, p.add())
			}
			continue
		}
		last, known := wrote[p.PublicKey]
		if !known {
			last = endpointOf(was)
		}
		scratch = appendPrefixes(scratch[:0], was.AllowedIPs)
		if change, differs := p.change(was, last, scratch); differs {
			c.Peers = append(c.Peers, change)
		}
	}
	return c, nil
}

// Empty reports whether c changes nothing.
func Empty(c wgtypes.Config) bool {
	return c.PrivateKey == nil && c.ListenPort == nil && c.FirewallMark == nil && !c.ReplacePeers && len(c.Peers) == 0
}

func (p *Peer) add() wgtypes.PeerConfig {
	c := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), ReplaceAllowedIPs: true, AllowedIPs: ipNets(p.AllowedIPs)}
	if psk := p.psk(); psk != (wgtypes.Key{}) {
		c.PresharedKey = &psk
	}
	if p.Endpoint.IsValid() {
		c.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
	}
	if p.Keepalive != 0 {
		c.PersistentKeepaliveInterval = &p.Keepalive
	}
	return c
}

// psk returns the preshared key; zero stands for none, as in WireGuard.
func (p *Peer) psk() (k wgtypes.Key) {
	if !p.PresharedKey.IsZero() {
		k = wgtypes.Key(*p.PresharedKey.Reveal())
	}
	return k
}

// change returns what makes was the peer p. Its endpoint was last written as
// last, and its AllowedIPs are have.
func (p *Peer) change(was *wgtypes.Peer, last netip.AddrPort, have []netip.Prefix) (c wgtypes.PeerConfig, differs bool) {
	c = wgtypes.PeerConfig{PublicKey: was.PublicKey, UpdateOnly: true}
	if psk := p.psk(); !p.Pending && subtle.ConstantTimeCompare(was.PresharedKey[:], psk[:]) == 0 {
		c.PresharedKey, differs = new(psk), true
	}
	if p.Endpoint.IsValid() && p.Endpoint != last {
		c.Endpoint, differs = net.UDPAddrFromAddrPort(p.Endpoint), true
	}
	if was.PersistentKeepaliveInterval != p.Keepalive {
		c.PersistentKeepaliveInterval, differs = &p.Keepalive, true
	}
	want := p.AllowedIPs
	if !slices.IsSortedFunc(want, netip.Prefix.Compare) {
		want = slices.SortedFunc(slices.Values(want), netip.Prefix.Compare)
	}
	switch missing, more := compare(have, want); {
	case more: // WireGuard takes single ones away only with the whole list
		c.AllowedIPs, c.ReplaceAllowedIPs, differs = ipNets(want), true, true
	case len(missing) > 0:
		c.AllowedIPs, differs = ipNets(missing), true
	}
	return c, differs
}

// compare returns which of the sorted want are not among the sorted have, and
// whether have holds others.
func compare(have, want []netip.Prefix) (missing []netip.Prefix, more bool) {
	for _, p := range want {
		for len(have) > 0 && have[0].Compare(p) < 0 {
			have, more = have[1:], true
		}
		if len(have) > 0 && have[0] == p {
			have = have[1:]
		} else {
			missing = append(missing, p)
		}
	}
	return missing, more || len(have) > 0
}

// endpointOf returns the endpoint that the interface uses. The net package gives
// IPv4 as IPv6-mapped addresses.
func endpointOf(p *wgtypes.Peer) netip.AddrPort {
	if p.Endpoint == nil {
		return netip.AddrPort{}
	}
	ap := p.Endpoint.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// appendPrefixes appends AllowedIPs of an interface to out, which is empty, and
// sorts them.
func appendPrefixes(out []netip.Prefix, nets []net.IPNet) []netip.Prefix {
	for i := range nets {
		a, ok := netip.AddrFromSlice(nets[i].IP)
		ones, bits := nets[i].Mask.Size()
		if a = a.Unmap(); ok && bits == a.BitLen() {
			out = append(out, netip.PrefixFrom(a, ones))
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

func ipNets(prefixes []netip.Prefix) []net.IPNet {
	out := make([]net.IPNet, len(prefixes))
	for i, p := range prefixes {
		out[i] = net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	return out
}
