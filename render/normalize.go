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

// normalized returns c itself if it is in normal form, else a copy that is.
func (c *Config) normalized() *Config {
	if c.normal() {
		return c
	}
	c = c.Clone()
	c.Normalize()
	return c
}

// normal reports whether Normalize would change nothing.
func (c *Config) normal() bool {
	i := &c.Interface
	for _, p := range i.Addresses {
		if p.Addr().Is4In6() {
			return false
		}
	}
	for _, a := range i.DNS {
		if a.Is4In6() {
			return false
		}
	}
	for _, s := range i.Search {
		if strings.ToLower(s) != s {
			return false
		}
	}
	for k := range c.Peers {
		p := &c.Peers[k]
		for j, a := range p.AllowedIPs {
			if a.Addr().Is4In6() || a != a.Masked() || j > 0 && p.AllowedIPs[j-1].Compare(a) >= 0 {
				return false
			}
		}
		if !p.Endpoint.normal() || k > 0 && comparePeers(&c.Peers[k-1], p) > 0 {
			return false
		}
	}
	return true
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
