package render

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync"
)

// The put functions append like the built-in, for the parts that make up most
// of a file. The caller has made room for them (see [draft.size]) and 32 bytes
// more: they copy fixed sizes and look digits up, which takes a third of the time.

// word is a fixed part of a file, at most 32 bytes long.
type word struct {
	text [32]byte
	n    int
}

func wordOf(s string) (w word) {
	w.n = copy(w.text[:], s)
	return w
}

func put(dst []byte, w *word) []byte {
	n := len(dst)
	dst = dst[:n+len(w.text)]
	*(*[32]byte)(dst[n:]) = w.text
	return dst[:n+w.n]
}

// digits are what the put functions look up.
type digits struct {
	base64 [1 << 12]uint16 // two characters for 12 bits, the first in the low byte
	octet  [256]uint32     // up to three digits, and their number in the high byte
	value  [256]byte       // of a base64 character; 64 and more: none
}

//nolint:gochecknoglobals // tables that are built once and never change
var digitTable = sync.OnceValue(func() *digits {
	d := new(digits)
	for i := range d.base64 {
		text := base64.StdEncoding.EncodeToString([]byte{byte(i >> 4), byte(i << 4)})
		d.base64[i] = binary.LittleEndian.Uint16([]byte(text))
	}
	for i := range d.value {
		d.value[i] = 0xff
	}
	for i, pair := range d.base64[:64] {
		d.value[pair>>8] = byte(i) // the second character stands for the lower six bits
	}
	for i := range d.octet {
		var b [4]byte
		b[3] = byte(copy(b[:3], strconv.Itoa(i)))
		d.octet[i] = binary.LittleEndian.Uint32(b[:])
	}
	return d
})

// putKey writes 44 characters of base64. It is for public keys: the time of a
// look-up may depend on what is looked up.
func (d *digits) putKey(dst []byte, k *[32]byte) []byte {
	n := len(dst)
	dst = dst[:n+44]
	out := (*[44]byte)(dst[n:])
	binary.LittleEndian.PutUint64(out[0:], d.eight(binary.BigEndian.Uint64(k[0:])))
	binary.LittleEndian.PutUint64(out[8:], d.eight(binary.BigEndian.Uint64(k[6:])))
	binary.LittleEndian.PutUint64(out[16:], d.eight(binary.BigEndian.Uint64(k[12:])))
	binary.LittleEndian.PutUint64(out[24:], d.eight(binary.BigEndian.Uint64(k[18:])))
	last := binary.BigEndian.Uint64(k[24:])
	binary.LittleEndian.PutUint64(out[32:], d.eight(last))
	binary.LittleEndian.PutUint32(out[40:], uint32(d.base64[last>>4&0xfff])|uint32(d.base64[last<<8&0xfff])<<16)
	out[43] = '='
	return dst
}

// eight returns the eight characters of the upper 48 bits.
func (d *digits) eight(v uint64) uint64 {
	return uint64(d.base64[v>>52]) | uint64(d.base64[v>>40&0xfff])<<16 | uint64(d.base64[v>>28&0xfff])<<32 | uint64(d.base64[v>>16&0xfff])<<48
}

// readKey reads 44 characters of base64, in the one form that WireGuard takes.
// Like putKey it is for public keys.
func (d *digits) readKey(k *[32]byte, s string) bool {
	if len(s) != 44 || s[43] != '=' {
		return false
	}
	var bad byte
	four := func(s string) uint32 {
		a, b, c, e := d.value[s[0]], d.value[s[1]], d.value[s[2]], d.value[s[3]]
		bad |= a | b | c | e
		return uint32(a)<<26 | uint32(b)<<20 | uint32(c)<<14 | uint32(e)<<8
	}
	for i := range 10 {
		binary.BigEndian.PutUint32(k[3*i:], four(s[4*i:4*i+4])) // the next overwrites the fourth byte
	}
	v := four(s[39:43]) // the last three characters, behind one that is done
	var tail [4]byte
	binary.BigEndian.PutUint32(tail[:], v<<6)
	k[30], k[31] = tail[0], tail[1]
	return bad < 64 && v>>8&3 == 0
}

// putOctet writes a number below 256.
func (d *digits) putOctet(dst []byte, b byte) []byte {
	n, v := len(dst), d.octet[b]
	dst = dst[:n+4]
	binary.LittleEndian.PutUint32(dst[n:], v)
	return dst[:n+int(v>>24)]
}

// putPort writes a number below 65536.
func (d *digits) putPort(dst []byte, v uint16) []byte {
	if v < 1000 {
		if v < 256 {
			return d.putOctet(dst, byte(v))
		}
		return append(d.putOctet(dst, byte(v/100)), '0'+byte(v/10%10), '0'+byte(v%10))
	}
	dst = d.putOctet(dst, byte(v/1000)) //nolint:gosec // at most 65
	return append(dst, '0'+byte(v/100%10), '0'+byte(v/10%10), '0'+byte(v%10))
}

// putPrefix writes a prefix, and an address alone where hostMask is false and
// the prefix is one.
func (d *digits) putPrefix(dst []byte, p netip.Prefix, hostMask bool) []byte {
	a := p.Addr()
	if a.Is4() {
		b := a.As4()
		dst = append(d.putOctet(dst, b[0]), '.')
		dst = append(d.putOctet(dst, b[1]), '.')
		dst = append(d.putOctet(dst, b[2]), '.')
		dst = d.putOctet(dst, b[3])
	} else {
		dst = a.AppendTo(dst)
	}
	if hostMask || !p.IsSingleIP() {
		dst = d.putOctet(append(dst, '/'), byte(p.Bits())) //nolint:gosec // at most 128
	}
	return dst
}
