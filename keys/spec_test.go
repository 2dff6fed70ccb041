package keys_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// This file is format v1 once more, written from its description and from
// nothing of package keys, so that a change there shows.

type spec struct{ dek, root []byte }

func specHMAC(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// specExpand is HKDF-Expand for one block (RFC 5869, section 2.3).
func specExpand(key []byte, info string) []byte { return specHMAC(key, []byte(info), []byte{1}) }

func specString(s string) []byte {
	return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...)
}

func specContext(o keys.Owner) []byte {
	b := append([]byte("apn/keys/v1\x00"), byte(o.Purpose))
	b = binary.BigEndian.AppendUint64(b, o.Gen)
	b = append(b, specString(o.Network)...)
	return append(b, specString(o.ID)...)
}

func specGCM(tb testing.TB, key []byte) cipher.AEAD {
	tb.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(tb, err)
	a, err := cipher.NewGCM(block)
	require.NoError(tb, err)
	return a
}

func specPurpose(p keys.Purpose) string {
	return [...]string{"", "wg.private", "wg.public", "wg.psk", "net.root", "net.sign", "secret"}[p]
}

func (s spec) aead(tb testing.TB, p keys.Purpose) cipher.AEAD {
	tb.Helper()
	return specGCM(tb, specExpand(s.dek, "apn/keys/v1 seal "+specPurpose(p)))
}

func (s spec) seal(tb testing.TB, version uint32, o keys.Owner, nonce, plain []byte) []byte {
	tb.Helper()
	header := binary.BigEndian.AppendUint32([]byte{1, 1}, version)
	header = binary.BigEndian.AppendUint32(header, crc32.Checksum(specContext(o), crc32.MakeTable(crc32.Castagnoli)))
	aad := append(append([]byte(nil), header...), specContext(o)...)
	return s.aead(tb, o.Purpose).Seal(append(header, nonce...), nonce, plain, aad)
}

func (s spec) open(tb testing.TB, o keys.Owner, sealed []byte) []byte {
	tb.Helper()
	aad := append(append([]byte(nil), sealed[:10]...), specContext(o)...)
	plain, err := s.aead(tb, o.Purpose).Open(nil, sealed[10:22], sealed[22:], aad)
	require.NoError(tb, err)
	return plain
}

func (s spec) index(network string, p keys.PublicKey) []byte {
	return specHMAC(specExpand(s.root, "apn/keys/v1 index"), []byte("apn/keys/v1 index"), specString(network), p[:])[:16]
}

func (s spec) psk(epoch uint32, a, b keys.PublicKey) []byte {
	if string(a[:]) > string(b[:]) {
		a, b = b, a
	}
	return specHMAC(specExpand(s.root, "apn/keys/v1 psk"), []byte("apn/keys/v1 psk"), binary.BigEndian.AppendUint32(nil, epoch), a[:], b[:])
}

func specDEKAAD(rec keys.DEKRecord) []byte {
	return append(binary.BigEndian.AppendUint32([]byte("apn/keys/v1 dek\x00"), rec.Version), specString(rec.Network)...)
}

// openSpec unwraps a data key that a keystest KEK wrapped, and checks it.
func openSpec(tb testing.TB, rec keys.DEKRecord) spec {
	tb.Helper()
	dek, err := keystest.NewKEK(rec.KEKID).Unwrap(tb.Context(), rec.Wrapped, specDEKAAD(rec))
	require.NoError(tb, err)
	require.Equal(tb, specHMAC(specExpand(dek, "apn/keys/v1 check"), specDEKAAD(rec))[:16], rec.Check)
	s := spec{dek: dek}
	s.root = s.open(tb, keys.Owner{Network: rec.Network, ID: "root", Purpose: keys.PurposeRoot}, rec.Root)
	return s
}
