package render

import (
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/bits"
	"sync"
)

const (
	// quietZone is the light border that scanners need, in modules (ISO/IEC
	// 18004:2015, 6.3.8).
	quietZone = 4
	// autoPixels is the least width of an image whose scale is left to us; with
	// minScale pixels per module phones read ten servers off a screen.
	autoPixels = 600
	minScale   = 4
)

// AppendPNG appends the symbol and its quiet zone as a PNG image of one bit per
// pixel. scale is pixels per module: always a whole number, because resampled
// modules are what makes codes unreadable. Zero or less means the smallest that
// gives 600 pixels, and at least 4.
func (s *Symbol) AppendPNG(dst []byte, scale int) []byte {
	scale = s.scale(scale)
	width := (s.Size() + 2*quietZone) * scale

	dst = append(dst, "\x89PNG\r\n\x1a\n"...)
	dst, start := beginChunk(dst, "IHDR")
	dst = binary.BigEndian.AppendUint32(dst, uint32(width)) //nolint:gosec // an image of 2^32 pixels is none
	dst = binary.BigEndian.AppendUint32(dst, uint32(width)) //nolint:gosec // see above
	dst = append(dst, 1, 0, 0, 0, 0)                        // one bit of grey
	dst = endChunk(dst, start)

	dst, start = beginChunk(dst, "IDAT")
	out := &appender{dst}
	z := deflaters.Get().(*zlib.Writer)
	z.Reset(out)
	row := make([]byte, 2*(1+(width+7)/8))
	row, same := row[:len(row)/2], row[len(row)/2:]
	same[0] = 2 // filter "up": all pixels are those of the row above
	for y := -quietZone; y < s.Size()+quietZone; y++ {
		s.pixels(row[1:], y, scale)
		_, _ = z.Write(row) // an appender takes everything
		for range scale - 1 {
			_, _ = z.Write(same)
		}
	}
	_ = z.Close()
	z.Reset(io.Discard)
	deflaters.Put(z)
	dst = endChunk(out.b, start)

	dst, start = beginChunk(dst, "IEND")
	return endChunk(dst, start)
}

// scale returns the pixels per module that a wish stands for.
func (s *Symbol) scale(wish int) int {
	if wish > 0 {
		return wish
	}
	modules := s.Size() + 2*quietZone
	return max(minScale, (autoPixels+modules-1)/modules)
}

// pixels fills a row of bits with a row of modules; light is 1.
func (s *Symbol) pixels(row []byte, y, scale int) {
	for i := range row {
		row[i] = 0xff
	}
	for from, to := range s.runs(y) {
		clearBits(row, (from+quietZone)*scale, (to+quietZone)*scale)
	}
}

// runs yields the dark modules of a row as [from, to), from left to right.
func (s *Symbol) runs(y int) func(yield func(from, to int) bool) {
	return func(yield func(from, to int) bool) {
		if y < 0 || y >= s.Size() {
			return
		}
		words := s.m.Row(y)
		next := func(x int, dark bool) int { // the first module from x on of a colour
			for x < s.Size() {
				w := words[x>>6]
				if !dark {
					w = ^w
				}
				if w >>= x & 63; w != 0 {
					return x + bits.TrailingZeros64(w)
				}
				x = x&^63 + 64
			}
			return s.Size()
		}
		for x := next(0, true); x < s.Size(); {
			end := min(next(x, false), s.Size())
			if !yield(x, end) {
				return
			}
			x = next(end, true)
		}
	}
}

// clearBits clears bits [from, to); bit 0 is the highest of the first byte.
func clearBits(row []byte, from, to int) {
	first, last := byte(0xff)>>(from&7), ^(byte(0xff) >> (to & 7))
	i, j := from>>3, to>>3
	if i == j {
		row[i] &^= first & last
		return
	}
	row[i] &^= first
	clear(row[i+1 : j])
	if last != 0 {
		row[j] &^= last
	}
}

func beginChunk(dst []byte, kind string) ([]byte, int) {
	return append(append(dst, 0, 0, 0, 0), kind...), len(dst)
}

// endChunk writes the length and the checksum of the chunk that begins at start.
func endChunk(dst []byte, start int) []byte {
	body := dst[start+4:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(body)-4)) //nolint:gosec // see AppendPNG
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(body))
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// deflaters keeps compressors, whose tables cost more than an image.
//
//nolint:gochecknoglobals // a cache without meaning
var deflaters = sync.Pool{New: func() any {
	z, _ := zlib.NewWriterLevel(io.Discard, zlib.BestSpeed) // the level exists
	return z
}}
