package keys

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// VaultOptions are the optional settings of a [Vault].
type VaultOptions struct {
	// Rings says how long and how many networks stay open.
	Rings RingsOptions

	// Audit gets every operation at its end. If it fails, the operation fails
	// with [ErrAudit] and hands out nothing. Nil means no audit.
	Audit func(context.Context, Event) error
}

// Vault stores the WireGuard keys of many networks, sealed: key storage for a
// program that has none of its own. It is safe for concurrent use, by any
// number of processes over one [Store].
//
// An owner's private key is in the [Custody] of this vault, or not. Each owner
// has a [KeyHistory]; the network's blind index keeps public keys unique, and
// a key that was revoked never comes back.
//
// Networks and owners are named by 1 to 200 bytes of printable ASCII without
// spaces.
type Vault struct {
	kek   *KEKSet
	store Store
	rings *Rings
	opts  VaultOptions
}

// NewVault returns a vault over s. opts may be nil.
func NewVault(k *KEKSet, s Store, opts *VaultOptions) *Vault {
	v := &Vault{kek: k, store: s}
	if opts != nil {
		v.opts = *opts
	}
	v.rings = NewRings(k, &v.opts.Rings)
	return v
}

// Key is one generation of an owner's WireGuard key, without what is secret.
type Key struct {
	Network, Owner string
	Gen            uint64
	State          KeyState
	Custody        Custody
	Public         PublicKey // zero if revoked
	Created        time.Time
	Changed        time.Time // when it came into its state
}

// Create makes the first data key of network. A network that has one is left
// alone. One that has keys but no data key wraps [ErrUnknownDEK]: its data key
// was lost, and a new one would not open them.
func (v *Vault) Create(ctx context.Context, c Call, network string) error {
	err := v.create(ctx, c, network)
	return v.audit(ctx, c, Event{Op: "Create", Network: network}, err)
}

func (v *Vault) create(ctx context.Context, c Call, network string) error {
	if err := checkName("network", network); err != nil {
		return err
	}
	stored, err := v.deks(ctx, network)
	if err != nil || len(stored) > 0 {
		return err
	}
	rows, err := v.store.List(ctx, network, "", "", 1)
	if err != nil {
		return fmt.Errorf("keys: create %q: %w", network, err)
	}
	if len(rows) > 0 {
		return fmt.Errorf("keys: create %q: %w: it has keys, but its data key is gone", network, ErrUnknownDEK)
	}
	rec, err := NewDEK(ctx, v.kek, network, 1, c.Now)
	if err != nil {
		return err
	}
	var b batch
	b.put(dekKey(1), 0, rec)
	err = b.commit(ctx, v.store, network)
	if errors.Is(err, ErrConflict) {
		return nil // somebody else was faster
	}
	return err
}

// Generate makes a key for owner, in the custody Managed or Once: the first
// key is active, a later one pending until [Vault.Activate]. The private key is
// returned for Once only, and never again; [Vault.Reveal] hands out a managed
// one.
//
// If a key is pending already, the error wraps [ErrConflict].
func (v *Vault) Generate(ctx context.Context, c Call, network, owner string, custody Custody) (Key, PrivateKey, error) {
	priv, err := GeneratePrivateKey()
	if err == nil && custody != Managed && custody != Once {
		err = fmt.Errorf("keys: generate for %q: %w: custody %q", owner, ErrFormat, custody)
	}
	var key Key
	if err == nil {
		key, err = v.add(ctx, c, network, owner, custody, priv, priv.PublicKey())
	}
	err = v.audit(ctx, c, Event{Op: "Generate", Network: network, Owner: owner, Gen: key.Gen, Fingerprint: key.Public.Fingerprint()}, err)
	if err != nil || custody == Managed {
		priv = PrivateKey{}
	}
	return key, priv, err
}

// Enrol stores a public key whose private key stays with its owner. States and
// errors are those of [Vault.Generate]; a key that is or was in use in the
// network wraps [ErrDuplicateKey].
func (v *Vault) Enrol(ctx context.Context, c Call, network, owner string, pub PublicKey) (Key, error) {
	var key Key
	pub, err := NewPublicKey(pub[:])
	if err == nil {
		key, err = v.add(ctx, c, network, owner, Self, PrivateKey{}, pub)
	}
	return key, v.audit(ctx, c, Event{Op: "Enrol", Network: network, Owner: owner, Gen: key.Gen, Fingerprint: pub.Fingerprint()}, err)
}

func (v *Vault) add(ctx context.Context, c Call, network, owner string, custody Custody, priv PrivateKey, pub PublicKey) (Key, error) {
	var key Key
	err := v.update(ctx, c, network, owner, func(ring *Ring, h KeyHistory, b *batch) (KeyHistory, error) {
		o := Owner{Network: network, ID: owner, Gen: h.NextGen()}
		rec := KeyRecord{Custody: custody}
		var err error
		if custody == Managed {
			if rec.Private, err = ring.SealPrivate(o, priv); err != nil {
				return nil, err
			}
		}
		if rec.Public, err = ring.SealPublic(o, pub); err != nil {
			return nil, err
		}
		if h, err = h.Add(rec, c.Now); err != nil {
			return nil, err
		}
		at := indexKey(ring, pub)
		if rev, err := v.row(ctx, network, at, &indexRow{}); err != nil {
			return nil, err
		} else if rev != 0 {
			return nil, fmt.Errorf("%w: %s", ErrDuplicateKey, pub.Fingerprint())
		}
		key, err = open(ring, owner, h[len(h)-1])
		b.put(at, 0, indexRow{Owner: owner, Gen: o.Gen})
		return h, err
	})
	if err != nil {
		return Key{}, err
	}
	return key, nil
}

// Activate reports that owner has applied its key gen: see [KeyHistory.Activate].
func (v *Vault) Activate(ctx context.Context, c Call, network, owner string, gen uint64) error {
	err := v.update(ctx, c, network, owner, func(_ *Ring, h KeyHistory, _ *batch) (KeyHistory, error) {
		return h.Activate(gen, c.Now)
	})
	return v.audit(ctx, c, Event{Op: "Activate", Network: network, Owner: owner, Gen: gen}, err)
}

// Revoke ends owner's key gen: see [KeyHistory.Revoke].
func (v *Vault) Revoke(ctx context.Context, c Call, network, owner string, gen uint64) error {
	err := v.update(ctx, c, network, owner, func(_ *Ring, h KeyHistory, _ *batch) (KeyHistory, error) {
		return h.Revoke(gen, c.Now)
	})
	return v.audit(ctx, c, Event{Op: "Revoke", Network: network, Owner: owner, Gen: gen}, err)
}

// Keys returns all generations of owner's key, oldest first. An unknown owner
// wraps [ErrNotFound].
func (v *Vault) Keys(ctx context.Context, c Call, network, owner string) ([]Key, error) {
	var list []Key
	err := v.read(ctx, c, network, owner, func(ring *Ring, h KeyHistory) error {
		list = nil
		for _, rec := range h {
			key, err := open(ring, owner, rec)
			if err != nil {
				return err
			}
			list = append(list, key)
		}
		return nil
	})
	if err = v.audit(ctx, c, Event{Op: "Keys", Network: network, Owner: owner}, err); err != nil {
		return nil, err
	}
	return list, nil
}

// Find returns the key that pub is, also a revoked one. An unknown key wraps
// [ErrNotFound].
func (v *Vault) Find(ctx context.Context, c Call, network string, pub PublicKey) (Key, error) {
	key, err := v.find(ctx, c, network, pub)
	err = v.audit(ctx, c, Event{Op: "Find", Network: network, Owner: key.Owner, Gen: key.Gen, Fingerprint: pub.Fingerprint()}, err)
	if err != nil {
		return Key{}, err
	}
	return key, nil
}

func (v *Vault) find(ctx context.Context, c Call, network string, pub PublicKey) (Key, error) {
	ring, err := v.Ring(ctx, network, c.Now)
	if err != nil {
		return Key{}, err
	}
	var at indexRow
	rev, err := v.row(ctx, network, indexKey(ring, pub), &at)
	if err != nil {
		return Key{}, err
	}
	if rev == 0 {
		return Key{}, fmt.Errorf("keys: find key %s in %q: %w", pub.Fingerprint(), network, ErrNotFound)
	}
	var key Key
	err = v.read(ctx, c, network, at.Owner, func(ring *Ring, h KeyHistory) error {
		h, i, err := h.find(at.Gen)
		if err == nil {
			key, err = open(ring, at.Owner, h[i])
		}
		return err
	})
	return key, err
}

// Reveal returns owner's private key of generation gen, or of the active one if
// gen is 0. It is the one place where a vault hands out a stored key: if the
// audit hook fails, it does not.
//
// A key in another custody than Managed wraps [ErrSelfCustody], a revoked or
// unknown one [ErrNotFound].
func (v *Vault) Reveal(ctx context.Context, c Call, network, owner string, gen uint64) (PrivateKey, error) {
	var priv PrivateKey
	var key Key
	err := v.read(ctx, c, network, owner, func(ring *Ring, h KeyHistory) error {
		rec, ok := h.In(KeyActive)
		if gen != 0 {
			var i int
			var err error
			if h, i, err = h.find(gen); err != nil {
				return err
			}
			rec, ok = h[i], h[i].State != KeyRevoked
		}
		if !ok {
			return fmt.Errorf("%w: no such key is in use", ErrNotFound)
		}
		var err error
		if key, err = open(ring, owner, rec); err != nil {
			return err
		}
		if rec.Custody != Managed {
			return fmt.Errorf("%w: custody %s", ErrSelfCustody, rec.Custody)
		}
		priv, err = ring.OpenPrivate(Owner{Network: network, ID: owner, Gen: rec.Gen}, rec.Private)
		return err
	})
	err = v.audit(ctx, c, Event{Op: "Reveal", Network: network, Owner: owner, Gen: max(gen, key.Gen), Fingerprint: key.Public.Fingerprint()}, err)
	if err != nil {
		return PrivateKey{}, err
	}
	return priv, nil
}

// Ring returns the opened network, for preshared keys and secrets that the
// caller stores. A network that was not created wraps [ErrNotFound].
func (v *Vault) Ring(ctx context.Context, network string, now time.Time) (*Ring, error) {
	if err := checkName("network", network); err != nil {
		return nil, err
	}
	return v.rings.Ring(ctx, network, now, func(ctx context.Context) ([]DEKRecord, error) {
		stored, err := v.deks(ctx, network)
		if err == nil && len(stored) == 0 {
			err = ErrNotFound
		}
		return records(stored), err
	})
}
