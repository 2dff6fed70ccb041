package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Keeper is the shape of a *secrets.Keeper of gocloud.dev.
type Keeper interface {
	Encrypt(ctx context.Context, plaintext []byte) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// FromKeeper makes a [KEK] of a keeper, which knows no AAD: a hash of the AAD
// travels inside the plaintext and is compared on the way back. id names the
// exact key version behind k.
//
// A keeper does not say whether the data or the service is at fault. After a
// failed decryption a fresh round trip decides: it works, so the data is.
func FromKeeper(id string, k Keeper) KEK { return keeperKEK{id, k} }

type keeperKEK struct {
	id string
	k  Keeper
}

func (k keeperKEK) KeyID() string { return k.id }

func (k keeperKEK) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	sum := sha256.Sum256(aad)
	in := append(sum[:], plaintext...)
	defer clear(in)
	return k.k.Encrypt(ctx, in)
}

func (k keeperKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	in, err := k.k.Decrypt(ctx, wrapped)
	if err != nil {
		return nil, blame(ctx, err, k)
	}
	sum := sha256.Sum256(aad)
	if len(in) < len(sum) || subtle.ConstantTimeCompare(in[:len(sum)], sum[:]) != 1 {
		clear(in)
		return nil, fmt.Errorf("%w: wrapped for another context", ErrTampered)
	}
	return in[len(sum):], nil
}

// AEAD is the shape of Tink's AEADWithContext.
type AEAD interface {
	EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) ([]byte, error)
	DecryptWithContext(ctx context.Context, ciphertext, associatedData []byte) ([]byte, error)
}

// FromAEAD makes a [KEK] of an AEAD. id names the exact key version behind a.
// Errors are told apart as in [FromKeeper].
func FromAEAD(id string, a AEAD) KEK { return aeadKEK{id, a} }

type aeadKEK struct {
	id string
	a  AEAD
}

func (k aeadKEK) KeyID() string { return k.id }

func (k aeadKEK) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	return k.a.EncryptWithContext(ctx, plaintext, aad)
}

func (k aeadKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	plain, err := k.a.DecryptWithContext(ctx, wrapped, aad)
	if err != nil {
		return nil, blame(ctx, err, k)
	}
	return plain, nil
}

// blame names the cause of a failed decryption by trying a fresh round trip.
func blame(ctx context.Context, cause error, k interface {
	probe(ctx context.Context, plain []byte) ([]byte, error)
},
) error {
	want := make([]byte, 32)
	if _, err := rand.Read(want); err != nil {
		return err
	}
	if got, err := k.probe(ctx, want); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %w", ErrKEKUnavailable, cause)
	}
	return fmt.Errorf("%w: %w", ErrTampered, cause)
}

func (k keeperKEK) probe(ctx context.Context, plain []byte) ([]byte, error) {
	c, err := k.k.Encrypt(ctx, plain)
	if err != nil {
		return nil, err
	}
	return k.k.Decrypt(ctx, c)
}

func (k aeadKEK) probe(ctx context.Context, plain []byte) ([]byte, error) {
	c, err := k.a.EncryptWithContext(ctx, plain, nil)
	if err != nil {
		return nil, err
	}
	return k.a.DecryptWithContext(ctx, c, nil)
}
