package netmap

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apnkit/apnkit/keys"
)

const (
	maxText       = 255 // bytes of an ID, a name or an endpoint
	maxAllowedIPs = 64  // of one peer
	maxNames      = 16  // of one peer
	maxKeepalive  = 65535 * time.Second
)

// Check reports whether m is complete and free of contradictions. The error
// wraps [ErrInvalid], or [ErrFormat] if m is of a newer format.
func (m *Map) Check() error {
	if m.Format > Format {
		return fmt.Errorf("netmap: check: %w: format %d, newest known is %d", ErrFormat, m.Format, Format)
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("netmap: check: %w: %w", ErrInvalid, err)
	}
	return nil
}

func (m *Map) check() error {
	switch {
	case m.Format < 1:
		return fmt.Errorf("format %d", m.Format)
	case !plain(m.Network) || !plain(m.App) || !plain(m.Epoch) || !plain(m.Suffix):
		return fmt.Errorf("network, app, epoch and suffix need plain text of 1 to %d bytes", maxText)
	case m.Revision == 0:
		return fmt.Errorf("revision 0")
	case m.ListenPort == 0:
		return fmt.Errorf("listen port 0")
	case len(m.Peers) > MaxPeers:
		return fmt.Errorf("%d peers, at most %d", len(m.Peers), MaxPeers)
	case len(m.Routes) > MaxRoutes:
		return fmt.Errorf("%d routes, at most %d", len(m.Routes), MaxRoutes)
	}
	if err := disjoint("route", m.Routes); err != nil {
		return err
	}
	if err := m.checkPeers(); err != nil {
		return err
	}
	return m.Openings.check()
}

func (m *Map) checkPeers() error {
	addrs := make([]netip.Prefix, 0, 2*len(m.Peers))
	byKey := make(map[keys.PublicKey]struct{}, len(m.Peers))
	for i := range m.Peers {
		p := &m.Peers[i]
		if i > 0 && m.Peers[i-1].ID >= p.ID {
			return fmt.Errorf("peer %q is out of order or there twice", p.ID)
		}
		if err := p.check(m.Suffix); err != nil {
			return fmt.Errorf("peer %q: %w", p.ID, err)
		}
		if p.Via != "" {
			if gw, ok := m.Peer(p.Via); !ok || gw.Via != "" || !gw.server() {
				return fmt.Errorf("peer %q: gateway %q is not a server that is reached directly", p.ID, p.Via)
			}
		}
		if _, taken := byKey[p.PublicKey]; taken {
			return fmt.Errorf("peer %q: another peer has the same key", p.ID)
		}
		byKey[p.PublicKey] = struct{}{}
		addrs = append(addrs, p.AllowedIPs...)
	}
	slices.SortFunc(addrs, netip.Prefix.Compare)
	return disjoint("allowed IP", addrs)
}

func (p *Peer) check(suffix string) error {
	kind, rest, _ := strings.Cut(p.ID, "/")
	owner, name, _ := strings.Cut(rest, "/")
	switch {
	case !plain(p.ID) || kind != "srv" && kind != "dev" || owner == "" || name == "" || strings.Contains(name, "/"):
		return fmt.Errorf(`ID is neither "srv/<app>/<server>" nor "dev/<member>/<device>"`)
	case !plain(p.Name):
		return fmt.Errorf("name is not plain text")
	case p.PublicKey.IsZero():
		return fmt.Errorf("no public key")
	case len(p.AllowedIPs) == 0 || len(p.AllowedIPs) > maxAllowedIPs:
		return fmt.Errorf("%d allowed IPs, want 1 to %d", len(p.AllowedIPs), maxAllowedIPs)
	case p.Keepalive < 0 || p.Keepalive > maxKeepalive || p.Keepalive%time.Second != 0:
		return fmt.Errorf("keepalive %v", p.Keepalive)
	case p.Endpoint != "" && !endpoint(p.Endpoint):
		return fmt.Errorf("endpoint is not host:port")
	case len(p.Names) > maxNames:
		return fmt.Errorf("%d names, at most %d", len(p.Names), maxNames)
	}
	for _, prefix := range p.AllowedIPs {
		if !prefix.IsValid() || prefix.Bits() == 0 || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			return fmt.Errorf("allowed IP %v", prefix)
		}
	}
	for _, n := range p.Names {
		if !plain(n) || !strings.HasSuffix(n, "."+suffix) {
			return fmt.Errorf("name %q is outside %q", n, suffix)
		}
	}
	return nil
}

func (p *Peer) server() bool { return strings.HasPrefix(p.ID, "srv/") }

func (o *Openings) check() error {
	if len(o.Permanent) > MaxOpenings || len(o.Leases) > MaxOpenings {
		return fmt.Errorf("%d rules and %d leases, at most %d of each", len(o.Permanent), len(o.Leases), MaxOpenings)
	}
	if err := disjoint("rule", o.Permanent); err != nil {
		return err
	}
	for i, l := range o.Leases {
		switch {
		case !l.Source.IsValid() || l.Source != l.Source.Masked() || l.Source.Addr().Is4In6(),
			l.Source.Addr().Is4() && l.Source.Bits() != 32, l.Source.Addr().Is6() && l.Source.Bits() != 64:
			return fmt.Errorf("lease of %v: not an IPv4 /32 or IPv6 /64", l.Source)
		case i > 0 && o.Leases[i-1].Source.Compare(l.Source) >= 0:
			return fmt.Errorf("lease of %v is out of order or there twice", l.Source)
		case !l.ExpiresAt.After(l.IssuedAt):
			return fmt.Errorf("lease of %v ends before it begins", l.Source)
		}
	}
	return nil
}

// disjoint reports whether prefixes are sorted and no two overlap. Sorted, a
// prefix that overlaps any other overlaps its neighbour.
func disjoint(what string, prefixes []netip.Prefix) error {
	for i, p := range prefixes {
		switch {
		case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6():
			return fmt.Errorf("%s %v is not a masked prefix", what, p)
		case i > 0 && prefixes[i-1].Overlaps(p):
			return fmt.Errorf("%s %v overlaps %v", what, p, prefixes[i-1])
		case i > 0 && prefixes[i-1].Compare(p) > 0:
			return fmt.Errorf("%s %v is out of order", what, p)
		}
	}
	return nil
}

// plain reports whether s is printable ASCII that JSON writes as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxText
}

func endpoint(s string) bool {
	host, port, ok := strings.Cut(s, ":")
	if i := strings.LastIndexByte(s, ':'); strings.HasPrefix(s, "[") && i > 0 {
		host, port = strings.TrimSuffix(s[1:i], "]"), s[i+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return false
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return ok && err == nil && n > 0 && plain(host) && !strings.ContainsAny(host, "/[]@")
}
