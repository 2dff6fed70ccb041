package render

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Normalize brings c into normal form, in place: IPv4-mapped addresses become
// IPv4; allowed IPs lose host bits and doubles and are sorted; endpoints are
// canonical; search domains are in lower case; peers are sorted by first allowed
// IP, then public key. The order of addresses, resolvers and search domains has
// a meaning and stays. Values that [Config.Validate] refuses stay as they are.
func (c *Config) Normalize() {
	i := &c.Interface
	for k, p := range i.Addresses {
		i.Addresses[k] = unmapPrefix(p)
	}
	for k, a := range i.DNS {
		i.DNS[k] = a.Unmap()
	}
	for k, s := range i.Search {
		i.Search[k] = strings.ToLower(s)
	}
	for k := range c.Peers {
		p := &c.Peers[k]
		for j, a := range p.AllowedIPs {
			if a.IsValid() {
				p.AllowedIPs[j] = unmapPrefix(a).Masked()
			}
		}
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
		p.AllowedIPs = slices.Compact(p.AllowedIPs)
		p.Endpoint.normalize()
	}
	slices.SortStableFunc(c.Peers, func(a, b Peer) int { return comparePeers(&a, &b) })
}

// normalized returns c itself if it is plainly in normal form, else a copy that
// is.
func (c *Config) normalized() *Config {
	if c.survey().plain {
		return c
	}
	c = c.Clone()
	c.Normalize()
	return c
}

// order checks that the prefixes of a config rise from peer to peer, in each
// family. That is how addresses are handed out, and it proves at once that peers
// are sorted and that no two have the same prefix.
type order struct {
	last4, last6 netip.Prefix
	six          bool // a peer began with IPv6
}

// follows reports whether the prefixes of p rise above all before. They are
// masked and not IPv4-mapped.
func (o *order) follows(p *Peer) bool {
	for j, a := range p.AllowedIPs {
		last := &o.last4
		switch six := a.Addr().Is6(); {
		case six:
			last = &o.last6
			o.six = o.six || j == 0
		case j == 0 && o.six, j > 0 && p.AllowedIPs[j-1].Addr().Is6():
			return false
		}
		if last.IsValid() && !below(*last, a) {
			return false
		}
		*last = a
	}
	return len(p.AllowedIPs) > 0
}

func below(a, b netip.Prefix) bool {
	if a.IsSingleIP() && b.IsSingleIP() {
		return a.Addr().Less(b.Addr())
	}
	return a.Compare(b) < 0
}

// comparePeers orders by first allowed IP, then by public key. A peer without
// allowed IPs comes first.
func comparePeers(a, b *Peer) int {
	if len(a.AllowedIPs) == 0 || len(b.AllowedIPs) == 0 {
		if n := cmp.Compare(len(a.AllowedIPs), len(b.AllowedIPs)); n != 0 {
			return n
		}
	} else if n := a.AllowedIPs[0].Compare(b.AllowedIPs[0]); n != 0 {
		return n
	}
	return bytes.Compare(a.PublicKey[:], b.PublicKey[:])
}

// unmapPrefix turns ::ffff:10.0.0.0/104 into 10.0.0.0/8. A shorter mask would
// cover more than IPv4 and stays, for validation to refuse.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
