package keys

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// DEKState says what a data key is used for.
type DEKState string

// The states of a data key.
const (
	DEKActive    DEKState = "active"    // seals and opens
	DEKDecrypt   DEKState = "decrypt"   // only opens, until nothing needs it
	DEKDestroyed DEKState = "destroyed" // gone, and with it what it sealed
)

// DEKRecord is a network's data key as it is stored, one row per version. It
// holds nothing secret without the KEK. Its JSON form is part of the stored
// format.
type DEKRecord struct {
	Network string    `json:"network"`
	Version uint32    `json:"version"` // from 1, never used again
	State   DEKState  `json:"state"`
	KEKID   string    `json:"kekId"`           // the KEK that wrapped it
	Wrapped []byte    `json:"wrapped"`         // by the KEK, bound to network and version
	Check   []byte    `json:"check"`           // proves that the KEK returned this very key
	Root    []byte    `json:"root"`            // the network's root secret, sealed under this key
	Seals   int64     `json:"seals,omitempty"` // records sealed or reserved, see [Ring.Reserve]
	Created time.Time `json:"created"`
}

// DEKMaxAge is how long a data key seals before [DEKRecord.Due] asks for a new
// one.
const DEKMaxAge = 90 * 24 * time.Hour

// Due reports whether the key should be rotated: it is active and older than
// [DEKMaxAge], or has used half of [SealLimit].
func (r DEKRecord) Due(now time.Time) bool {
	return r.State == DEKActive && (now.Sub(r.Created) > DEKMaxAge || r.Seals >= SealLimit/2)
}

// Demote returns the record of a key that a newer one replaced: it only opens.
// A destroyed key stays destroyed.
func (r DEKRecord) Demote() DEKRecord {
	if r.State == DEKActive {
		r.State = DEKDecrypt
	}
	return r
}

// Destroy returns the record without its key: what it sealed is lost. The
// record stays, so that its version is not used again.
func (r DEKRecord) Destroy() DEKRecord {
	r.State, r.Wrapped, r.Check, r.Root = DEKDestroyed, nil, nil, nil
	return r
}

// NewDEK returns the first data key of a network and a fresh root secret,
// wrapped by the primary of k with one call. version is 1 for a new network;
// later versions come from [Ring.NextDEK], which keeps the root.
//
// Never call it for a network that has records: they would stay unreadable.
func NewDEK(ctx context.Context, k *KEKSet, network string, version uint32, now time.Time) (DEKRecord, error) {
	root, err := generate()
	if err != nil {
		return DEKRecord{}, dekError("wrap", network, version, "", err)
	}
	defer clear(root[:])
	return newDEK(ctx, k, network, version, root, now)
}

func newDEK(ctx context.Context, k *KEKSet, network string, version uint32, root *[32]byte, now time.Time) (DEKRecord, error) {
	fail := func(err error) (DEKRecord, error) {
		return DEKRecord{}, dekError("wrap", network, version, k.KeyID(), err)
	}
	aad, err := dekAAD(network, version)
	if err != nil {
		return fail(err)
	}
	key, err := generate()
	if err != nil {
		return fail(err)
	}
	defer clear(key[:])
	wrapped, err := k.wrap(ctx, append([]byte(nil), key[:]...), aad)
	if err != nil {
		return fail(err)
	}
	r := DEKRecord{
		Network: network, Version: version, State: DEKActive,
		KEKID: k.KeyID(), Wrapped: wrapped, Created: now.UTC().Round(0),
	}
	if r.Check, err = dekCheck(key, aad); err != nil {
		return fail(err)
	}
	if r.Root, err = sealRoot(key, network, version, root); err != nil {
		return fail(err)
	}
	return r, nil
}

// Rewrap returns r wrapped by the primary of k, with two KEK calls; a record
// that the primary wrapped, or a destroyed one, comes back as it is. Nothing
// that the key sealed is touched.
//
// Repeat it until no record is [KEKSet.Stale], then wait out the backups before
// destroying the old KEK.
func Rewrap(ctx context.Context, k *KEKSet, r DEKRecord) (DEKRecord, error) {
	if !k.Stale(r) {
		return r, nil
	}
	key, err := unwrapDEK(ctx, k, r)
	if err != nil {
		return DEKRecord{}, err
	}
	defer clear(key[:])
	aad, err := dekAAD(r.Network, r.Version)
	if err == nil {
		r.Wrapped, err = k.wrap(ctx, append([]byte(nil), key[:]...), aad)
	}
	if err != nil {
		return DEKRecord{}, dekError("wrap", r.Network, r.Version, k.KeyID(), err)
	}
	r.KEKID = k.KeyID()
	return r, nil
}

// unwrapDEK returns the raw key, which the caller clears.
func unwrapDEK(ctx context.Context, k *KEKSet, r DEKRecord) (*[32]byte, error) {
	fail := func(err error) (*[32]byte, error) {
		return nil, dekError("unwrap", r.Network, r.Version, r.KEKID, err)
	}
	aad, err := dekAAD(r.Network, r.Version)
	if err != nil {
		return fail(err)
	}
	plain, err := k.unwrap(ctx, r.KEKID, r.Wrapped, aad)
	if err != nil {
		return fail(err)
	}
	defer clear(plain)
	if len(plain) != 32 {
		return fail(fmt.Errorf("%w: it returned %d bytes, want 32", ErrWrongKEK, len(plain)))
	}
	key := (*[32]byte)(append([]byte(nil), plain...))
	check, err := dekCheck(key, aad)
	if err != nil {
		return fail(err)
	}
	if !hmac.Equal(check, r.Check) {
		clear(key[:])
		return fail(fmt.Errorf("%w: it returned another key than the record's check says", ErrWrongKEK))
	}
	return key, nil
}

// dekAAD is what a wrapped key is bound to.
func dekAAD(network string, version uint32) ([]byte, error) {
	if err := checkLen("network", network); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fmt.Errorf("%w: DEK version 0", ErrFormat)
	}
	b := binary.BigEndian.AppendUint32([]byte("apn/keys/v1 dek\x00"), version)
	return appendString(b, network), nil
}

func dekCheck(key *[32]byte, aad []byte) ([]byte, error) {
	sub, err := expand(key, "apn/keys/v1 check")
	if err != nil {
		return nil, err
	}
	defer clear(sub)
	h := hmac.New(sha256.New, sub)
	h.Write(aad)
	return h.Sum(nil)[:16], nil
}

// expand derives a 32-byte key. key is uniformly random, so HKDF-Expand alone
// is enough (RFC 5869, section 3.3).
func expand(key *[32]byte, label string) ([]byte, error) {
	return hkdf.Expand(sha256.New, key[:], label, 32)
}

// rootAAD is what the root secret is sealed with: a record of the owner "root".
func rootAAD(network string) *aad {
	a := newAAD(network)
	a.set(Owner{ID: "root", Purpose: PurposeRoot})
	return a
}

func sealRoot(key *[32]byte, network string, version uint32, root *[32]byte) ([]byte, error) {
	aead, err := newAEAD(key, PurposeRoot)
	if err != nil {
		return nil, err
	}
	return rootAAD(network).seal(nil, aead, version, root[:]), nil
}

func openRoot(key *[32]byte, r DEKRecord) (*[32]byte, error) {
	aead, err := newAEAD(key, PurposeRoot)
	if err != nil {
		return nil, err
	}
	if _, err := SealedVersion(r.Root); err != nil {
		return nil, err
	}
	root := new([32]byte)
	plain, err := rootAAD(r.Network).open(root[:0], aead, r.Root)
	if err == nil && len(plain) != len(root) {
		err = fmt.Errorf("%w: root secret of %d bytes", ErrFormat, len(plain))
	}
	return root, err
}

func dekError(op, network string, version uint32, kekID string, err error) error {
	return &OpenError{Op: op, Network: network, DEKVersion: version, KEKID: kekID, Err: err}
}
