package keys

import (
	"context"
	"errors"
	"fmt"
)

// Report is what [Manager.Verify] found in a network.
type Report struct {
	Network  string
	DEKs     int      // data keys that are not destroyed; all of them unwrap
	StaleKEK []uint32 // versions that another KEK than the primary wrapped
	Owners   int      // owners with keys
	StaleDEK int      // owners with a value under another data key than the active one
	Damaged  []error  // values that do not open, or that the index does not lead to
}

// Clean reports whether nothing is damaged and no rotation is under way.
func (r Report) Clean() bool {
	return len(r.StaleKEK) == 0 && r.StaleDEK == 0 && len(r.Damaged) == 0
}

// Verify asks the KEK for every data key of network, opens every record and
// follows the index. A data key that does not unwrap is an error; damaged
// records are in the report. If the data keys change meanwhile, it starts over.
func (m *Manager) Verify(ctx context.Context, c Call, network string) (Report, error) {
	r, err := m.verify(ctx, c, network)
	return r, m.v.audit(ctx, c, Event{Op: "Verify", Network: network}, err)
}

func (m *Manager) verify(ctx context.Context, c Call, network string) (Report, error) {
	for range tries {
		r := Report{Network: network}
		stored, err := m.v.deks(ctx, network)
		if err != nil {
			return r, err
		}
		ring, err := OpenRing(ctx, m.v.kek, c.Now, records(stored)...)
		if err != nil {
			return r, err
		}
		if err := m.verifyWith(ctx, ring, stored, &r); err != nil {
			return r, err
		}
		if stored, err = m.v.deks(ctx, network); err != nil || ring.Covers(records(stored)...) {
			return r, err
		}
	}
	return Report{Network: network}, fmt.Errorf("keys: verify %q: %w: the data keys keep changing", network, ErrConflict)
}

func (m *Manager) verifyWith(ctx context.Context, ring *Ring, stored []storedDEK, r *Report) error {
	for _, s := range stored {
		if s.State != DEKDestroyed {
			r.DEKs++
		}
		if m.v.kek.Stale(s.DEKRecord) {
			r.StaleKEK = append(r.StaleKEK, s.Version)
		}
	}
	return m.owners(ctx, &Progress{Network: r.Network}, func(owner string, h KeyHistory) error {
		r.Owners++
		if h.stale(ring.Version()) {
			r.StaleDEK++
		}
		for _, rec := range h {
			if rec.State == KeyRevoked {
				continue
			}
			if err := m.verifyKey(ctx, ring, owner, rec); err != nil {
				r.Damaged = append(r.Damaged, err)
			}
		}
		return ctx.Err()
	})
}

func (m *Manager) verifyKey(ctx context.Context, ring *Ring, owner string, rec KeyRecord) error {
	o := Owner{Network: ring.Network(), ID: owner, Gen: rec.Gen}
	pub, err := ring.OpenPublic(o, rec.Public)
	if err != nil {
		return err
	}
	if rec.Custody == Managed {
		priv, err := ring.OpenPrivate(o, rec.Private)
		if err != nil {
			return err
		}
		if priv.PublicKey() != pub {
			return ownerError("verify", o, 0, fmt.Errorf("%w: it is not the private key of its public key", ErrTampered))
		}
	}
	var at indexRow
	_, err = m.v.row(ctx, o.Network, indexKey(ring, pub), &at)
	if err != nil || at.Owner != owner || at.Gen != rec.Gen {
		return errors.Join(ownerError("verify", o, 0, fmt.Errorf("%w: the index does not lead here", ErrTampered)), err)
	}
	return nil
}
