package dnszone

import (
	"bytes"
	"io"
)

// WriteTo writes the zone as a master file (RFC 1035 section 5), one record per
// line, each complete in itself. Equal zones of one serial give equal bytes.
func (z *Zone) WriteTo(w io.Writer) (int64, error) {
	c := &countingWriter{w: w}
	buf := make([]byte, 0, 1<<16)
	var last, name []byte
	for owner, rr := range z.records() {
		if name == nil || !bytes.Equal(last, owner) {
			last = append(last[:0], owner...)
			name = appendName(name[:0], owner)
		}
		buf = append(buf, name...)
		buf = append(appendText(buf, rr.typ, rr.ttl, rr.data), '\n')
		if len(buf) > cap(buf)/2 {
			if buf = c.flush(buf); c.err != nil {
				break
			}
		}
	}
	c.flush(buf)
	return c.n, c.err
}

// countingWriter is an io.Writer that remembers how far it came.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

// flush writes buf and returns it empty.
func (c *countingWriter) flush(buf []byte) []byte {
	if c.err == nil && len(buf) > 0 {
		var n int
		n, c.err = c.w.Write(buf)
		c.n += int64(n)
	}
	return buf[:0]
}
