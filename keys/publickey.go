package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// PublicKey is a WireGuard public key. The zero value is no key.
//
// Every function of this package returns canonical keys that are not of low
// order, so == tells whether two peers are the same. A conversion from an array
// skips that check; [NewPublicKey] does not.
type PublicKey [32]byte

// ParsePublicKey reads a key as `wg pubkey` prints it. Other text wraps
// [ErrFormat]; a key that is not canonical or of low order wraps
// [ErrWeakPublicKey].
func ParsePublicKey(s string) (PublicKey, error) {
	b, err := decode32(s)
	if err != nil {
		return PublicKey{}, fmt.Errorf("keys: parse public key: %w", err)
	}
	return NewPublicKey(b[:])
}

// NewPublicKey copies and checks 32 bytes, with the errors of [ParsePublicKey].
func NewPublicKey(b []byte) (PublicKey, error) {
	if len(b) != 32 {
		return PublicKey{}, fmt.Errorf("keys: new public key: %w: %d bytes, want 32", ErrFormat, len(b))
	}
	p := PublicKey(b)
	if !p.canonical() {
		return PublicKey{}, fmt.Errorf("keys: new public key: %w: not canonical", ErrWeakPublicKey)
	}
	if p.lowOrder() {
		return PublicKey{}, fmt.Errorf("keys: new public key: %w: low order", ErrWeakPublicKey)
	}
	return p, nil
}

// canonical reports whether p is below 2^255-19, little-endian. X25519 reduces
// what it gets and drops the top bit, so other encodings are second names of
// the same peer.
func (p PublicKey) canonical() bool {
	if p[31] != 0x7f {
		return p[31] < 0x7f
	}
	for _, b := range p[1:31] {
		if b != 0xff {
			return true
		}
	}
	return p[0] < 0xed
}

// lowOrder reports whether every private key shares the secret zero with p:
// the points of order 1, 2, 4 and 8 on the curve and its twist.
// https://cr.yp.to/ecdh.html#validate
func (p PublicKey) lowOrder() bool {
	switch p {
	case PublicKey{}, PublicKey{1},
		PublicKey{
			0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
			0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
		},
		PublicKey{
			0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
			0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
		},
		PublicKey{
			0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
		}:
		return true
	}
	return false
}

// IsZero reports whether there is no key.
func (p PublicKey) IsZero() bool { return p == PublicKey{} }

// String returns the key in base64, or nothing if there is no key.
func (p PublicKey) String() string {
	if p.IsZero() {
		return ""
	}
	return base64.StdEncoding.EncodeToString(p[:])
}

// Fingerprint returns 16 hexadecimal digits that name the key in logs and audit
// events. Who knows a public key can trouble its owner with handshakes, so logs
// do not hold it.
func (p PublicKey) Fingerprint() string {
	if p.IsZero() {
		return none
	}
	sum := sha256.Sum256(append([]byte("apn/keys/v1 fingerprint"), p[:]...))
	return hex.EncodeToString(sum[:8])
}

// LogValue returns the fingerprint.
func (p PublicKey) LogValue() slog.Value { return slog.StringValue(p.Fingerprint()) }

// MarshalText returns the same as String.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParsePublicKey]; empty text is no key.
func (p *PublicKey) UnmarshalText(text []byte) (err error) {
	*p = PublicKey{}
	if len(text) > 0 {
		*p, err = ParsePublicKey(string(text))
	}
	return err
}
