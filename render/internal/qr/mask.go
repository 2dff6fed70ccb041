package qr

import (
	"math/bits"
	"sync"
)

// masks is the eight patterns: all of them repeat every 12 rows and columns.
type masks struct {
	rows, columns [8][12]line
}

//nolint:gochecknoglobals // a table that is built once and never changes
var maskTable = sync.OnceValue(func() *masks {
	m := new(masks)
	for k := range 8 {
		var g grid
		for y := range 12 {
			for x := range stride * 64 {
				g.set(x, y, inverts(k, x, y))
			}
			m.rows[k][y] = g.line(y)
		}
		for x := range 12 {
			for y := range stride * 64 {
				g.set(y, x, inverts(k, x, y))
			}
			m.columns[k][x] = g.line(x)
		}
	}
	return m
})

// inverts reports whether a mask inverts a data module (ISO/IEC 18004:2015,
// table 10).
func inverts(mask, x, y int) bool {
	switch mask {
	case 0:
		return (x+y)%2 == 0
	case 1:
		return y%2 == 0
	case 2:
		return x%3 == 0
	case 3:
		return (x+y)%3 == 0
	case 4:
		return (y/2+x/3)%2 == 0
	case 5:
		return x*y%2+x*y%3 == 0
	case 6:
		return (x*y%2+x*y%3)%2 == 0
	default:
		return ((x+y)%2+x*y%3)%2 == 0
	}
}

// penalty scores a symbol that mask is laid over (ISO/IEC 18004:2015, 7.8.3).
func penalty(rows, columns *grid, l *layout, size, mask int) int {
	table := maskTable()
	valid := line{a: 1<<size - 1, b: 1<<max(size-64, 0) - 1, c: 1<<max(size-128, 0) - 1}
	pairs := valid.down(1)

	score, dark, squares := 0, 0, 0
	var above, aboveSame line
	for y, k := 0, 0; y < size; y++ {
		row := rows.line(y).xor(table.rows[mask][k].and(l.area.line(y)))
		if k++; k == 12 {
			k = 0
		}
		same := pairs.andNot(row.xor(row.down(1)))
		score += row.penalty(same, valid)
		dark += row.count()
		if y > 0 {
			squares += same.and(aboveSame).andNot(row.xor(above)).count()
		}
		above, aboveSame = row, same
	}
	for x, k := 0, 0; x < size; x++ {
		col := columns.line(x).xor(table.columns[mask][k].and(l.turn.line(x)))
		if k++; k == 12 {
			k = 0
		}
		score += col.penalty(pairs.andNot(col.xor(col.down(1))), valid)
	}
	total := size * size
	uneven := max(20*dark-10*total, 10*total-20*dark) / total // steps of 5 % away from one half
	return score + 3*squares + 10*uneven
}

// penalty scores the runs and the finder-like patterns of one line. same holds
// the modules that are like the next one, valid those that exist.
func (l line) penalty(same, valid line) int {
	// A run of n >= 5 like modules costs n-2: it has n-4 places where five
	// like modules begin, and one that is the first.
	five := same.and(same.down(1))
	five = five.and(five.down(2))
	score := five.count() + 2*five.andNot(five.up(1)).count()

	light := valid.andNot(l)
	light = light.and(light.down(1))
	light = light.and(light.down(2)) // four light modules begin here
	finder := l.andNot(l.down(1)).and(l.down(2)).and(l.down(3)).and(l.down(4)).andNot(l.down(5)).and(l.down(6))
	return score + 40*finder.and(light.down(7).or(light.up(4))).count()
}

func (l line) count() int {
	return bits.OnesCount64(l.a) + bits.OnesCount64(l.b) + bits.OnesCount64(l.c)
}
