package keys

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Ring is an opened network: it seals, opens and derives without the KEK. It is
// safe for concurrent use and prints no key. Keep it no longer than [Rings]
// would; the zero value is unusable.
type Ring struct {
	in       func() *ringState // a closure, as in secret
	readOnly bool
}

type ringState struct {
	network string
	proven  time.Time
	deks    []*dek // readable ones, by version
	active  *dek   // nil if none seals
	highest uint32 // version, destroyed ones included
	root    [32]byte
	index   *macs
	psk     *macs
	aads    sync.Pool // *aad

	owed  atomic.Int64 // seals not yet covered by a reservation; negative: seals left
	known atomic.Int64 // seals reserved in the stored record, by everyone
}

// dek is a data key, as ready AEADs per purpose.
type dek struct {
	version uint32
	aeads   [numPurposes]cipher.AEAD
}

// OpenRing unwraps the data keys of one network, with one KEK call for each
// that is not destroyed: one for a network that is not in rotation. now becomes
// [Ring.Proven].
//
// Pass every record of the network. The active one seals; of several the
// highest. With none active the ring only opens; if all are destroyed the error
// wraps [ErrShredded].
func OpenRing(ctx context.Context, k *KEKSet, now time.Time, recs ...DEKRecord) (*Ring, error) {
	if len(recs) == 0 {
		return nil, fmt.Errorf("keys: open ring: %w: no DEK records", ErrUnknownDEK)
	}
	recs = slices.SortedFunc(slices.Values(recs), func(a, b DEKRecord) int { return cmp.Compare(a.Version, b.Version) })
	st := &ringState{network: recs[0].Network, proven: now, highest: recs[len(recs)-1].Version}
	st.aads.New = func() any { return newAAD(st.network) }
	for i, r := range recs {
		if r.Network != st.network {
			return nil, dekError("open", st.network, r.Version, "", fmt.Errorf("%w: a DEK of %q", ErrWrongOwner, r.Network))
		}
		if i > 0 && recs[i-1].Version == r.Version {
			return nil, dekError("open", st.network, r.Version, "", fmt.Errorf("%w: two records of one version", ErrFormat))
		}
		switch r.State {
		case DEKActive, DEKDecrypt:
		case DEKDestroyed:
			continue
		default:
			return nil, dekError("open", st.network, r.Version, "", fmt.Errorf("%w: state %q", ErrFormat, r.State))
		}
		if err := st.add(ctx, k, r); err != nil {
			return nil, err
		}
	}
	if len(st.deks) == 0 {
		return nil, dekError("open", st.network, st.highest, "", ErrShredded)
	}
	if err := st.derive(); err != nil {
		return nil, err
	}
	return &Ring{in: func() *ringState { return st }}, nil
}

func (st *ringState) add(ctx context.Context, k *KEKSet, r DEKRecord) error {
	key, err := unwrapDEK(ctx, k, r)
	if err != nil {
		return err
	}
	erasing(func() { err = st.addKey(key, r) })
	clear(key[:])
	return err
}

// addKey keeps what follows from the key, not the key.
func (st *ringState) addKey(key *[32]byte, r DEKRecord) error {
	root, err := openRoot(key, r)
	if err != nil {
		return &OpenError{Op: "open", Network: r.Network, ID: "root", Purpose: PurposeRoot, DEKVersion: r.Version, Err: err}
	}
	defer clear(root[:])
	if len(st.deks) > 0 && subtle.ConstantTimeCompare(root[:], st.root[:]) != 1 {
		return dekError("open", r.Network, r.Version, "", fmt.Errorf("%w: its root secret differs from the other versions'", ErrTampered))
	}
	st.root = *root
	d := &dek{version: r.Version}
	for p := PurposePrivateKey; p < numPurposes; p++ {
		if p == PurposeRoot {
			continue // stays nil: callers never open the root secret
		}
		if d.aeads[p], err = newAEAD(key, p); err != nil {
			return dekError("open", r.Network, r.Version, "", err)
		}
	}
	st.deks = append(st.deks, d)
	if r.State == DEKActive {
		st.active = d
		st.known.Store(r.Seals)
	}
	return nil
}

// Network returns the network's id.
func (r *Ring) Network() string { return r.in().network }

// Proven returns when the KEK last unwrapped the data keys.
func (r *Ring) Proven() time.Time { return r.in().proven }

// Version returns the DEK version that seals, or 0 if the ring only opens.
func (r *Ring) Version() uint32 {
	if st := r.in(); st.active != nil {
		return st.active.version
	}
	return 0
}

// Covers reports whether the ring was opened from these versions in these
// states. If it does not, the data keys were rotated or destroyed meanwhile:
// drop the ring before sealing anything, for a record sealed under a key that
// is about to be destroyed is lost.
func (r *Ring) Covers(recs ...DEKRecord) bool {
	st := r.in()
	var active uint32
	live := 0
	for _, rec := range recs {
		if rec.State == DEKDestroyed {
			continue
		}
		if rec.Network != st.network || st.dek(rec.Version) == nil {
			return false
		}
		live++
		if rec.State == DEKActive {
			active = max(active, rec.Version)
		}
	}
	return live == len(st.deks) && active == r.Version()
}

// Seal appends plain, sealed for o, to dst and returns the extended slice. dst
// may be nil and must not overlap plain. The record is [Overhead] bytes longer
// than plain.
//
// Call [Ring.Reserve] before the record is stored. If 2^31 records were sealed
// under the data key, the error wraps [ErrSealLimit].
func (r *Ring) Seal(dst []byte, o Owner, plain []byte) ([]byte, error) {
	st := r.in()
	if st.active == nil {
		return nil, ownerError("seal", o, 0, fmt.Errorf("%w: none is active", ErrUnknownDEK))
	}
	if r.readOnly {
		return nil, ownerError("seal", o, 0, fmt.Errorf("%w: this ring only reads until it answers", ErrKEKUnavailable))
	}
	aead, err := st.aead(st.active, o)
	if err == nil {
		err = st.count()
	}
	if err != nil {
		return nil, ownerError("seal", o, st.active.version, err)
	}
	a := st.aads.Get().(*aad)
	a.set(o)
	dst = a.seal(dst, aead, st.active.version, plain)
	st.aads.Put(a)
	return dst, nil
}

// Open appends the plaintext of sealed to dst and returns the extended slice,
// if it was sealed for o. dst may be nil and must not overlap sealed.
//
// The error is an [*OpenError] that wraps [ErrFormat], [ErrUnknownVersion],
// [ErrUnknownDEK], [ErrWrongOwner] or [ErrTampered].
func (r *Ring) Open(dst []byte, o Owner, sealed []byte) ([]byte, error) {
	st := r.in()
	version, err := SealedVersion(sealed)
	if err != nil {
		return nil, ownerError("open", o, 0, err)
	}
	d := st.dek(version)
	if d == nil {
		return nil, ownerError("open", o, version, ErrUnknownDEK)
	}
	aead, err := st.aead(d, o)
	if err != nil {
		return nil, ownerError("open", o, version, err)
	}
	a := st.aads.Get().(*aad)
	a.set(o)
	plain, err := a.open(dst, aead, sealed)
	st.aads.Put(a)
	if err != nil {
		return nil, ownerError("open", o, version, err)
	}
	return plain, nil
}

// Reseal returns sealed under the active data key, and false with the very same
// bytes if it is already: the question that decides each step of a DEK
// rotation. Count it as a [Ring.Seal].
func (r *Ring) Reseal(o Owner, sealed []byte) ([]byte, bool, error) {
	version, err := SealedVersion(sealed)
	if err != nil {
		return nil, false, ownerError("open", o, 0, err)
	}
	if version == r.Version() {
		return sealed, false, nil
	}
	plain, err := r.Open(nil, o, sealed)
	if err != nil {
		return nil, false, err
	}
	defer clear(plain)
	out, err := r.Seal(nil, o, plain)
	return out, err == nil, err
}

// NextDEK returns a new data key for the network, one version up, with the same
// root secret, wrapped by the primary of k with one call. Store it together
// with the [DEKRecord.Demote] of the one it replaces, open a new ring, and move
// the records with [Ring.Reseal].
func (r *Ring) NextDEK(ctx context.Context, k *KEKSet, now time.Time) (DEKRecord, error) {
	st := r.in()
	return newDEK(ctx, k, st.network, st.highest+1, &st.root, now)
}

func (st *ringState) dek(version uint32) *dek {
	for _, d := range st.deks {
		if d.version == version {
			return d
		}
	}
	return nil
}

// aead returns the AEAD for o, which it checks.
func (st *ringState) aead(d *dek, o Owner) (cipher.AEAD, error) {
	if o.Network != st.network {
		return nil, fmt.Errorf("%w: this is the ring of %q", ErrWrongOwner, st.network)
	}
	if err := checkLen("owner id", o.ID); err != nil {
		return nil, err
	}
	if o.Purpose >= numPurposes || d.aeads[o.Purpose] == nil {
		return nil, fmt.Errorf("%w: %v", ErrFormat, o.Purpose)
	}
	return d.aeads[o.Purpose], nil
}

func ownerError(op string, o Owner, version uint32, err error) error {
	return &OpenError{Op: op, Network: o.Network, ID: o.ID, Purpose: o.Purpose, Gen: o.Gen, DEKVersion: version, Err: err}
}
