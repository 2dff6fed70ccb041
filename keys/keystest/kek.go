package keystest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// KEKOptions are the optional parts of [RunKEK].
type KEKOptions struct {
	// Other opens a KEK of the same kind with another key. Nil leaves out the
	// check that a wrong key fails.
	Other func(t *testing.T) keys.KEK

	// Outage opens a KEK of the same kind whose service does not answer. Nil
	// leaves out the check that an outage is told from tampering.
	Outage func(t *testing.T) keys.KEK

	// Flips is how many single-bit changes are tried at most, for a KEK that
	// charges per call. Zero means all.
	Flips int
}

// RunKEK runs the suite against the KEKs that open returns, all with the same
// key. opts may be nil.
func RunKEK(t *testing.T, open func(t *testing.T) keys.KEK, opts *KEKOptions) {
	t.Helper()
	var o KEKOptions
	if opts != nil {
		o = *opts
	}
	runAll(t, kekChecks(), func(t *testing.T) kekEnv {
		t.Helper()
		e := kekEnv{KEK: open(t), flips: o.Flips}
		if o.Other != nil {
			e.other = o.Other(t)
		}
		if o.Outage != nil {
			e.outage = o.Outage(t)
		}
		return e
	})
}

type kekEnv struct {
	keys.KEK
	other, outage keys.KEK
	flips         int
}

func kekChecks() []check[kekEnv] {
	return []check[kekEnv]{
		{"KeyIDStablePrintable", checkKeyID},
		{"RoundTrip", checkRoundTrip},
		{"AADBound", checkAAD},
		{"WrongKeyFails", checkWrongKey},
		{"TamperingNeverAnotherPlaintext", checkTampering},
		{"WrapsDiffer", checkFresh},
		{"ArgumentsUnmodified", checkInputs},
		{"ResultsUnaliased", checkOutputs},
		{"ContextHonoured", checkContext},
		{"Concurrent", checkConcurrent},
		{"OutageIsUnavailable", checkOutage},
		{"EnvelopeOpens", checkEnvelope},
	}
}

// plain and aad are what most checks wrap.
func plain() []byte { return sample(32, 1) }
func aad() []byte   { return sample(70, 2) }

// sample returns n bytes that differ with the seed.
func sample(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i*7 + seed) & 0xff)
	}
	return b
}

// wrap wraps and insists that it works.
func (e kekEnv) wrap(t reporter, plain, aad []byte) []byte {
	wrapped, err := e.Wrap(t.Context(), plain, aad)
	if err != nil {
		t.Fatalf("Wrap of %d bytes: %v", len(plain), err)
	}
	return wrapped
}

// opens insists that wrapped unwraps to want, and returns the result.
func (e kekEnv) opens(t reporter, wrapped, aad, want []byte) []byte {
	got, err := e.Unwrap(t.Context(), wrapped, aad)
	if err != nil {
		t.Fatalf("Unwrap: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Unwrap returned %d other bytes than the %d that were wrapped", len(got), len(want))
	}
	return got
}

// refuses insists that wrapped does not unwrap.
func (e kekEnv) refuses(t reporter, wrapped, aad []byte, what string) {
	if _, err := e.Unwrap(t.Context(), wrapped, aad); err == nil {
		t.Fatalf("Unwrap accepted %s", what)
	}
}

func checkKeyID(t reporter, e kekEnv) {
	id := e.KeyID()
	if id == "" || len(id) > 1<<10 {
		t.Fatalf("KeyID has %d bytes, want 1 to 1024", len(id))
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			t.Fatalf("KeyID %q is not printable ASCII", id)
		}
	}
	if again := e.KeyID(); again != id {
		t.Fatalf("KeyID changed from %q to %q", id, again)
	}
	if e.other != nil && e.other.KeyID() == id {
		t.Fatalf("two keys have the KeyID %q", id)
	}
}

func checkRoundTrip(t reporter, e kekEnv) {
	for _, n := range []int{16, 32, 64} {
		plain := sample(n, 1)
		wrapped := e.wrap(t, plain, aad())
		if len(wrapped) > 8<<10 {
			t.Fatalf("Wrap of %d bytes returned %d, want at most 8192", n, len(wrapped))
		}
		if bytes.Contains(wrapped, plain) {
			t.Fatalf("Wrap returned the plaintext in clear")
		}
		e.opens(t, wrapped, aad(), plain)
	}
}

func checkAAD(t reporter, e kekEnv) {
	wrapped := e.wrap(t, plain(), aad())
	e.refuses(t, wrapped, nil, "no AAD where there was some")
	e.refuses(t, wrapped, aad()[:69], "AAD that is one byte shorter")
	e.refuses(t, wrapped, append(aad(), 0), "AAD that is one byte longer")
	e.refuses(t, wrapped, sample(70, 3), "another AAD")
	for i := range aad() {
		b := aad()
		b[i] ^= 1
		e.refuses(t, wrapped, b, fmt.Sprintf("AAD with byte %d changed", i))
	}
	wrapped = e.wrap(t, plain(), nil)
	e.opens(t, wrapped, nil, plain())
	e.refuses(t, wrapped, aad(), "AAD where there was none")
}

func checkWrongKey(t reporter, e kekEnv) {
	if e.other == nil {
		t.Skip("no KEK with another key given")
		return
	}
	wrapped := kekEnv{KEK: e.other}.wrap(t, plain(), aad())
	e.refuses(t, wrapped, aad(), "what another key wrapped")
}

// checkTampering accepts the same plaintext: some KMSs put metadata into what
// they return and do not authenticate it.
func checkTampering(t reporter, e kekEnv) {
	wrapped := e.wrap(t, plain(), aad())
	try := func(b []byte, what string) {
		got, err := e.Unwrap(t.Context(), b, aad())
		if err == nil && !bytes.Equal(got, plain()) {
			t.Fatalf("Unwrap of %s returned another plaintext", what)
		}
	}
	step := 1
	if e.flips > 0 {
		step = max(1, len(wrapped)*8/e.flips)
	}
	for i := 0; i < len(wrapped)*8; i += step {
		b := slices.Clone(wrapped)
		b[i/8] ^= 1 << (i % 8)
		try(b, fmt.Sprintf("wrapped bytes with bit %d flipped", i))
	}
	for n := 0; n < len(wrapped); n += max(1, step/8) {
		try(wrapped[:n:n], fmt.Sprintf("the first %d wrapped bytes", n))
	}
	try(append(slices.Clone(wrapped), 0), "wrapped bytes with one more")
}

func checkFresh(t reporter, e kekEnv) {
	if bytes.Equal(e.wrap(t, plain(), aad()), e.wrap(t, plain(), aad())) {
		t.Fatalf("two Wraps of one plaintext are equal")
	}
}

func checkInputs(t reporter, e kekEnv) {
	p, a := plain(), aad()
	wrapped := e.wrap(t, p, a)
	if !bytes.Equal(p, plain()) || !bytes.Equal(a, aad()) {
		t.Fatalf("Wrap changed its arguments")
	}
	before := slices.Clone(wrapped)
	e.opens(t, wrapped, a, plain())
	if !bytes.Equal(wrapped, before) || !bytes.Equal(a, aad()) {
		t.Fatalf("Unwrap changed its arguments")
	}
}

func checkOutputs(t reporter, e kekEnv) {
	p := plain()
	wrapped := e.wrap(t, p, aad())
	kept := slices.Clone(wrapped)
	clear(p) // callers clear what they wrapped
	clear(e.wrap(t, sample(32, 9), aad()))
	if !bytes.Equal(wrapped, kept) {
		t.Fatalf("a second Wrap changed what the first returned")
	}
	got := e.opens(t, wrapped, aad(), plain())
	if clear(wrapped); !bytes.Equal(got, plain()) {
		t.Fatalf("Unwrap returned memory of its argument")
	}
	clear(got) // callers clear what they unwrapped
	first := e.opens(t, kept, aad(), plain())
	second := e.opens(t, e.wrap(t, sample(32, 9), aad()), aad(), sample(32, 9))
	if !bytes.Equal(first, plain()) || !bytes.Equal(second, sample(32, 9)) {
		t.Fatalf("a second Unwrap changed what the first returned")
	}
}

func checkContext(t reporter, e kekEnv) {
	wrapped := e.wrap(t, plain(), nil)
	withEnded(t.Context(), func(ctx context.Context) {
		if _, err := e.Wrap(ctx, plain(), nil); !errors.Is(err, ctx.Err()) {
			t.Fatalf("Wrap with an ended context: error %v, want one that wraps %v", err, ctx.Err())
		}
		if _, err := e.Unwrap(ctx, wrapped, nil); !errors.Is(err, ctx.Err()) {
			t.Fatalf("Unwrap with an ended context: error %v, want one that wraps %v", err, ctx.Err())
		}
	})
}

func checkConcurrent(t reporter, e kekEnv) {
	const workers, rounds = 64, 4
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			plain, aad := sample(32, w), sample(70, w)
			for range rounds {
				wrapped, err := e.Wrap(t.Context(), plain, aad)
				if err != nil {
					errs[w] = err
					return
				}
				got, err := e.Unwrap(t.Context(), wrapped, aad)
				if err == nil && !bytes.Equal(got, plain) {
					err = errors.New("another plaintext")
				}
				if err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("Wrap and Unwrap in %d goroutines: %v", workers, err)
		}
	}
}

// checkOutage looks through package keys, which takes every error that blames
// nothing on the data for an outage.
func checkOutage(t reporter, e kekEnv) {
	if e.outage == nil {
		t.Skip("no KEK in an outage given")
		return
	}
	now := time.Unix(1, 0)
	if _, err := keys.NewDEK(t.Context(), keys.Multi(e.outage), "n", 1, now); !errors.Is(err, keys.ErrKEKUnavailable) {
		t.Fatalf("Wrap in an outage: error %v, want one that wraps %v", err, keys.ErrKEKUnavailable)
	}
	rec, err := keys.NewDEK(t.Context(), keys.Multi(e.KEK), "n", 1, now)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	rec.KEKID = e.outage.KeyID()
	_, err = keys.OpenRing(t.Context(), keys.Multi(e.outage), now, rec)
	if !errors.Is(err, keys.ErrKEKUnavailable) || errors.Is(err, keys.ErrTampered) || errors.Is(err, keys.ErrWrongKEK) {
		t.Fatalf("Unwrap in an outage: error %v, want one that wraps %v only", err, keys.ErrKEKUnavailable)
	}
}

// checkEnvelope takes the way that a program takes.
func checkEnvelope(t reporter, e kekEnv) {
	set, now := keys.Multi(e.KEK), time.Unix(1, 0)
	if err := set.Check(t.Context()); err != nil {
		t.Fatalf("check of the KEK: %v", err)
	}
	rec, err := keys.NewDEK(t.Context(), set, "n", 1, now)
	if err != nil {
		t.Fatalf("new data key: %v", err)
	}
	ring, err := keys.OpenRing(t.Context(), set, now, rec)
	if err != nil {
		t.Fatalf("open data key: %v", err)
	}
	o := keys.Owner{Network: "n", ID: "web-1", Purpose: keys.PurposeSecret}
	sealed, err := ring.Seal(nil, o, []byte("secret"))
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	if plain, err := ring.Open(nil, o, sealed); err != nil || string(plain) != "secret" {
		t.Fatalf("a sealed record does not open: %v", err)
	}
	rec.Network = "other"
	if _, err := keys.OpenRing(t.Context(), set, now, rec); err == nil {
		t.Fatalf("a data key opened for another network")
	}
}
