package qr

import (
	"encoding/binary"
	"sync"
)

// remainder is the state of a Reed-Solomon division: up to 32 coefficients,
// the highest in the top byte of the first word.
type remainder [4]uint64

// divider holds, for each factor, that multiple of a generator polynomial.
type divider [256]remainder

//nolint:gochecknoglobals // tables that are built once and never change
var dividers [31]struct {
	once sync.Once
	d    *divider
}

func dividerOf(degree int) *divider {
	e := &dividers[degree]
	e.once.Do(func() { e.d = newDivider(degree) })
	return e.d
}

// newDivider builds the table of (x-1)(x-a)...(x-a^(degree-1)), without the
// leading term.
func newDivider(degree int) *divider {
	var gen [32]byte
	gen[degree-1] = 1 //nolint:gosec // degree is 7 to 30
	root := byte(1)
	for range degree {
		for i := range degree {
			gen[i] = multiply(gen[i], root)
			if i+1 < degree {
				gen[i] ^= gen[i+1]
			}
		}
		root = multiply(root, 2)
	}
	d := new(divider)
	for factor := range d {
		var b [32]byte
		for i := range degree {
			b[i] = multiply(gen[i], byte(factor))
		}
		for i := range d[factor] {
			d[factor][i] = binary.BigEndian.Uint64(b[8*i:])
		}
	}
	return d
}

// multiply is the product in GF(2^8) modulo x^8+x^4+x^3+x^2+1.
func multiply(a, b byte) byte {
	var p byte
	for ; b > 0; b >>= 1 {
		p ^= a * (b & 1)
		a = a<<1 ^ (a>>7)*0x1d
	}
	return p
}

// check returns the check codewords of a block, of which the caller uses the
// first as many as the divider's degree.
func (d *divider) check(block []byte) (out [32]byte) {
	var r remainder
	for _, b := range block {
		m := &d[byte(r[0]>>56)^b]
		r[0] = (r[0]<<8 | r[1]>>56) ^ m[0]
		r[1] = (r[1]<<8 | r[2]>>56) ^ m[1]
		r[2] = (r[2]<<8 | r[3]>>56) ^ m[2]
		r[3] = r[3]<<8 ^ m[3]
	}
	for i, w := range r {
		binary.BigEndian.PutUint64(out[8*i:], w)
	}
	return out
}
