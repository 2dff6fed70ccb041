package keystest_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

func TestFakeKEK(t *testing.T) {
	t.Parallel()
	keystest.RunKEK(t, func(*testing.T) keys.KEK { return keystest.NewKEK("a") }, &keystest.KEKOptions{
		Other:  func(*testing.T) keys.KEK { return keystest.NewKEK("b") },
		Outage: func(*testing.T) keys.KEK { return outage() },
	})
}

func TestFakeKEKCounts(t *testing.T) {
	t.Parallel()
	k := keystest.NewKEK("a")
	w, err := k.Wrap(t.Context(), []byte("x"), nil)
	require.NoError(t, err)
	_, err = keystest.NewKEK("a").Unwrap(t.Context(), w, nil)
	require.NoError(t, err, "the same id is the same key")
	k.Fail(errors.New("down"))
	_, err = k.Unwrap(t.Context(), w, nil)
	require.EqualError(t, err, "down")
	k.Fail(nil)
	_, err = k.Unwrap(t.Context(), w, nil)
	require.NoError(t, err)
	require.Equal(t, 1, k.Wraps())
	require.Equal(t, 2, k.Unwraps())
}

func outage() keys.KEK {
	k := keystest.NewKEK("a")
	k.Fail(errors.New("connection refused"))
	return k
}

// badKEK is a KEK whose methods a mutant replaces.
type badKEK struct {
	keys.KEK
	id     func() string
	wrap   func(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	unwrap func(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

func (b *badKEK) KeyID() string {
	if b.id != nil {
		return b.id()
	}
	return b.KEK.KeyID()
}

func (b *badKEK) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if b.wrap != nil {
		return b.wrap(ctx, plaintext, aad)
	}
	return b.KEK.Wrap(ctx, plaintext, aad)
}

func (b *badKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if b.unwrap != nil {
		return b.unwrap(ctx, wrapped, aad)
	}
	return b.KEK.Unwrap(ctx, wrapped, aad)
}

// TestKEKMutants breaks a working KEK in one way each, and wants the check that
// defends the sentence to say so.
func TestKEKMutants(t *testing.T) {
	t.Parallel()
	good := func() *badKEK { return &badKEK{KEK: keystest.NewKEK("a")} }
	mapAAD := func(f func(aad []byte) []byte) *badKEK {
		b := good()
		b.wrap = func(ctx context.Context, p, aad []byte) ([]byte, error) { return b.KEK.Wrap(ctx, p, f(aad)) }
		b.unwrap = func(ctx context.Context, w, aad []byte) ([]byte, error) { return b.KEK.Unwrap(ctx, w, f(aad)) }
		return b
	}
	wrapWith := func(f func(b *badKEK) func(ctx context.Context, p, aad []byte) ([]byte, error)) *badKEK {
		b := good()
		b.wrap = f(b)
		return b
	}
	unwrapWith := func(f func(b *badKEK) func(ctx context.Context, w, aad []byte) ([]byte, error)) *badKEK {
		b := good()
		b.unwrap = f(b)
		return b
	}
	type unwrap = func(context.Context, []byte, []byte) ([]byte, error)

	mutants := []struct {
		name   string
		kek    *badKEK
		outage keys.KEK
		want   string // the check that must fail
		says   string // a part of what it reports
	}{
		{name: "ignores the AAD", kek: mapAAD(func([]byte) []byte { return nil }), want: "AADBound", says: "no AAD"},
		{name: "binds the first 64 bytes of the AAD", kek: mapAAD(func(a []byte) []byte { return a[:min(len(a), 64)] }), want: "AADBound"},
		{name: "trims the AAD", kek: mapAAD(func(a []byte) []byte { return []byte(strings.TrimRight(string(a), "\x00")) }), want: "AADBound", says: "longer"},
		{name: "confuses absent and present AAD", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				if p, err := b.KEK.Unwrap(ctx, w, nil); err == nil {
					return p, nil
				}
				return b.KEK.Unwrap(ctx, w, aad)
			}
		}), want: "AADBound", says: "where there was none"},
		{name: "panics on short input", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				_ = w[:12]
				return b.KEK.Unwrap(ctx, w, aad)
			}
		}), want: "TamperingNeverAnotherPlaintext", says: "panic"},
		{name: "does not authenticate", kek: unauthenticated(), want: "TamperingNeverAnotherPlaintext", says: "another plaintext"},
		{name: "returns a stale plaintext on error", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				if err != nil && ctx.Err() == nil {
					return make([]byte, 32), nil
				}
				return p, err
			}
		}), want: "TamperingNeverAnotherPlaintext", says: "another plaintext"},
		{name: "wraps the same twice", kek: remembering(), want: "WrapsDiffer"},
		{name: "stores in clear", kek: wrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				w, err := b.KEK.Wrap(ctx, p, aad)
				return append(w, p...), err
			}
		}), want: "RoundTrip", says: "clear"},
		{name: "wraps too large", kek: wrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				w, err := b.KEK.Wrap(ctx, p, aad)
				return append(w, make([]byte, 8<<10)...), err
			}
		}), want: "RoundTrip", says: "at most 8192"},
		{name: "takes 32 bytes only", kek: wrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				return b.KEK.Wrap(ctx, append(slices.Clone(p), make([]byte, 32)...)[:32], aad)
			}
		}), want: "RoundTrip", says: "other bytes"},
		{name: "clears the plaintext", kek: wrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				w, err := b.KEK.Wrap(ctx, p, aad)
				clear(p)
				return w, err
			}
		}), want: "ArgumentsUnmodified", says: "Wrap changed"},
		{name: "unwraps in place", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				copy(w, p)
				return p, err
			}
		}), want: "ArgumentsUnmodified", says: "Unwrap changed"},
		{name: "returns its argument", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				return w[:copy(w, p)], err
			}
		}), want: "ResultsUnaliased"},
		{name: "wraps into one buffer", kek: wrapWith(func(b *badKEK) unwrap {
			buf := make([]byte, 0, 1024)
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				w, err := b.KEK.Wrap(ctx, p, aad)
				return append(buf, w...), err
			}
		}), want: "ResultsUnaliased", says: "second Wrap"},
		{name: "unwraps into one buffer", kek: unwrapWith(func(b *badKEK) unwrap {
			buf := make([]byte, 0, 1024)
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				return append(buf, p...), err
			}
		}), want: "ResultsUnaliased", says: "second Unwrap"},
		{name: "caches what it returned", kek: caching(), want: "ResultsUnaliased"},
		{name: "ignores the context in Wrap", kek: wrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, p, aad []byte) ([]byte, error) {
				return b.KEK.Wrap(context.WithoutCancel(ctx), p, aad)
			}
		}), want: "ContextHonoured", says: "Wrap"},
		{name: "ignores the context in Unwrap", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				return b.KEK.Unwrap(context.WithoutCancel(ctx), w, aad)
			}
		}), want: "ContextHonoured", says: "Unwrap"},
		{name: "hides the context's error", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				if ctx.Err() != nil {
					err = errors.New("request failed")
				}
				return p, err
			}
		}), want: "ContextHonoured"},
		{name: "takes one caller at a time", kek: single(), want: "Concurrent"},
		{name: "has no key id", kek: &badKEK{KEK: keystest.NewKEK("a"), id: func() string { return "" }}, want: "KeyIDStablePrintable"},
		{name: "has a binary key id", kek: &badKEK{KEK: keystest.NewKEK("a"), id: func() string { return "a\nb" }}, want: "KeyIDStablePrintable", says: "printable"},
		{name: "has an endless key id", kek: &badKEK{KEK: keystest.NewKEK("a"), id: func() string { return strings.Repeat("a", 1025) }}, want: "KeyIDStablePrintable"},
		{name: "changes its key id", kek: changing(), want: "KeyIDStablePrintable", says: "changed"},
		{name: "shares its key id", kek: &badKEK{KEK: keystest.NewKEK("a"), id: func() string { return "b" }}, want: "KeyIDStablePrintable", says: "two keys"},
		{name: "has one key for all", kek: &badKEK{KEK: keystest.NewKEK("b"), id: func() string { return "a" }}, want: "WrongKeyFails"},
		{name: "calls an outage tampering", kek: good(), outage: failing(keys.ErrTampered), want: "OutageIsUnavailable"},
		{name: "calls an outage a wrong key", kek: good(), outage: failing(keys.ErrWrongKEK), want: "OutageIsUnavailable"},
		{name: "works in an outage", kek: good(), outage: keystest.NewKEK("a"), want: "OutageIsUnavailable"},
		{name: "returns another key", kek: unwrapWith(func(b *badKEK) unwrap {
			return func(ctx context.Context, w, aad []byte) ([]byte, error) {
				p, err := b.KEK.Unwrap(ctx, w, aad)
				if len(p) == 32 && strings.HasPrefix(string(aad), "apn/") {
					p[0] ^= 1
				}
				return p, err
			}
		}), want: "EnvelopeOpens"},
	}

	var caught []string
	for _, m := range mutants {
		caught = append(caught, m.want)
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if m.outage == nil {
				m.outage = outage()
			}
			got := keystest.KEKFailure(t, m.want, m.kek, keystest.NewKEK("b"), m.outage)
			require.NotEmpty(t, got, "not caught")
			require.Contains(t, got, m.says)
			require.Empty(t, keystest.KEKFailure(t, m.want, good(), keystest.NewKEK("b"), outage()), "an unbroken KEK passes")
		})
	}
	slices.Sort(caught)
	require.ElementsMatch(t, keystest.KEKChecks(), slices.Compact(caught), "every check has a mutant")
}

func failing(cause error) keys.KEK {
	k := keystest.NewKEK("a")
	k.Fail(cause)
	return k
}

// unauthenticated encrypts in counter mode: the classic that decrypts anything.
func unauthenticated() *badKEK {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		panic(err)
	}
	xor := func(ctx context.Context, in, aad []byte) ([]byte, error) {
		iv := make([]byte, 16)
		copy(iv, aad)
		out := make([]byte, len(in))
		cipher.NewCTR(block, iv).XORKeyStream(out, in)
		return out, ctx.Err()
	}
	return &badKEK{KEK: keystest.NewKEK("a"), wrap: xor, unwrap: xor}
}

// remembering returns the first result for an equal plaintext again.
func remembering() *badKEK {
	b := &badKEK{KEK: keystest.NewKEK("a")}
	var mu sync.Mutex
	seen := map[string][]byte{}
	b.wrap = func(ctx context.Context, p, aad []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		key := string(p) + "|" + string(aad)
		if seen[key] == nil {
			w, err := b.KEK.Wrap(ctx, p, aad)
			if err != nil {
				return nil, err
			}
			seen[key] = w
		}
		return slices.Clone(seen[key]), ctx.Err()
	}
	return b
}

// caching keeps the plaintext that its caller clears.
func caching() *badKEK {
	b := &badKEK{KEK: keystest.NewKEK("a")}
	var mu sync.Mutex
	seen := map[string][]byte{}
	b.unwrap = func(ctx context.Context, w, aad []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		key := string(w) + "|" + string(aad)
		if seen[key] == nil || ctx.Err() != nil {
			p, err := b.KEK.Unwrap(ctx, w, aad)
			if err != nil {
				return nil, err
			}
			seen[key] = p
		}
		return seen[key], nil
	}
	return b
}

// single fails when two calls overlap.
func single() *badKEK {
	b := &badKEK{KEK: keystest.NewKEK("a")}
	var inside atomic.Int32
	b.wrap = func(ctx context.Context, p, aad []byte) ([]byte, error) {
		defer inside.Add(-1)
		if inside.Add(1) > 1 {
			return nil, errors.New("busy")
		}
		for range 100 {
			runtime.Gosched()
		}
		return b.KEK.Wrap(ctx, p, aad)
	}
	return b
}

func changing() *badKEK {
	n := 0
	return &badKEK{KEK: keystest.NewKEK("a"), id: func() string {
		n++
		return strings.Repeat("a", n%7+1)
	}}
}
