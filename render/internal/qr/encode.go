package qr

import (
	"encoding/binary"
	"fmt"
)

// Matrix is a symbol without its quiet zone. The zero value holds none.
type Matrix struct {
	Version int
	Size    int // modules on a side
	Mask    int
	rows    grid
}

// Dark reports whether the module in column x of row y is dark. Both must be
// below Size.
func (m *Matrix) Dark(x, y int) bool { return m.rows.dark(x, y) }

// Set makes a module dark or light.
func (m *Matrix) Set(x, y int, dark bool) { m.rows.set(x, y, dark) }

// Row returns the modules of a row as a bit set, column 0 in the lowest bit of
// the first word.
func (m *Matrix) Row(y int) [3]uint64 { return [3]uint64(m.rows[y*stride:]) }

// Encode makes m the smallest symbol that holds data, under the mask with the
// lowest penalty.
func (m *Matrix) Encode(data []byte, l Level) error {
	v := version(len(data), l)
	if v == 0 {
		return fmt.Errorf("qr: %d bytes exceed the %d of the largest symbol", len(data), MaxBytes(l))
	}
	m.encode(data, v, l, -1)
	return nil
}

// EncodeAs makes m the symbol of data in a given version under a given mask. A
// negative mask means the best one. data must fit.
func (m *Matrix) EncodeAs(data []byte, version int, l Level, mask int) {
	m.encode(data, version, l, mask)
}

func (m *Matrix) encode(data []byte, version int, l Level, mask int) {
	lay := layoutOf(version)
	m.Version, m.Size = version, 17+4*version
	m.rows = lay.fixed
	m.place(data, l, lay)

	m.Mask = mask
	if mask < 0 {
		columns := m.rows
		columns.transpose()
		best := int(^uint(0) >> 1)
		for k := range 8 {
			format(&m.rows, &columns, m.Size, l, k)
			if p := penalty(&m.rows, &columns, lay, m.Size, k); p < best {
				best, m.Mask = p, k
			}
		}
	}
	format(&m.rows, nil, m.Size, l, m.Mask)
	table := maskTable()
	for y := range m.Size {
		r := m.rows.line(y).xor(table.rows[m.Mask][y%12].and(lay.area.line(y)))
		m.rows[y*stride], m.rows[y*stride+1], m.rows[y*stride+2] = r.a, r.b, r.c
	}
}

// place writes data and its check codewords into the modules of the area.
func (m *Matrix) place(data []byte, l Level, lay *layout) {
	var stream, mixed [maxCodewords]byte
	blocks, check := blocking(m.Version, l)
	total := codewords(m.Version)
	payload := stream[:total-blocks*check]
	fill(payload, data, lengthBits(m.Version))

	// The first blocks are one codeword shorter. Codewords are sent column by
	// column: the first of each block, then the second of each.
	short := len(payload) / blocks
	longer := blocks - len(payload)%blocks // index of the first block of short+1
	div := dividerOf(check)
	at := 0
	for b := range blocks {
		n := short
		if b >= longer {
			n++
		}
		block := payload[at : at+n]
		at += n
		for i, c := range block[:short] {
			mixed[i*blocks+b] = c
		}
		if n > short {
			mixed[short*blocks+b-longer] = block[short]
		}
		sum := div.check(block)
		for i, c := range sum[:check] {
			mixed[len(payload)+i*blocks+b] = c
		}
	}

	order := lay.order
	for i, c := range mixed[:total] {
		for j, o := range order[8*i : 8*i+8 : 8*i+8] {
			m.rows[o>>6] |= uint64(c>>(7-j)&1) << (o & 63)
		}
	}
	clear(stream[:]) // data may be a secret
	clear(mixed[:])
}

// fill writes the mode, the length, data and padding.
func fill(payload, data []byte, lengthBits int) {
	// The header is 4 bits more than whole bytes, so that all data is shifted by
	// half a byte.
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], (4<<lengthBits|uint32(len(data)))<<(28-lengthBits)) //nolint:gosec // at most 2953
	whole := lengthBits / 8
	copy(payload, head[:whole])
	carry, rest := head[whole], payload[whole:]
	for i, c := range data {
		rest[i] = carry | c>>4
		carry = c << 4
	}
	rest[len(data)] = carry
	for i := range rest[len(data)+1:] {
		rest[len(data)+1+i] = [2]byte{0xec, 0x11}[i%2]
	}
}

// format writes the format bits of a mask into rows and, if not nil, columns.
func format(rows, columns *grid, size int, l Level, mask int) {
	bits := formatBits(l, mask)
	for i := range 15 {
		dark := bits>>i&1 != 0
		for _, at := range formatModules(i, size) {
			rows.set(at[0], at[1], dark)
			if columns != nil {
				columns.set(at[1], at[0], dark)
			}
		}
	}
}
