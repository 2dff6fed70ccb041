package keys

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Purpose says what a sealed record holds. Each purpose has a key of its own.
// The numbers and names are part of the stored format.
type Purpose uint8

// The purposes. Zero is invalid.
const (
	PurposePrivateKey   Purpose = 1 // WireGuard private key
	PurposePublicKey    Purpose = 2 // WireGuard public key
	PurposePresharedKey Purpose = 3 // WireGuard preshared key
	PurposeRoot         Purpose = 4 // root secret of a network; only this package seals it
	PurposeSigningKey   Purpose = 5 // seed of a network's Ed25519 signing key
	PurposeSecret       Purpose = 6 // any other secret

	numPurposes = 7
)

// String returns the name that is part of the stored format.
func (p Purpose) String() string {
	switch p {
	case PurposePrivateKey:
		return "wg.private"
	case PurposePublicKey:
		return "wg.public"
	case PurposePresharedKey:
		return "wg.psk"
	case PurposeRoot:
		return "net.root"
	case PurposeSigningKey:
		return "net.sign"
	case PurposeSecret:
		return "secret"
	default:
		return fmt.Sprintf("purpose(%d)", uint8(p))
	}
}

// Owner is whom a record is sealed for. A record opens for the exact owner it
// was sealed for, and for no other.
type Owner struct {
	Network string // not empty, at most 65,535 bytes
	ID      string // any name that is stable, not empty, at most 65,535 bytes
	Purpose Purpose
	Gen     uint64 // raised with each new key, so that an old record does not pass for the new one
}

const (
	headerLen  = 10
	contextTag = "apn/keys/v1\x00"
)

// appendAAD appends the header of a sealed record under DEK version and the
// owner context. The result authenticates the record; its first headerLen
// bytes are written before it.
func (o Owner) appendAAD(b []byte, version uint32) ([]byte, error) {
	if o.Network == "" || o.ID == "" || len(o.Network) > math.MaxUint16 || len(o.ID) > math.MaxUint16 {
		return nil, fmt.Errorf("%w: network and owner take 1 to 65535 bytes", ErrFormat)
	}
	start := len(b)
	b = append(b, formatV1, suiteAESGCM)
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, 0, 0, 0, 0) // the checksum, below
	b = append(b, contextTag...)
	b = append(b, byte(o.Purpose))
	b = binary.BigEndian.AppendUint64(b, o.Gen)
	b = appendString(b, o.Network)
	b = appendString(b, o.ID)
	sum := crc32.Checksum(b[start+headerLen:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[start+6:], sum)
	return b, nil
}

// appendString appends a 16-bit length and s; callers check the length.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) //nolint:gosec // G115: callers check the length
}
