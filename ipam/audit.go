package ipam

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is a contradiction in the records, or between them and the Config.
type Problem struct {
	Kind   ProblemKind
	Record Record // the record to repair
	Detail string // for people
}

// ProblemKind says what is wrong.
type ProblemKind string

const (
	// Duplicate means that an address or a base has two records, or that an
	// owner has two live addresses of a family.
	Duplicate ProblemKind = "duplicate"
	// Overlap means that two ranges meet.
	Overlap ProblemKind = "overlap"
	// Orphan means that an address lies in no range of its app, or is live in
	// a released one.
	Orphan ProblemKind = "orphan"
	// Outside means that a range lies outside the pool.
	Outside ProblemKind = "outside"
	// Excluded means that a live address or range meets an exclusion.
	Excluded ProblemKind = "excluded"
)

// Audit returns what is wrong with the records, sorted by key. Decisions and
// Apply never lead to a problem; damaged rows and a changed Config can. What
// it names is held until it is released, and nobody else gets it; then [Load]
// again.
func (p *Pool) Audit() []Problem {
	var list []Problem
	report := func(kind ProblemKind, r Record, format string, args ...any) {
		list = append(list, Problem{kind, r, fmt.Sprintf(format, args...)})
	}
	for _, s := range p.strays {
		report(Duplicate, s, "%s has another record", s.Key())
	}
	var last *subrange // of those seen, the one that ends last
	for _, r := range slices.SortedFunc(maps.Values(p.ranges), bySpan) {
		if last != nil && last.covers(r.span) {
			report(Overlap, r.record(), "%v overlaps %v of app %q", r.prefix(), last.prefix(), last.app.name)
		} else {
			last = r
		}
		if p.trieOf(r.span) == nil {
			report(Outside, r.record(), "%v is outside the pool", r.prefix())
		}
		if x := p.holesOf(r.span); len(x) > 0 && r.released == 0 {
			report(Excluded, r.record(), "%v meets %v (%s)", r.prefix(), x[0].prefix(), x[0].reason)
		}
	}
	for id := range p.entries.all() {
		e := p.entries.at(id)
		a := p.ids[e.app]
		r := a.around(e.at)
		if r == nil || (r.released != 0 && e.released == 0) {
			report(Orphan, p.recordOf(e), "%v lies in no range of app %q", e.at.addr(), a.name)
		}
		if e.released != 0 {
			continue
		}
		if o := p.holding(a, e.owner).live[familyOf(e.at)]; o != e {
			report(Duplicate, p.recordOf(e), "owner %q of app %q also holds %v", e.owner, a.name, o.at.addr())
		}
		if x := p.holesOf(span{e.at, 128}); len(x) > 0 {
			report(Excluded, p.recordOf(e), "%v meets %v (%s)", e.at.addr(), x[0].prefix(), x[0].reason)
		}
	}
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Record.Key(), b.Record.Key()), cmp.Compare(a.Kind, b.Kind))
	})
	return list
}
