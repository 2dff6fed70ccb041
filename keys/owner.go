package keys

import "fmt"

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
