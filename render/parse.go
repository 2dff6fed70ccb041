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
	p.kept.Grow(len(text) / 8) // usual for names and hosts
	for line := 1; text != ""; line++ {
		s := text
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			s, text = text[:i], text[i+1:]
		} else {
			text = ""
		}
		if k, err := p.line(strings.TrimSuffix(s, "\r")); err != nil {
			return nil, &ParseError{Line: line, Key: k.String(), Err: err}
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
	pool         []netip.Prefix // room for lists, so that not each is allocated
	kept         strings.Builder
}

// keep copies s out of the text, which holds the private key and is to be
// forgotten.
func (p *parser) keep(s string) string {
	n := p.kept.Len()
	p.kept.WriteString(s)
	return p.kept.String()[n:]
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
	s := c.survey()
	if len(s.errs) > 0 {
		return errors.Join(s.errs...)
	}
	if !s.plain {
		c.Normalize()
	}
	return errors.Join(c.conflicts(c.Interface.PublicKey, s.plain)...)
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
func (p *parser) line(s string) (key, error) {
	comment := ""
	if !plain(s) {
		if i := strings.IndexByte(s, '#'); i >= 0 {
			s, comment = s[:i], s[i:]
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != '\t' || r > 0x7e }) {
			return keyNone, errors.New("character other than printable ASCII")
		}
		if comment != "" && !plain(comment[1:]) && !oneLine(comment) {
			return keyNone, errors.New("control character or line separator in a comment")
		}
	}
	s = trim(s)
	if s == "" {
		p.comment(comment)
		return keyNone, nil
	}
	if s[0] == '[' {
		return keyNone, p.header(s)
	}
	i := strings.IndexByte(s, '=')
	if i < 0 {
		return keyNone, errors.New("neither a section nor a key")
	}
	k, value := keyNamed(trim(s[:i])), trim(s[i+1:])
	switch {
	case k == keyNone:
		return k, errors.New("key that WireGuard does not know")
	case value == "":
		return k, errors.New("empty")
	case k.isHook() && comment != "":
		return k, errors.New("a #, where some versions of wg-quick cut the command")
	}
	return k, p.set(k, value)
}

// oneLine reports whether no client takes part of s for the end of a line.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
	})
}

// plain reports whether s is printable ASCII without a #, eight bytes at a time.
func plain(s string) bool {
	const ones = 0x0101010101010101
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		// The top bit of a byte comes from the byte itself, from adding one to 0x7f,
		// from a borrow below 0x20, or from a borrow of what is zero where a # is. A
		// byte that is fine may look bad beside one that is not, never the other way
		// round.
		if (w|(w+ones)|(w-ones*0x20)|((w^ones*'#')-ones))&(ones*0x80) != 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e || s[i] == '#' {
			return false
		}
	}
	return true
}

// comment reads back what Append writes. Other comments mean nothing.
func (p *parser) comment(s string) {
	name, ok := strings.CutPrefix(s, nameComment[1:])
	switch {
	case ok && p.section == interfaceSection && p.c.Name == "":
		p.c.Name = p.keep(trim(name))
	case ok && p.section == peerSection && p.peer.Name == "":
		p.peer.Name = p.keep(trim(name))
	case p.section == interfaceSection && p.public.IsZero():
		if text, ok := strings.CutPrefix(s, "# PublicKey = "); ok {
			p.public, _ = keys.ParsePublicKey(text) // zero if it is none
		}
	}
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
		i.Addresses, err = p.prefixes(i.Addresses, value)
	case keyMTU:
		i.MTU, err = parseUint[uint16](value, 10, 16)
	case keyDNS:
		err = p.dns(value)
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
		p.peer.PublicKey, err = parsePublicKey(value)
	case keyPresharedKey:
		p.peer.PresharedKey, err = keys.ParsePresharedKey(value)
	case keyAllowedIPs:
		p.peer.AllowedIPs, err = p.prefixes(p.peer.AllowedIPs, value)
	case keyEndpoint:
		p.peer.Endpoint, err = ParseEndpoint(value)
		p.peer.Endpoint.Host = p.keep(p.peer.Endpoint.Host)
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
	*list = append(*list, p.keep(cmd))
	return nil
}

// parsePublicKey is keys.ParsePublicKey without its allocations.
func parsePublicKey(s string) (k keys.PublicKey, err error) {
	if !digitTable().readKey((*[32]byte)(&k), s) {
		return keys.ParsePublicKey(s) // says what is wrong
	}
	return keys.NewPublicKey(k[:])
}

// prefixes returns list with those of a value.
func (p *parser) prefixes(list []netip.Prefix, value string) ([]netip.Prefix, error) {
	if list == nil {
		if len(p.pool) == 0 {
			p.pool = make([]netip.Prefix, min(64, 1+cap(p.c.Peers)))
		}
		list = p.pool[:0:1]
		p.pool = p.pool[1:]
	}
	var item string
	for more := true; more; {
		item, value, more = strings.Cut(value, ",")
		prefix, err := parsePrefix(trim(item))
		if err != nil {
			return nil, err
		}
		list = append(list, prefix)
	}
	return list, nil
}

// parsePrefix takes an address without mask for the prefix that holds it alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if address, ok := strings.CutSuffix(s, "/32"); ok {
		if a, ok := parseIPv4(address); ok {
			return netip.PrefixFrom(a, 32), nil
		}
	}
	p, err := netip.ParsePrefix(s)
	if a, err2 := netip.ParseAddr(s); err2 == nil && a.Zone() == "" { // a prefix would drop the zone
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, errors.New("not a list of prefixes")
	}
	if reason := prefixProblem(p); reason != "" {
		return netip.Prefix{}, errors.New(reason)
	}
	return p, nil
}

func (p *parser) dns(value string) error {
	i := &p.c.Interface
	for item := range strings.SplitSeq(value, ",") {
		item = trim(item)
		if a, err := netip.ParseAddr(item); err == nil && a.Zone() == "" {
			i.DNS = append(i.DNS, a)
		} else if reason := domainProblem(item); reason == "" {
			i.Search = append(i.Search, p.keep(item))
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
