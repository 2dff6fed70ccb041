package render

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apnkit/apnkit/keys"
)

// ParseOptions are the optional settings of [Parse].
type ParseOptions struct {
	// Hooks takes over hooks, which run as root. False refuses a file that has
	// any.
	Hooks bool
}

// Parse reads a wg-quick or setconf file, strictly: text that one of the
// official clients refuses, drops or takes for something else is an error, not a
// guess. The result is in normal form. opts may be nil.
//
// Section and key names may be in any case. Lists may be spread over lines; any
// other repetition is an error, as are a second [Interface], doubled peers and
// prefixes, empty values, IPv6 endpoints without brackets, control characters and
// anything that only some clients take for a line end. Host bits of AllowedIPs
// are dropped, as WireGuard does, and so is SaveConfig. [Placeholder] stands for
// no private key. The comments "# Name = ..." of a section and "# PublicKey =
// ..." beside a placeholder are read back as [Format.Append] writes them.
//
// Errors wrap [*ParseError], which holds no text of the file.
func Parse(data []byte, opts *ParseOptions) (*Config, error) {
	if opts == nil {
		opts = &ParseOptions{}
	}
	p := parser{c: new(Config), hooks: opts.Hooks}
	text := string(data)
	// A peer takes at least a header and a public key; the bound keeps a file of
	// brackets from reserving much more than its size.
	p.c.Peers = make([]Peer, 0, min(strings.Count(text, "["), len(text)/50))
	for line := 1; text != ""; line++ {
		var s string
		s, text, _ = strings.Cut(text, "\n")
		if key, err := p.line(strings.TrimSuffix(s, "\r")); err != nil {
			return nil, &ParseError{Line: line, Key: key, Err: err}
		}
	}
	if err := p.end(); err != nil {
		return nil, &ParseError{Err: err}
	}
	return p.c, nil
}

type section uint8

const (
	noSection section = iota
	interfaceSection
	peerSection
)

type parser struct {
	c            *Config
	hooks        bool
	section      section
	hasInterface bool
	seen         uint32         // keys of this section that may not come again
	public       keys.PublicKey // from the comment beside a placeholder
	peer         *Peer          // of the peer section
}

// end checks the file as a whole.
func (p *parser) end() error {
	if err := p.endSection(); err != nil {
		return err
	}
	c := p.c
	if !p.hasInterface {
		return errors.New("no [Interface]")
	}
	if c.Interface.PrivateKey.IsZero() {
		c.Interface.PublicKey = p.public
	}
	errs, plain := c.survey()
	if len(errs) == 0 {
		if !plain {
			c.Normalize()
		}
		errs = c.conflicts(c.Interface.PublicKey, plain)
	}
	return errors.Join(errs...)
}

func (p *parser) endSection() error {
	switch {
	case p.section == interfaceSection && p.seen&bit(keyPrivateKey) == 0:
		return errors.New("[Interface] without PrivateKey")
	case p.section == peerSection && p.seen&bit(keyPublicKey) == 0:
		return errors.New("[Peer] without PublicKey")
	}
	return nil
}

// line takes one line without its end, and returns the key that an error is
// about.
func (p *parser) line(s string) (string, error) {
	comment := ""
	for i := range len(s) {
		if s[i] == '#' {
			s, comment = s[:i], s[i:]
			if err := checkComment(comment); err != nil {
				return "", err
			}
			break
		}
		if s[i] < 0x20 && s[i] != '\t' || s[i] > 0x7e {
			return "", errors.New("character other than printable ASCII")
		}
	}
	s = trim(s)
	if s == "" {
		return "", p.comment(comment)
	}
	if s[0] == '[' {
		return "", p.header(s)
	}
	name, value, ok := strings.Cut(s, "=")
	k := keyNamed(trim(name))
	if !ok || k == keyNone {
		return "", errors.New("neither a section nor a key that WireGuard knows")
	}
	if value = trim(value); value == "" {
		return k.String(), errors.New("empty")
	}
	if k.isHook() && comment != "" {
		return k.String(), errors.New("a #, where some versions of wg-quick cut the command")
	}
	return k.String(), p.set(k, value)
}

// checkComment refuses what some clients take for the end of the line and so
// of the comment.
func checkComment(s string) error {
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] > 0x7e {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
				return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
			}) {
				return errors.New("control character or line separator in a comment")
			}
			return nil
		}
	}
	return nil
}

// comment reads back what Append writes.
func (p *parser) comment(s string) (err error) {
	name, ok := strings.CutPrefix(s, nameComment[1:])
	switch {
	case ok && p.section == interfaceSection && p.c.Name == "":
		p.c.Name = strings.Clone(trim(name))
	case ok && p.section == peerSection && p.peer.Name == "":
		p.peer.Name = strings.Clone(trim(name))
	case p.section == interfaceSection && p.public.IsZero():
		if text, ok := strings.CutPrefix(s, "# PublicKey = "); ok {
			p.public, err = keys.ParsePublicKey(text)
		}
	}
	return err
}

func (p *parser) header(s string) error {
	if err := p.endSection(); err != nil {
		return err
	}
	p.seen = 0
	switch {
	case strings.EqualFold(s, "[Interface]"):
		if p.hasInterface {
			return errors.New("second [Interface]")
		}
		p.section, p.hasInterface = interfaceSection, true
	case strings.EqualFold(s, "[Peer]"):
		p.section = peerSection
		p.c.Peers = append(p.c.Peers, Peer{})
		p.peer = &p.c.Peers[len(p.c.Peers)-1]
	default:
		return errors.New("unknown section")
	}
	return nil
}

// set takes one key and its value.
func (p *parser) set(k key, value string) (err error) {
	if want := k.section(); p.section != want {
		return errors.New("key is not of this section")
	}
	if !k.isList() && p.seen&bit(k) != 0 {
		return errors.New("repeated")
	}
	p.seen |= bit(k)
	i := &p.c.Interface
	switch k {
	case keyPrivateKey:
		if value != Placeholder {
			i.PrivateKey, err = keys.ParsePrivateKey(value)
		}
	case keyListenPort:
		i.ListenPort, err = parseUint[uint16](value, 10, 16)
	case keyFwMark:
		i.FwMark, err = parseMark(value)
	case keyAddress:
		i.Addresses, err = parsePrefixes(i.Addresses, value)
	case keyMTU:
		i.MTU, err = parseUint[uint16](value, 10, 16)
	case keyDNS:
		err = i.parseDNS(value)
	case keyTable:
		i.Table, err = parseTable(value)
	case keyPreUp:
		err = p.hook(&i.Hooks.PreUp, value)
	case keyPostUp:
		err = p.hook(&i.Hooks.PostUp, value)
	case keyPreDown:
		err = p.hook(&i.Hooks.PreDown, value)
	case keyPostDown:
		err = p.hook(&i.Hooks.PostDown, value)
	case keySaveConfig:
		if value != "true" && value != "false" {
			err = errors.New("neither true nor false")
		}
	case keyPublicKey:
		p.peer.PublicKey, err = keys.ParsePublicKey(value)
	case keyPresharedKey:
		p.peer.PresharedKey, err = keys.ParsePresharedKey(value)
	case keyAllowedIPs:
		p.peer.AllowedIPs, err = parsePrefixes(p.peer.AllowedIPs, value)
	case keyEndpoint:
		p.peer.Endpoint, err = ParseEndpoint(value)
		p.peer.Endpoint.Host = strings.Clone(p.peer.Endpoint.Host) // the text holds the private key
	case keyPersistentKeepalive:
		p.peer.Keepalive, err = parseKeepalive(value)
	case keyNone:
	}
	return err
}

func (p *parser) hook(list *[]string, cmd string) error {
	if !p.hooks {
		return errors.New("not allowed by the options")
	}
	*list = append(*list, strings.Clone(cmd))
	return nil
}

func parsePrefixes(list []netip.Prefix, value string) ([]netip.Prefix, error) {
	for item := range strings.SplitSeq(value, ",") {
		item = trim(item)
		p, err := netip.ParsePrefix(item)
		if err != nil {
			a, err := netip.ParseAddr(item)
			if err != nil || a.Zone() != "" {
				return nil, errors.New("not a list of prefixes")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if reason := prefixProblem(p); reason != "" {
			return nil, errors.New(reason)
		}
		list = append(list, p)
	}
	return list, nil
}

func (i *Interface) parseDNS(value string) error {
	for item := range strings.SplitSeq(value, ",") {
		item = trim(item)
		if a, err := netip.ParseAddr(item); err == nil && a.Zone() == "" {
			i.DNS = append(i.DNS, a)
		} else if reason := domainProblem(item); reason == "" {
			i.Search = append(i.Search, strings.Clone(item))
		} else {
			return errors.New("neither addresses nor search domains")
		}
	}
	return nil
}

func parseMark(value string) (uint32, error) {
	if value == "off" {
		return 0, nil
	}
	if hex, ok := strings.CutPrefix(value, "0x"); ok {
		return parseUint[uint32](hex, 16, 32)
	}
	return parseUint[uint32](value, 10, 32)
}

func parseTable(value string) (Table, error) {
	switch value {
	case "auto":
		return TableAuto, nil
	case "off":
		return TableOff, nil
	case "main":
		return 254, nil // its number in Linux, rt_tables
	}
	n, err := parseUint[uint32](value, 10, 32)
	if n == 0 && err == nil {
		err = errors.New("table 0 does not exist")
	}
	return Table(n), err
}

func parseKeepalive(value string) (time.Duration, error) {
	if value == "off" {
		return 0, nil
	}
	n, err := parseUint[uint16](value, 10, 16)
	return time.Duration(n) * time.Second, err
}

func parseUint[T uint16 | uint32](s string, base, bits int) (T, error) {
	n, err := strconv.ParseUint(s, base, bits)
	// A leading zero is an octal number to some parsers.
	if err != nil || len(s) > 1 && s[0] == '0' && base == 10 {
		return 0, errors.New("not a number in range")
	}
	return T(n), nil
}

// trim cuts blanks off both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
