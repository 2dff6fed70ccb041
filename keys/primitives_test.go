package keys_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

// This file checks what the package is built on, the way Wycheproof does: known
// answers from the standards, and everything near them that must be refused.

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(tb, err)
	return b
}

// TestAESGCM takes cases 13 to 16 of "The Galois/Counter Mode of Operation"
// (McGrew, Viega) through the AEAD that the envelope uses.
func TestAESGCM(t *testing.T) {
	t.Parallel()
	const zeros = "00000000000000000000000000000000"
	const key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
	const plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
	const sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
	for i, v := range []struct{ key, nonce, aad, plain, sealed, tag string }{
		{zeros + zeros, zeros[:24], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{zeros + zeros, zeros[:24], "", zeros, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
		{key, "cafebabefacedbaddecaf888", "", plain, sealed, "b094dac5d93471bdec1a502270e3cc6c"},
		{key, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2", plain[:120], sealed[:120], "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		block, err := aes.NewCipher(unhex(t, v.key))
		require.NoError(t, err)
		a, err := cipher.NewGCMWithRandomNonce(block)
		require.NoError(t, err)
		aad, full := unhex(t, v.aad), unhex(t, v.nonce+v.sealed+v.tag)
		plain, err := a.Open(nil, nil, full, aad)
		require.NoErrorf(t, err, "case %d", 13+i)
		require.Equal(t, v.plain, hex.EncodeToString(plain))

		refused := func(b []byte, what string) {
			t.Helper()
			_, err := a.Open(nil, nil, b, aad)
			require.Errorf(t, err, "case %d: %s", 13+i, what)
		}
		tag := len(full) - 16
		for bit := range 128 {
			b := bytes.Clone(full)
			b[tag+bit/8] ^= 1 << (bit % 8)
			refused(b, "a bit of the tag flipped")
		}
		refused(slices.Concat(full[:tag], make([]byte, 16)), "tag of zeros")
		refused(slices.Concat(full[:tag], bytes.Repeat([]byte{0xff}, 16)), "tag of ones")
		refused(full[:tag], "no tag")
		for n := range full {
			refused(full[:n], "cut")
		}
		_, err = a.Open(nil, nil, full, append(aad, 0))
		require.Error(t, err)
	}
}

// TestHKDFExpand takes the SHA-256 cases of RFC 5869, appendix A.
func TestHKDFExpand(t *testing.T) {
	t.Parallel()
	sequence := func(from, to int) string {
		var b []byte
		for i := from; i <= to; i++ {
			b = append(b, byte(i))
		}
		return string(b)
	}
	for _, v := range []struct{ prk, info, okm string }{
		{
			"077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5", sequence(0xf0, 0xf9),
			"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
		},
		{
			"06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244", sequence(0xb0, 0xff),
			"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
		},
		{
			"19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04", "",
			"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
		},
	} {
		got, err := hkdf.Expand(sha256.New, unhex(t, v.prk), v.info, len(v.okm)/2)
		require.NoError(t, err)
		require.Equal(t, v.okm, hex.EncodeToString(got))
		require.Equal(t, v.okm[:64], hex.EncodeToString(specExpand(unhex(t, v.prk), v.info)), "one block is what the description uses")
	}
}

// TestHMAC takes the cases of RFC 4231, without the truncated one.
func TestHMAC(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\xaa", 131)
	for _, v := range []struct{ key, msg, sum string }{
		{strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{
			"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19",
			strings.Repeat("\xcd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
		},
		{long, "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{
			long, "This is a test using a larger than block-size key and a larger than block-size data. " +
				"The key needs to be hashed before being used by the HMAC algorithm.",
			"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
		},
	} {
		h := hmac.New(sha256.New, []byte(v.key))
		for range 2 { // the second time after a Reset, as the pool does
			h.Reset()
			h.Write([]byte(v.msg))
			require.Equal(t, v.sum, hex.EncodeToString(h.Sum(nil)))
		}
	}
}

// TestX25519 takes the vectors of RFC 7748, sections 5.2 and 6.1.
func TestX25519(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ scalar, u, out string }{
		{
			"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
		},
		{
			"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
		},
	} {
		x, err := ecdh.X25519().NewPrivateKey(unhex(t, v.scalar))
		require.NoError(t, err)
		require.Equal(t, v.out, hex.EncodeToString(shared(t, x, unhex(t, v.u))))
	}
	for private, public := range map[string]string{
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	} {
		k, err := keys.NewPrivateKey(unhex(t, private))
		require.NoError(t, err)
		p := k.PublicKey()
		require.Equal(t, public, hex.EncodeToString(p[:]), "clamping keeps the public key")
		require.NotEqual(t, private, hex.EncodeToString(k.Reveal()[:]), "though it changes the bytes")
	}
}

// TestX25519Edges is why public keys are checked: every second name of a weak
// key shares the secret zero, every second name of a good one its secret.
func TestX25519Edges(t *testing.T) {
	t.Parallel()
	x, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	weak := [][]byte{nearP(0), nearP(1)}
	for _, s := range lowOrder {
		weak = append(weak, unhex(t, s))
	}
	for _, b := range slices.Clone(weak) {
		twin := bytes.Clone(b)
		twin[31] |= 0x80
		weak = append(weak, twin)
	}
	for _, b := range weak {
		p, err := ecdh.X25519().NewPublicKey(b)
		require.NoError(t, err)
		_, err = x.ECDH(p)
		require.Errorf(t, err, "%x", b)
		_, err = keys.NewPublicKey(b)
		require.ErrorIsf(t, err, keys.ErrWeakPublicKey, "%x", b)
	}
	for d := range int64(17) {
		small := make([]byte, 32)
		small[0] = byte(d + 2)
		require.Equal(t, shared(t, x, small), shared(t, x, nearP(d+2)), "p + %d is a second name of %d", d+2, d+2)
		_, err = keys.NewPublicKey(nearP(d + 2))
		require.ErrorIs(t, err, keys.ErrWeakPublicKey)
	}
}
