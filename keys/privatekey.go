package keys

import (
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/subtle"
	"fmt"
)

// PrivateKey is a WireGuard private key. The zero value is no key.
//
// It prints as "(hidden)" wherever it turns up, it is not comparable with ==,
// and no encoder gets its bytes; [PrivateKey.Reveal] does. Copies share one
// immutable key and are safe for concurrent use.
//
// The key is always clamped (RFC 7748, section 5), as WireGuard does before
// use. A key that came in unclamped is the same key, with the same public key;
// its revealed bytes differ in up to five bits.
type PrivateKey struct{ secret }

// GeneratePrivateKey returns a fresh random key.
func GeneratePrivateKey() (PrivateKey, error) {
	b, err := generate()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("keys: generate private key: %w", err)
	}
	clamp(b)
	return PrivateKey{newSecret(b)}, nil
}

// ParsePrivateKey reads a key as `wg genkey` prints it. Anything else, the
// placeholder and the all-zero key wrap [ErrFormat]; the error does not repeat
// the input.
func ParsePrivateKey(s string) (PrivateKey, error) {
	b, err := decode32(s)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("keys: parse private key: %w", err)
	}
	defer clear(b[:])
	return NewPrivateKey(b[:])
}

// NewPrivateKey copies and clamps 32 bytes. The all-zero key, clamped or not,
// wraps [ErrFormat].
func NewPrivateKey(b []byte) (PrivateKey, error) {
	k, err := copy32(b)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("keys: new private key: %w", err)
	}
	clamp(k)
	zero := [32]byte{31: 64}
	if subtle.ConstantTimeCompare(k[:], zero[:]) == 1 {
		return PrivateKey{}, fmt.Errorf("keys: new private key: %w: all zero, which means no key", ErrFormat)
	}
	return PrivateKey{newSecret(k)}, nil
}

func clamp(b *[32]byte) {
	b[0] &= 248
	b[31] = b[31]&127 | 64
}

// PublicKey returns the public key, or the zero PublicKey if there is no key.
// It computes it each time, about 50 microseconds.
func (k PrivateKey) PublicKey() PublicKey {
	if k.f == nil {
		return PublicKey{}
	}
	var p PublicKey
	erasing(func() {
		fips140.WithoutEnforcement(func() {
			// 32 bytes are always a valid X25519 private key.
			if x, err := ecdh.X25519().NewPrivateKey(k.f()[:]); err == nil {
				copy(p[:], x.PublicKey().Bytes())
			}
		})
	})
	return p
}

// Equal reports whether both are the same key, in constant time.
func (k PrivateKey) Equal(o PrivateKey) bool { return k.equal(o.secret) }

// UnmarshalText is [ParsePrivateKey]; empty text is no key.
func (k *PrivateKey) UnmarshalText(text []byte) (err error) {
	*k = PrivateKey{}
	if len(text) > 0 {
		*k, err = ParsePrivateKey(string(text))
	}
	return err
}
