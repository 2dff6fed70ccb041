package ipam

import (
	"math"
	"math/bits"
)

// bitmap is a set of small numbers that finds the lowest absent one at or
// above a start with a few dependent reads.
//
// level[0] holds the bits; bit i of level[k] is set when word i of level[k-1]
// is full. Words are appended on demand: numbers beyond the last word are
// absent and cost nothing. Four levels hold 2^24 numbers.
type bitmap struct{ level [4][]uint64 }

const maxBits = 1 << 24

// lowest returns the position of the lowest bit that is set in m.
func lowest(m uint64) uint64 {
	return uint64(bits.TrailingZeros64(m)) //nolint:gosec // 0 to 64
}

// len returns the number of bits that have a word.
func (b *bitmap) len() uint64 { return uint64(len(b.level[0])) << 6 }

// grow appends one word.
func (b *bitmap) grow(word uint64) {
	for k := range b.level {
		b.level[k] = append(b.level[k], word)
		if k+1 == len(b.level) {
			return
		}
		n := uint64(len(b.level[k]))
		if n == 1 {
			return // a single word needs no summary
		}
		parent := b.level[k+1]
		if n > uint64(len(parent))<<6 {
			word = 0
			if len(parent) == 0 && b.level[k][0] == math.MaxUint64 {
				word = 1
			}
			if b.level[k][n-1] == math.MaxUint64 {
				word |= 1 << ((n - 1) & 63)
			}
			continue
		}
		if b.level[k][n-1] == math.MaxUint64 {
			b.fill(k+1, n-1)
		}
		return
	}
}

// set adds i, which must lie below len.
func (b *bitmap) set(i uint64) { b.fill(0, i) }

func (b *bitmap) fill(k int, i uint64) {
	for ; k < len(b.level) && len(b.level[k]) > 0; k++ {
		w := &b.level[k][i>>6]
		*w |= 1 << (i & 63)
		if *w != math.MaxUint64 {
			return
		}
		i >>= 6
	}
}

// clear removes i.
func (b *bitmap) clear(i uint64) {
	for k := 0; k < len(b.level) && len(b.level[k]) > 0; k++ {
		w := &b.level[k][i>>6]
		full := *w == math.MaxUint64
		*w &^= 1 << (i & 63)
		if !full {
			return
		}
		i >>= 6
	}
}

// next returns the lowest absent number from i on. The result is below len, or
// it is max(i, len): from there on nothing is present.
func (b *bitmap) next(i uint64) uint64 {
	if i >= b.len() {
		return i
	}
	w := i >> 6
	if m := ^b.level[0][w] >> (i & 63); m != 0 {
		return i + lowest(m)
	}
	for k := 1; k < len(b.level); k++ {
		if w++; w >= uint64(len(b.level[k-1])) {
			break
		}
		m := ^b.level[k][w>>6] >> (w & 63)
		if m == 0 {
			w >>= 6
			continue
		}
		w += lowest(m)
		for k--; k >= 0; k-- {
			if w >= uint64(len(b.level[k])) {
				return b.len()
			}
			w = w<<6 + lowest(^b.level[k][w])
		}
		return w
	}
	return b.len()
}
