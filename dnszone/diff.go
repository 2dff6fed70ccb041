package dnszone

import "iter"

// A Delta is what leads from one state of a zone to another. It leaves out the
// SOA, of which only the serial may differ.
type Delta struct {
	From, To uint32   // serials
	Removed  []Record // in canonical order
	Added    []Record // in canonical order

	was, is wireRR // the SOA
}

// Empty reports whether both states hold the same.
func (d Delta) Empty() bool { return len(d.Removed)+len(d.Added) == 0 }

// Diff returns what leads from was to is, two states of one zone. If the Set of
// is came from that of was by [Set.Update], Diff looks only at the names touched
// then; otherwise it compares all records.
func Diff(was, is *Zone) Delta {
	before, after := was.data(), is.data()
	if is.s.parent == was.s.self && is.s.touched != nil {
		names := is.touched()
		before, after = was.at(names), is.at(names)
	}
	d := Delta{From: was.s.serial, To: is.s.serial, was: was.soa(), is: is.soa()}
	gone := map[Record]bool{}
	for r := range before {
		gone[r] = true
	}
	for r := range after {
		if gone[r] {
			delete(gone, r)
		} else {
			d.Added = append(d.Added, r)
		}
	}
	for r := range before {
		if gone[r] {
			d.Removed = append(d.Removed, r)
		}
	}
	return d
}

// data yields all records but the SOA.
func (z *Zone) data() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for r := range z.Records() {
			if r.Type != TypeSOA && !yield(r) {
				return
			}
		}
	}
}

// touched returns the names of the zone that the Update which made it touched.
func (z *Zone) touched() (names []string) {
	for _, t := range z.s.touched {
		if t.z == z.z || t.z == 0 && z.z < z.s.forward {
			names = append(names, t.rel)
		}
	}
	return names
}

// at yields the records of some names.
func (z *Zone) at(names []string) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, rel := range names {
			var at spot
			z.s.exact(&at, z.z, []byte(rel))
			list, _ := z.s.appendAll(nil, nil, &at)
			name := nameText(rel + z.s.defs[z.z].origin)
			for _, rr := range list {
				if !yield(Record{Name: name, Type: rr.typ, TTL: rr.ttl, Data: string(rr.data)}) {
					return
				}
			}
		}
	}
}
