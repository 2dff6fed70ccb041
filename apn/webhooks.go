package apn

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// Webhook is a URL that is told what happens in a network.
type Webhook struct {
	ID        string
	URL       string
	Actions   []string // that it is told; empty: all
	CreatedAt time.Time
	Rev       store.Rev
	// Acked is the number of the last event that it took, or did not ask for.
	Acked uint64
	// Failed is how often in a row it did not take the next one, LastError why,
	// and NextTry when it is asked again.
	Failed    int
	LastError string
	NextTry   time.Time
}

// hookRow is a webhook in the network. How far it is told is in the audit space,
// so that telling does not move the network.
type hookRow struct {
	head
	Created time.Time `json:"created"`
	URL     string    `json:"url"`
	Actions []string  `json:"actions,omitempty"`
	Secret  []byte    `json:"secret"` // sealed; signs what is sent
	After   uint64    `json:"after"`  // the last event before it
}

// hookMark is how far a webhook is told.
type hookMark struct {
	head
	Acked  uint64    `json:"acked"`
	Stale  string    `json:"stale,omitempty"` // digest of the stale devices that it knows of
	Failed int       `json:"failed,omitempty"`
	Error  string    `json:"error,omitempty"`
	Next   time.Time `json:"next,omitzero"`
	Holder string    `json:"holder,omitempty"` // the process that tells it
	Until  time.Time `json:"until,omitzero"`

	rev store.Rev
}

const (
	preHook      = "hook/" // in both spaces
	maxWebhooks  = 10      // of a network
	maxHookURL   = 1000
	hookSecret   = "whsec_" // as Standard Webhooks has it
	secretLength = 32
)

// WebhookOptions are the optional settings of a webhook.
type WebhookOptions struct {
	CommitOptions
	// Actions are those that it is told, as "server.add", or "server" for all of
	// them; [ActionStale] tells of devices. Nil: everything.
	Actions []string
}

// AddWebhook adds a webhook, which is told what happens from now on, and returns
// the secret that signs what it is sent; it cannot be had again. Somebody has to
// call [Network.DeliverWebhook]. opts may be nil.
func (n *Network) AddWebhook(ctx context.Context, target string, opts *WebhookOptions) (secret string, w Webhook, err error) {
	if opts == nil {
		opts = new(WebhookOptions)
	}
	fail := func(err error) (string, Webhook, error) {
		return "", Webhook{}, &Error{Op: "add webhook", Object: n.name, Err: err}
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" || len(target) > maxHookURL {
		return fail(invalid("url", "must be an http or https URL without user and fragment", nil))
	}
	for _, a := range opts.Actions {
		if a == "" || len(a) > 64 || !printable(a) {
			return fail(invalid("actions", `must be actions such as "server.add" or "server"`, nil))
		}
	}
	if len(opts.Actions) > 64 {
		return fail(invalid("actions", "must be at most 64", nil))
	}
	raw := make([]byte, secretLength)
	_, _ = rand.Read(raw) // never fails
	defer clear(raw)
	id := strings.ToLower(rand.Text()[:12])
	err = n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if t.count(preHook) >= maxWebhooks {
			return ErrExhausted
		}
		sealed, err := t.ring.Seal(nil, hookOwner(n.name, id), raw)
		if err != nil {
			return err
		}
		r := &hookRow{Created: t.now.UTC(), URL: target, Actions: slices.Clone(opts.Actions), Secret: sealed}
		t.event("webhook.add", id, "")
		r.After = t.ctr().Events
		t.put(preHook+id, r)
		w = Webhook{ID: id, URL: target, Actions: r.Actions, CreatedAt: r.Created, Acked: r.After}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	w.Rev = n.view().revOf(preHook + id)
	return hookSecret + base64.StdEncoding.EncodeToString(raw), w, nil
}

func hookOwner(network, id string) keys.Owner {
	return keys.Owner{Network: network, ID: preHook + id, Purpose: keys.PurposeSecret, Gen: 1}
}

// Webhooks returns the network's webhooks, sorted by ID.
func (n *Network) Webhooks(ctx context.Context) ([]Webhook, error) {
	s := n.view()
	list := []Webhook{}
	for id, r := range under[*hookRow](s, preHook) {
		m, err := n.hookMark(ctx, id)
		if err != nil {
			return nil, &Error{Op: "list webhooks", Object: n.name, Err: err}
		}
		list = append(list, Webhook{
			ID: id, URL: r.URL, Actions: slices.Clone(r.Actions), CreatedAt: r.Created, Rev: s.revOf(preHook + id),
			Acked: max(m.Acked, r.After), Failed: m.Failed, LastError: m.Error, NextTry: m.Next,
		})
	}
	return list, nil
}

// RemoveWebhook ends a webhook. opts may be nil.
func (n *Network) RemoveWebhook(ctx context.Context, id string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		if _, ok := find[*hookRow](t.state, preHook+id); !ok {
			return ErrNotFound
		}
		t.del(preHook + id)
		t.event("webhook.remove", id, "")
		return nil
	})
	if err == nil && (opts == nil || opts.DryRun == nil && opts.In == nil) {
		_, err = n.ctl.store.Commit(ctx, n.auditSpace(), store.Batch{Writes: []store.Write{{Key: preHook + id}}})
		err = storeError(err)
	}
	if err != nil {
		return &Error{Op: "remove webhook", Object: id, Err: err}
	}
	return nil
}

// resealHooks moves the secrets of webhooks to the active data key.
func (t *tx) resealHooks() error {
	for _, id := range names[*hookRow](t.state, preHook) {
		r, _ := find[*hookRow](t.state, preHook+id)
		sealed, moved, err := t.ring.Reseal(hookOwner(t.cmd.network, id), r.Secret)
		if err != nil {
			return err
		}
		if moved {
			next := *r
			next.Secret = sealed
			t.put(preHook+id, &next)
		}
	}
	return nil
}

// WithWebhooks returns the names of the networks that have webhooks, without
// loading any.
func (c *Control) WithWebhooks(ctx context.Context) ([]string, error) {
	var list []string
	for after, more := "", true; more; {
		var names []string
		var err error
		if names, more, err = networksOf(ctx, c.store, after, pageSize); err != nil {
			return nil, &Error{Op: "list networks with webhooks", Err: storeError(err)}
		}
		for _, name := range names {
			after = name
			page, err := c.store.List(ctx, space(name), preHook, "", 1)
			if err != nil {
				return nil, &Error{Op: "list networks with webhooks", Err: storeError(err)}
			}
			if len(page.Entries) > 0 {
				list = append(list, name)
			}
		}
	}
	return list, nil
}

// wants reports whether a webhook is told of an action.
func (r *hookRow) wants(action string) bool {
	return len(r.Actions) == 0 || slices.ContainsFunc(r.Actions, func(a string) bool { return within(action, a, ".") })
}

// errHookTaken says that another process tells a webhook.
var errHookTaken = errors.New("another process delivers")
