package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
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
// The AAD is bytes 0..9 and the owner context:
//
//	"apn/keys/v1\0", purpose (1 byte), generation (8 bytes),
//	length (2 bytes) and network, length (2 bytes) and owner id
//
// Suite 2 is reserved for HKDF with key commitment, where customers bring KEKs.
const (
	formatV1    = 1
	suiteAESGCM = 1

	headerLen  = 10
	contextTag = "apn/keys/v1\x00"
	atPurpose  = headerLen + len(contextTag)
	atGen      = atPurpose + 1
	atNetwork  = atGen + 8
)

// Overhead is how many bytes a sealed record is longer than its plaintext.
const Overhead = headerLen + 12 + 16

// aad builds the AAD of one network's records over and over, in one buffer.
type aad struct {
	buf   []byte
	fixed int // length up to the network's end
}

// newAAD takes a network that checkLen accepted.
func newAAD(network string) *aad {
	b := make([]byte, headerLen, 256)
	b = append(b, contextTag...)
	b = b[:atNetwork]
	b = appendString(b, network)
	return &aad{buf: b, fixed: len(b)}
}

// set fills in everything but the header. The owner's network is the one that
// a was made for, and checkLen accepted its id.
func (a *aad) set(o Owner) {
	a.buf = appendString(a.buf[:a.fixed], o.ID)
	a.buf[atPurpose] = byte(o.Purpose)
	binary.BigEndian.PutUint64(a.buf[atGen:], o.Gen)
}

// checksum is the hint in the header.
func (a *aad) checksum() uint32 {
	return crc32.Checksum(a.buf[headerLen:], crc32.MakeTable(crc32.Castagnoli))
}

// checkLen refuses what a 16-bit length cannot hold, and nothing at all.
func checkLen(what, s string) error {
	if s == "" || len(s) > math.MaxUint16 {
		return fmt.Errorf("%w: %s of %d bytes, want 1 to 65535", ErrFormat, what, len(s))
	}
	return nil
}

// appendString appends a 16-bit length and s.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) //nolint:gosec // G115: see checkLen
}

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

// seal appends header, nonce, ciphertext and tag.
func (a *aad) seal(dst []byte, aead cipher.AEAD, version uint32, plain []byte) []byte {
	header := a.buf[:headerLen]
	header[0], header[1] = formatV1, suiteAESGCM
	binary.BigEndian.PutUint32(header[2:], version)
	binary.BigEndian.PutUint32(header[6:], a.checksum())
	dst = append(slices.Grow(dst, Overhead+len(plain)), header...)
	return aead.Seal(dst, nil, plain, a.buf) //nolint:gosec // G407: this AEAD draws the nonce itself
}

// open appends the plaintext of a record that SealedVersion accepted. The
// checksum is asked only why a record does not open.
func (a *aad) open(dst []byte, aead cipher.AEAD, sealed []byte) ([]byte, error) {
	copy(a.buf, sealed[:headerLen])
	plain, err := aead.Open(dst, nil, sealed[headerLen:], a.buf)
	if err == nil {
		return plain, nil
	}
	if binary.BigEndian.Uint32(sealed[6:]) != a.checksum() {
		return nil, ErrWrongOwner
	}
	return nil, ErrTampered
}
