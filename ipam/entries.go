package ipam

import (
	"cmp"
	"iter"
)

// entry is one address record: live, or resting when released is not zero.
type entry struct {
	owner    string
	at       u128
	gen      uint64
	released int64  // Unix nanoseconds; 0: live
	app      uint32 // index in Pool.ids
	rank     uint32 // position in the range's heap, plus one; 0: not in it
}

// slab holds the entries under small numbers. Full chunks stay where they are:
// no slack, no copying of what is large.
type slab struct {
	chunks [][]entry
	spare  []uint32
	next   uint32
}

const chunk = 1024 // entries; seven pages

func (s *slab) at(id uint32) *entry { return &s.chunks[id/chunk][id%chunk] }

func (s *slab) add(e entry) uint32 {
	if n := len(s.spare); n > 0 {
		id := s.spare[n-1]
		s.spare = s.spare[:n-1]
		*s.at(id) = e
		return id
	}
	id := s.next
	if s.next++; id%chunk == 0 {
		var first []entry // grows: most pools are small
		if id > 0 {
			first = make([]entry, 0, chunk)
		}
		s.chunks = append(s.chunks, first)
	}
	c := &s.chunks[id/chunk]
	*c = append(*c, e)
	return id
}

func (s *slab) len() int { return int(s.next) - len(s.spare) }

// all yields the numbers in use.
func (s *slab) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for id := range s.next {
			if s.at(id).owner != "" && !yield(id) {
				return
			}
		}
	}
}

func (s *slab) drop(id uint32) {
	*s.at(id) = entry{}
	s.spare = append(s.spare, id)
}

// cooling is a heap of resting entries, the longest resting first, equal ones
// by address.
type cooling []uint32

func (s *slab) less(a, b uint32) bool {
	x, y := s.at(a), s.at(b)
	return cmp.Or(cmp.Compare(x.released, y.released), x.at.cmp(y.at)) < 0
}

func (h *cooling) add(s *slab, id uint32) {
	*h = append(*h, id)
	h.up(s, len(*h)-1)
}

func (h *cooling) drop(s *slab, id uint32) {
	e := s.at(id)
	i, last := int(e.rank)-1, len(*h)-1
	e.rank = 0
	moved := (*h)[last]
	*h = (*h)[:last]
	if i == last {
		return
	}
	(*h)[i] = moved
	h.up(s, h.down(s, i))
}

func (h *cooling) up(s *slab, i int) {
	q := *h
	id := q[i]
	for i > 0 && s.less(id, q[(i-1)/2]) {
		h.place(s, i, q[(i-1)/2])
		i = (i - 1) / 2
	}
	h.place(s, i, id)
}

func (h *cooling) down(s *slab, i int) int {
	q := *h
	id := q[i]
	for 2*i+1 < len(q) {
		kid := 2*i + 1
		if kid+1 < len(q) && s.less(q[kid+1], q[kid]) {
			kid++
		}
		if !s.less(q[kid], id) {
			break
		}
		h.place(s, i, q[kid])
		i = kid
	}
	h.place(s, i, id)
	return i
}

func (h *cooling) place(s *slab, i int, id uint32) {
	(*h)[i] = id
	s.at(id).rank = uint32(i) + 1 //nolint:gosec // i counts entries
}

// second returns the entry that follows the first.
func (h cooling) second(s *slab) (uint32, bool) {
	switch {
	case len(h) < 2:
		return 0, false
	case len(h) > 2 && s.less(h[2], h[1]):
		return h[2], true
	}
	return h[1], true
}
