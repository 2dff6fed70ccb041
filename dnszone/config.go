package dnszone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Config describes the zones of one network.
type Config struct {
	// Suffixes are the forward zones, with or without the final dot. Each holds
	// the same names; PTR records point below the first. Nil means "apn.".
	Suffixes []string
	// NS are the authoritative servers. Nil means the one name "ns.invalid.",
	// which never resolves (RFC 6761): the zones stay valid for servers and
	// checkers that insist on an NS, and nobody is sent to a server that may
	// not answer.
	NS []NameServer
	// Mbox is the mailbox of who is responsible, as hostmaster@example.com or as
	// a domain name. Empty means hostmaster below each zone's own name.
	Mbox string
	// TTL is how long an answer may be kept, in whole seconds. Zero means 30 s.
	TTL time.Duration
	// NegativeTTL is how long "no such name" may be kept. Zero means 10 s.
	NegativeTTL time.Duration
	// Reverse are the network's own prefixes, which get reverse zones. Nil
	// means no reverse zones.
	Reverse []netip.Prefix
	// Labels is how names of servers and applications become labels.
	Labels LabelPolicy
	// Collisions is what happens to a name that several hosts want. Zero means
	// [CollisionWithhold].
	Collisions CollisionPolicy
	// Extra are further records inside these zones. A record that a host brings
	// wins over an extra one of the same name and type. A TTL of zero means the
	// TTL above.
	Extra []Record
}

// A NameServer is an authoritative server of the zones.
type NameServer struct {
	// Name is one label, which stands below each suffix and is then reserved, or
	// a name outside of all zones.
	Name string
	// Addrs are the server's addresses. A label needs at least one, a name
	// outside needs none.
	Addrs []netip.Addr
}

// A CollisionPolicy is what happens to a name that several hosts want.
type CollisionPolicy uint8

const (
	// CollisionWithhold gives the name to nobody and reports it.
	CollisionWithhold CollisionPolicy = iota
	// CollisionMerge lets hosts of the same label in the same application share
	// their name, up to [MaxMerge] of them. Other collisions are withheld.
	CollisionMerge
	// CollisionReject makes [Build] and [Set.Update] fail with a
	// [*CollisionError].
	CollisionReject
)

// Timers for secondaries in the SOA (RFC 1035 section 3.3.13), in seconds. NOTIFY
// carries changes; the refresh only heals a lost one.
const (
	soaRefresh = 300
	soaRetry   = 60
	soaExpire  = 7 * 24 * 3600
)

// plan is a Config made ready; it never changes and all Sets of a chain share it.
type plan struct {
	defs     []*zoneDef
	forward  int // defs[:forward] are the suffixes
	byOrigin map[string]int
	lengths  [maxName + 1]int // 1 + the last zone whose origin has that length
	ttl      uint32
	labels   LabelPolicy
	policy   CollisionPolicy
	extra    []Record
}

// zoneDef is what a zone holds apart from hosts.
type zoneDef struct {
	name   string // presentation, with the final dot
	origin string
	prefix netip.Prefix // of a reverse zone
	soa    []byte       // from the type on; the serial lies at soaSerial from the end
	own    map[string]*ownNode
	below  bool // own has names below the apex
	wild   bool // own has wildcards
}

// ownNode is a name with records from the Config, or without any: an empty
// non-terminal (RFC 8499).
type ownNode struct {
	sets []ownSet // by type
}

type ownSet struct {
	typ Type
	n   uint16
	rrs []byte // owner c00c
}

const soaSerial = 20

// newPlan checks cfg and returns a [*ConfigError] for the first bad field.
func newPlan(cfg Config) (*plan, error) {
	p := &plan{byOrigin: map[string]int{}, labels: cfg.Labels, policy: cfg.Collisions}
	p.labels.Reserved = slices.Clone(cfg.Labels.Reserved)
	if p.policy > CollisionReject {
		return nil, &ConfigError{"Collisions", fmt.Errorf("unknown policy %d", p.policy)}
	}
	var err error
	if p.ttl, err = seconds("TTL", cfg.TTL, 30*time.Second); err != nil {
		return nil, err
	}
	negative, err := seconds("NegativeTTL", cfg.NegativeTTL, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if err := p.addSuffixes(cfg.Suffixes); err != nil {
		return nil, err
	}
	if err := p.addReverse(cfg.Reverse); err != nil {
		return nil, err
	}
	if err := p.addServers(cfg.NS, cfg.Mbox, negative); err != nil {
		return nil, err
	}
	return p, p.addExtra(cfg.Extra)
}

func seconds(field string, d, zero time.Duration) (uint32, error) {
	if d == 0 {
		d = zero
	}
	if d < time.Second || d%time.Second != 0 || d > (1<<31-1)*time.Second { // RFC 2181 section 8
		return 0, &ConfigError{field, fmt.Errorf("%v is not between 1 s and 68 years in whole seconds", d)}
	}
	return uint32(d / time.Second), nil
}

func (p *plan) add(d *zoneDef) {
	p.byOrigin[d.origin] = len(p.defs)
	p.defs = append(p.defs, d)
	p.lengths[len(d.origin)] = len(p.defs)
}

func (p *plan) addSuffixes(suffixes []string) error {
	if len(suffixes) == 0 {
		suffixes = []string{"apn."}
	}
	for i, s := range suffixes {
		origin, err := checkSuffix(s)
		for _, d := range p.defs {
			if err == nil && (below(origin, d.origin) || below(d.origin, origin)) {
				err = fmt.Errorf("%q lies in the same tree as %q", s, d.name)
			}
		}
		if err != nil {
			return &ConfigError{fmt.Sprintf("Suffixes[%d]", i), err}
		}
		p.add(&zoneDef{name: nameText(origin), origin: origin, own: map[string]*ownNode{"": {}}})
	}
	p.forward = len(p.defs)
	return nil
}

func checkSuffix(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	origin, err := parseName(s)
	if err != nil {
		return "", fmt.Errorf("%q: %w", s, err)
	}
	for l := range strings.SplitSeq(s, ".") {
		if _, err := NormalizeLabel(l, LabelPolicy{}); err != nil {
			return "", err
		}
	}
	if s := hostText(origin); strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return "", fmt.Errorf("%q: %w", s, ErrBadName)
	}
	// Resolvers answer these themselves or by other means than DNS.
	for _, special := range []string{"\x05local", "\x09localhost", "\x07invalid", "\x05onion", "\x07in-addr\x04arpa", "\x03ip6\x04arpa"} {
		if below(origin, special) || below(special, origin) {
			return "", fmt.Errorf("%q has another meaning (RFC 6761)", s)
		}
	}
	return origin, nil
}

func (p *plan) addReverse(prefixes []netip.Prefix) error {
	var all []netip.Prefix
	for i, pfx := range prefixes {
		list, err := reversePrefixes(pfx)
		if err != nil {
			return &ConfigError{fmt.Sprintf("Reverse[%d]", i), err}
		}
		all = append(all, list...)
	}
	// The widest first, so that a zone inside another one is left out.
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return a.Compare(b)
	})
	for _, pfx := range all {
		if n := len(p.defs); n > p.forward && p.defs[n-1].prefix.Overlaps(pfx) {
			continue
		}
		origin := reverseName(pfx.Addr(), pfx.Bits())
		p.add(&zoneDef{name: nameText(origin), origin: origin, prefix: pfx, own: map[string]*ownNode{"": {}}})
	}
	return nil
}

func (p *plan) addServers(servers []NameServer, mbox string, negative uint32) error {
	if len(servers) == 0 {
		servers = []NameServer{{Name: "ns.invalid."}}
	}
	rname, err := parseMailbox(mbox)
	if err != nil {
		return &ConfigError{"Mbox", err}
	}
	for i, ns := range servers {
		field := fmt.Sprintf("NS[%d]", i)
		name, err := parseName(ns.Name)
		if err != nil || name == "" {
			return &ConfigError{field + ".Name", fmt.Errorf("%q: %w", ns.Name, ErrBadName)}
		}
		addrs, err := checkAddrs(ns.Addrs)
		if err != nil && len(ns.Addrs) > 0 {
			return &ConfigError{field + ".Addrs", err}
		}
		relative := len(parent([]byte(name))) == 0
		switch {
		case relative && len(addrs) == 0:
			return &ConfigError{field + ".Addrs", ErrAddrCount}
		case relative:
			label := name[1:]
			if err := CheckLabel(label); err != nil {
				return &ConfigError{field + ".Name", err}
			}
			if slices.Contains(p.labels.Reserved, label) {
				return &ConfigError{field + ".Name", fmt.Errorf("%q: %w", label, ErrLabelReserved)}
			}
			p.labels.Reserved = append(p.labels.Reserved, label)
		case p.zoneOf([]byte(name)) >= 0:
			return &ConfigError{field + ".Name", fmt.Errorf("%q lies inside the zones: give its first label alone", ns.Name)}
		}
		for z, d := range p.defs {
			target := name
			if relative && z < p.forward {
				target += d.origin
			} else if relative {
				target += p.defs[0].origin
			}
			if len(target)+1 > maxName {
				return &ConfigError{field + ".Name", ErrNameTooLong}
			}
			if i == 0 && !d.setSOA(target, rname, negative) {
				return &ConfigError{"Mbox", ErrNameTooLong}
			}
			d.put("", TypeNS, p.ttl, target+"\x00")
			if relative && z < p.forward {
				for _, a := range addrs {
					d.put(name, addrType(a), p.ttl, string(a.AsSlice()))
				}
			}
		}
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parseMailbox reads a mailbox as SOA records spell it; "" stays "".
func parseMailbox(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if local, domain, ok := strings.Cut(s, "@"); ok {
		s = strings.NewReplacer(`\`, `\\`, ".", `\.`).Replace(local) + "." + domain
	}
	name, err := parseName(s)
	if err == nil && len(parent(append([]byte(name), 0))) <= 1 {
		err = errors.New("a mailbox needs a name and a domain")
	}
	return name, err
}

// setSOA reports false if the name of the mailbox does not fit below the zone's.
func (d *zoneDef) setSOA(mname, rname string, negative uint32) bool {
	if rname == "" {
		rname = "\x0ahostmaster" + d.origin
	}
	if len(rname)+1 > maxName {
		return false
	}
	data := mname + "\x00" + rname + "\x00"
	b := appendRRHead(nil, TypeSOA, negative, len(data)+soaSerial)[2:]
	b = append(b, data...)
	for _, v := range []uint32{0, soaRefresh, soaRetry, soaExpire, negative} {
		b = append32(b, v)
	}
	d.soa = b
	return true
}

func (p *plan) addExtra(extra []Record) error {
	for i, r := range extra {
		field := fmt.Sprintf("Extra[%d]", i)
		name, err := parseName(r.Name)
		if err == nil {
			err = checkOwner(name)
		}
		if err != nil {
			return &ConfigError{field + ".Name", fmt.Errorf("%q: %w", r.Name, err)}
		}
		z := p.zoneOf([]byte(name))
		if z < 0 {
			err := fmt.Errorf("%w: %q lies outside of the zones", ErrBadRecord, r.Name)
			if below(name, "\x07in-addr\x04arpa") || below(name, "\x03ip6\x04arpa") {
				err = fmt.Errorf("%q: %w", r.Name, ErrNotOwnedPrefix)
			}
			return &ConfigError{field + ".Name", err}
		}
		if err := r.check(); err != nil {
			return &ConfigError{field, err}
		}
		if r.TTL == 0 {
			r.TTL = p.ttl
		}
		r.Name, r.Data = nameText(name), r.lowered()
		d := p.defs[z]
		if !d.put(name[:len(name)-len(d.origin)], r.Type, r.TTL, r.Data) {
			return &ConfigError{field, fmt.Errorf("%s %s: %w", r.Name, r.Type, ErrConflict)}
		}
		p.extra = append(p.extra, r)
	}
	for i, r := range p.extra {
		if r.Type == TypeCNAME && !p.ends(r.Data) {
			return &ConfigError{fmt.Sprintf("Extra[%d]", i), fmt.Errorf("%w: %s is one of too many aliases, or leads back to itself", ErrConflict, r.Name)}
		}
	}
	return nil
}

// maxChain is how many aliases an answer follows.
const maxChain = 8

// ends reports whether the aliases from target on, a name as in data, come to an
// end in time.
func (p *plan) ends(target string) bool {
	for range maxChain - 1 {
		name := target[:len(target)-1]
		z := p.zoneOf([]byte(name))
		if z < 0 {
			return true
		}
		node := p.defs[z].own[name[:len(name)-len(p.defs[z].origin)]]
		if node == nil || len(node.sets) == 0 || node.sets[0].typ != TypeCNAME {
			return true
		}
		rr, _ := cutRR(node.sets[0].rrs)
		target = string(rr.data)
	}
	return false
}

// put adds a record at a name below the origin, and the empty non-terminals
// above it. It reports false for a CNAME beside other data (RFC 2181 section
// 10.1), a second CNAME, and a set that would not fit into a message.
func (d *zoneDef) put(name string, t Type, ttl uint32, data string) bool {
	node := d.own[name]
	if node == nil {
		node = &ownNode{}
		d.own[name] = node
		d.below = true
		d.wild = d.wild || strings.HasPrefix(name, "\x01*")
		for up := name; len(up) > 0; {
			up = up[1+int(up[0]):]
			if d.own[up] == nil {
				d.own[up] = &ownNode{}
			}
		}
	}
	if t == TypeCNAME && (len(node.sets) > 0 || name == "") {
		return false
	}
	i := 0
	for ; i < len(node.sets) && node.sets[i].typ <= t; i++ {
		set := &node.sets[i]
		if set.typ == TypeCNAME {
			return false
		}
		if set.typ != t {
			continue
		}
		rrs := appendRR(set.rrs, t, ttl, data)
		if len(rrs) > maxSet {
			return false
		}
		for rest := set.rrs; len(rest) > 0; {
			var rr wireRR
			rr, rest = cutRR(rest)
			if string(rr.data) == data { // RFC 2181 section 5
				return true
			}
			if rr.ttl != ttl { // RFC 2181 section 5.2
				return false
			}
		}
		set.rrs, set.n = rrs, set.n+1
		return true
	}
	for _, set := range node.sets[i:] {
		if set.typ == TypeCNAME {
			return false
		}
	}
	node.sets = slices.Insert(node.sets, i, ownSet{typ: t, n: 1, rrs: appendRR(nil, t, ttl, data)})
	return true
}

// zoneOf returns the zone that name lies in, or -1.
func (p *plan) zoneOf(name []byte) int {
	for {
		if z := p.lengths[len(name)]; z != 0 {
			if string(name) == p.defs[z-1].origin {
				return z - 1
			}
			if z, ok := p.byOrigin[string(name)]; ok {
				return z
			}
		}
		if len(name) == 0 {
			return -1
		}
		name = parent(name)
	}
}
