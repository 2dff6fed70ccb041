package dnszone

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
)

// HostsOptions are the optional settings of [Set.WriteHosts].
type HostsOptions struct {
	// Tag stands in the first and the last line, which mark the section as ours
	// in a file that others write too. Empty means "apn".
	Tag string
	// Limit is how many names the file may hold; resolvers read the whole file
	// for each lookup. Zero means 10,000, a negative value means no limit.
	Limit int
	// Bare adds each name without the suffix of the first zone (web-1.shop and
	// web-1), for machines without a search list. False means whole names only.
	Bare bool
}

// TooManyNamesError means that a hosts file would hold more names than allowed.
type TooManyNamesError struct {
	Names, Limit int
}

func (e *TooManyNamesError) Error() string {
	return fmt.Sprintf("dnszone: hosts file: %d names, limit %d", e.Names, e.Limit)
}

// WriteHosts writes all published names as a section of a hosts file (hosts(5)),
// one line per address, in address order. Withheld names and wildcards are left
// out. opts may be nil. Above the limit nothing is written and the error is a
// [*TooManyNamesError].
func (s *Set) WriteHosts(w io.Writer, opts *HostsOptions) (int64, error) {
	o := HostsOptions{}
	if opts != nil {
		o = *opts
	}
	if o.Tag == "" {
		o.Tag = "apn"
	}
	if o.Limit == 0 {
		o.Limit = 10_000
	}
	for _, c := range []byte(o.Tag) {
		if c <= ' ' || c > '~' {
			return 0, fmt.Errorf("dnszone: hosts file: tag: %w", ErrBadName)
		}
	}
	type line struct {
		addr  netip.Addr
		names string
		id    string
	}
	var lines []line
	count := 0
	for _, pg := range s.roster.pages {
		for _, h := range pg {
			if h == "" {
				continue
			}
			var b []byte
			for z := range s.forward {
				for _, rel := range []string{h.name(), h.short()} {
					if s.withheld(z, []byte(rel), s.fwd.find([]byte(rel))) {
						continue
					}
					b = appendName(append(b, ' '), rel+s.defs[z].origin)
					b = b[:len(b)-1]
					count++
					if o.Bare && z == 0 {
						b = appendName(append(b, ' '), rel)
						b = b[:len(b)-1]
						count++
					}
				}
			}
			for a := range h.addrs() {
				if len(b) > 0 {
					lines = append(lines, line{a, string(b), h.id()})
				}
			}
		}
	}
	if o.Limit > 0 && count > o.Limit {
		return 0, &TooManyNamesError{count, o.Limit}
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.names, b.names), cmp.Compare(a.id, b.id))
	})
	c := &countingWriter{w: w}
	buf := fmt.Appendf(nil, "# BEGIN %s (serial %d)\n", o.Tag, s.serial)
	for _, l := range lines {
		buf = append(append(l.addr.AppendTo(buf), l.names...), '\n')
	}
	buf = fmt.Appendf(buf, "# END %s\n", o.Tag)
	c.flush(buf)
	return c.n, c.err
}
