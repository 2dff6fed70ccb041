package render

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// Target is the kind of client that a config is for.
type Target uint8

// The official clients. All accepts what every one of them takes.
const (
	All Target = iota
	Linux
	Android
	Apple
	Windows
)

// Validate reports what a client of the target would refuse, drop or take for
// something else, as joined [*ValueError] and [*ConflictError]. It also proves
// that the public key belongs to the private key and that peers' keys are sound,
// which [Format.Append] leaves out for speed.
//
// Names are never a problem, and neither is a missing private key.
func (c *Config) Validate(t Target) error {
	errs := c.survey().errs
	i := &c.Interface
	own := i.PublicKey
	if !i.PrivateKey.IsZero() {
		own = i.PrivateKey.PublicKey()
	}
	if !i.PublicKey.IsZero() && own != i.PublicKey {
		errs = append(errs, &ValueError{Field: "PublicKey", Reason: "does not belong to the private key"})
	}
	for k := range c.Peers {
		p := &c.Peers[k]
		if _, err := keys.NewPublicKey(p.PublicKey[:]); err != nil && !p.PublicKey.IsZero() {
			errs = append(errs, &ValueError{Field: "PublicKey", Peer: p.label(), Reason: errors.Unwrap(err).Error()})
		}
	}
	switch t {
	case All, Android, Apple:
		errs = append(errs, c.phoneProblems()...)
	case Windows:
		if i.FwMark != 0 {
			errs = append(errs, &ValueError{Field: "FwMark", Reason: "Linux only"})
		}
	case Linux:
	}
	if len(errs) == 0 {
		errs = c.normalized().conflicts(own, false)
	}
	return errors.Join(errs...)
}

// survey is what one pass over a config finds.
type survey struct {
	errs []error // values that no client may see
	// plain: the config is in normal form, and its prefixes prove by their [order]
	// that there are no doubles. Almost every config is built like that.
	plain  bool
	sealed bool // a preshared key is there by its digest only
}

func (c *Config) survey() survey {
	i := &c.Interface
	s := survey{plain: true}
	report := func(field, reason string) {
		if reason != "" {
			s.errs = append(s.errs, &ValueError{Field: field, Reason: reason})
		}
	}
	for _, p := range i.Addresses {
		report("Address", prefixProblem(p))
		s.plain = s.plain && !p.Addr().Is4In6()
	}
	for _, a := range i.DNS {
		switch {
		case !a.IsValid():
			report("DNS", "not an address")
		case a.Zone() != "":
			report("DNS", "address has a zone")
		}
		s.plain = s.plain && !a.Is4In6()
	}
	for _, name := range i.Search {
		report("DNS", domainProblem(name))
		s.plain = s.plain && lower(name)
	}
	if len(i.Search) > 0 && len(i.DNS) == 0 {
		report("DNS", "search domains without a resolver, which Android drops")
	}
	if i.Table < TableOff || i.Table > 1<<32-1 {
		report("Table", "not auto, off or a number of 32 bits")
	}
	for _, h := range i.Hooks.all() {
		for _, cmd := range h.commands {
			report(h.key, hookProblem(cmd))
		}
	}
	var o order
	for k := range c.Peers {
		p := &c.Peers[k]
		field, reason, normal := p.inspect()
		if reason != "" {
			s.errs = append(s.errs, &ValueError{Field: field, Peer: p.label(), Reason: reason})
		}
		s.plain = s.plain && normal && o.follows(p)
		s.sealed = s.sealed || p.PresharedKey.IsZero() && !isZero((*[32]byte)(&p.PresharedDigest))
	}
	report("MTU", i.mtuProblem(c.Peers))
	s.plain = s.plain && len(s.errs) == 0
	return s
}

// isZero compares words, not bytes, because it runs for each peer.
func isZero(b *[32]byte) bool {
	word := binary.LittleEndian.Uint64
	return word(b[0:])|word(b[8:])|word(b[16:])|word(b[24:]) == 0
}

// mtuProblem says why the MTU is too low for an interface with these peers, or
// nothing.
func (i *Interface) mtuProblem(peers []Peer) string {
	v6 := func(p netip.Prefix) bool { return p.Addr().Is6() && !p.Addr().Is4In6() }
	switch {
	case i.MTU == 0 || i.MTU >= 1280:
		return ""
	case i.MTU < 576:
		return "below 576, which Windows refuses"
	case slices.ContainsFunc(i.Addresses, v6),
		slices.ContainsFunc(peers, func(p Peer) bool { return slices.ContainsFunc(p.AllowedIPs, v6) }):
		return "below 1280, which ends IPv6 (RFC 8200, section 5)"
	}
	return ""
}

// phoneProblems lists the keys that are errors on Android and Apple.
func (c *Config) phoneProblems() (errs []error) {
	i := &c.Interface
	if i.FwMark != 0 {
		errs = append(errs, &ValueError{Field: "FwMark", Reason: "Linux only"})
	}
	if i.Table != TableAuto {
		errs = append(errs, &ValueError{Field: "Table", Reason: "Linux and Windows only"})
	}
	if !i.Hooks.IsZero() {
		errs = append(errs, &ValueError{Field: "Hooks", Reason: "Linux and Windows only"})
	}
	return errs
}

// inspect returns the first value of a peer that no client may see, or reports
// whether allowed IPs and endpoint are in normal form, save for their order.
func (p *Peer) inspect() (field, reason string, normal bool) {
	if isZero((*[32]byte)(&p.PublicKey)) {
		return "PublicKey", "missing", false
	}
	normal = true
	for _, a := range p.AllowedIPs {
		if a.IsSingleIP() && !a.Addr().Is4In6() {
			continue
		}
		if reason := prefixProblem(a); reason != "" {
			return "AllowedIPs", reason, false
		}
		normal = normal && !a.Addr().Is4In6() && a == a.Masked()
	}
	if !p.Endpoint.IsZero() {
		reason, plain := p.Endpoint.inspect()
		if reason != "" {
			return "Endpoint", reason, false
		}
		normal = normal && plain
	}
	if p.Keepalive < 0 || p.Keepalive > 65535*time.Second || p.Keepalive%time.Second != 0 {
		return "PersistentKeepalive", "not whole seconds from 0 to 65535", false
	}
	return "", "", normal
}

func prefixProblem(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "not a prefix"
	case p.Addr().Is4In6() && p.Bits() < 96:
		return "IPv4-mapped address with a mask shorter than /96"
	}
	return ""
}

type hooks struct {
	key      string
	commands []string
}

func (h *Hooks) all() [4]hooks {
	return [4]hooks{{"PreUp", h.PreUp}, {"PostUp", h.PostUp}, {"PreDown", h.PreDown}, {"PostDown", h.PostDown}}
}

// hookProblem refuses what does not survive as one line: wg-quick before 2025
// cuts hooks at the first #.
func hookProblem(cmd string) string {
	if cmd == "" || cmd[0] == ' ' || cmd[len(cmd)-1] == ' ' {
		return "command is empty or has blanks at its edges"
	}
	for i := range len(cmd) {
		if cmd[i] < 0x20 || cmd[i] > 0x7e || cmd[i] == '#' {
			return "command has a character other than printable ASCII, or a #"
		}
	}
	return ""
}

// ParseTarget reads what String writes.
func ParseTarget(s string) (Target, error) {
	for t := All; t <= Windows; t++ {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, errors.New("render: parse target: unknown")
}

// String returns all, linux, android, apple or windows.
func (t Target) String() string {
	names := [...]string{"all", "linux", "android", "apple", "windows"}
	if int(t) < len(names) {
		return names[t]
	}
	return "Target(" + strconv.Itoa(int(t)) + ")"
}
