package apn

import (
	"github.com/apnkit/apnkit/dnszone"
)

const (
	maxNetworkName = 63
	maxMemberName  = 64
)

// checkLabel refuses a name that is not a DNS label in its canonical form: apps,
// servers and devices appear in zones, file names and URLs as they are.
func checkLabel(field, name string) error {
	if err := dnszone.CheckLabel(name); err != nil {
		return invalid(field, "must be a DNS label: 1 to 63 of a-z, 0-9 and '-', no '-' at the ends, not reserved", err)
	}
	return nil
}

// checkNetwork refuses what cannot be an account's ID: 1 to 63 of A-Z, a-z, 0-9,
// '.', '_' and '-', starting with a letter or digit, without two dots in a row.
func checkNetwork(field, name string) error {
	ok := len(name) >= 1 && len(name) <= maxNetworkName && alnum(name[0])
	for i := 1; ok && i < len(name); i++ {
		c := name[i]
		ok = alnum(c) || c == '_' || c == '-' || c == '.' && name[i-1] != '.'
	}
	if !ok {
		return invalid(field, "must be 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit, without '..'", nil)
	}
	return nil
}

// checkMember refuses what is neither a user name nor a plain e-mail address in
// lower case. Two spellings of one address must not be two people.
func checkMember(field, name string) error {
	ok := len(name) >= 1 && len(name) <= maxMemberName && alnum(name[0])
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			ok = false
		case alnum(c), c == '_', c == '-', c == '+', c == '@':
		case c == '.':
			ok = ok && name[max(i-1, 0)] != '.'
		default:
			ok = false
		}
	}
	if !ok {
		return invalid(field, "must be 1 to 64 of a-z, 0-9, '.', '_', '-', '+' and '@', starting with a letter or digit, without '..'", nil)
	}
	return nil
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
