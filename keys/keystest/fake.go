package keystest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/apnkit/apnkit/keys"
)

// FakeKEK is a KEK in memory that counts its calls and fails on demand. Two
// with the same id have the same key, as one KMS has after a restart. It
// protects nothing: the key follows from the id.
type FakeKEK struct {
	id   string
	aead cipher.AEAD

	mu             sync.Mutex
	wraps, unwraps int
	fail           error
}

// NewKEK returns a KEK with this id.
func NewKEK(id string) *FakeKEK {
	key := sha256.Sum256([]byte("keystest " + id))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes are always a key
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &FakeKEK{id: id, aead: a}
}

// Fail makes every further call return err; nil ends it.
func (k *FakeKEK) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// Wraps returns how often Wrap was called, failed calls included.
func (k *FakeKEK) Wraps() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wraps
}

// Unwraps returns how often Unwrap was called, failed calls included.
func (k *FakeKEK) Unwraps() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unwraps
}

// KeyID implements [keys.KEK].
func (k *FakeKEK) KeyID() string { return k.id }

// Wrap implements [keys.KEK].
func (k *FakeKEK) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := k.call(ctx, &k.wraps); err != nil {
		return nil, err
	}
	return k.aead.Seal(nil, nil, plaintext, aad), nil //nolint:gosec // G407: this AEAD draws the nonce itself
}

// Unwrap implements [keys.KEK].
func (k *FakeKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := k.call(ctx, &k.unwraps); err != nil {
		return nil, err
	}
	plain, err := k.aead.Open(nil, nil, wrapped, aad)
	if err != nil {
		return nil, fmt.Errorf("keystest: unwrap with %q: %w", k.id, keys.ErrTampered)
	}
	return plain, nil
}

func (k *FakeKEK) call(ctx context.Context, count *int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	*count++
	if k.fail != nil {
		return k.fail
	}
	return ctx.Err()
}
