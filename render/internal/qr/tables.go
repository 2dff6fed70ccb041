package qr

// Level is the share of a symbol that error correction can restore.
type Level uint8

// The levels of ISO/IEC 18004, from 7 % to 30 %.
const (
	L Level = iota
	M
	Q
	H
)

const (
	maxVersion = 40
	// MaxSize is the number of modules on a side of a version 40 symbol.
	MaxSize = 17 + 4*maxVersion
	// maxCodewords is what a version 40 symbol holds, data and error correction.
	maxCodewords = 3706
)

// Error correction codewords per block and number of blocks, one string per
// level and one byte per version (ISO/IEC 18004:2015, table 9). Strings are
// used because they cannot be changed.
const (
	checkL = "\x07\x0a\x0f\x14\x1a\x12\x14\x18\x1e\x12\x14\x18\x1a\x1e\x16\x18\x1c\x1e\x1c\x1c\x1c\x1c\x1e\x1e\x1a\x1c\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e"
	checkM = "\x0a\x10\x1a\x12\x18\x10\x12\x16\x16\x1a\x1e\x16\x16\x18\x18\x1c\x1c\x1a\x1a\x1a\x1a\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c"
	checkQ = "\x0d\x16\x12\x1a\x12\x18\x12\x16\x14\x18\x1c\x1a\x18\x14\x1e\x18\x1c\x1c\x1a\x1e\x1c\x1e\x1e\x1e\x1e\x1c\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e"
	checkH = "\x11\x1c\x16\x10\x16\x1c\x1a\x1a\x18\x1c\x18\x1c\x16\x18\x18\x1e\x1c\x1c\x1a\x1c\x1e\x18\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e"

	blocksL = "\x01\x01\x01\x01\x01\x02\x02\x02\x02\x04\x04\x04\x04\x04\x06\x06\x06\x06\x07\x08\x08\x09\x09\x0a\x0c\x0c\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x13\x14\x15\x16\x18\x19"
	blocksM = "\x01\x01\x01\x02\x02\x04\x04\x04\x05\x05\x05\x08\x09\x09\x0a\x0a\x0b\x0d\x0e\x10\x11\x11\x12\x14\x15\x17\x19\x1a\x1c\x1d\x1f\x21\x23\x25\x26\x28\x2b\x2d\x2f\x31"
	blocksQ = "\x01\x01\x02\x02\x04\x04\x06\x06\x08\x08\x08\x0a\x0c\x10\x0c\x11\x10\x12\x15\x14\x17\x17\x19\x1b\x1d\x22\x22\x23\x26\x28\x2b\x2d\x30\x33\x35\x38\x3b\x3e\x41\x44"
	blocksH = "\x01\x01\x02\x04\x04\x04\x05\x06\x08\x08\x0b\x0b\x10\x10\x12\x10\x13\x15\x19\x19\x19\x22\x1e\x20\x23\x25\x28\x2a\x2d\x30\x33\x36\x39\x3c\x3f\x42\x46\x4a\x4d\x51"
)

// blocking returns how many error correction blocks a symbol has and how many
// check codewords each of them carries.
func blocking(version int, l Level) (blocks, check int) {
	b, c := blocksL, checkL
	switch l {
	case L:
	case M:
		b, c = blocksM, checkM
	case Q:
		b, c = blocksQ, checkQ
	case H:
		b, c = blocksH, checkH
	}
	return int(b[version-1]), int(c[version-1])
}

// codewords returns how many codewords a version holds in all.
func codewords(version int) int {
	modules := (16*version+128)*version + 64
	if version >= 2 {
		n := version/7 + 2
		modules -= (25*n-10)*n - 55
	}
	if version >= 7 {
		modules -= 36
	}
	return modules / 8
}

// Capacity returns how many bytes a version holds at a level.
func Capacity(version int, l Level) int {
	blocks, check := blocking(version, l)
	return codewords(version) - blocks*check - (12+lengthBits(version))/8
}

// MaxBytes returns how many bytes the largest symbol holds at a level.
func MaxBytes(l Level) int { return Capacity(maxVersion, l) }

// lengthBits is the size of the byte count in front of the data.
func lengthBits(version int) int {
	if version < 10 {
		return 8
	}
	return 16
}

// version returns the smallest version that holds n bytes, or 0.
func version(n int, l Level) int {
	for v := 1; v <= maxVersion; v++ {
		if n <= Capacity(v, l) {
			return v
		}
	}
	return 0
}
