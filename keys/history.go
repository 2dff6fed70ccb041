package keys

import (
	"fmt"
	"slices"
	"time"
)

// Custody says who holds a private key.
type Custody string

// The kinds of custody.
const (
	Managed Custody = "managed" // stored sealed, handed out again on request
	Once    Custody = "once"    // made here, handed out once, never stored
	Self    Custody = "self"    // made by its owner; only the public key is known here
)

// KeyState is where a WireGuard key stands in its rotation:
//
//	pending -> active -> retiring -> revoked
//
// A new key waits as pending until its owner has applied it. Then it is active,
// and the one before it retires: peers still accept it until all have the new
// one. Any key can be revoked at once.
type KeyState string

// The states of a WireGuard key.
const (
	KeyPending  KeyState = "pending"
	KeyActive   KeyState = "active"
	KeyRetiring KeyState = "retiring"
	KeyRevoked  KeyState = "revoked"
)

// KeyRecord is one generation of an owner's WireGuard key as it is stored.
type KeyRecord struct {
	Gen     uint64    `json:"gen"` // from 1
	State   KeyState  `json:"state"`
	Custody Custody   `json:"custody"`
	Public  []byte    `json:"public,omitempty"`  // sealed; dropped when revoked
	Private []byte    `json:"private,omitempty"` // sealed, if managed; dropped when revoked
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // when it came into its state
}

// KeyHistory is all generations of an owner's key, oldest first. At most one is
// pending and at most one active. Its methods change nothing: they return the
// history to store.
type KeyHistory []KeyRecord

// NextGen returns the generation of the next key.
func (h KeyHistory) NextGen() uint64 {
	if len(h) == 0 {
		return 1
	}
	return h[len(h)-1].Gen + 1
}

// In returns the newest key in one of the states.
func (h KeyHistory) In(states ...KeyState) (KeyRecord, bool) {
	for _, r := range slices.Backward(h) {
		if slices.Contains(states, r.State) {
			return r, true
		}
	}
	return KeyRecord{}, false
}

// Add appends r as the next generation: active if no key is, else pending. If a
// key is pending already, the error wraps [ErrConflict].
func (h KeyHistory) Add(r KeyRecord, now time.Time) (KeyHistory, error) {
	if p, ok := h.In(KeyPending); ok {
		return nil, fmt.Errorf("%w: generation %d is pending", ErrConflict, p.Gen)
	}
	r.Gen, r.State = h.NextGen(), KeyActive
	if _, ok := h.In(KeyActive); ok {
		r.State = KeyPending
	}
	r.Created, r.Changed = now.UTC().Round(0), now.UTC().Round(0)
	return append(slices.Clone(h), r), nil
}

// Activate makes the pending key gen active and retires the one that was. It is
// idempotent: an active key stays as it is. A retiring or revoked one wraps
// [ErrConflict], an unknown one [ErrNotFound].
func (h KeyHistory) Activate(gen uint64, now time.Time) (KeyHistory, error) {
	h, i, err := h.find(gen)
	if err != nil {
		return nil, err
	}
	switch h[i].State {
	case KeyActive:
		return h, nil
	case KeyPending:
	default:
		return nil, fmt.Errorf("%w: generation %d is %s", ErrConflict, gen, h[i].State)
	}
	for j := range h {
		if h[j].State == KeyActive {
			h[j].set(KeyRetiring, now)
		}
	}
	h[i].set(KeyActive, now)
	return h, nil
}

// Revoke ends the key gen and drops what is sealed of it. It is idempotent. An
// unknown generation wraps [ErrNotFound].
func (h KeyHistory) Revoke(gen uint64, now time.Time) (KeyHistory, error) {
	h, i, err := h.find(gen)
	if err == nil && h[i].State != KeyRevoked {
		h[i].set(KeyRevoked, now)
		h[i].Public, h[i].Private = nil, nil
	}
	return h, err
}

// find returns a copy of h and the index of gen.
func (h KeyHistory) find(gen uint64) (KeyHistory, int, error) {
	i := slices.IndexFunc(h, func(r KeyRecord) bool { return r.Gen == gen })
	if i < 0 {
		return nil, 0, fmt.Errorf("%w: generation %d", ErrNotFound, gen)
	}
	return slices.Clone(h), i, nil
}

func (r *KeyRecord) set(s KeyState, now time.Time) {
	r.State, r.Changed = s, now.UTC().Round(0)
}
