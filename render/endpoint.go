package render

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Endpoint is where a peer listens for UDP. The zero value is none.
type Endpoint struct {
	Host string // an IP address without brackets, or a host name
	Port uint16 // 1 to 65535
}

// ParseEndpoint reads host:port. The host is an IPv4 address, an IPv6 address in
// brackets, or a name of letters, digits and hyphens whose last label starts
// with a letter. An IPv6 address has no zone: it means nothing on another
// machine. Addresses come out in their canonical form, IPv4-mapped ones as IPv4,
// names in lower case. Empty text is an error.
func ParseEndpoint(s string) (Endpoint, error) {
	host, port, ok := cutLast(s, ':')
	if !ok {
		return Endpoint{}, errors.New("render: parse endpoint: no port")
	}
	// WireGuard takes a service name as port where the system knows it; only a
	// number means the same everywhere.
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return Endpoint{}, errors.New("render: parse endpoint: port is not a number from 1 to 65535")
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(in, "]"); !ok || !strings.Contains(host, ":") {
			return Endpoint{}, errors.New("render: parse endpoint: brackets hold no IPv6 address")
		}
	} else if strings.IndexByte(host, ':') >= 0 {
		return Endpoint{}, errors.New("render: parse endpoint: IPv6 address without brackets")
	}
	e := Endpoint{Host: host, Port: uint16(n)}
	reason, normal := e.inspect()
	if reason != "" {
		return Endpoint{}, fmt.Errorf("render: parse endpoint: %s", reason)
	}
	if !normal {
		e.normalize()
	}
	return e, nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// EndpointFrom returns the endpoint of an address, unmapped and without zone.
// An invalid address gives the zero Endpoint.
func EndpointFrom(a netip.AddrPort) Endpoint {
	if !a.IsValid() {
		return Endpoint{}
	}
	return Endpoint{Host: a.Addr().Unmap().WithZone("").String(), Port: a.Port()}
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// Addr returns the endpoint as an address, and whether it is one: false for a
// host name and for none.
func (e Endpoint) Addr() (netip.AddrPort, bool) {
	if !e.numeric() {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddr(e.Host)
	return netip.AddrPortFrom(a.Unmap(), e.Port), err == nil
}

// String returns host:port, with brackets around an IPv6 address, or nothing
// for the zero Endpoint.
func (e Endpoint) String() string { return string(e.append(nil)) }

// MarshalText returns the same as String.
func (e Endpoint) MarshalText() ([]byte, error) { return e.append(nil), nil }

// UnmarshalText is [ParseEndpoint]; empty text is none.
func (e *Endpoint) UnmarshalText(text []byte) (err error) {
	*e = Endpoint{}
	if len(text) > 0 {
		*e, err = ParseEndpoint(string(text))
	}
	return err
}

func (e Endpoint) append(dst []byte) []byte {
	if e.IsZero() {
		return dst
	}
	return strconv.AppendUint(e.appendHost(dst), uint64(e.Port), 10)
}

// appendHost writes all but the port.
func (e Endpoint) appendHost(dst []byte) []byte {
	if strings.IndexByte(e.Host, ':') >= 0 {
		dst = append(dst, '[')
		dst = append(dst, e.Host...)
		dst = append(dst, ']')
	} else {
		dst = append(dst, e.Host...)
	}
	return append(dst, ':')
}

// numeric reports whether the host can only be an address: it has a colon, or
// its last label starts with a digit.
func (e Endpoint) numeric() bool {
	_, last, ok := cutLast(e.Host, '.')
	if !ok {
		last = e.Host
	}
	return last != "" && last[0] <= '9' || strings.IndexByte(e.Host, ':') >= 0
}

// inspect says what is wrong with a non-zero endpoint, or reports whether it is
// in normal form.
func (e Endpoint) inspect() (reason string, normal bool) {
	switch {
	case e.Port == 0:
		return "port is not from 1 to 65535", false
	case e.isIPv4():
		return "", true
	case !e.numeric():
		return domainProblem(e.Host), lower(e.Host)
	}
	a, err := netip.ParseAddr(e.Host)
	switch {
	case err != nil:
		return "host is neither an address nor a name", false
	case a.Zone() != "":
		return "address has a zone", false
	}
	var buf [64]byte
	return "", !a.Is4In6() && string(a.AppendTo(buf[:0])) == e.Host
}

func (e Endpoint) isIPv4() bool {
	_, ok := parseIPv4(e.Host)
	return ok
}

// parseIPv4 reads four numbers below 256 without leading zeros: the one form of
// an IPv4 address that all clients read alike. It is netip.ParseAddr for the
// addresses that files are full of.
func parseIPv4(s string) (a netip.Addr, ok bool) {
	var v, number uint32
	digits, dots := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && (digits == 0 || number > 0):
			number = 10*number + uint32(c-'0')
			digits++
			if number > 255 {
				return a, false
			}
		case c == '.' && digits > 0:
			v = v<<8 | number
			number, digits = 0, 0
			dots++
		default:
			return a, false
		}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v<<8|number)
	return netip.AddrFrom4(b), dots == 3 && digits > 0
}

func lower(s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

func (e *Endpoint) normalize() {
	if a, ok := e.Addr(); ok {
		e.Host = a.Addr().String()
	} else {
		e.Host = strings.ToLower(e.Host)
	}
}

// domainProblem says what is wrong with a host or domain name, or nothing:
// letters, digits and hyphens, 63 per label, 253 in all (RFC 1123, 2.1). An
// underscore fails on Android. A last label that starts with a digit looks like
// an address to some clients.
func domainProblem(s string) string {
	if len(s) > 253 {
		return "name has more than 253 characters"
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
				return "name has a character other than letters, digits, hyphens and dots"
			}
			continue
		}
		switch {
		case i == start:
			return "name is empty or has an empty label"
		case i-start > 63:
			return "name has a label of more than 63 characters"
		case s[start] == '-' || s[i-1] == '-':
			return "name has a label with a hyphen at its edge"
		}
		if i == len(s) && s[start] <= '9' {
			return "last label of the name starts with a digit"
		}
		start = i + 1
	}
	return ""
}
