package apn

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

// tx is one command's view of the state while it decides. What it puts is seen
// by itself and, if the command succeeds, by the commands after it in the batch;
// readers see it once it is durable.
type tx struct {
	*state
	cmd    *command
	ring   *keys.Ring
	leases lease.Policy
	pool   *ipam.Pool
	now    time.Time
	writes map[string]row // nil row: delete
	was    []change       // what writes replaced, in order
	undone []ipam.Change  // applied to pool, in order
	hosts  bool           // DNS names or addresses change
	repool bool           // the pool's configuration changes
}

// change is a row as it was; nil: there was none.
type change struct {
	key string
	rowAt
}

func (t *tx) put(key string, r row) {
	r.stamp()
	t.write(key, r)
}

func (t *tx) del(key string) { t.write(key, nil) }

func (t *tx) write(key string, r row) {
	old, _ := t.rows.Get(key)
	t.was = append(t.was, change{key, old})
	t.set(key, r, 0)
	t.writes[key] = r
}

// revert takes the command's rows out of the state again.
func (t *tx) revert() {
	for _, old := range slices.Backward(t.was) {
		t.set(old.key, old.row, old.rev)
	}
}

// event adds an audit event to the command's batch.
func (t *tx) event(action, object, detail string) { t.audit(action, object, detail, "") }

// refused adds the event of something that was not done.
func (t *tx) refused(action, object, detail string) { t.audit(action, object, detail, OutcomeRefused) }

func (t *tx) audit(action, object, detail string, outcome Outcome) {
	c := t.ctr()
	c.Events++
	t.put(rowCtr, &c)
	t.put(outKey(c.Events), &outRow{Event: Event{
		N: c.Events, At: t.now, Actor: t.cmd.actor, Action: action, Object: object, Detail: detail, Outcome: outcome,
	}})
}

// address applies a decision of the pool and puts its records as rows.
func (t *tx) address(c ipam.Change) error {
	if c.Empty() {
		return nil
	}
	if err := t.pool.Apply(c); err != nil {
		return err
	}
	t.undone = append(t.undone, c)
	for _, step := range c.Steps {
		if step.After == nil {
			t.del(preAddr + step.Before.Key())
			continue
		}
		t.put(preAddr+step.After.Key(), &addrRow{Record: *step.After})
	}
	return nil
}

// seal puts the key pair of owner, a srv or dev row. Custody Self has no
// private half.
func (t *tx) seal(owner string, k *keyRow, priv keys.PrivateKey) error {
	if holder, taken := t.pubs.Get(string(k.pub[:])); taken && holder != keyKey(owner) {
		return invalid("public_key", "is in use already", keys.ErrDuplicateKey)
	}
	var err error
	k.Pub, err = t.ring.SealPublic(t.owner(owner, k, keys.PurposePublicKey), k.pub)
	if err != nil {
		return err
	}
	if !priv.IsZero() {
		k.Priv, err = t.ring.SealPrivate(t.owner(owner, k, keys.PurposePrivateKey), priv)
		if err != nil {
			return err
		}
	}
	t.put(keyKey(owner), k)
	return nil
}

func (t *tx) owner(id string, k *keyRow, p keys.Purpose) keys.Owner {
	return keyOwner(t.cmd.network, id, k, p)
}

// keyOwner binds a sealed key to its network, row, incarnation and generation.
func keyOwner(network, id string, k *keyRow, p keys.Purpose) keys.Owner {
	return keys.Owner{Network: network, ID: id + "#" + k.UID, Purpose: p, Gen: k.Gen}
}

// finish completes the command's rows after it has decided.
func (t *tx) finish() {
	if t.hosts {
		c := t.ctr()
		c.Serial = dnszone.NextSerial(c.Serial, uint64(c.Serial)+1)
		t.put(rowCtr, &c)
	}
	if o := t.cmd.opts; o.RequestID != "" {
		t.put(preReq+o.RequestID, &reqRow{Digest: o.RequestDigest, At: t.now})
		t.forget(o.RequestID)
	}
}

// requestAge is how long a request ID is remembered.
const requestAge = 24 * time.Hour

// forget removes a few expired neighbours of a request ID. IDs are hashes, so
// over time every expired one has a neighbour.
func (t *tx) forget(id string) {
	var old []string
	left := 4
	t.rows.Ascend(preReq+id, func(key string, at rowAt) bool {
		r, ok := at.row.(*reqRow)
		if ok && t.now.Sub(r.At) > requestAge {
			old = append(old, key)
		}
		left--
		return ok && left > 0
	})
	for _, key := range old {
		t.del(key)
	}
}

// repeated reports whether the command's request was committed before.
func (t *tx) repeated() error {
	o := t.cmd.opts
	if o.RequestID == "" {
		return nil
	}
	r, ok := find[*reqRow](t.state, preReq+o.RequestID)
	switch {
	case !ok || t.now.Sub(r.At) > requestAge:
		return nil
	case r.Digest != o.RequestDigest:
		return invalid("idempotency_key", "was used for another request", nil)
	default:
		return ErrRepeated
	}
}

// match refuses the command if the object changed since the caller saw it.
func (t *tx) match(key string) error {
	if want := t.cmd.opts.IfRev; want != 0 && t.revOf(key) != want {
		return ErrConflict
	}
	return nil
}

// newUID returns 80 random bits as text.
func newUID() string { return rand.Text()[:16] }

// CommitOptions say how a mutation is carried out. The zero value just does it.
type CommitOptions struct {
	// DryRun receives what would change, and nothing is committed. Nil commits.
	DryRun *Plan
	// IfRev is the revision that the object must still have, else the error
	// wraps [ErrConflict]. Zero is not checked.
	IfRev store.Rev
	// RequestID makes the mutation happen at most once: a repetition within
	// 24 hours gives [ErrRepeated]. At most 64 of a-z and 0-9. Empty: off.
	RequestID string
	// RequestDigest tells one request from another that carries the same
	// RequestID, which is an error that wraps [ErrInvalid].
	RequestDigest string
	// In is the Control's store as a transaction of the caller's sees it
	// (sqlstore.In). The mutation then happens if and when the caller commits the
	// transaction, together with the caller's own rows; the network shows it
	// after that, and until then what the method returns has Rev 0. Several
	// mutations may share a transaction. Other commands to the network wait for
	// its end. Nil: the mutation is a commit of its own.
	In store.Store
}
