package apn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// custodian is the KEK in use and the rings that it opened.
type custodian struct {
	kek   *keys.KEKSet
	rings *keys.Rings
}

func newCustodian(kek *keys.KEKSet) *custodian {
	return &custodian{kek: kek, rings: keys.NewRings(kek, nil)}
}

// SetKEK replaces the KEK of a Control that is at work. Data keys that an
// earlier KEK wrapped stay readable as long as the set has it;
// [Network.RewrapKEK] moves them to the new one.
func (c *Control) SetKEK(kek *keys.KEKSet) error {
	if kek == nil {
		return &Error{Op: "set KEK", Err: invalid("KEK", "is required", nil)}
	}
	c.custody.Store(newCustodian(kek))
	return nil
}

// KEKIDs returns the key IDs that data keys in the store name, sorted: the KEKs
// without which some network cannot be read. It needs no KEK itself.
func KEKIDs(ctx context.Context, st store.Store) ([]string, error) {
	const op = "list KEKs"
	ids := map[string]bool{}
	for after, more := "", true; more; {
		var networks []string
		var err error
		if networks, more, err = networksOf(ctx, st, after, pageSize); err != nil {
			return nil, &Error{Op: op, Err: storeError(err)}
		}
		for _, name := range networks {
			after = name
			page, err := st.List(ctx, space(name), preDEK, "", 0)
			if err != nil {
				return nil, &Error{Op: op, Object: name, Err: storeError(err)}
			}
			for _, e := range page.Entries {
				r, err := decodeRow(e.Key, e.Value)
				if err != nil {
					return nil, &Error{Op: op, Object: name, Err: err}
				}
				if dek, ok := r.(*dekRow); ok && dek.State != keys.DEKDestroyed {
					ids[dek.KEKID] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// KeyStatus tells how a network's keys are kept.
type KeyStatus struct {
	Network string
	KEKID   string // of the KEK that wraps now
	DEKs    []DEKStatus
	Records int // sealed key pairs
	Behind  int // of them, not under the active data key
	// Servers and Devices count the key pairs by custody. Of those in custody
	// Once, Revealed were handed out: their private halves are forgotten.
	Servers, Devices map[keys.Custody]int
	Revealed         int
}

// DEKStatus tells about one data key. A destroyed one is only a number.
type DEKStatus struct {
	Version   uint32
	State     keys.DEKState
	KEKID     string
	CreatedAt time.Time
	Seals     int64 // records that it sealed, rounded up
	Stale     bool  // wrapped by another KEK than the present one
	Due       bool  // old enough to be rotated
}

// KeyStatus returns how the network's keys are kept.
func (n *Network) KeyStatus() KeyStatus {
	s := n.view()
	kek := n.ctl.custody.Load().kek
	out := KeyStatus{
		Network: n.name, KEKID: kek.KeyID(), Servers: map[keys.Custody]int{}, Devices: map[keys.Custody]int{},
	}
	var active uint32
	for _, r := range s.deks() {
		if r.State == keys.DEKActive {
			active = r.Version
		}
		out.DEKs = append(out.DEKs, DEKStatus{
			Version: r.Version, State: r.State, KEKID: r.KEKID, CreatedAt: r.Created, Seals: r.Seals,
			Stale: kek.Stale(r), Due: r.Due(n.ctl.now()),
		})
	}
	for owner, k := range under[*keyRow](s, preKey) {
		out.Records++
		if !k.under(active) {
			out.Behind++
		}
		if k.Revealed {
			out.Revealed++
		}
		switch {
		case strings.HasPrefix(owner, preSrv):
			out.Servers[k.Custody]++
		case strings.HasPrefix(owner, preDev):
			out.Devices[k.Custody]++
		}
	}
	return out
}

// under reports whether both halves of a pair are sealed under a data key.
func (k *keyRow) under(version uint32) bool {
	for _, sealed := range [][]byte{k.Pub, k.Priv} {
		if v, err := keys.SealedVersion(sealed); sealed != nil && (err != nil || v != version) {
			return false
		}
	}
	return true
}

// RewrapKEK wraps every data key of the network under the present KEK, with two
// KEK calls each, and returns how many it moved. No sealed key is touched. It
// may stop at any moment and run again.
func (n *Network) RewrapKEK(ctx context.Context) (int, error) {
	moved := 0
	for _, rec := range n.view().deks() {
		kek := n.ctl.custody.Load().kek
		if !kek.Stale(rec) {
			continue
		}
		next, err := keys.Rewrap(ctx, kek, rec)
		if err == nil {
			err = n.do(ctx, nil, func(t *tx) error { return t.rewrap(rec, next) })
		}
		if err != nil {
			return moved, &Error{Op: "rewrap data key", Object: n.name, Err: kekError(err)}
		}
		moved++
	}
	return moved, nil
}

func (t *tx) rewrap(was, next keys.DEKRecord) error {
	r, ok := find[*dekRow](t.state, dekKey(was.Version))
	if !ok || !bytes.Equal(r.Wrapped, was.Wrapped) {
		return ErrConflict // somebody else rewraps, too
	}
	moved := *r // its state and count may have moved on
	moved.KEKID, moved.Wrapped = next.KEKID, next.Wrapped
	t.put(dekKey(was.Version), &moved)
	t.event("kek.rewrap", fmt.Sprintf("dek/%d", was.Version), "from "+was.KEKID+" to "+next.KEKID)
	return nil
}

// resealBatch is how many key pairs one command moves.
const resealBatch = 50

// RotateDEK gives the network a new data key, moves every sealed key pair to it
// and destroys the old one. The network stays in use: at each moment every pair
// is readable. A rotation that was cut off is finished by running it again.
//
// progress is told how many pairs are done, of how many; it may be nil.
func (n *Network) RotateDEK(ctx context.Context, progress func(done, total int)) error {
	err := n.rotateDEK(ctx)
	if err == nil {
		err = n.reseal(ctx, progress)
	}
	if err == nil {
		err = n.do(ctx, nil, func(t *tx) error { return t.destroyDEKs() })
	}
	if err != nil {
		return &Error{Op: "rotate data key", Object: n.name, Err: kekError(err)}
	}
	return nil
}

// rotateDEK makes a new active data key, unless a rotation is under way.
func (n *Network) rotateDEK(ctx context.Context) error {
	for _, rec := range n.view().deks() {
		if rec.State == keys.DEKDecrypt {
			return nil
		}
	}
	ring, err := n.ring(ctx)
	if err != nil {
		return err
	}
	next, err := ring.NextDEK(ctx, n.ctl.custody.Load().kek, n.ctl.now())
	if err != nil {
		return err
	}
	return n.do(ctx, nil, func(t *tx) error {
		old, ok := find[*dekRow](t.state, dekKey(ring.Version()))
		if _, taken := find[*dekRow](t.state, dekKey(next.Version)); !ok || taken || old.State != keys.DEKActive {
			return ErrConflict // somebody else rotates, too
		}
		t.put(dekKey(ring.Version()), &dekRow{DEKRecord: old.Demote()})
		t.put(dekKey(next.Version), &dekRow{DEKRecord: next})
		t.event("dek.rotate", fmt.Sprintf("dek/%d", next.Version), "")
		return nil
	})
}

// reseal moves key pairs to the active data key, some at a time.
func (n *Network) reseal(ctx context.Context, progress func(done, total int)) error {
	owners := names[*keyRow](n.view(), preKey)
	for done := 0; done < len(owners); {
		part := owners[done:min(done+resealBatch, len(owners))]
		err := n.do(ctx, nil, func(t *tx) error {
			for _, owner := range part {
				if err := t.resealKey(owner); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		done += len(part)
		if progress != nil {
			progress(done, len(owners))
		}
	}
	return nil
}

// resealKey moves one pair, if it is still there and not yet moved.
func (t *tx) resealKey(owner string) error {
	k, ok := find[*keyRow](t.state, preKey+owner)
	if !ok || k.under(t.ring.Version()) {
		return nil
	}
	moved := *k
	var err error
	if moved.Pub, _, err = t.ring.Reseal(t.owner(owner, k, keys.PurposePublicKey), k.Pub); err != nil {
		return err
	}
	if k.Priv != nil {
		if moved.Priv, _, err = t.ring.Reseal(t.owner(owner, k, keys.PurposePrivateKey), k.Priv); err != nil {
			return err
		}
	}
	t.put(preKey+owner, &moved)
	return nil
}

// destroyDEKs ends a rotation: no pair needs the old data keys any more.
func (t *tx) destroyDEKs() error {
	if err := errors.Join(t.resealSigningKey(), t.resealHooks()); err != nil {
		return err
	}
	active := t.ring.Version()
	for owner, k := range under[*keyRow](t.state, preKey) {
		if !k.under(active) {
			return fmt.Errorf("%s: %w", owner, ErrConflict) // sealed by a process that was behind
		}
	}
	for _, rec := range t.deks() {
		if rec.State == keys.DEKDecrypt {
			t.put(dekKey(rec.Version), &dekRow{DEKRecord: rec.Destroy()})
			t.event("dek.destroy", fmt.Sprintf("dek/%d", rec.Version), "")
		}
	}
	return nil
}

// VerifyKeys opens every sealed key of the network and returns how many pairs
// there are. The error names the first that does not open.
func (n *Network) VerifyKeys(ctx context.Context) (int, error) {
	fail := func(count int, object string, err error) (int, error) {
		return count, &Error{Op: "verify keys", Object: object, Err: err}
	}
	ring, err := n.ring(ctx)
	if err != nil {
		return fail(0, n.name, err)
	}
	if r, ok := find[*signRow](n.view(), rowSign); ok {
		if _, err := r.open(ring, n.name); err != nil {
			return fail(0, rowSign, err)
		}
	}
	count := 0
	for key, k := range under[*keyRow](n.view(), preKey) {
		owner := strings.TrimPrefix(key, preKey)
		pub, err := ring.OpenPublic(keyOwner(n.name, owner, k, keys.PurposePublicKey), k.Pub)
		if err != nil {
			return fail(count, owner, err)
		}
		priv, err := n.private(ring, owner, k)
		if err != nil {
			return fail(count, owner, err)
		}
		if pub != k.pub || !priv.IsZero() && priv.PublicKey() != pub {
			return fail(count, owner, fmt.Errorf("the halves do not belong together: %w", ErrDamaged))
		}
		count++
	}
	return count, nil
}
