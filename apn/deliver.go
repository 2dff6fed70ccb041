package apn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// ActionStale is the action of a message that tells which devices hold a config
// that is out of date. It is no event: it is about how things are.
const ActionStale = "devices.stale"

// Delivery is a message to a webhook.
type Delivery struct {
	ID      string // the same each time that it is sent
	Webhook Webhook
	Secret  []byte // signs it
	Action  string
	At      time.Time
	Event   *Event // nil for ActionStale
	// Stale are the first hundred devices whose config is out of date, and
	// StaleCount is how many there are.
	Stale      []Device
	StaleCount int
}

// DeliverOptions are the optional settings of a delivery.
type DeliverOptions struct {
	// Retry is the pause after a first failure; each further one is twice as
	// long, up to 5 minutes. Zero means 1 second.
	Retry time.Duration
}

const (
	hookLease    = time.Minute     // for which a process tells a webhook alone
	maxRetry     = 5 * time.Minute //
	staleMost    = 100
	maxHookError = 200
)

// DeliverWebhook sends what happens to a webhook, in order, until ctx ends or the
// webhook is removed, which is [ErrNotFound]. A message counts as taken once
// send has returned nil; one that was not is sent again, later and later, and
// nothing after it. It goes on where any process stopped: a message may arrive
// twice, and none is left out that the audit log still has. Any number of
// processes may call it; one at a time sends. opts may be nil.
func (n *Network) DeliverWebhook(ctx context.Context, id string, send func(context.Context, Delivery) error, opts *DeliverOptions) error {
	d := &deliverer{n: n, id: id, send: send, retry: time.Second, holder: newUID()}
	if opts != nil && opts.Retry > 0 {
		d.retry = opts.Retry
	}
	for {
		rev := n.Rev()
		wait, err := d.round(ctx)
		switch {
		case ctx.Err() != nil:
			d.release() //nolint:contextcheck // ctx has ended
			return context.Cause(ctx)
		case errors.Is(err, ErrNotFound):
			return &Error{Op: "deliver webhook", Object: id, Err: ErrNotFound}
		case err != nil && !errors.Is(err, errHookTaken) && !errors.Is(err, store.ErrConflict):
			n.ctl.log.Warn("webhook waits", "network", n.name, "webhook", id, "error", err)
		}
		switch {
		case errors.Is(err, errHookTaken):
			wait = hookLease / 10
		case err != nil && wait == 0:
			wait = d.retry
		}
		d.await(ctx, rev, wait)
	}
}

// deliverer tells one webhook.
type deliverer struct {
	n      *Network
	id     string
	send   func(context.Context, Delivery) error
	retry  time.Duration
	holder string
}

// await waits for a failed message's next turn, or for news. It looks at times
// whether the process that delivers still does.
func (d *deliverer) await(ctx context.Context, rev store.Rev, wait time.Duration) {
	if wait > 0 {
		rest(ctx, wait, nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hookLease/2)
	defer cancel()
	for _, err := range d.n.Watch(ctx, rev) {
		if err == nil {
			return // with news; an error is the last
		}
	}
}

// round sends what there is. If a message is not taken, it returns how long to
// wait.
func (d *deliverer) round(ctx context.Context) (wait time.Duration, err error) {
	r, ok := find[*hookRow](d.n.view(), preHook+d.id)
	if !ok {
		return 0, ErrNotFound
	}
	m, err := d.n.hookMark(ctx, d.id)
	if err != nil {
		return 0, err
	}
	now := d.n.ctl.now()
	if m.Holder != d.holder && now.Before(m.Until) {
		return 0, errHookTaken
	}
	if now.Before(m.Next) {
		return m.Next.Sub(now), nil
	}
	// A store that was restored counts its events from where its copy ends.
	m.Acked = max(r.After, min(m.Acked, d.n.view().ctr().Events))
	m.Holder = d.holder
	for more := true; more; {
		var events []Event
		if events, more, err = d.n.Audit(ctx, m.Acked, drainBatch); err != nil {
			return 0, err
		}
		for i, e := range events {
			if r.wants(e.Action) {
				wait, err := d.deliver(ctx, r, &m, Delivery{Action: e.Action, At: e.At, Event: &e, ID: fmt.Sprintf("%s_%s_%d", d.n.name, d.id, e.N)})
				if err != nil || wait > 0 {
					return wait, err
				}
			}
			m.Acked = e.N
			if r.wants(e.Action) || i == len(events)-1 {
				if err := d.mark(ctx, &m); err != nil {
					return 0, err
				}
			}
		}
	}
	if !r.wants(ActionStale) {
		return 0, nil
	}
	return d.tellStale(ctx, r, &m)
}

// tellStale sends which devices are stale, if that has changed.
func (d *deliverer) tellStale(ctx context.Context, r *hookRow, m *hookMark) (wait time.Duration, err error) {
	ids := d.n.StaleIDs()
	digest := ""
	if len(ids) > 0 {
		sum := sha256.Sum256([]byte(strings.Join(ids, "\n")))
		digest = hex.EncodeToString(sum[:8])
	}
	if digest == m.Stale {
		return 0, nil
	}
	devices, _ := d.n.StaleDevices(&ListOptions{Limit: staleMost})
	message := Delivery{Action: ActionStale, At: d.n.ctl.now(), Stale: devices, StaleCount: len(ids)}
	message.ID = fmt.Sprintf("%s_%s_stale_%d_%s", d.n.name, d.id, m.Acked, digest)
	if wait, err = d.deliver(ctx, r, m, message); err != nil || wait > 0 {
		return wait, err
	}
	m.Stale = digest
	return 0, d.mark(ctx, m)
}

// deliver sends one message, and notes when it is not taken.
func (d *deliverer) deliver(ctx context.Context, r *hookRow, m *hookMark, message Delivery) (wait time.Duration, err error) {
	if m.rev == 0 || d.n.ctl.now().Add(hookLease/2).After(m.Until) {
		if err := d.mark(ctx, m); err != nil { // nobody else sends meanwhile
			return 0, err
		}
	}
	ring, err := d.n.ring(ctx)
	if err != nil {
		return 0, err
	}
	if message.Secret, err = ring.Open(nil, hookOwner(d.n.name, d.id), r.Secret); err != nil {
		return 0, damaged(preHook+d.id, err)
	}
	defer clear(message.Secret)
	message.Webhook = Webhook{ID: d.id, URL: r.URL, Actions: r.Actions, CreatedAt: r.Created, Acked: m.Acked, Failed: m.Failed}
	ctxSend, cancel := context.WithTimeout(ctx, hookLease/2)
	defer cancel()
	if err = d.send(ctxSend, message); err == nil {
		m.Failed, m.Error, m.Next = 0, "", time.Time{}
		return 0, nil
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx) // it was this process's end, not the receiver
	}
	wait = min(d.retry<<min(m.Failed, 20), maxRetry)
	m.Failed++
	m.Error, m.Next = plainText(err.Error(), maxHookError), d.n.ctl.now().Add(wait)
	return wait, d.mark(ctx, m)
}

// mark writes how far the webhook is told, and keeps it for this process.
func (d *deliverer) mark(ctx context.Context, m *hookMark) error {
	m.Until = d.n.ctl.now().Add(hookLease).UTC()
	return d.put(ctx, m)
}

func (d *deliverer) put(ctx context.Context, m *hookMark) error {
	m.stamp()
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	key := preHook + d.id
	rev, err := d.n.ctl.store.Commit(ctx, d.n.auditSpace(), store.Batch{Checks: map[string]store.Rev{key: m.rev}, Writes: []store.Write{{Key: key, Value: value}}})
	if err != nil {
		return err
	}
	m.rev = rev
	return nil
}

// release lets another process go on at once.
func (d *deliverer) release() {
	ctx, cancel := context.WithTimeout(d.n.ctl.ctx, time.Second)
	defer cancel()
	m, err := d.n.hookMark(ctx, d.id)
	if err != nil || m.Holder != d.holder {
		return
	}
	m.Holder, m.Until = "", time.Time{}
	_ = d.put(ctx, &m) // else the others wait a minute
}

func (n *Network) hookMark(ctx context.Context, id string) (m hookMark, err error) {
	page, err := n.ctl.store.Get(ctx, n.auditSpace(), preHook+id)
	if err != nil {
		return m, storeError(err)
	}
	if len(page.Entries) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(page.Entries[0].Value, &m); err != nil {
		return m, damaged(preHook+id, errors.New("malformed JSON document"))
	}
	m.rev = page.Entries[0].Rev
	return m, nil
}
