package apn

import (
	"cmp"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// keyPair is a WireGuard key that a command is about to seal. It is made before
// the command's first try, which may be one of several.
type keyPair struct {
	private keys.PrivateKey // zero in custody Self
	public  keys.PublicKey
	custody keys.Custody
}

// newKey generates a pair in the given custody, or takes the public key of a
// pair that stays with its owner.
func newKey(pub keys.PublicKey, custody keys.Custody) (*keyPair, error) {
	if !pub.IsZero() {
		if _, err := keys.ParsePublicKey(pub.String()); err != nil {
			return nil, invalid("public_key", "is not a usable WireGuard key", err)
		}
		return &keyPair{public: pub, custody: keys.Self}, nil
	}
	switch custody = cmp.Or(custody, keys.Managed); custody {
	case keys.Managed, keys.Once:
	case keys.Self:
		return nil, invalid("public_key", "is required in custody self", nil)
	default:
		return nil, invalid("custody", `must be "managed", "once" or "self"`, nil)
	}
	priv, err := keys.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	return &keyPair{private: priv, public: priv.PublicKey(), custody: custody}, nil
}

func (k *keyPair) row(uid string, gen uint64, now time.Time) *keyRow {
	return &keyRow{UID: uid, Gen: gen, Custody: k.custody, Created: now.UTC(), pub: k.public}
}

// rotate replaces the key of a srv or dev row. Custody does not change: a key
// that the owner keeps is not silently replaced by one that is stored here.
func (t *tx) rotate(owner string, k *keyPair) error {
	old, ok := find[*keyRow](t.state, keyKey(owner))
	if !ok {
		return ErrNotFound
	}
	if err := t.match(owner); err != nil {
		return err
	}
	if self := old.Custody == keys.Self; self != (k.custody == keys.Self) {
		if self {
			return invalid("public_key", "is required: the private key stays with its owner", nil)
		}
		return invalid("public_key", "must be empty: the key pair is kept here", nil)
	}
	return t.replaceKey(owner, old, k, old.Custody)
}

// replaceKey gives a srv or dev row the next generation of its key.
func (t *tx) replaceKey(owner string, old *keyRow, k *keyPair, custody keys.Custody) error {
	row := k.row(old.UID, old.Gen+1, t.now)
	row.Custody = custody
	// The owner's own row is written too, so that its revision tells the change.
	at, _ := t.rows.Get(owner)
	t.put(owner, at.row)
	return t.seal(owner, row, k.private)
}

// private opens the private key of a srv or dev row.
func (n *Network) private(ring *keys.Ring, owner string, k *keyRow) (keys.PrivateKey, error) {
	if k.Priv == nil {
		return keys.PrivateKey{}, nil
	}
	return ring.OpenPrivate(keyOwner(n.name, owner, k, keys.PurposePrivateKey), k.Priv)
}
