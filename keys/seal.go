package keys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
)

// A sealed record, big-endian:
//
//	0      format, 1
//	1      suite, 1: AES-256-GCM with a random 96-bit nonce
//	2..5   DEK version
//	6..9   CRC-32C of the owner context, a hint for the error message
//	10..21 nonce
//	22..   ciphertext and 16-byte tag
//
// The AAD is bytes 0..9 and the owner context, see Owner.appendAAD. Suite 2 is
// reserved for HKDF with key commitment, where customers bring KEKs.
const (
	formatV1    = 1
	suiteAESGCM = 1
)

// Overhead is how many bytes a sealed record is longer than its plaintext.
const Overhead = headerLen + 12 + 16

// SealedVersion returns the DEK version that a sealed record names: what a
// reseal has to move. It checks the form, not the authenticity. Malformed
// records wrap [ErrFormat], later formats [ErrUnknownVersion].
func SealedVersion(sealed []byte) (uint32, error) {
	if len(sealed) < Overhead {
		return 0, fmt.Errorf("%w: a sealed record of %d bytes, want at least %d", ErrFormat, len(sealed), Overhead)
	}
	if sealed[0] != formatV1 || sealed[1] != suiteAESGCM {
		return 0, fmt.Errorf("%w: format %d, suite %d", ErrUnknownVersion, sealed[0], sealed[1])
	}
	version := binary.BigEndian.Uint32(sealed[2:])
	if version == 0 {
		return 0, fmt.Errorf("%w: DEK version 0", ErrFormat)
	}
	return version, nil
}

// newAEAD returns the AEAD of one purpose. Each has a key of its own, so that a
// record never passes for another kind, whatever its AAD says.
func newAEAD(key *[32]byte, p Purpose) (cipher.AEAD, error) {
	sub, err := expand(key, "apn/keys/v1 seal "+p.String())
	if err != nil {
		return nil, err
	}
	defer clear(sub)
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, err
	}
	// Random nonces only: a counter repeats when a machine goes back to a
	// snapshot. It is also the one GCM that FIPS 140-only mode allows.
	return cipher.NewGCMWithRandomNonce(block)
}

// appendSealed appends header, nonce, ciphertext and tag.
func appendSealed(dst []byte, a cipher.AEAD, aad, plain []byte) []byte {
	dst = append(slices.Grow(dst, Overhead+len(plain)), aad[:headerLen]...)
	return a.Seal(dst, nil, plain, aad) //nolint:gosec // G407: this AEAD draws the nonce itself
}

// openSealed appends the plaintext of a record that SealedVersion accepted.
func openSealed(dst []byte, a cipher.AEAD, aad, sealed []byte) ([]byte, error) {
	if !bytes.Equal(sealed[:headerLen], aad[:headerLen]) {
		return nil, ErrWrongOwner
	}
	plain, err := a.Open(dst, nil, sealed[headerLen:], aad)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}
