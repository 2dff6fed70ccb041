package keys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

func openRing(tb testing.TB, k *keys.KEKSet, recs ...keys.DEKRecord) *keys.Ring {
	tb.Helper()
	ring, err := keys.OpenRing(tb.Context(), k, now, recs...)
	require.NoError(tb, err)
	return ring
}

func TestOpenRingCalls(t *testing.T) {
	t.Parallel()
	a := kek("a")
	set := keys.Multi(a)
	rec := newDEK(t, set, "acme")
	require.Equal(t, 1, a.Wraps(), "a new data key and its root cost one call")
	require.Equal(t, 0, a.Unwraps())
	ring := openRing(t, set, rec)
	require.Equal(t, 1, a.Unwraps(), "a cold network costs one call")
	for range 100 {
		_, err := ring.Seal(nil, owner("x"), nil)
		require.NoError(t, err)
		ring.Index(publicKey(t, 1))
		ring.PSK(1, publicKey(t, 1), publicKey(t, 2))
	}
	require.Equal(t, 2, a.Wraps()+a.Unwraps(), "a warm one none")
	require.Equal(t, now, ring.Proven())
	require.Equal(t, "acme", ring.Network())
	require.Equal(t, uint32(1), ring.Version())
}

func TestOpenRingErrors(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	good := newDEK(t, set, "acme")
	other := newDEK(t, set, "acme")
	down := kek("a")
	down.Fail(errors.New("connection refused"))
	change := func(f func(r *keys.DEKRecord)) []keys.DEKRecord {
		r := good
		f(&r)
		return []keys.DEKRecord{r}
	}
	tests := []struct {
		name string
		set  *keys.KEKSet
		recs []keys.DEKRecord
		want error
		says string
	}{
		{name: "no records", set: set, want: keys.ErrUnknownDEK},
		{name: "destroyed", set: set, recs: []keys.DEKRecord{good.Destroy()}, want: keys.ErrShredded},
		{name: "unknown state", set: set, recs: change(func(r *keys.DEKRecord) { r.State = "paused" }), want: keys.ErrFormat},
		{name: "version 0", set: set, recs: change(func(r *keys.DEKRecord) { r.Version = 0 }), want: keys.ErrFormat},
		{name: "two of one version", set: set, recs: []keys.DEKRecord{good, good}, want: keys.ErrFormat},
		{name: "two networks", set: set, recs: []keys.DEKRecord{good, newDEK(t, set, "other")}, want: keys.ErrWrongOwner},
		{
			name: "wrong KEK", set: keys.Multi(kek("b"), kek("c")), recs: []keys.DEKRecord{good}, want: keys.ErrWrongKEK,
			says: `keys: unwrap DEK 1 of "acme", KEK "a": wrong KEK: wrapped by "a", you gave ["b" "c"]`,
		},
		{name: "no KEK", set: keys.Multi(nil), recs: []keys.DEKRecord{good}, want: keys.ErrWrongKEK},
		{name: "forged key id", set: keys.Multi(kek("a"), kek("b")), recs: change(func(r *keys.DEKRecord) { r.KEKID = "b" }), want: keys.ErrTampered},
		{name: "another network's", set: set, recs: change(func(r *keys.DEKRecord) { r.Network = "other" }), want: keys.ErrTampered},
		{name: "another version's", set: set, recs: change(func(r *keys.DEKRecord) { r.Version = 2 }), want: keys.ErrTampered},
		{name: "wrapped bytes changed", set: set, recs: change(func(r *keys.DEKRecord) { r.Wrapped = flip(r.Wrapped) }), want: keys.ErrTampered},
		{name: "wrapped bytes gone", set: set, recs: change(func(r *keys.DEKRecord) { r.Wrapped = nil }), want: keys.ErrTampered},
		{name: "check changed", set: set, recs: change(func(r *keys.DEKRecord) { r.Check = flip(r.Check) }), want: keys.ErrWrongKEK},
		{name: "check cut", set: set, recs: change(func(r *keys.DEKRecord) { r.Check = r.Check[:8] }), want: keys.ErrWrongKEK},
		{name: "check gone", set: set, recs: change(func(r *keys.DEKRecord) { r.Check = nil }), want: keys.ErrWrongKEK},
		{name: "root changed", set: set, recs: change(func(r *keys.DEKRecord) { r.Root = flip(r.Root) }), want: keys.ErrTampered},
		{name: "root gone", set: set, recs: change(func(r *keys.DEKRecord) { r.Root = nil }), want: keys.ErrFormat},
		{name: "another key's root", set: set, recs: change(func(r *keys.DEKRecord) { r.Root = other.Root }), want: keys.ErrTampered},
		{name: "KEK down", set: keys.Multi(down), recs: []keys.DEKRecord{good}, want: keys.ErrKEKUnavailable, says: "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := keys.OpenRing(t.Context(), tt.set, now, tt.recs...)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.says)
			if !errors.Is(tt.want, keys.ErrKEKUnavailable) {
				require.NotErrorIs(t, err, keys.ErrKEKUnavailable, "not worth a retry")
			}
		})
	}
	var wrong *keys.WrongKEKError
	_, err := keys.OpenRing(t.Context(), keys.Multi(kek("b")), now, good)
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "a", wrong.Wrapped)
	require.Equal(t, []string{"b"}, wrong.Given)
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// otherKey is a KMS that returns another key than it was given.
type otherKey struct{ keys.KEK }

func (k otherKey) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	b, err := k.KEK.Unwrap(ctx, wrapped, aad)
	if err == nil {
		b[0] ^= 1
	}
	return b, err
}

type shortKey struct{ keys.KEK }

func (k shortKey) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	b, err := k.KEK.Unwrap(ctx, wrapped, aad)
	return b[:min(len(b), 16)], err
}

func TestKEKThatReturnsAnotherKey(t *testing.T) {
	t.Parallel()
	rec := newDEK(t, keys.Multi(kek("a")), "acme")
	for _, k := range []keys.KEK{otherKey{kek("a")}, shortKey{kek("a")}} {
		_, err := keys.OpenRing(t.Context(), keys.Multi(k), now, rec)
		require.ErrorIs(t, err, keys.ErrWrongKEK)
		_, err = keys.Rewrap(t.Context(), keys.Multi(kek("b"), k), rec)
		require.ErrorIs(t, err, keys.ErrWrongKEK, "and it is not wrapped again")
	}
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	a, b := kek("a"), kek("b")
	rec := newDEK(t, keys.Multi(a), "acme")
	sealed, err := openRing(t, keys.Multi(a), rec).Seal(nil, owner("x"), []byte("plain"))
	require.NoError(t, err)

	both := keys.Multi(b, a)
	require.True(t, both.Stale(rec))
	next, err := keys.Rewrap(t.Context(), both, rec)
	require.NoError(t, err)
	require.Equal(t, 2, a.Wraps()+a.Unwraps()-2+b.Wraps()+b.Unwraps(), "two calls; two were made before")
	require.False(t, both.Stale(next))
	require.Equal(t, "b", next.KEKID)
	require.Equal(t, "a", rec.KEKID, "the argument is left alone")
	require.Equal(t, rec.Check, next.Check)
	require.Equal(t, rec.Root, next.Root)

	plain, err := openRing(t, keys.Multi(b), next).Open(nil, owner("x"), sealed)
	require.NoError(t, err, "no record was touched, and the old KEK is not needed")
	require.Equal(t, "plain", string(plain))

	again, err := keys.Rewrap(t.Context(), both, next)
	require.NoError(t, err)
	require.Equal(t, next, again, "idempotent")
	gone, err := keys.Rewrap(t.Context(), both, rec.Destroy())
	require.NoError(t, err)
	require.Equal(t, rec.Destroy(), gone)
	_, err = keys.Rewrap(t.Context(), keys.Multi(b), rec)
	require.ErrorIs(t, err, keys.ErrWrongKEK)
	b.Fail(errors.New("down"))
	_, err = keys.Rewrap(t.Context(), both, rec)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable)
}

func TestNextDEK(t *testing.T) {
	t.Parallel()
	a := kek("a")
	set := keys.Multi(a)
	first := newDEK(t, set, "acme")
	old := openRing(t, set, first)
	sealed, err := old.Seal(nil, owner("x"), []byte("plain"))
	require.NoError(t, err)

	next, err := old.NextDEK(t.Context(), set, now.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 2, a.Wraps())
	require.Equal(t, uint32(2), next.Version)
	require.Equal(t, now.Add(time.Hour), next.Created)

	recs := []keys.DEKRecord{next, first.Demote()} // in any order
	ring := openRing(t, set, recs...)
	require.Equal(t, uint32(2), ring.Version())
	plain, err := ring.Open(nil, owner("x"), sealed)
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain))
	require.Equal(t, old.Index(publicKey(t, 1)), ring.Index(publicKey(t, 1)), "the index outlives the key")
	require.True(t, old.PSK(3, publicKey(t, 1), publicKey(t, 2)).Equal(ring.PSK(3, publicKey(t, 1), publicKey(t, 2))))

	moved, changed, err := ring.Reseal(owner("x"), sealed)
	require.NoError(t, err)
	require.True(t, changed)
	version, err := keys.SealedVersion(moved)
	require.NoError(t, err)
	require.Equal(t, uint32(2), version)
	same, changed, err := ring.Reseal(owner("x"), moved)
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, &moved[0], &same[0])
	_, _, err = ring.Reseal(owner("y"), sealed)
	require.ErrorIs(t, err, keys.ErrWrongOwner, "moving a record proves it")
	_, _, err = ring.Reseal(owner("y"), nil)
	require.ErrorIs(t, err, keys.ErrFormat)

	_, err = old.Open(nil, owner("x"), moved)
	require.ErrorIs(t, err, keys.ErrUnknownDEK, "the old ring does not know the new key")

	alone := openRing(t, set, next, first.Destroy())
	plain, err = alone.Open(nil, owner("x"), moved)
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain))
	_, err = alone.Open(nil, owner("x"), sealed)
	require.ErrorIs(t, err, keys.ErrUnknownDEK)
	third, err := alone.NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	require.Equal(t, uint32(3), third.Version)
	highest, err := openRing(t, set, first, next.Destroy()).NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	require.Equal(t, uint32(3), highest.Version, "a destroyed version is not used again")
}

func TestReadOnlyRing(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	rec := newDEK(t, set, "acme")
	sealed, err := openRing(t, set, rec).Seal(nil, owner("x"), nil)
	require.NoError(t, err)
	ring := openRing(t, set, rec.Demote())
	require.Equal(t, uint32(0), ring.Version())
	_, err = ring.Open(nil, owner("x"), sealed)
	require.NoError(t, err)
	_, err = ring.Seal(nil, owner("x"), nil)
	require.ErrorIs(t, err, keys.ErrUnknownDEK)
}

func TestCovers(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	first := newDEK(t, set, "acme")
	old := openRing(t, set, first)
	next, err := old.NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	ring := openRing(t, set, first.Demote(), next)
	counted := first
	counted.Seals += keys.SealBlock
	rewrapped, err := keys.Rewrap(t.Context(), keys.Multi(kek("b"), kek("a")), first)
	require.NoError(t, err)

	require.True(t, old.Covers(first))
	require.True(t, old.Covers(counted), "a count is no reason to open again")
	require.True(t, old.Covers(rewrapped), "nor is another KEK")
	require.False(t, old.Covers(first.Demote(), next), "rotated")
	require.False(t, old.Covers(first.Demote()))
	require.False(t, old.Covers(first.Destroy()), "shredded")
	require.False(t, old.Covers())
	require.False(t, old.Covers(newDEK(t, set, "other")))
	require.True(t, ring.Covers(first.Demote(), next))
	require.False(t, ring.Covers(first.Destroy(), next), "the old key was destroyed meanwhile")
	require.True(t, openRing(t, set, first.Destroy(), next).Covers(first.Destroy(), next))
}

func TestRecordStates(t *testing.T) {
	t.Parallel()
	rec := newDEK(t, keys.Multi(kek("a")), "acme")
	require.False(t, rec.Due(now.Add(keys.DEKMaxAge)))
	require.True(t, rec.Due(now.Add(keys.DEKMaxAge+1)))
	require.False(t, rec.Demote().Due(now.Add(2*keys.DEKMaxAge)), "only a key that seals is due")
	used := rec
	used.Seals = keys.SealLimit / 2
	require.True(t, used.Due(now))

	require.Equal(t, keys.DEKDestroyed, rec.Destroy().Demote().State)
	gone := rec.Destroy()
	require.Empty(t, gone.Wrapped)
	require.Empty(t, gone.Root)
	require.Empty(t, gone.Check)
	require.Equal(t, rec.Version, gone.Version)
	require.NotEmpty(t, rec.Wrapped, "the argument is left alone")

	js, err := json.Marshal(rec)
	require.NoError(t, err)
	var back keys.DEKRecord
	require.NoError(t, json.Unmarshal(js, &back))
	require.Equal(t, rec, back)
}

func TestIndexAndPSKDiffer(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	a, b := openRing(t, set, newDEK(t, set, "acme")), openRing(t, set, newDEK(t, set, "acme"))
	p, q, r := publicKey(t, 1), publicKey(t, 2), publicKey(t, 3)
	require.NotEqual(t, a.Index(p), b.Index(p), "each network has a root of its own")
	require.NotEqual(t, a.Index(p), a.Index(q))
	require.False(t, a.PSK(1, p, q).Equal(b.PSK(1, p, q)))
	require.True(t, a.PSK(1, p, q).Equal(a.PSK(1, q, p)))
	require.False(t, a.PSK(1, p, q).Equal(a.PSK(2, p, q)))
	require.False(t, a.PSK(1, p, q).Equal(a.PSK(1, p, r)))
}

func TestReserve(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	stored := newDEK(t, set, "acme")
	ring := openRing(t, set, stored)
	seal := func(r *keys.Ring, n int) {
		for range n {
			_, err := r.Seal(nil, owner("x"), nil)
			require.NoError(t, err)
		}
	}

	_, n, err := ring.Reserve(stored)
	require.NoError(t, err)
	require.Zero(t, n, "nothing was sealed")
	seal(ring, 1)
	next, n, err := ring.Reserve(stored)
	require.NoError(t, err)
	require.Equal(t, int64(keys.SealBlock), n)
	require.Equal(t, int64(keys.SealBlock), next.Seals)
	require.Zero(t, stored.Seals)
	again, n, err := ring.Reserve(stored)
	require.NoError(t, err)
	require.Equal(t, next, again, "a commit that failed is tried again with the same count")
	stored = next
	ring.Reserved(n)

	rows := 1
	for range 3 * keys.SealBlock {
		seal(ring, 1)
		next, n, err := ring.Reserve(stored)
		require.NoError(t, err)
		if n > 0 {
			rows++
			stored = next
			ring.Reserved(n)
		}
		require.GreaterOrEqual(t, stored.Seals, int64(1))
	}
	require.Equal(t, 4, rows, "one row for each block")
	require.Equal(t, int64(4*keys.SealBlock), stored.Seals)

	seal(ring, 10*keys.SealBlock)
	next, n, err = ring.Reserve(stored)
	require.NoError(t, err)
	require.GreaterOrEqual(t, next.Seals, int64(13*keys.SealBlock+1), "many at once are all counted")
	stored = next
	ring.Reserved(n)

	second := openRing(t, set, stored) // another process, or after a restart
	seal(second, 1)
	next, n, err = second.Reserve(stored)
	require.NoError(t, err)
	require.Equal(t, stored.Seals+keys.SealBlock, next.Seals, "it does not know what is left of the block")
	require.Equal(t, int64(keys.SealBlock), n)

	_, _, err = ring.Reserve(stored.Demote())
	require.ErrorIs(t, err, keys.ErrUnknownDEK)
	other := stored
	other.Version = 2
	_, _, err = ring.Reserve(other)
	require.ErrorIs(t, err, keys.ErrUnknownDEK)
}

func TestSealLimit(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	stored := newDEK(t, set, "acme")
	stored.Seals = keys.SealLimit - 3
	ring := openRing(t, set, stored)
	for range 3 {
		_, err := ring.Seal(nil, owner("x"), nil)
		require.NoError(t, err)
	}
	_, err := ring.Seal(nil, owner("x"), nil)
	require.ErrorIs(t, err, keys.ErrSealLimit)
	next, n, err := ring.Reserve(stored)
	require.NoError(t, err)
	require.Equal(t, int64(3), n)
	require.Equal(t, int64(keys.SealLimit), next.Seals)
	ring.Reserved(n)
	_, err = ring.Seal(nil, owner("x"), nil)
	require.ErrorIs(t, err, keys.ErrSealLimit)

	// Another process used the rest up in the meantime.
	ring = openRing(t, set, stored)
	_, err = ring.Seal(nil, owner("x"), nil)
	require.NoError(t, err)
	_, _, err = ring.Reserve(next)
	require.ErrorIs(t, err, keys.ErrSealLimit)
	_, err = ring.Seal(nil, owner("x"), nil)
	require.ErrorIs(t, err, keys.ErrSealLimit, "it has learnt of it")

	for _, seals := range []int64{keys.SealLimit, keys.SealLimit + 1, 1<<63 - 1} {
		stored.Seals = seals
		_, err = openRing(t, set, stored).Seal(nil, owner("x"), nil)
		require.ErrorIs(t, err, keys.ErrSealLimit)
	}
	rotated, err := ring.NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	_, err = openRing(t, set, stored.Demote(), rotated).Seal(nil, owner("x"), nil)
	require.NoError(t, err, "a new key has its own count")
}

// TestRootsMustAgree opens two data keys of a network that have roots of their
// own: somebody made the second one as if the network were new.
func TestRootsMustAgree(t *testing.T) {
	t.Parallel()
	set := keys.Multi(kek("a"))
	second, err := keys.NewDEK(t.Context(), set, "acme", 2, now)
	require.NoError(t, err)
	_, err = keys.OpenRing(t.Context(), set, now, newDEK(t, set, "acme").Demote(), second)
	require.ErrorIs(t, err, keys.ErrTampered)
}
