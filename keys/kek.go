package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
)

// KEK wraps data keys with a key that never leaves it. keys/localkek has one
// from a file, keys/keystest proves one, examples/customkek writes one.
//
// A KEK is safe for concurrent use, honours its context, keeps no reference to
// its arguments and returns memory of its own. The optional interfaces
// [HealthChecker] and io.Closer are found by type assertion.
type KEK interface {
	// KeyID names the exact key version, so that a rotation shows: printable,
	// at most 1 KiB, always the same. It is stored in clear.
	KeyID() string

	// Wrap encrypts plaintext and binds it to aad. Two calls give different
	// results, at most 8 KiB long.
	Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error)

	// Unwrap returns what Wrap got. If wrapped or aad is not what it was, the
	// error wraps ErrTampered. Any error that wraps none of this package's
	// causes counts as an outage and is reported as ErrKEKUnavailable.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// HealthChecker is an optional interface of a [KEK] that can tell cheaply
// whether it answers.
type HealthChecker interface {
	Check(ctx context.Context) error
}

const (
	maxKeyID   = 1 << 10
	maxWrapped = 8 << 10
)

// KEKSet is the KEK that wraps, and older ones that only unwrap. It is
// immutable and safe for concurrent use.
type KEKSet struct {
	keks []KEK // primary first
	ids  []string
}

// Multi returns a set that wraps with primary and unwraps with whichever KEK
// has the stored key id. During a rotation the replaced KEK stays in old until
// no DEK names it. Of two with the same key id the first counts.
func Multi(primary KEK, old ...KEK) *KEKSet {
	k := &KEKSet{}
	for _, kek := range append([]KEK{primary}, old...) {
		if kek != nil {
			k.keks = append(k.keks, kek)
			k.ids = append(k.ids, kek.KeyID())
		}
	}
	return k
}

// KeyID returns the key id of the primary, or nothing if there is none.
func (k *KEKSet) KeyID() string {
	if len(k.ids) == 0 {
		return ""
	}
	return k.ids[0]
}

// KeyIDs returns all key ids, primary first.
func (k *KEKSet) KeyIDs() []string { return slices.Clone(k.ids) }

// Stale reports whether r is to be wrapped again by the primary: the question
// that decides each step of a KEK rotation.
func (k *KEKSet) Stale(r DEKRecord) bool {
	return r.State != DEKDestroyed && r.KEKID != k.KeyID()
}

// Check reports whether the primary answers: it asks its [HealthChecker], or
// else wraps and unwraps a random value. The error wraps [ErrKEKUnavailable] or
// says that the primary does not unwrap what it wraps.
func (k *KEKSet) Check(ctx context.Context) error {
	if len(k.keks) > 0 {
		if h, ok := k.keks[0].(HealthChecker); ok {
			return kekCause(h.Check(ctx))
		}
	}
	want, aad := make([]byte, 32), []byte("apn/keys/v1 check")
	if _, err := rand.Read(want); err != nil {
		return err
	}
	wrapped, err := k.wrap(ctx, want, aad)
	if err != nil {
		return err
	}
	got, err := k.unwrap(ctx, k.KeyID(), wrapped, aad)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%w: it does not unwrap what it wraps", ErrWrongKEK)
	}
	return err
}

// Close closes every KEK that is an io.Closer.
func (k *KEKSet) Close() error {
	var errs []error
	for _, kek := range k.keks {
		if c, ok := kek.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

func (k *KEKSet) wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if len(k.keks) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrWrongKEK)
	}
	if id := k.ids[0]; id == "" || len(id) > maxKeyID {
		return nil, fmt.Errorf("%w: a key id takes 1 to %d bytes", ErrFormat, maxKeyID)
	}
	wrapped, err := k.keks[0].Wrap(ctx, plaintext, aad)
	if err != nil {
		return nil, kekCause(err)
	}
	if len(wrapped) == 0 || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("%w: the KEK wrapped to %d bytes, want 1 to %d", ErrFormat, len(wrapped), maxWrapped)
	}
	return wrapped, nil
}

func (k *KEKSet) unwrap(ctx context.Context, id string, wrapped, aad []byte) ([]byte, error) {
	i := slices.Index(k.ids, id)
	if i < 0 {
		return nil, &WrongKEKError{Wrapped: id, Given: k.KeyIDs()}
	}
	plain, err := k.keks[i].Unwrap(ctx, wrapped, aad)
	return plain, kekCause(err)
}

// kekCause gives an error of a KEK one of our causes. What the KEK does not
// blame on the data is an outage.
func kekCause(err error) error {
	if err == nil {
		return nil
	}
	for _, cause := range []error{ErrKEKUnavailable, ErrTampered, ErrWrongKEK, ErrWrongOwner, ErrFormat, ErrUnknownVersion} {
		if errors.Is(err, cause) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrKEKUnavailable, err)
}
