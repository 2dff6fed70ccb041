package keys

import "fmt"

// PresharedKey is a WireGuard preshared key. The zero value is no key.
//
// It hides its bytes as [PrivateKey] does.
type PresharedKey struct{ secret }

// GeneratePresharedKey returns a fresh random key.
func GeneratePresharedKey() (PresharedKey, error) {
	b, err := generate()
	if err != nil {
		return PresharedKey{}, fmt.Errorf("keys: generate preshared key: %w", err)
	}
	return PresharedKey{newSecret(b)}, nil
}

// ParsePresharedKey reads a key as `wg genpsk` prints it. Anything else, the
// placeholder and the all-zero key wrap [ErrFormat].
func ParsePresharedKey(s string) (PresharedKey, error) {
	b, err := decode32(s)
	if err != nil {
		return PresharedKey{}, fmt.Errorf("keys: parse preshared key: %w", err)
	}
	defer clear(b[:])
	return NewPresharedKey(b[:])
}

// NewPresharedKey copies 32 bytes. The all-zero key wraps [ErrFormat].
func NewPresharedKey(b []byte) (PresharedKey, error) {
	k, err := copy32(b)
	if err != nil {
		return PresharedKey{}, fmt.Errorf("keys: new preshared key: %w", err)
	}
	return PresharedKey{newSecret(k)}, nil
}

// Equal reports whether both are the same key, in constant time.
func (k PresharedKey) Equal(o PresharedKey) bool { return k.equal(o.secret) }

// UnmarshalText is [ParsePresharedKey]; empty text is no key.
func (k *PresharedKey) UnmarshalText(text []byte) (err error) {
	*k = PresharedKey{}
	if len(text) > 0 {
		*k, err = ParsePresharedKey(string(text))
	}
	return err
}
