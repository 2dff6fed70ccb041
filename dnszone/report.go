package dnszone

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Report says what a Set cannot publish. It depends on nothing but the
// configuration and the hosts, and fits JSON.
type Report struct {
	Withheld []Collision `json:"withheld"` // by name, then kind
	Skipped  []Skip      `json:"skipped"`  // by host ID, then name
	Noted    []Note      `json:"noted"`    // by host ID
}

// A Collision is a name that several hosts want and nobody gets.
type Collision struct {
	Name string        `json:"name"` // below the first suffix, without the final dot
	Kind CollisionKind `json:"kind"`
	// Hosts are the IDs of those who want it, sorted: all, or the 1000 whose
	// qualified names come first. Empty for ApplicationLabel.
	Hosts []string `json:"hosts"`
	// Names are the qualified names that lead to these hosts, sorted; for
	// ApplicationLabel those of the applications as given.
	Names []string `json:"names"`
	// More is how many hosts want it besides those listed.
	More int `json:"more,omitempty"`
}

// A CollisionKind says what several hosts want at once.
type CollisionKind string

// The kinds of collision.
const (
	// ShortName: servers of several applications have the same label. Their
	// qualified names stay.
	ShortName CollisionKind = "short name"
	// QualifiedName: several servers of one application have the same label.
	QualifiedName CollisionKind = "qualified name"
	// ApplicationLabel: several applications have the same label. No name below
	// it is published.
	ApplicationLabel CollisionKind = "application label"
	// Address: several hosts have the same address, so it has no PTR record.
	Address CollisionKind = "address"
)

// A Skip is a host or an extra record that was left out.
type Skip struct {
	Host   string `json:"host,omitempty"` // ID; empty for a record
	Name   string `json:"name,omitempty"` // the record's name, or the host's as given
	Reason string `json:"reason"`
	Err    error  `json:"-"`
}

// A Note is something that is allowed and may still surprise.
type Note struct {
	Host string `json:"host"`
	Text string `json:"text"`
}

// Report returns everything that s cannot publish. It visits every host.
func (s *Set) Report() *Report {
	r := &Report{}
	if s.shared > 0 {
		s.reportApps(r, nil)
	}
	for z, t := range s.trees() {
		if t.multi == 0 {
			continue
		}
		for rel, n := range t.all() {
			s.reportName(r, z, rel, n)
		}
	}
	for _, k := range s.skipped {
		r.Skipped = append(r.Skipped, k)
	}
	for _, x := range s.extra {
		s.reportExtra(r, x)
	}
	for _, pg := range s.roster.pages {
		for _, h := range pg {
			reportHost(r, h)
		}
	}
	return r.sorted()
}

// report is Report for the names that t touched.
func (t *txn) report() *Report {
	s, r := t.s, &Report{}
	if s.touched == nil {
		return s.Report()
	}
	if s.shared > 0 {
		apps := map[string]bool{}
		for _, h := range t.hosts {
			apps[h.app()] = true
		}
		s.reportApps(r, apps)
	}
	for _, n := range s.touched {
		rel := []byte(n.rel)
		s.reportName(r, n.z, rel, s.tree(n.z).find(rel))
	}
	for _, id := range t.changed {
		if n, ok := s.number(id); ok {
			reportHost(r, s.roster.host(n))
		} else if k, ok := s.skipped[id]; ok {
			r.Skipped = append(r.Skipped, k)
		}
	}
	for _, x := range s.extra {
		if z, rel := s.split(x.Name); slices.ContainsFunc(s.touched, func(n zoneName) bool {
			return n.rel == string(rel) && (n.z == z || n.z < s.forward && z < s.forward)
		}) {
			s.reportExtra(r, x)
		}
	}
	return r.sorted()
}

// trees yields each tree of names once, with the first zone that shows it.
func (s *Set) trees() iter.Seq2[int, *tree] {
	return func(yield func(int, *tree) bool) {
		if !yield(0, s.fwd) {
			return
		}
		for i, t := range s.rev {
			if !yield(s.forward+i, t) {
				return
			}
		}
	}
}

func (s *Set) reportName(r *Report, z int, rel []byte, n node) {
	if len(n.claims) <= 4 || bytes.HasPrefix(rel, []byte("\x01*")) || !s.withheld(z, rel, n) {
		return
	}
	c := Collision{
		Name: hostText(string(rel) + s.defs[z].origin), Kind: Address,
		Hosts: []string{}, Names: []string{}, More: max(0, len(n.claims)/4-maxReported),
	}
	if z < s.forward {
		c.Kind = QualifiedName
		if len(parent(rel)) == 0 {
			c.Kind = ShortName
		}
	}
	for h := range s.claimants(n) {
		if len(c.Hosts) == maxReported {
			break
		}
		c.Hosts = append(c.Hosts, h.id())
		if !s.blocked(h) {
			c.Names = append(c.Names, hostText(h.name()+s.defs[0].origin))
		}
	}
	slices.Sort(c.Hosts)
	slices.Sort(c.Names)
	c.Names = slices.Compact(c.Names)
	r.Withheld = append(r.Withheld, c)
}

// maxReported keeps the report of an update cheap where everybody wants one
// name.
const maxReported = 1000

// reportApps adds the labels that several applications want, all or those in
// only.
func (s *Set) reportApps(r *Report, only map[string]bool) {
	raws := map[string][]string{}
	for key := range s.apps.all() {
		if up := parent(key); len(up) > 0 && (only == nil || only[string(up)]) {
			raws[string(up)] = append(raws[string(up)], string(key[1:1+int(key[0])]))
		}
	}
	for label, names := range raws {
		if len(names) > 1 {
			slices.Sort(names)
			r.Withheld = append(r.Withheld, Collision{
				Name: hostText(label + s.defs[0].origin), Kind: ApplicationLabel, Hosts: []string{}, Names: names,
			})
		}
	}
}

// reportExtra adds x if a host's record of the same name keeps it out.
func (s *Set) reportExtra(r *Report, x Record) {
	if z, rel := s.split(x.Name); s.shadows(z, rel, s.tree(z).find(rel), x.Type) {
		err := fmt.Errorf("%v %w", x.Type, ErrConflict)
		r.Skipped = append(r.Skipped, Skip{Name: strings.TrimSuffix(x.Name, "."), Reason: err.Error(), Err: err})
	}
}

// split cuts the name of an extra record, which lies in a zone, at its origin.
func (p *plan) split(name string) (z int, rel []byte) {
	wire, _ := parseName(name)
	z = p.zoneOf([]byte(wire))
	return z, []byte(wire[:len(wire)-len(p.defs[z].origin)])
}

// reportHost notes labels of digits only: ping 5 and curl 5 take them for an
// address.
func reportHost(r *Report, h host) {
	if h == "" {
		return
	}
	for _, label := range []string{h.short(), h.app()} {
		digits := true
		for _, c := range []byte(label[1:]) {
			digits = digits && '0' <= c && c <= '9'
		}
		if digits {
			r.Noted = append(r.Noted, Note{h.id(), fmt.Sprintf("label %s has digits only", label[1:])})
		}
	}
}

// sorted orders r and makes JSON show empty lists as such.
func (r *Report) sorted() *Report {
	r.Withheld = append([]Collision{}, r.Withheld...)
	r.Skipped = append([]Skip{}, r.Skipped...)
	r.Noted = append([]Note{}, r.Noted...)
	slices.SortFunc(r.Withheld, func(a, b Collision) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	slices.SortFunc(r.Skipped, func(a, b Skip) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortFunc(r.Noted, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Text, b.Text))
	})
	return r
}

// longKey tells apart names that are too long for a key.
func longKey(s string) string { return fmt.Sprintf("%s… %x", s[:100], sha256.Sum256([]byte(s))) }
