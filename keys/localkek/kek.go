package localkek

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/apnkit/apnkit/keys"
)

// kek wraps with AES-256-GCM under a key derived from the file's key. A wrapped
// value is a version byte, a 12-byte nonce, ciphertext and a 16-byte tag.
type kek struct {
	id   string
	aead func() cipher.AEAD // a closure, so that no printer reaches the key
}

const (
	wrapVersion  = 1
	wrapOverhead = 1 + 12 + 16
)

// New returns a KEK over 32 random bytes, which it does not keep. Its key id is
// "local-" and 16 hexadecimal digits that follow from the key.
func New(key []byte) (keys.KEK, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("localkek: new: %w: %d bytes, want 32", keys.ErrFormat, len(key))
	}
	id, err := keyID(key)
	if err != nil {
		return nil, fmt.Errorf("localkek: new: %w", err)
	}
	sub, err := hkdf.Expand(sha256.New, key, "apn/localkek/v1 wrap", 32)
	if err != nil {
		return nil, fmt.Errorf("localkek: new: %w", err)
	}
	defer clear(sub)
	a, err := newAEAD(sub)
	if err != nil {
		return nil, fmt.Errorf("localkek: new: %w", err)
	}
	return &kek{id: id, aead: func() cipher.AEAD { return a }}, nil
}

func keyID(key []byte) (string, error) {
	sum, err := hkdf.Expand(sha256.New, key, "apn/localkek/v1 id", 8)
	return "local-" + hex.EncodeToString(sum), err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// KeyID returns the id in the file.
func (k *kek) KeyID() string { return k.id }

// String returns the id in the file.
func (k *kek) String() string { return k.id }

// Wrap implements [keys.KEK].
func (k *kek) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("localkek: wrap: %w", err)
	}
	dst := append(make([]byte, 0, wrapOverhead+len(plaintext)), wrapVersion)
	return k.aead().Seal(dst, nil, plaintext, wrapAAD(aad)), nil //nolint:gosec // G407: this AEAD draws the nonce itself
}

// Unwrap implements [keys.KEK].
func (k *kek) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("localkek: unwrap: %w", err)
	}
	if len(wrapped) < wrapOverhead {
		return nil, fmt.Errorf("localkek: unwrap: %w: %d bytes, want at least %d", keys.ErrTampered, len(wrapped), wrapOverhead)
	}
	if wrapped[0] != wrapVersion {
		return nil, fmt.Errorf("localkek: unwrap: %w: %d", keys.ErrUnknownVersion, wrapped[0])
	}
	plain, err := k.aead().Open(nil, nil, wrapped[1:], wrapAAD(aad))
	if err != nil {
		return nil, fmt.Errorf("localkek: unwrap with %q: %w", k.id, keys.ErrTampered)
	}
	return plain, nil
}

func wrapAAD(aad []byte) []byte { return append([]byte("apn/localkek/v1 wrap\x00"), aad...) }
