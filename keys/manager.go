package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ManagerOptions are the optional settings of a [Manager].
type ManagerOptions struct {
	// Progress gets the state of a long operation after each page of rows. Nil
	// means no reports.
	Progress func(Progress)
}

// Progress tells how far an operation has come.
type Progress struct {
	Network string // the one at hand
	Seen    int    // rows looked at
	Changed int    // rows written
}

// Manager rotates, destroys and verifies the data keys of a [Vault], while it is
// in use. What it starts can stop at any moment: run it again and it goes on,
// and nothing is unreadable in between.
type Manager struct {
	v    *Vault
	opts ManagerOptions
}

// NewManager returns a manager of v. opts may be nil.
func NewManager(v *Vault, opts *ManagerOptions) *Manager {
	m := &Manager{v: v}
	if opts != nil {
		m.opts = *opts
	}
	return m
}

// RotateDEK makes a new data key for network and returns its version. From now
// on it seals, and the one before it only opens. While an older key is still
// needed, a rotation is under way: then it returns the version at hand.
// [Manager.Reseal] finishes a rotation.
func (m *Manager) RotateDEK(ctx context.Context, c Call, network string) (uint32, error) {
	version, err := m.rotateDEK(ctx, c, network)
	return version, m.v.audit(ctx, c, Event{Op: "RotateDEK", Network: network}, err)
}

func (m *Manager) rotateDEK(ctx context.Context, c Call, network string) (uint32, error) {
	for range tries {
		stored, err := m.v.deks(ctx, network)
		if err != nil {
			return 0, err
		}
		ring, err := OpenRing(ctx, m.v.kek, c.Now, records(stored)...)
		if err != nil {
			return 0, err
		}
		var b batch
		for _, s := range stored {
			if s.State == DEKDecrypt && ring.Version() != 0 {
				return ring.Version(), nil
			}
			if s.State == DEKActive {
				b.put(dekKey(s.Version), s.rev, s.Demote())
			}
		}
		next, err := ring.NextDEK(ctx, m.v.kek, c.Now)
		if err != nil {
			return 0, err
		}
		b.put(dekKey(next.Version), 0, next)
		if err = b.commit(ctx, m.v.store, network); !errors.Is(err, ErrConflict) {
			m.v.rings.Flush(network)
			return next.Version, err
		}
	}
	return 0, fmt.Errorf("keys: rotate DEK of %q: %w: too many attempts", network, ErrConflict)
}

// Reseal moves every record of network under the active data key and then
// destroys the older ones. A record that fails does not hold up the others, but
// no key is destroyed then.
func (m *Manager) Reseal(ctx context.Context, c Call, network string) (Progress, error) {
	p := Progress{Network: network}
	err := m.reseal(ctx, c, &p)
	return p, m.v.audit(ctx, c, Event{Op: "Reseal", Network: network}, err)
}

func (m *Manager) reseal(ctx context.Context, c Call, p *Progress) error {
	stored, err := m.v.deks(ctx, p.Network)
	if err != nil {
		return err
	}
	// A write checks in its swap that its data key is active. So whatever is
	// sealed under a key that is decrypt-only here is stored by now, and the
	// pass over all rows finds it.
	var active uint32
	var old []uint32
	var failed error
	for _, s := range stored {
		switch s.State {
		case DEKActive:
			active = max(active, s.Version)
		case DEKDecrypt:
			old = append(old, s.Version)
		case DEKDestroyed:
		}
	}
	if active == 0 {
		return dekError("seal", p.Network, 0, "", fmt.Errorf("%w: none is active", ErrUnknownDEK))
	}
	err = m.owners(ctx, p, func(owner string, h KeyHistory) error {
		if !h.stale(active) {
			return nil
		}
		err := m.v.update(ctx, c, p.Network, owner, func(ring *Ring, h KeyHistory, _ *batch) (KeyHistory, error) {
			return h.reseal(ring, owner)
		})
		if errors.Is(err, ErrKEKUnavailable) || ctx.Err() != nil {
			return err
		}
		if err == nil {
			p.Changed++
		}
		failed = errors.Join(failed, err)
		return nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	return m.destroy(ctx, p.Network, func(r DEKRecord) bool { return slices.Contains(old, r.Version) })
}

// stale reports whether a value of h is sealed under another version.
func (h KeyHistory) stale(version uint32) bool {
	return slices.ContainsFunc(h, func(r KeyRecord) bool {
		for _, sealed := range [][]byte{r.Public, r.Private} {
			if v, err := SealedVersion(sealed); err == nil && v != version {
				return true
			}
		}
		return false
	})
}

// reseal returns h with every value under the ring's active data key.
func (h KeyHistory) reseal(ring *Ring, owner string) (KeyHistory, error) {
	h = slices.Clone(h)
	for i := range h {
		r := &h[i]
		o := Owner{Network: ring.Network(), ID: owner, Gen: r.Gen}
		var err error
		if o.Purpose = PurposePublicKey; r.Public != nil {
			if r.Public, _, err = ring.Reseal(o, r.Public); err != nil {
				return nil, err
			}
		}
		if o.Purpose = PurposePrivateKey; r.Private != nil {
			if r.Private, _, err = ring.Reseal(o, r.Private); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// RewrapKEK wraps every data key of every network by the primary KEK. It
// touches no record. It ends when a pass over all networks finds nothing to do:
// then the old KEK is needed for backups only. A network that fails does not
// hold up the others; an unavailable KEK does.
func (m *Manager) RewrapKEK(ctx context.Context, c Call) (Progress, error) {
	var p Progress
	err := m.rewrapAll(ctx, &p)
	return p, m.v.audit(ctx, c, Event{Op: "RewrapKEK"}, err)
}

func (m *Manager) rewrapAll(ctx context.Context, p *Progress) error {
	// A primary that does not unwrap what it wraps would lose every data key.
	if err := m.v.kek.Check(ctx); err != nil {
		return fmt.Errorf("keys: rewrap by %q: %w", m.v.kek.KeyID(), err)
	}
	for {
		var failed error
		again := false
		for after, more := "", true; more; {
			names, err := m.v.store.Networks(ctx, after, page)
			if err != nil {
				return fmt.Errorf("keys: list networks: %w", err)
			}
			for _, network := range names {
				after, p.Network = network, network
				stale, err := m.rewrap(ctx, p)
				if errors.Is(err, ErrKEKUnavailable) || ctx.Err() != nil {
					return err
				}
				again = again || stale
				failed = errors.Join(failed, err)
				m.report(*p)
			}
			more = len(names) == page
		}
		if failed != nil || !again {
			return failed
		}
	}
}

// rewrap reports whether there was something to do in p.Network.
func (m *Manager) rewrap(ctx context.Context, p *Progress) (stale bool, err error) {
	stored, err := m.v.deks(ctx, p.Network)
	if err != nil {
		return false, err
	}
	for _, s := range stored {
		p.Seen++
		if !m.v.kek.Stale(s.DEKRecord) {
			continue
		}
		stale = true
		next, err := Rewrap(ctx, m.v.kek, s.DEKRecord)
		if err != nil {
			return stale, err
		}
		var b batch
		b.put(dekKey(s.Version), s.rev, next)
		switch err := b.commit(ctx, m.v.store, p.Network); {
		case err == nil:
			p.Changed++
		case !errors.Is(err, ErrConflict): // a conflict is for the next pass
			return stale, err
		}
	}
	return stale, nil
}

// Shred destroys all data keys of network. Whatever was sealed there is lost,
// wherever copies of the records are, once backups of the DEK rows are gone
// too. A network without data keys wraps [ErrNotFound]. Rings that other processes opened end at their maximum age.
func (m *Manager) Shred(ctx context.Context, c Call, network string) error {
	err := m.destroy(ctx, network, func(DEKRecord) bool { return true })
	return m.v.audit(ctx, c, Event{Op: "Shred", Network: network}, err)
}

// destroy destroys the data keys that match, until there are none.
func (m *Manager) destroy(ctx context.Context, network string, match func(DEKRecord) bool) error {
	for range tries {
		stored, err := m.v.deks(ctx, network)
		if err == nil && len(stored) == 0 {
			err = fmt.Errorf("keys: destroy DEKs of %q: %w", network, ErrNotFound)
		}
		if err != nil {
			return err
		}
		var b batch
		for _, s := range stored {
			if s.State != DEKDestroyed && match(s.DEKRecord) {
				b.put(dekKey(s.Version), s.rev, s.Destroy())
			}
		}
		if len(b.writes) == 0 {
			return nil
		}
		if err := b.commit(ctx, m.v.store, network); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
		m.v.rings.Flush(network)
	}
	return fmt.Errorf("keys: destroy DEKs of %q: %w: too many attempts", network, ErrConflict)
}

// owners calls do for every owner of p.Network, and reports after each page.
func (m *Manager) owners(ctx context.Context, p *Progress, do func(owner string, h KeyHistory) error) error {
	return m.v.list(ctx, p.Network, ownerPrefix, func(r Row) error {
		p.Seen++
		var row ownerRow
		if err := json.Unmarshal(r.Value, &row); err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return do(r.Key[len(ownerPrefix):], row.Keys)
	}, func() { m.report(*p) })
}

func (m *Manager) report(p Progress) {
	if m.opts.Progress != nil {
		m.opts.Progress(p)
	}
}
