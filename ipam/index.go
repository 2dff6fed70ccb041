package ipam

// index finds entries by a hash, several per hash if need be: open addressing,
// linear probing. A slot holds the hash above the entry's number plus one.
// A Go map with the same keys takes three times the memory.
type index struct {
	slots []uint64 // a power of two
	n     int
}

func (x *index) reserve(n int) {
	size := max(8, len(x.slots))
	for n > size/4*3 {
		size *= 2
	}
	if size == len(x.slots) {
		return
	}
	old := x.slots
	x.slots = make([]uint64, size)
	for _, s := range old {
		if s != 0 {
			x.put(s)
		}
	}
}

func (x *index) put(s uint64) {
	mask := uint64(len(x.slots)) - 1
	i := s >> 32 & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *index) add(hash, id uint32) {
	x.n++
	x.reserve(x.n)
	x.put(uint64(hash)<<32 | uint64(id+1))
}

// next returns the first entry with this hash from slot i on, and the slot to
// continue from. A search starts at slot hash.
func (x *index) next(hash uint32, i uint64) (id uint32, after uint64, ok bool) {
	if len(x.slots) == 0 {
		return 0, 0, false
	}
	mask := uint64(len(x.slots)) - 1
	for i &= mask; x.slots[i] != 0; i = (i + 1) & mask {
		if s := x.slots[i]; uint32(s>>32) == hash {
			return uint32(s) - 1, i + 1, true //nolint:gosec // the lower half is the entry
		}
	}
	return 0, 0, false
}

func (x *index) drop(hash, id uint32) {
	mask := uint64(len(x.slots)) - 1
	i := uint64(hash) & mask
	for x.slots[i] != uint64(hash)<<32|uint64(id+1) {
		i = (i + 1) & mask
	}
	// Close the gap: a later slot moves here unless that is before its start.
	for j := (i + 1) & mask; x.slots[j] != 0; j = (j + 1) & mask {
		if start := x.slots[j] >> 32 & mask; (j-start)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = 0
	x.n--
}
