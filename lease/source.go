package lease

import "net/netip"

const (
	bits4 = 32 // of a lease for an IPv4 source
	bits6 = 64 // of a lease for an IPv6 source: hosts change the rest at will

	widest4 = 8  // of a rule, unless AllowWide
	widest6 = 16 // of a rule, unless AllowWide
)

// SourceOptions are the optional settings of [SourcePrefix] and [RulePrefix].
type SourceOptions struct {
	// AllowPrivate takes private addresses (RFC 1918, RFC 6598, RFC 4193) as
	// the source of a lease, for laboratories and on-premises networks. False
	// means that they are refused: on the Internet they are the address of a
	// proxy that nobody configured as trusted. Rules always take them.
	AllowPrivate bool
	// AllowLoopback takes loopback addresses, for trying things out on one
	// machine. False means that they are refused.
	AllowLoopback bool
	// AllowWide takes rules wider than an IPv4 /8 or an IPv6 /16, up to
	// 0.0.0.0/0 and ::/0. False means that they are refused.
	AllowWide bool
}

// SourcePrefix returns the source of a lease for a client at a: an IPv4 /32,
// or the IPv6 /64 around a. An IPv4-mapped address counts as IPv4, a zone is
// dropped. opts may be nil.
//
// Addresses that the Internet does not route to one site are refused with a
// [*SourceError], unless opts take them. Documentation prefixes pass.
func SourcePrefix(a netip.Addr, opts *SourceOptions) (netip.Prefix, error) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return netip.Prefix{}, &SourceError{Reason: "no address"}
	}
	if reason := opts.refuses(a, false); reason != "" {
		return netip.Prefix{}, &SourceError{Source: netip.PrefixFrom(a, a.BitLen()), Reason: reason}
	}
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// RulePrefix returns p if it may be the source of a permanent rule, which may
// be wider than that of a lease. opts may be nil.
//
// Host bits, IPv4-mapped prefixes, what can never be a source (such as
// multicast) and, unless opts say otherwise, very wide prefixes are refused
// with a [*SourceError].
func RulePrefix(p netip.Prefix, opts *SourceOptions) (netip.Prefix, error) {
	reason := ruleShape(p)
	wide := p.Bits() < widest6
	if p.Addr().Is4() {
		wide = p.Bits() < widest4
	}
	switch {
	case reason != "":
	case wide:
		if opts == nil || !opts.AllowWide {
			reason = "too wide"
		}
	default:
		reason = opts.refuses(p.Addr(), true)
	}
	if reason != "" {
		return netip.Prefix{}, &SourceError{Source: p, Reason: reason}
	}
	return p, nil
}

// ruleShape says what is wrong with the form of p, or "".
func ruleShape(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "no prefix"
	case p.Addr().Is4In6():
		return "IPv4-mapped prefix"
	case p != p.Masked():
		return "host bits set"
	}
	return ""
}

// leaseShape says what keeps p from being the source of a lease, or "".
func leaseShape(p netip.Prefix) string {
	if reason := ruleShape(p); reason != "" {
		return reason
	}
	if p.Addr().Is4() && p.Bits() != bits4 || p.Addr().Is6() && p.Bits() != bits6 {
		return "neither an IPv4 /32 nor an IPv6 /64"
	}
	return ""
}

// refuses says why a is not a source, or "". a has no zone and is not mapped.
func (o *SourceOptions) refuses(a netip.Addr, rule bool) string {
	if o == nil {
		o = &SourceOptions{}
	}
	switch {
	case a.IsLoopback():
		return unless(o.AllowLoopback, "loopback")
	case a.IsPrivate():
		return unless(o.AllowPrivate || rule, "private address")
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	case a.Is6():
		return refuses6(a.As16())
	}
	switch b := a.As4(); {
	case b[0] == 0:
		return "this network (RFC 791)"
	case b[0] == 100 && b[1]&0xc0 == 64:
		return unless(o.AllowPrivate || rule, "shared address of a carrier's NAT (RFC 6598)")
	case b[0] == 192 && b[1] == 0 && b[2] == 0:
		return "protocol assignment (RFC 6890)"
	case b[0] >= 240:
		return "reserved"
	}
	return ""
}

// refuses6 takes global unicast (RFC 4291). A /64 of the ranges for NAT64 and
// Teredo would open the port to many sites at once.
func refuses6(b [16]byte) string {
	switch {
	case b[0]&0xe0 != 0x20:
		return "not a global unicast address"
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0:
		return "Teredo"
	}
	return ""
}

func unless(allowed bool, reason string) string {
	if allowed {
		return ""
	}
	return reason
}
