package keys_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

// openCauses are what Open may blame. Anything else is a bug.
var openCauses = []error{keys.ErrFormat, keys.ErrUnknownVersion, keys.ErrUnknownDEK, keys.ErrWrongOwner, keys.ErrTampered}

func requireOpenError(tb testing.TB, err error) {
	tb.Helper()
	var oe *keys.OpenError
	require.ErrorAs(tb, err, &oe)
	require.True(tb, slices.ContainsFunc(openCauses, func(c error) bool { return errors.Is(err, c) }), "%v", err)
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for _, n := range []int{0, 1, 32, 4096} {
		plain := bytes.Repeat([]byte{7}, n)
		sealed, err := ring.Seal(nil, owner("x"), plain)
		require.NoError(t, err)
		require.Len(t, sealed, n+keys.Overhead)
		version, err := keys.SealedVersion(sealed)
		require.NoError(t, err)
		require.Equal(t, ring.Version(), version)
		got, err := ring.Open(nil, owner("x"), sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	}
	require.LessOrEqual(t, keys.Overhead, 40)
}

func TestSealAppends(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	dst := append(make([]byte, 0, 200), "head"...)
	sealed, err := ring.Seal(dst, owner("x"), []byte("plain"))
	require.NoError(t, err)
	require.Equal(t, "head", string(sealed[:4]))
	require.Equal(t, &dst[0], &sealed[0], "the buffer is used")
	plain, err := ring.Open([]byte("head"), owner("x"), sealed[4:])
	require.NoError(t, err)
	require.Equal(t, "headplain", string(plain))
}

func TestSealsDiffer(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	seen := map[string]bool{}
	for range 1000 {
		sealed, err := ring.Seal(nil, owner("x"), []byte("plain"))
		require.NoError(t, err)
		require.False(t, seen[string(sealed[10:22])], "a nonce came twice")
		seen[string(sealed[10:22])] = true
	}
}

// TestEveryBit flips each bit of a record, and cuts it everywhere.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	sealed, err := ring.Seal(nil, owner("x"), make([]byte, 32))
	require.NoError(t, err)
	require.Len(t, sealed, 70)
	flips := 0
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			_, err := ring.Open(nil, owner("x"), bad)
			requireOpenError(t, err)
			flips++
		}
	}
	require.Equal(t, 560, flips)
	for n := range sealed {
		_, err := ring.Open(nil, owner("x"), sealed[:n])
		requireOpenError(t, err)
		_, err = ring.Open(nil, owner("x"), sealed[n+1:])
		requireOpenError(t, err)
	}
	_, err = ring.Open(nil, owner("x"), append(bytes.Clone(sealed), 0))
	requireOpenError(t, err)
	_, err = ring.Open(nil, owner("x"), sealed)
	require.NoError(t, err, "the record itself was left alone")
}

func TestHeaderErrors(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	good, err := ring.Seal(nil, owner("x"), []byte("plain"))
	require.NoError(t, err)
	tests := []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"empty", func([]byte) []byte { return nil }, keys.ErrFormat},
		{"plaintext", func([]byte) []byte { return []byte("AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=") }, keys.ErrUnknownVersion},
		{"37 bytes", func(b []byte) []byte { return b[:37] }, keys.ErrFormat},
		{"format 0", func(b []byte) []byte { b[0] = 0; return b }, keys.ErrUnknownVersion},
		{"format 2", func(b []byte) []byte { b[0] = 2; return b }, keys.ErrUnknownVersion},
		{"suite 0", func(b []byte) []byte { b[1] = 0; return b }, keys.ErrUnknownVersion},
		{"suite 2", func(b []byte) []byte { b[1] = 2; return b }, keys.ErrUnknownVersion},
		{"DEK version 0", func(b []byte) []byte { b[5] = 0; return b }, keys.ErrFormat},
		{"DEK version 2", func(b []byte) []byte { b[5] = 2; return b }, keys.ErrUnknownDEK},
		{"checksum", func(b []byte) []byte { b[6]++; return b }, keys.ErrWrongOwner},
		{"nonce", func(b []byte) []byte { b[10]++; return b }, keys.ErrTampered},
		{"ciphertext", func(b []byte) []byte { b[22]++; return b }, keys.ErrTampered},
		{"tag", func(b []byte) []byte { b[len(b)-1]++; return b }, keys.ErrTampered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ring.Open(nil, owner("x"), tt.change(bytes.Clone(good)))
			require.ErrorIs(t, err, tt.want)
			requireOpenError(t, err)
		})
	}
}

// TestEveryOwnerField opens a record for each owner that is not its own.
func TestEveryOwnerField(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	own := keys.Owner{Network: "acme", ID: "acct/srv1", Purpose: keys.PurposePrivateKey, Gen: 5}
	sealed, err := ring.Seal(nil, own, []byte("plain"))
	require.NoError(t, err)
	change := func(f func(o *keys.Owner)) keys.Owner {
		o := own
		f(&o)
		return o
	}
	wrong := []keys.Owner{
		change(func(o *keys.Owner) { o.ID = "acct/srv2" }),
		change(func(o *keys.Owner) { o.ID = "acct/srv" }),
		change(func(o *keys.Owner) { o.ID = "acct/srv1\x00" }),
		change(func(o *keys.Owner) { o.ID = "ACCT/srv1" }),
		change(func(o *keys.Owner) { o.Network = "acm"; o.ID = "eacct/srv1" }),
		change(func(o *keys.Owner) { o.Network = "other" }),
	}
	for bit := range 64 {
		wrong = append(wrong, change(func(o *keys.Owner) { o.Gen ^= 1 << bit }))
	}
	for p := range keys.Purpose(255) {
		if p != own.Purpose {
			wrong = append(wrong, change(func(o *keys.Owner) { o.Purpose = p }))
		}
	}
	for _, o := range wrong {
		_, err := ring.Open(nil, o, sealed)
		requireOpenError(t, err)
		if o.Purpose >= keys.PurposePrivateKey && o.Purpose <= keys.PurposeSecret && o.Purpose != keys.PurposeRoot {
			require.ErrorIsf(t, err, keys.ErrWrongOwner, "%+v", o)
		} else {
			require.ErrorIsf(t, err, keys.ErrFormat, "%+v", o)
		}
	}
}

// TestBoundaryShift moves a byte from the network to the owner, with keys that
// are the same: only the lengths tell the two apart.
func TestBoundaryShift(t *testing.T) {
	t.Parallel()
	s := openSpec(t, newDEK(t, keys.Multi(kek("a")), "acct"))
	plain := []byte("plain")
	a := keys.Owner{Network: "acct", ID: "srv1", Purpose: keys.PurposePrivateKey, Gen: 1}
	b := keys.Owner{Network: "acc", ID: "tsrv1", Purpose: keys.PurposePrivateKey, Gen: 1}
	sealed := s.seal(t, 1, a, make([]byte, 12), plain)
	require.NotEqual(t, sealed, s.seal(t, 1, b, make([]byte, 12), plain))

	ring := newRing(t)
	shifted := func(network, id string) error {
		o := keys.Owner{Network: "acme", ID: network + id, Purpose: keys.PurposeSecret}
		sealed, err := ring.Seal(nil, o, plain)
		require.NoError(t, err)
		o.ID = network + "/" + id
		_, err = ring.Open(nil, o, sealed)
		return err
	}
	require.ErrorIs(t, shifted("acct", "srv1"), keys.ErrWrongOwner)
}

func TestOwnerLimits(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	long := strings.Repeat("x", 65535)
	sealed, err := ring.Seal(nil, owner(long), nil)
	require.NoError(t, err)
	_, err = ring.Open(nil, owner(long), sealed)
	require.NoError(t, err)
	for _, o := range []keys.Owner{owner(""), owner(long + "x"), {ID: "x", Purpose: keys.PurposeSecret}} {
		_, err := ring.Seal(nil, o, nil)
		require.Error(t, err)
		_, err = ring.Open(nil, o, sealed)
		requireOpenError(t, err)
	}
	_, err = keys.NewDEK(t.Context(), keys.Multi(kek("a")), long, 1, now)
	require.NoError(t, err)
	for _, network := range []string{"", long + "x"} {
		_, err = keys.NewDEK(t.Context(), keys.Multi(kek("a")), network, 1, now)
		require.ErrorIs(t, err, keys.ErrFormat)
	}
	_, err = keys.NewDEK(t.Context(), keys.Multi(kek("a")), "acme", 0, now)
	require.ErrorIs(t, err, keys.ErrFormat)
}

// TestNoOverlongOwnerPasses wants no truncation: an id of 65,536 + n bytes is
// not one of n.
func TestNoOverlongOwnerPasses(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	sealed, err := ring.Seal(nil, owner("abc"), nil)
	require.NoError(t, err)
	_, err = ring.Open(nil, owner("abc"+strings.Repeat("x", 65536)), sealed)
	require.ErrorIs(t, err, keys.ErrFormat)
}

func TestTypedSeals(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	o := keys.Owner{Network: "acme", ID: "x", Gen: 1}
	priv, pub := privateKey(t, 1), publicKey(t, 1)
	psk := ring.PSK(1, pub, publicKey(t, 2))

	a, err := ring.SealPrivate(o, priv)
	require.NoError(t, err)
	b, err := ring.SealPublic(o, pub)
	require.NoError(t, err)
	c, err := ring.SealPreshared(o, psk)
	require.NoError(t, err)

	gotPriv, err := ring.OpenPrivate(o, a)
	require.NoError(t, err)
	require.True(t, gotPriv.Equal(priv))
	gotPub, err := ring.OpenPublic(o, b)
	require.NoError(t, err)
	require.Equal(t, pub, gotPub)
	gotPSK, err := ring.OpenPreshared(o, c)
	require.NoError(t, err)
	require.True(t, gotPSK.Equal(psk))

	_, err = ring.OpenPrivate(o, b)
	require.ErrorIs(t, err, keys.ErrWrongOwner, "a public key does not pass for a private one")
	_, err = ring.OpenPreshared(o, a)
	require.ErrorIs(t, err, keys.ErrWrongOwner)
	_, err = ring.OpenPublic(o, c)
	require.ErrorIs(t, err, keys.ErrWrongOwner)

	_, err = ring.SealPrivate(o, keys.PrivateKey{})
	require.ErrorIs(t, err, keys.ErrFormat)
	_, err = ring.SealPublic(o, keys.PublicKey{})
	require.ErrorIs(t, err, keys.ErrFormat)
	_, err = ring.SealPreshared(o, keys.PresharedKey{})
	require.ErrorIs(t, err, keys.ErrFormat)

	for _, p := range []keys.Purpose{keys.PurposePrivateKey, keys.PurposePublicKey, keys.PurposePresharedKey} {
		o.Purpose = p
		short, err := ring.Seal(nil, o, make([]byte, 31))
		require.NoError(t, err)
		switch p {
		case keys.PurposePrivateKey:
			_, err = ring.OpenPrivate(o, short)
		case keys.PurposePublicKey:
			_, err = ring.OpenPublic(o, short)
		default:
			_, err = ring.OpenPreshared(o, short)
		}
		require.ErrorIs(t, err, keys.ErrFormat)
	}
}

func TestSealConcurrently(t *testing.T) {
	t.Parallel()
	ring, pub := newRing(t), publicKey(t, 1)
	index := ring.Index(pub)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 200 {
				o := owner(fmt.Sprint(w, i))
				plain := []byte(o.ID)
				sealed, err := ring.Seal(nil, o, plain)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := ring.Open(nil, o, sealed)
				if err != nil || !bytes.Equal(got, plain) {
					t.Error(err, got)
					return
				}
				if ring.Index(pub) != index {
					t.Error("the index changed")
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	ring, o, plain := newRing(t), owner("shop/web-1"), make([]byte, 32)
	sealed, err := ring.Seal(nil, o, plain)
	require.NoError(t, err)
	buf := make([]byte, 0, 256)
	pub := publicKey(t, 1)
	for name, tt := range map[string]struct {
		want float64
		f    func()
	}{
		"Seal":               {1, func() { _, _ = ring.Seal(nil, o, plain) }},
		"Seal into a buffer": {0, func() { _, _ = ring.Seal(buf[:0], o, plain) }},
		"Open":               {1, func() { _, _ = ring.Open(nil, o, sealed) }},
		"Open into a buffer": {0, func() { _, _ = ring.Open(buf[:0], o, sealed) }},
		"OpenPrivate":        {2, func() { _, _ = ring.OpenPrivate(o, sealed) }},
		"Index":              {0, func() { ring.Index(pub) }},
		"PSK":                {2, func() { ring.PSK(1, pub, pub) }},
	} {
		require.LessOrEqualf(t, testing.AllocsPerRun(200, tt.f), tt.want+poolSlack, name)
	}
}
