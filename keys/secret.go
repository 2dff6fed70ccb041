package keys

import (
	"crypto/rand"
	"crypto/subtle"
	"database/sql/driver"
	"encoding/base64"
	"fmt"
	"log/slog"
)

const (
	hidden = "(hidden)"
	none   = "(none)"
)

// secret holds 32 bytes behind a closure: printers and encoders reach even
// unexported fields through reflection, but nothing looks into a closure.
type secret struct{ f func() *[32]byte }

// newSecret takes b over; the caller must not keep it.
func newSecret(b *[32]byte) secret {
	return secret{f: func() *[32]byte { return b }}
}

// IsZero reports whether there is no key.
func (s secret) IsZero() bool { return s.f == nil }

// Reveal returns a copy of the key, which the caller clears after use, or nil
// if there is no key. It is the only way out.
func (s secret) Reveal() *[32]byte {
	if s.f == nil {
		return nil
	}
	b := *s.f()
	return &b
}

// String returns "(hidden)", or "(none)" if there is no key.
func (s secret) String() string {
	if s.f == nil {
		return none
	}
	return hidden
}

// GoString returns the same as String.
func (s secret) GoString() string { return s.String() }

// Format prints the same as String, for every verb.
func (s secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue returns the same as String.
func (s secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns "(hidden)", or nothing if there is no key. UnmarshalText
// refuses the former.
func (s secret) MarshalText() ([]byte, error) {
	if s.f == nil {
		return []byte{}, nil
	}
	return []byte(hidden), nil
}

// Value fails: a database gets sealed records, never a key or its placeholder.
func (s secret) Value() (driver.Value, error) {
	return nil, fmt.Errorf("keys: store key in database: %w: seal it first", ErrFormat)
}

// equal compares in constant time.
func (s secret) equal(o secret) bool {
	if s.f == nil || o.f == nil {
		return s.f == nil && o.f == nil
	}
	return subtle.ConstantTimeCompare(s.f()[:], o.f()[:]) == 1
}

// generate returns 32 random bytes.
func generate() (b *[32]byte, err error) {
	erasing(func() {
		b = new([32]byte)
		_, err = rand.Read(b[:])
	})
	return b, err
}

// copy32 copies b, which must be 32 bytes and not all zero: WireGuard reads
// zeros as "no key".
func copy32(b []byte) (*[32]byte, error) {
	if len(b) != 32 {
		return nil, fmt.Errorf("%w: %d bytes, want 32", ErrFormat, len(b))
	}
	if zero := [32]byte{}; subtle.ConstantTimeCompare(b, zero[:]) == 1 {
		return nil, fmt.Errorf("%w: all zero, which means no key", ErrFormat)
	}
	return (*[32]byte)(append([]byte(nil), b...)), nil
}

// decode32 decodes a key as WireGuard writes it: 44 characters of padded
// standard base64. The decoder alone would skip line breaks and take stray
// bits in the last character.
func decode32(s string) (*[32]byte, error) {
	if s == hidden {
		return nil, fmt.Errorf("%w: %s stands for a key that was not printed", ErrFormat, hidden)
	}
	if len(s) != 44 {
		return nil, fmt.Errorf("%w: %d characters, want 44", ErrFormat, len(s))
	}
	var src [44]byte
	var dst [33]byte
	defer clear(src[:])
	defer clear(dst[:])
	copy(src[:], s)
	n, err := base64.StdEncoding.Strict().Decode(dst[:], src[:])
	if err != nil || n != 32 {
		return nil, fmt.Errorf("%w: not strict base64 of 32 bytes", ErrFormat)
	}
	b := [32]byte(dst[:32])
	return &b, nil
}
