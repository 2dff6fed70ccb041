package render

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

const (
	// maxName is what a comment shows of a name.
	maxName = 64
	// maxInterfaceName is IFNAMSIZ without the final zero.
	maxInterfaceName = 15
)

// appendName writes a name as part of a comment: printable ASCII only, because
// clients disagree about what ends a line (Apple takes even U+2028), and at most
// 64 characters.
func appendName(dst []byte, name string) []byte {
	n := 0
	for _, r := range name {
		if n++; n > maxName {
			break
		}
		if r < 0x20 || r > 0x7e {
			r = '?'
		}
		dst = append(dst, byte(r))
	}
	return dst
}

// InterfaceName derives from a name one that every client takes for a tunnel: 1
// to 15 of A-Z a-z 0-9 _ = + . -, without a dot at an edge or a hyphen in front,
// and none that Linux or Windows reserves. A name like that is returned as it
// is. Others are cut and end in four characters of their hash, so that different
// names stay different. The empty name gives the empty name.
func InterfaceName(name string) string {
	if name == "" || interfaceNameProblem(name) == "" {
		return name
	}
	b := make([]byte, 0, maxInterfaceName)
	for _, r := range name {
		if len(b) == maxInterfaceName-5 {
			break
		}
		if !interfaceRune(r) {
			r = '-'
		}
		if c := byte(r); len(b) > 0 || c != '-' && c != '.' {
			b = append(b, c)
		}
	}
	if len(b) == 0 {
		b = append(b, "wg"...)
	}
	sum := sha256.Sum256([]byte(name))
	return string(b) + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:4])
}

// interfaceNameProblem says why a client refuses a tunnel of this name, or
// nothing.
func interfaceNameProblem(s string) string {
	if len(s) == 0 || len(s) > maxInterfaceName {
		return "not 1 to 15 characters"
	}
	for _, r := range s {
		if !interfaceRune(r) {
			return "has a character other than A-Z a-z 0-9 _ = + . -"
		}
	}
	if s[0] == '.' || s[0] == '-' || s[len(s)-1] == '.' {
		return "has a dot at an edge or a hyphen in front"
	}
	stem, _, _ := strings.Cut(strings.ToLower(s), ".")
	switch stem {
	case "all", "default", // entries of /proc/sys/net/ipv4/conf
		"con", "prn", "aux", "nul", // devices of Windows, with any extension
		"com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
		"lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9":
		return "is reserved"
	}
	return ""
}

func interfaceRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_=+.-", r)
}
