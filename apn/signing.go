package apn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// signRow is the key that signs what the network's servers are told. Its public
// half is in every join token.
type signRow struct {
	head
	Created time.Time         `json:"created"`
	Public  ed25519.PublicKey `json:"pub"`
	Seed    []byte            `json:"seed"` // sealed
}

// SigningKey returns the public half of the key that signs the network's
// documents ([netmap.Signed]). Nil: nobody has needed it yet; the first join
// token makes it.
func (n *Network) SigningKey() ed25519.PublicKey {
	r, ok := find[*signRow](n.view(), rowSign)
	if !ok {
		return nil
	}
	return slices.Clone(r.Public)
}

func signOwner(network string) keys.Owner {
	return keys.Owner{Network: network, ID: rowSign, Purpose: keys.PurposeSigningKey, Gen: 1}
}

// newSeed draws a seed for [tx.signingKey], before a command's first try.
func newSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// signingKey returns the public half of the network's signing key, and makes it
// of seed if there is none.
func (t *tx) signingKey(seed []byte) (ed25519.PublicKey, error) {
	if r, ok := find[*signRow](t.state, rowSign); ok {
		return slices.Clone(r.Public), nil
	}
	pub, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	sealed, err := t.ring.Seal(nil, signOwner(t.cmd.network), seed)
	if err != nil {
		return nil, err
	}
	t.put(rowSign, &signRow{Created: t.now.UTC(), Public: pub, Seed: sealed})
	t.event("signing.add", t.cmd.network, "")
	return slices.Clone(pub), nil
}

// signer opens the network's signing key.
func (n *Network) signer(ctx context.Context) (ed25519.PrivateKey, error) {
	r, ok := find[*signRow](n.view(), rowSign)
	if !ok {
		return nil, notFound("signing key")
	}
	ring, err := n.ring(ctx)
	if err != nil {
		return nil, err
	}
	return r.open(ring, n.name)
}

func (r *signRow) open(ring *keys.Ring, network string) (ed25519.PrivateKey, error) {
	seed, err := ring.Open(nil, signOwner(network), r.Seed)
	if err != nil {
		return nil, damaged(rowSign, err)
	}
	defer clear(seed)
	if len(seed) != ed25519.SeedSize {
		return nil, damaged(rowSign, fmt.Errorf("a seed of %d bytes", len(seed)))
	}
	key := ed25519.NewKeyFromSeed(seed)
	if !r.Public.Equal(key.Public()) {
		return nil, damaged(rowSign, fmt.Errorf("the halves do not belong together"))
	}
	return key, nil
}

// resealSigningKey moves the signing key to the active data key.
func (t *tx) resealSigningKey() error {
	r, ok := find[*signRow](t.state, rowSign)
	if !ok {
		return nil
	}
	sealed, moved, err := t.ring.Reseal(signOwner(t.cmd.network), r.Seed)
	if err != nil || !moved {
		return err
	}
	next := *r
	next.Seed = sealed
	t.put(rowSign, &next)
	return nil
}
