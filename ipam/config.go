package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Config describes a network's pool. It is a plain value, meant to be stored
// with the network; all replicas must use the same one.
//
// To change it, build a new Pool with [Load] from [Pool.Records]. Prefixes may
// be appended at any time. Whatever else changes, live addresses stay: those
// that no longer fit are reported by [Pool.Audit].
type Config struct {
	// Prefixes is the address space, without host bits; several per family
	// are allowed, at least one is needed. Append to enlarge the network.
	Prefixes []netip.Prefix `json:"prefixes"`
	// Exclude lists what is never given out, such as [DefaultExclusions].
	// Entries that do not meet Prefixes have no effect.
	Exclude []Exclusion `json:"exclude,omitempty"`
	// Subnet4 are the prefix lengths of an app's IPv4 ranges. Zero fields mean
	// Default 24, Min 8, Max 30, as far as the prefixes allow.
	Subnet4 Bits `json:"subnet4,omitzero"`
	// Subnet6 are those of IPv6 ranges; Derived does not use them. Zero fields
	// mean Default 64, but 16 longer than the shortest prefix if that is
	// longer, Min 32, Max 120, as far as the prefixes allow.
	Subnet6 Bits `json:"subnet6,omitzero"`
	// Placement says where in the pool a new range goes. Zero means Spread.
	Placement Placement `json:"placement,omitempty"`
	// Order says which address an owner gets. Zero means Lowest.
	Order Order `json:"order,omitempty"`
	// Salt is the network's part of the Hashed order, so that two networks
	// number the same names differently. Empty is allowed.
	Salt string `json:"salt,omitempty"`
	// CoolDown is how long a released address or range rests before somebody
	// else gets it, in nanoseconds as JSON. Zero means 48 hours, a negative
	// value means no rest.
	CoolDown time.Duration `json:"coolDown,omitempty"`
	// Reserve is how many of the first usable addresses of every range are
	// kept free, for a gateway say; the last usable address is never reserved.
	// Zero means 1, a negative value means none.
	Reserve int `json:"reserve,omitempty"`
	// V6 says where IPv6 addresses come from. Zero means Derived.
	V6 V6Mode `json:"v6,omitempty"`
}

// Exclusion is a prefix that is never given out, and why.
type Exclusion struct {
	Prefix netip.Prefix `json:"prefix"`
	Reason string       `json:"reason,omitempty"`
}

// Bits are prefix lengths: Min is the shortest, that is the largest range, Max
// the longest. A range grows up to Min; room is handed out in pieces down to
// Max when the pool is fragmented.
type Bits struct {
	Default int `json:"default,omitempty"`
	Min     int `json:"min,omitempty"`
	Max     int `json:"max,omitempty"`
}

// Placement says where in the pool a new range goes.
type Placement string

const (
	// Spread cuts from the largest unused prefix, which leaves room to grow.
	Spread Placement = ""
	// Pack cuts from the smallest unused prefix that is large enough.
	Pack Placement = "pack"
)

// Order says which address of its subnet an owner gets.
type Order string

const (
	// Lowest gives out the lowest address that is neither held nor resting.
	Lowest Order = ""
	// Hashed starts at an address that follows from Config.Salt, the app and
	// the owner by 64-bit FNV-1a, so that an owner tends to get the same
	// address whenever and wherever it is numbered. In an IPv6 range the start
	// is one of the first 65,536 addresses.
	Hashed Order = "hashed"
)

// V6Mode says where IPv6 addresses come from.
type V6Mode string

const (
	// Derived puts the IPv4 address into the low 32 bits of the first IPv6
	// prefix, see [Derive6]: one pick decides both, and an IPv4 /24 is an IPv6
	// /120. Without an IPv4 prefix it means Independent, without an IPv6
	// prefix None.
	Derived V6Mode = ""
	// Independent gives every app IPv6 ranges and every owner an IPv6 address
	// of their own.
	Independent V6Mode = "independent"
	// None leaves the IPv6 prefixes alone.
	None V6Mode = "none"
)

const (
	defaultCoolDown = 48 * time.Hour // twice a lease, which is the longest trust in an address
	defaultReserve  = 1
)

// family is what a Pool knows about IPv4 or IPv6.
type family struct {
	tries         []*trie // by base; empty: the family is not in use
	def, min, max int     // prefix lengths over 128 bits
}

type exclusion struct {
	span
	reason string
}

// resolve checks c and fills in the Pool's settings.
func (p *Pool) resolve(c Config) error {
	spans, err := c.spans()
	if err != nil {
		return err
	}
	for i, x := range c.Exclude {
		if why := malformed(x.Prefix); why != "" {
			return &ConfigError{fmt.Sprintf("Exclude[%d].Prefix", i), why}
		}
	}
	switch {
	case c.Placement != Spread && c.Placement != Pack:
		return &ConfigError{"Placement", fmt.Sprintf("%q is not one of its values", c.Placement)}
	case c.Order != Lowest && c.Order != Hashed:
		return &ConfigError{"Order", fmt.Sprintf("%q is not one of its values", c.Order)}
	case c.V6 != Derived && c.V6 != Independent && c.V6 != None:
		return &ConfigError{"V6", fmt.Sprintf("%q is not one of its values", c.V6)}
	}

	v4, v6 := spans[0], spans[1]
	switch {
	case c.V6 == None:
		v6 = nil
	case c.V6 == Derived && len(v4) > 0 && len(v6) > 0:
		p.derive = &v6[0]
		if v6[0].ones > 96 {
			return &ConfigError{"Prefixes", fmt.Sprintf("%v is longer than /96, so no address can be derived in it", v6[0].prefix())}
		}
		v6 = nil
	}
	if len(v4)+len(v6) == 0 {
		return &ConfigError{"Prefixes", "no prefix to number from"}
	}
	if err := p.fam[0].resolve("Subnet4", v4, c.Subnet4, Bits{24, 8, 30}, 96); err != nil {
		return err
	}
	zero6 := Bits{64, 32, 120}
	if len(v6) > 0 {
		zero6.Default = max(zero6.Default, shortest(v6)+16)
	}
	if err := p.fam[1].resolve("Subnet6", v6, c.Subnet6, zero6, 0); err != nil {
		return err
	}

	p.spread, p.hashed, p.salt = c.Placement == Spread, c.Order == Hashed, c.Salt
	p.coolDown = int64(cmp.Or(max(c.CoolDown, -1), defaultCoolDown))
	p.coolDown = max(p.coolDown, 0)
	p.reserve = uint64(max(cmp.Or(max(c.Reserve, -1), defaultReserve), 0))
	p.exclude(c.Exclude)
	return nil
}

// spans returns the prefixes of each family in their order.
func (c *Config) spans() (spans [2][]span, err error) {
	if len(c.Prefixes) == 0 {
		return spans, &ConfigError{"Prefixes", "empty"}
	}
	for i, p := range c.Prefixes {
		field := fmt.Sprintf("Prefixes[%d]", i)
		if why := malformed(p); why != "" {
			return spans, &ConfigError{field, why}
		}
		s, f := spanOf(p), 0
		if p.Addr().Is6() {
			f = 1
			if s.overlaps(span{ones: 8}) {
				return spans, &ConfigError{field, fmt.Sprintf("%v meets 0000::/8, which is reserved (RFC 4291)", p)}
			}
		}
		for _, o := range spans[f] {
			if s.overlaps(o) {
				return spans, &ConfigError{field, fmt.Sprintf("%v overlaps %v", p, o.prefix())}
			}
		}
		spans[f] = append(spans[f], s)
	}
	return spans, nil
}

// malformed says what is wrong with p as a prefix, empty if nothing is. Host
// bits are refused, not masked: 10.0.0.7/24 may be a typing error for another
// range. netip compares IPv4-mapped prefixes with neither family.
func malformed(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "not a valid prefix"
	case p.Addr().Is4In6():
		return fmt.Sprintf("%v is an IPv4-mapped IPv6 prefix", p)
	case p != p.Masked():
		return fmt.Sprintf("%v has host bits, the prefix is %v", p, p.Masked())
	case p.Addr().Is6() && spanOf(p).contains(u128{0, mapped}):
		return fmt.Sprintf("%v holds the IPv4-mapped addresses", p)
	}
	return ""
}

func shortest(spans []span) int {
	return slices.MinFunc(spans, func(a, b span) int { return a.ones - b.ones }).ones
}

func (f *family) resolve(field string, spans []span, set, zero Bits, shift int) error {
	if len(spans) == 0 {
		return nil
	}
	short := shortest(spans) - shift
	longest := min(128-shift, short+maxDepth)
	b := Bits{cmp.Or(set.Default, zero.Default), cmp.Or(set.Min, zero.Min), cmp.Or(set.Max, zero.Max)}
	if set.Min == 0 {
		b.Min = max(min(b.Min, cmp.Or(set.Default, b.Min), cmp.Or(set.Max, b.Min)), short)
	}
	if set.Max == 0 {
		b.Max = min(max(b.Max, set.Default, b.Min), longest)
	}
	if set.Default == 0 {
		b.Default = min(max(b.Default, b.Min, short), b.Max)
	}
	for _, x := range []struct {
		name       string
		v, min, at int
	}{{".Min", b.Min, 1, longest}, {".Default", b.Default, max(b.Min, short), b.Max}, {".Max", b.Max, max(b.Min, short), longest}} {
		if x.v < x.min || x.v > x.at {
			return &ConfigError{field + x.name, fmt.Sprintf("/%d is not between /%d and /%d", x.v, x.min, x.at)}
		}
	}
	f.def, f.min, f.max = b.Default+shift, b.Min+shift, b.Max+shift
	for _, s := range spans {
		f.tries = append(f.tries, newTrie(s))
	}
	slices.SortFunc(f.tries, func(a, b *trie) int { return a.cmp(b.span) })
	return nil
}

// exclude keeps the exclusions in address order and disjoint, and makes their
// space unavailable for ranges.
func (p *Pool) exclude(list []Exclusion) {
	var all []exclusion
	for _, x := range list {
		s := spanOf(x.Prefix)
		all = append(all, exclusion{s, x.Reason})
		if p.derive == nil || !p.derive.overlaps(s) {
			continue
		}
		// The IPv4 addresses whose derived address is excluded.
		four := span{u128{0, mapped}, 96}
		if derived := (span{p.derive.base, 96}); derived.covers(s) {
			four = span{u128{0, mapped | s.base.lo&0xffffffff}, s.ones}
		} else if !s.covers(derived) {
			continue
		}
		all = append(all, exclusion{four, x.Reason})
	}
	slices.SortStableFunc(all, func(a, b exclusion) int { return a.cmp(b.span) })
	for _, x := range all {
		if n := len(p.excluded); n > 0 && p.excluded[n-1].covers(x.span) {
			continue
		}
		p.excluded = append(p.excluded, x)
	}
	for f := range p.fam {
		for _, t := range p.fam[f].tries {
			p.closeExcluded(t, t.span)
		}
	}
}

// closeExcluded marks the exclusions that meet s as used in t.
func (p *Pool) closeExcluded(t *trie, s span) {
	for _, x := range p.holesOf(s) {
		t.close(x.span)
	}
}
