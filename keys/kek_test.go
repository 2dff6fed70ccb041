package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

func TestMulti(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("b"), nil, kek("a"), kek("b"))
	require.Equal(t, "b", set.KeyID())
	require.Equal(t, []string{"b", "a", "b"}, set.KeyIDs())
	require.Empty(t, keys.Multi(nil).KeyID())

	rec := newDEK(t, keys.Multi(kek("a")), "acme")
	require.True(t, set.Stale(rec))
	require.False(t, set.Stale(rec.Destroy()))
	openRing(t, set, rec)
	require.Equal(t, "b", newDEK(t, set, "acme").KEKID)
}

// oddKEK answers as an adapter might that is not well made.
type oddKEK struct {
	keys.KEK
	id      string
	wrapped []byte
	err     error
	closed  *int
}

func (k oddKEK) KeyID() string { return k.id }

func (k oddKEK) Wrap(context.Context, []byte, []byte) ([]byte, error) { return k.wrapped, k.err }

func (k oddKEK) Unwrap(context.Context, []byte, []byte) ([]byte, error) { return k.wrapped, k.err }

func (k oddKEK) Close() error {
	*k.closed++
	return k.err
}

func TestOddKEKs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kek  oddKEK
		want error
	}{
		"no key id":       {oddKEK{id: "", wrapped: []byte("x")}, keys.ErrFormat},
		"endless key id":  {oddKEK{id: strings.Repeat("x", 1025), wrapped: []byte("x")}, keys.ErrFormat},
		"wraps to none":   {oddKEK{id: "a"}, keys.ErrFormat},
		"wraps too large": {oddKEK{id: "a", wrapped: make([]byte, 8<<10+1)}, keys.ErrFormat},
		"fails":           {oddKEK{id: "a", err: errors.New("throttled")}, keys.ErrKEKUnavailable},
		"gives up":        {oddKEK{id: "a", err: context.DeadlineExceeded}, context.DeadlineExceeded},
		"gives up, still": {oddKEK{id: "a", err: context.DeadlineExceeded}, keys.ErrKEKUnavailable},
		"says tampered":   {oddKEK{id: "a", err: keys.ErrTampered}, keys.ErrTampered},
	} {
		_, err := keys.NewDEK(t.Context(), keys.Multi(tt.kek), "acme", 1, now)
		require.ErrorIs(t, err, tt.want, name)
	}
}

func TestCheckKEK(t *testing.T) {
	t.Parallel()
	a := kek("a")
	require.NoError(t, keys.Multi(a, kek("b")).Check(t.Context()))
	require.Equal(t, 1, a.Wraps())
	require.Equal(t, 1, a.Unwraps())
	a.Fail(errors.New("down"))
	require.ErrorIs(t, keys.Multi(a).Check(t.Context()), keys.ErrKEKUnavailable)
	require.ErrorIs(t, keys.Multi(nil).Check(t.Context()), keys.ErrWrongKEK)
	require.ErrorIs(t, keys.Multi(otherKey{kek("a")}).Check(t.Context()), keys.ErrWrongKEK)
	require.NoError(t, keys.Multi(healthy{}).Check(t.Context()))
	require.ErrorIs(t, keys.Multi(healthy{err: errors.New("down")}).Check(t.Context()), keys.ErrKEKUnavailable)
}

// healthy is a KEK that tells by itself whether it answers.
type healthy struct {
	oddKEK
	err error
}

func (k healthy) Check(context.Context) error { return k.err }

func TestCloseKEKs(t *testing.T) {
	t.Parallel()
	closed := 0
	fails := oddKEK{id: "a", closed: &closed, err: errors.New("busy")}
	err := keys.Multi(fails, kek("x"), oddKEK{id: "b", closed: &closed}).Close()
	require.ErrorContains(t, err, "busy")
	require.Equal(t, 2, closed, "one that fails does not keep the others open")
}

// keeper has the shape of a gocloud keeper: no AAD. It is kek with another
// face.
type keeper struct{ kek *keystest.FakeKEK }

func (k keeper) Encrypt(ctx context.Context, plaintext []byte) ([]byte, error) {
	return k.kek.Wrap(ctx, plaintext, nil)
}

func (k keeper) Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	plain, err := k.kek.Unwrap(ctx, ciphertext, nil)
	if errors.Is(err, keys.ErrTampered) {
		err = errors.New("secrets (code=InvalidArgument)") // says nothing to us
	}
	return plain, err
}

// tink has the shape of Tink's AEADWithContext.
type tink struct{ kek *keystest.FakeKEK }

func (k tink) EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) ([]byte, error) {
	return k.kek.Wrap(ctx, plaintext, associatedData)
}

func (k tink) DecryptWithContext(ctx context.Context, ciphertext, associatedData []byte) ([]byte, error) {
	plain, err := k.kek.Unwrap(ctx, ciphertext, associatedData)
	if errors.Is(err, keys.ErrTampered) {
		err = errors.New("aead: decryption failed")
	}
	return plain, err
}

func TestAdapters(t *testing.T) {
	t.Parallel()
	for name, adapt := range map[string]func(k *keystest.FakeKEK) keys.KEK{
		"FromKeeper": func(k *keystest.FakeKEK) keys.KEK { return keys.FromKeeper(k.KeyID(), keeper{k}) },
		"FromAEAD":   func(k *keystest.FakeKEK) keys.KEK { return keys.FromAEAD(k.KeyID(), tink{k}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keystest.RunKEK(t, func(*testing.T) keys.KEK { return adapt(kek("a")) }, &keystest.KEKOptions{
				Other: func(*testing.T) keys.KEK { return adapt(kek("b")) },
				Outage: func(*testing.T) keys.KEK {
					k := kek("a")
					k.Fail(errors.New("connection refused"))
					return adapt(k)
				},
			})
			k := adapt(kek("a"))
			wrapped, err := k.Wrap(t.Context(), []byte("plain"), []byte("aad"))
			require.NoError(t, err)
			_, err = k.Unwrap(t.Context(), flip(wrapped), []byte("aad"))
			require.ErrorIs(t, err, keys.ErrTampered, "the service answers, so the data is at fault")
			_, err = k.Unwrap(t.Context(), wrapped, []byte("add"))
			require.ErrorIs(t, err, keys.ErrTampered)
			_, err = k.Unwrap(t.Context(), nil, nil)
			require.ErrorIs(t, err, keys.ErrTampered)
		})
	}
}

// TestKeeperOfForeignData unwraps what the keeper encrypted for somebody else.
func TestKeeperOfForeignData(t *testing.T) {
	t.Parallel()
	k := keeper{kek("a")}
	foreign, err := k.Encrypt(t.Context(), []byte("short"))
	require.NoError(t, err)
	_, err = keys.FromKeeper("a", k).Unwrap(t.Context(), foreign, nil)
	require.ErrorIs(t, err, keys.ErrTampered)
}
