package qr

import "sync"

// layout is what all symbols of one version share.
type layout struct {
	fixed grid     // dark modules of the function patterns, format bits left light
	area  grid     // modules that hold data, and so are masked
	turn  grid     // area, transposed
	order []uint16 // module of each data bit, as bit index into a grid
}

// layouts caches one layout per version: built on first use, then read only.
//
//nolint:gochecknoglobals // a table that costs 0.3 ms to build and never changes
var layouts [maxVersion + 1]struct {
	once sync.Once
	l    *layout
}

func layoutOf(version int) *layout {
	e := &layouts[version]
	e.once.Do(func() { e.l = newLayout(version) })
	return e.l
}

func newLayout(version int) *layout {
	size := 17 + 4*version
	l := &layout{}
	var taken grid
	put := func(x, y int, dark bool) {
		taken.set(x, y, true)
		l.fixed.set(x, y, dark)
	}

	for i := range size { // timing
		put(i, 6, i%2 == 0)
		put(6, i, i%2 == 0)
	}
	for _, corner := range [][2]int{{3, 3}, {size - 4, 3}, {3, size - 4}} { // finders with separators
		for dy := -4; dy <= 4; dy++ {
			for dx := -4; dx <= 4; dx++ {
				x, y := corner[0]+dx, corner[1]+dy
				if x >= 0 && x < size && y >= 0 && y < size {
					ring := max(dx, -dx, dy, -dy)
					put(x, y, ring != 2 && ring != 4)
				}
			}
		}
	}
	centres := alignment(version)
	for i, cy := range centres {
		for j, cx := range centres {
			if (i == 0 && j == 0) || (i == 0 && j == len(centres)-1) || (i == len(centres)-1 && j == 0) {
				continue // a finder is there
			}
			for dy := -2; dy <= 2; dy++ {
				for dx := -2; dx <= 2; dx++ {
					put(cx+dx, cy+dy, max(dx, -dx, dy, -dy) != 1)
				}
			}
		}
	}
	for i := range 15 { // room for the format bits
		for _, at := range formatModules(i, size) {
			put(at[0], at[1], false)
		}
	}
	put(8, size-8, true)
	if version >= 7 {
		bits := bch(version, 12, 0x1f25)
		for i := range 18 {
			a, b := size-11+i%3, i/3
			dark := bits>>i&1 != 0
			put(a, b, dark)
			put(b, a, dark)
		}
	}

	for right := size - 1; right >= 1; right -= 2 { // two columns at a time, up and down in turns
		if right == 6 {
			right = 5
		}
		for i := range size {
			y := i
			if (right+1)&2 == 0 {
				y = size - 1 - i
			}
			for x := right; x > right-2; x-- {
				if !taken.dark(x, y) {
					l.area.set(x, y, true)
					l.order = append(l.order, uint16(y*stride*64+x)) //nolint:gosec // below 177*192
				}
			}
		}
	}
	l.turn = l.area
	l.turn.transpose()
	return l
}

// alignment returns the centres of the alignment patterns on either axis.
func alignment(version int) []int {
	if version == 1 {
		return nil
	}
	n := version/7 + 2
	step := 26
	if version != 32 { // the one version whose distances do not follow the formula
		step = (version*4 + n*2 + 1) / (n*2 - 2) * 2
	}
	at := make([]int, n)
	at[0] = 6
	for i, pos := n-1, 17+4*version-7; i >= 1; i, pos = i-1, pos-step {
		at[i] = pos
	}
	return at
}

// formatModules returns the two places (x, y) of a format bit.
func formatModules(bit, size int) [2][2]int {
	var a, b [2]int
	switch {
	case bit < 6:
		a = [2]int{8, bit}
	case bit < 8:
		a = [2]int{8, bit + 1}
	case bit == 8:
		a = [2]int{7, 8}
	default:
		a = [2]int{14 - bit, 8}
	}
	if bit < 8 {
		b = [2]int{size - 1 - bit, 8}
	} else {
		b = [2]int{8, size - 15 + bit}
	}
	return [2][2]int{a, b}
}

// formatBits is the level and the mask with their check bits.
func formatBits(l Level, mask int) int {
	code := [...]int{L: 1, M: 0, Q: 3, H: 2}[l]
	return bch(code<<3|mask, 10, 0x537) ^ 0x5412
}

// bch appends n check bits of a BCH code to value.
func bch(value, n, poly int) int {
	rem := value
	for range n {
		rem = rem<<1 ^ (rem>>(n-1))*poly
	}
	return value<<n | rem
}
