package qr

// stride is the number of words in a row.
const stride = 3

// grid is a square of modules: bit x%64 of word y*stride+x/64 is the module in
// column x of row y.
type grid [MaxSize * stride]uint64

func (g *grid) dark(x, y int) bool { return g[y*stride+x>>6]>>(x&63)&1 != 0 }

func (g *grid) set(x, y int, dark bool) {
	w, bit := &g[y*stride+x>>6], uint64(1)<<(x&63)
	*w &^= bit
	if dark {
		*w |= bit
	}
}

func (g *grid) line(y int) line {
	w := g[y*stride : y*stride+3 : y*stride+3]
	return line{w[0], w[1], w[2]}
}

// transpose swaps columns and rows, 64 by 64 modules at a time.
func (g *grid) transpose() {
	var out grid
	var block [64]uint64
	for by := range stride {
		for bx := range stride {
			for i := range block {
				block[i] = 0
				if y := by*64 + i; y < MaxSize {
					block[i] = g[y*stride+bx]
				}
			}
			transpose64(&block)
			for i, w := range block {
				if y := bx*64 + i; y < MaxSize {
					out[y*stride+by] = w
				}
			}
		}
	}
	*g = out
}

// transpose64 swaps ever smaller quarters across the diagonal.
func transpose64(b *[64]uint64) {
	m := uint64(0x00000000ffffffff)
	for j := 32; j != 0; j, m = j>>1, m^m<<(j>>1) {
		for k := 0; k < 64; k = (k + j + 1) &^ j {
			t := (b[k]>>j ^ b[k+j]) & m
			b[k] ^= t << j
			b[k+j] ^= t
		}
	}
}

// line is one row or column of a grid. A struct stays in registers where an
// array would not.
type line struct{ a, b, c uint64 }

func (l line) and(o line) line    { return line{l.a & o.a, l.b & o.b, l.c & o.c} }
func (l line) andNot(o line) line { return line{l.a &^ o.a, l.b &^ o.b, l.c &^ o.c} }
func (l line) or(o line) line     { return line{l.a | o.a, l.b | o.b, l.c | o.c} }
func (l line) xor(o line) line    { return line{l.a ^ o.a, l.b ^ o.b, l.c ^ o.c} }

// down moves module x+n to x.
func (l line) down(n uint) line {
	return line{l.a>>n | l.b<<(64-n), l.b>>n | l.c<<(64-n), l.c >> n}
}

// up moves module x-n to x.
func (l line) up(n uint) line {
	return line{l.a << n, l.b<<n | l.a>>(64-n), l.c<<n | l.b>>(64-n)}
}
