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

func wordOf(s string) word {
	w := word{n: len(s)}
	if copy(w.text[:], s) < len(s) {
		panic("render: word too long: " + s)
	}
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
}

//nolint:gochecknoglobals // tables that are built once and never change
var digitTable = sync.OnceValue(func() *digits {
	d := new(digits)
	for i := range d.base64 {
		text := base64.StdEncoding.EncodeToString([]byte{byte(i >> 4), byte(i << 4)})
		d.base64[i] = binary.LittleEndian.Uint16([]byte(text))
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
	var v uint64
	for i := range 5 {
		v = binary.BigEndian.Uint64(k[6*i:])
		binary.LittleEndian.PutUint16(out[8*i:], d.base64[v>>52])
		binary.LittleEndian.PutUint16(out[8*i+2:], d.base64[v>>40&0xfff])
		binary.LittleEndian.PutUint16(out[8*i+4:], d.base64[v>>28&0xfff])
		binary.LittleEndian.PutUint16(out[8*i+6:], d.base64[v>>16&0xfff])
	}
	binary.LittleEndian.PutUint16(out[40:], d.base64[v>>4&0xfff])
	binary.LittleEndian.PutUint16(out[42:], d.base64[v<<8&0xfff])
	out[43] = '='
	return dst
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
