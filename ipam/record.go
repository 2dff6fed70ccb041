package ipam

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Record is one stored fact: a range that belongs to an app, or an address
// that belongs to an owner in it. All records together are the state of a
// [Pool]; keep each under its [Record.Key].
//
// A range has Prefix, an address has Addr and Owner. With derived IPv6 the
// record of the IPv4 address stands for both.
type Record struct {
	App    string       `json:"app"`
	Owner  string       `json:"owner,omitempty"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Addr   netip.Addr   `json:"addr,omitzero"`
	// Gen is the generation of an address, from 1 on. In a range it is the
	// highest generation of the addresses that were forgotten there, so that
	// none is given to an owner twice.
	Gen uint64 `json:"gen,omitempty"`
	// Released is when the address or range was released, in UTC. Zero: live.
	Released time.Time `json:"released,omitzero"`
}

// IsRange reports whether r is the record of a range.
func (r Record) IsRange() bool { return r.Owner == "" }

// Key names r among all records of a network: "r4-0a000000" for a range,
// "a4-0a000002" for an address, with 32 hexadecimal digits for IPv6. It is
// printable ASCII without "/", and sorts by address within a kind. A range
// keeps its key while it grows.
func (r Record) Key() string {
	kind := byte('a')
	if r.IsRange() {
		kind = 'r'
	}
	var buf [3 + 32]byte
	out := append(buf[:0], kind, '4', '-')
	b := r.base().As16()
	if r.base().Is4() {
		return string(hex.AppendEncode(out, b[12:]))
	}
	out[1] = '6'
	return string(hex.AppendEncode(out, b[:]))
}

// base is the address that names r.
func (r *Record) base() netip.Addr {
	if r.IsRange() {
		return r.Prefix.Addr()
	}
	return r.Addr
}

// parseKey undoes Key.
func parseKey(s string) (kind byte, at u128, ok bool) {
	family, digits, _ := strings.Cut(s, "-")
	switch family {
	case "a4", "r4":
		n, err := strconv.ParseUint(digits, 16, 32)
		return s[0], u128{0, mapped | n}, err == nil && len(digits) == 8
	case "a6", "r6":
		if len(digits) != 32 {
			return 0, u128{}, false
		}
		hi, err1 := strconv.ParseUint(digits[:16], 16, 64)
		lo, err2 := strconv.ParseUint(digits[16:], 16, 64)
		at = u128{hi, lo}
		return s[0], at, err1 == nil && err2 == nil && !at.is4()
	}
	return 0, u128{}, false
}

const maxName = 512

// checkName refuses names that would not survive JSON or a store's key limit.
func checkName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("empty %s: %w", what, ErrInvalid)
	case len(s) > maxName:
		return fmt.Errorf("%s is %d bytes long, more than %d: %w", what, len(s), maxName, ErrInvalid)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8: %w", what, ErrInvalid)
	}
	return nil
}

// check refuses records that no Pool writes.
func (r *Record) check() error {
	if err := checkName("app", r.App); err != nil {
		return err
	}
	if r.IsRange() {
		if why := malformed(r.Prefix); why != "" {
			return fmt.Errorf("range: %s: %w", why, ErrInvalid)
		}
		if r.Addr.IsValid() {
			return fmt.Errorf("range %v has an address: %w", r.Prefix, ErrInvalid)
		}
	} else {
		if err := checkName("owner", r.Owner); err != nil {
			return err
		}
		switch {
		case !r.Addr.IsValid(), r.Addr.Is4In6(), r.Addr.Zone() != "":
			return fmt.Errorf("address %v: %w", r.Addr, ErrInvalid)
		case r.Prefix != netip.Prefix{}:
			return fmt.Errorf("address %v has a prefix: %w", r.Addr, ErrInvalid)
		case r.Gen == 0:
			return fmt.Errorf("address %v has no generation: %w", r.Addr, ErrInvalid)
		}
	}
	if t := r.Released; !t.IsZero() && !t.Equal(fromNano(toNano(t))) {
		return fmt.Errorf("released at %v: %w", t, ErrInvalid)
	}
	return nil
}

// toNano clamps t to what Unix nanoseconds hold after 1970.
func toNano(t time.Time) int64 {
	switch {
	case t.Unix() < 0 || t.UnixNano() == 0:
		return 1
	case t.Unix() >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// fromNano returns the zero time for 0.
func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// releasedNano returns 0 for a live record.
func (r *Record) releasedNano() int64 {
	if r.Released.IsZero() {
		return 0
	}
	return toNano(r.Released)
}

func (r *Record) equal(o *Record) bool {
	return r.App == o.App && r.Owner == o.Owner && r.Prefix == o.Prefix && r.Addr == o.Addr &&
		r.Gen == o.Gen && r.Released.Equal(o.Released)
}
