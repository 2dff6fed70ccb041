package dnszone

import (
	"cmp"
	"strings"
)

const maxName = 255 // octets on the wire, RFC 1035 section 2.3.4

// Inside the package a name is its wire form in lower case without the root
// label, so that a prefix cut at a label border is the name below an origin.

// parseName reads an absolute or dot-less presentation name, with the escapes
// of RFC 1035 section 5.1.
func parseName(s string) (string, error) {
	if s == "." {
		return "", nil
	}
	var wire, label []byte
	for i := 0; i <= len(s); i++ {
		if i == len(s) && len(label) == 0 && i > 0 && s[i-1] == '.' {
			break // the final dot
		}
		if i == len(s) || s[i] == '.' {
			if len(label) == 0 || len(label) > maxLabel {
				return "", ErrBadName
			}
			wire = appendShort(wire, label)
			label = label[:0]
			continue
		}
		c := s[i]
		if c == '\\' {
			var n int
			if c, n = unescape(s[i+1:]); n == 0 {
				return "", ErrBadName
			}
			i += n
		}
		label = append(label, lower(c))
	}
	if len(wire)+1 > maxName {
		return "", ErrNameTooLong
	}
	return string(wire), nil
}

// unescape reads what follows a backslash: three decimal digits or any other
// character. It returns 0 for n if that is missing.
func unescape(s string) (c byte, n int) {
	if len(s) == 0 {
		return 0, 0
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0], 1
	}
	if len(s) < 3 {
		return 0, 0
	}
	v := 0
	for _, d := range []byte(s[:3]) {
		if d < '0' || d > '9' {
			return 0, 0
		}
		v = v*10 + int(d-'0')
	}
	if v > 255 {
		return 0, 0
	}
	return byte(v), 3
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// appendName appends the presentation form of name, with the final dot.
func appendName[S string | []byte](dst []byte, name S) []byte {
	if len(name) == 0 {
		return append(dst, '.')
	}
	for len(name) > 0 {
		n := 1 + int(name[0])
		dst = append(appendEscaped(dst, name[1:n], " .\\\"();@$"), '.')
		name = name[n:]
	}
	return dst
}

// appendEscaped appends s with a backslash before each of special. What is no
// printable ASCII, or a space that is special, becomes three digits.
func appendEscaped[S string | []byte](dst []byte, s S, special string) []byte {
	plain := 0
	for plain < len(s) && (s[plain] == '-' || '0' <= s[plain] && s[plain] <= '9' || 'a' <= s[plain] && s[plain] <= 'z') {
		plain++
	}
	dst = append(dst, s[:plain]...)
	for _, c := range []byte(s[plain:]) {
		switch {
		case c < ' ' || c > '~' || c == ' ' && special[0] == ' ':
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		case strings.IndexByte(special, c) >= 0:
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func nameText[S string | []byte](name S) string { return string(appendName(nil, name)) }

// hostText is the form that people see: without the final dot.
func hostText(name string) string { return strings.TrimSuffix(nameText(name), ".") }

// parent cuts the first label off name.
func parent(name []byte) []byte { return name[1+int(name[0]):] }

// below reports whether name is origin or a name below it.
func below(name, origin string) bool {
	for len(name) > len(origin) {
		name = name[1+int(name[0]):]
	}
	return name == origin
}

// compareNames orders names as RFC 4034 section 6.1 does: by labels, the last
// one first.
func compareNames[S string | []byte](a, b S) int {
	var as, bs [128]uint8
	na, nb := labelStarts(&as, a), labelStarts(&bs, b)
	for i := 1; i <= na && i <= nb; i++ {
		x, y := a[as[na-i]:], b[bs[nb-i]:]
		if c := cmp.Compare(string(x[1:1+int(x[0])]), string(y[1:1+int(y[0])])); c != 0 {
			return c
		}
	}
	return cmp.Compare(na, nb)
}

// labelStarts sets starts to where the labels of name begin and returns their
// number.
func labelStarts[S string | []byte](starts *[128]uint8, name S) (n int) {
	for i := 0; i < len(name); i += 1 + int(name[i]) {
		starts[n] = uint8(i)
		n++
	}
	return n
}
