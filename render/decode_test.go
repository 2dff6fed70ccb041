package render_test

import (
	"errors"
	"fmt"
	"slices"
)

// blocksL is the number of error correction blocks of versions 1 to 40 at level
// L (ISO/IEC 18004:2015, table 9).
var blocksL = [40]int{
	1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8,
	8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25,
}

// capacityL is the number of bytes in byte mode of each (table 7).
var capacityL = [40]int{
	17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520, 586, 644, 718, 792, 858,
	929, 1003, 1091, 1171, 1273, 1367, 1465, 1528, 1628, 1732, 1840, 1952, 2068, 2188, 2303, 2431, 2563, 2699, 2809, 2953,
}

// decodeQR reads an undamaged symbol of level L in byte mode, module by module.
func decodeQR(size int, dark func(x, y int) bool) ([]byte, error) {
	version := (size - 17) / 4
	mask := -1
	for k := range 8 {
		if readFormat(dark) == formatL[k] {
			mask = k
		}
	}
	if mask < 0 {
		return nil, errors.New("format bits are not those of level L")
	}

	var bits []byte
	function := functionModules(version)
	for right := size - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		upward := (size-1-right)/2%2 == 0
		if right < 6 {
			upward = (size-2-right)/2%2 == 0
		}
		for i := range size {
			y := i
			if upward {
				y = size - 1 - i
			}
			for _, x := range []int{right, right - 1} {
				if function[y][x] {
					continue
				}
				bit := byte(0)
				if dark(x, y) != masked(mask, x, y) {
					bit = 1
				}
				bits = append(bits, bit)
			}
		}
	}
	words := make([]byte, len(bits)/8)
	for i := range words {
		for _, b := range bits[8*i : 8*i+8] {
			words[i] = words[i]<<1 | b
		}
	}

	header := 2 // bytes around the data: mode, length, terminator
	if version > 9 {
		header = 3
	}
	blocks, total := blocksL[version-1], capacityL[version-1]+header
	data := make([][]byte, blocks)
	at := 0
	for i := 0; at < total; i++ {
		for b := range blocks {
			short := total / blocks
			if i == short && b < blocks-total%blocks {
				continue // the first blocks are one shorter
			}
			data[b] = append(data[b], words[at])
			at++
		}
	}
	stream := slices.Concat(data...)
	if stream[0]>>4 != 4 {
		return nil, fmt.Errorf("mode %d is not byte mode", stream[0]>>4)
	}
	nibbles := make([]byte, 0, 2*len(stream))
	for _, b := range stream {
		nibbles = append(nibbles, b>>4, b&15)
	}
	nibbles = nibbles[1:]
	n := 0
	for range 2 * (header - 1) {
		n, nibbles = n<<4|int(nibbles[0]), nibbles[1:]
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = nibbles[2*i]<<4 | nibbles[2*i+1]
	}
	return out, nil
}

// formatL is the 15 format bits of level L under masks 0 to 7 (table C.1).
var formatL = [8]int{0x77c4, 0x72f3, 0x7daa, 0x789d, 0x662f, 0x6318, 0x6c41, 0x6976}

func readFormat(dark func(x, y int) bool) int {
	bits := 0
	read := func(x, y int) {
		bits <<= 1
		if dark(x, y) {
			bits |= 1
		}
	}
	for _, x := range []int{0, 1, 2, 3, 4, 5, 7, 8} {
		read(x, 8)
	}
	for _, y := range []int{7, 5, 4, 3, 2, 1, 0} {
		read(8, y)
	}
	return bits
}

func masked(k, x, y int) bool {
	return [8]bool{
		(x+y)%2 == 0, y%2 == 0, x%3 == 0, (x+y)%3 == 0, (x/3+y/2)%2 == 0,
		x*y%6 == 0, x*y%6 < 3, (x+y+x*y%3)%2 == 0,
	}[k]
}

func functionModules(version int) [][]bool {
	size := 17 + 4*version
	f := make([][]bool, size)
	for y := range f {
		f[y] = make([]bool, size)
		for x := range f[y] {
			left, top := x < 9, y < 9
			f[y][x] = x == 6 || y == 6 || left && top || left && y >= size-8 || top && x >= size-8
			if version >= 7 {
				f[y][x] = f[y][x] || x < 6 && y >= size-11 || y < 6 && x >= size-11
			}
		}
	}
	for _, y := range alignment(version) {
		for _, x := range alignment(version) {
			if f[y][x] && x != 6 && y != 6 || x == 6 && (y == 6 || y == size-7) || y == 6 && x == size-7 {
				continue
			}
			for dy := -2; dy <= 2; dy++ {
				for dx := -2; dx <= 2; dx++ {
					f[y+dy][x+dx] = true
				}
			}
		}
	}
	return f
}

// alignment counts the centres back from the far edge, evenly and to even
// modules.
func alignment(version int) []int {
	if version == 1 {
		return nil
	}
	last, n := 10+4*version, version/7+2
	step := (last - 6 + (n-2)/2) / (n - 1) // to the nearest
	step += step % 2
	if version == 32 {
		step = 26
	}
	at := []int{6}
	for i := n - 2; i >= 0; i-- {
		at = append(at, last-i*step)
	}
	return at
}
