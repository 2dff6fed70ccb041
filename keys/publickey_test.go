package keys_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"log/slog"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

// lowOrder are the canonical points of low order on Curve25519 and its twist,
// as RFC 7748 writes them (https://cr.yp.to/ecdh.html#validate).
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// nearP returns 2^255 - 19 + d, little-endian.
func nearP(d int64) []byte {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Add(p, big.NewInt(d-19))
	b := p.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return b
}

func TestWeakPublicKeys(t *testing.T) {
	t.Parallel()
	x, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	for _, s := range lowOrder {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		pub, err := ecdh.X25519().NewPublicKey(b)
		require.NoError(t, err, "the standard library takes it")
		_, err = x.ECDH(pub)
		require.Error(t, err, "and notices later: the shared secret is zero")
		_, err = keys.NewPublicKey(b)
		require.ErrorIs(t, err, keys.ErrWeakPublicKey)
		_, err = keys.ParsePublicKey(encode(b))
		require.ErrorIs(t, err, keys.ErrWeakPublicKey)
	}
	for d := range int64(19) {
		_, err := keys.NewPublicKey(nearP(d))
		require.ErrorIsf(t, err, keys.ErrWeakPublicKey, "p + %d is not canonical", d)
	}
	for d := int64(-300); d < -1; d++ {
		_, err := keys.NewPublicKey(nearP(d))
		require.NoErrorf(t, err, "p - %d is canonical", -d)
	}
	p := publicKey(t, 1)
	twin := p
	twin[31] |= 0x80
	require.Equal(t, shared(t, x, p[:]), shared(t, x, twin[:]), "the top bit does not count in X25519")
	_, err = keys.NewPublicKey(twin[:])
	require.ErrorIs(t, err, keys.ErrWeakPublicKey)
}

func shared(t *testing.T, x *ecdh.PrivateKey, pub []byte) []byte {
	t.Helper()
	p, err := ecdh.X25519().NewPublicKey(pub)
	require.NoError(t, err)
	s, err := x.ECDH(p)
	require.NoError(t, err)
	return s
}

func TestPublicKey(t *testing.T) {
	t.Parallel()
	p := publicKey(t, 1)
	same, err := keys.ParsePublicKey(p.String())
	require.NoError(t, err)
	require.Equal(t, p, same)
	require.Len(t, p.String(), 44)
	require.Regexp(t, "^[0-9a-f]{16}$", p.Fingerprint())
	require.NotEqual(t, p.Fingerprint(), publicKey(t, 2).Fingerprint())

	for _, bad := range []string{"", "(none)", p.String() + "\n", p.String()[:43], p.String()[:42] + "V=", "\n" + p.String()[1:]} {
		_, err := keys.ParsePublicKey(bad)
		require.ErrorIs(t, err, keys.ErrFormat)
	}
	_, err = keys.NewPublicKey(p[:31])
	require.ErrorIs(t, err, keys.ErrFormat)

	var none keys.PublicKey
	require.True(t, none.IsZero())
	require.Empty(t, none.String())
	require.Equal(t, "(none)", none.Fingerprint())
}

// TestLogsHoldNoPublicKey wants a fingerprint in logs: who knows a public key
// can trouble its owner with handshakes.
func TestLogsHoldNoPublicKey(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	p := publicKey(t, 1)
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("peer", "key", p)
	require.Contains(t, buf.String(), p.Fingerprint())
	require.NotContains(t, buf.String(), p.String()[:8])
}
