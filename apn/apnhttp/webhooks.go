package apnhttp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type webhook struct {
	ID        string    `json:"id"`
	URL       string    `json:"url"`
	Actions   []string  `json:"actions"` // empty: all
	CreatedAt time.Time `json:"created_at"`
	Acked     uint64    `json:"acked"` // number of the last event that it took
	Failed    int       `json:"failed"`
	LastError string    `json:"last_error,omitempty"`
	NextTry   time.Time `json:"next_try,omitzero"`
	Secret    string    `json:"secret,omitempty"` // in the answer that made it
}

func webhookOf(w apn.Webhook) webhook {
	out := webhook{
		ID: w.ID, URL: w.URL, Actions: w.Actions, CreatedAt: w.CreatedAt, Acked: w.Acked, Failed: w.Failed,
		LastError: w.LastError, NextTry: w.NextTry,
	}
	if out.Actions == nil {
		out.Actions = []string{}
	}
	return out
}

type webhookIn struct {
	URL     string   `json:"url"`
	Actions []string `json:"actions"`
}

func (c *call) addWebhook() error {
	var in webhookIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	if c.opts.RequestID != "" {
		return errNotRepeatable
	}
	secret, w, err := c.net.AddWebhook(c.ctx(), in.URL, &apn.WebhookOptions{CommitOptions: c.opts, Actions: in.Actions})
	if err != nil || c.planned() {
		return err
	}
	out := webhookOf(w)
	out.Secret = secret
	return c.json(http.StatusCreated, out)
}

func (c *call) listWebhooks() error {
	hooks, err := c.net.Webhooks(c.ctx())
	if err != nil {
		return err
	}
	return answerAll(c, hooks, func(w apn.Webhook) string { return w.ID }, webhookOf)
}

func (c *call) removeWebhook() error {
	return c.removed(c.net.RemoveWebhook(c.ctx(), c.r.PathValue("webhook"), &c.opts))
}

// delivery is the body of a message to a webhook, as Standard Webhooks has it.
type delivery struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

type deliveredEvent struct {
	Network string `json:"network"`
	event
}

type deliveredStale struct {
	Network string   `json:"network"`
	Count   int      `json:"count"`
	Devices []device `json:"devices"` // the first hundred
}

// lookForWebhooks is how often networks are asked whether they have some.
const lookForWebhooks = 15 * time.Second

// DeliverWebhooks tells the webhooks of all networks what happens, until ctx
// ends. client nil means one with a timeout of 15 seconds; redirects are not
// followed in any case. Several processes may deliver: they take turns.
//
// Messages are signed as Standard Webhooks has it: webhook-signature is "v1,"
// and the base64 of the HMAC-SHA256 over webhook-id, webhook-timestamp and the
// body, joined by dots, with the key that follows "whsec_" in the secret.
func (h *Handler) DeliverWebhooks(ctx context.Context, client *http.Client) error {
	if client == nil {
		client = &http.Client{Timeout: 15 * time.Second}
	}
	direct := *client
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := &post{h: h, client: &direct, busy: map[string]bool{}}
	defer p.wg.Wait()
	tick := time.NewTicker(lookForWebhooks)
	defer tick.Stop()
	for {
		if err := p.look(ctx); err != nil && ctx.Err() == nil {
			h.log.LogAttrs(ctx, slog.LevelWarn, "webhooks are not looked for", slog.Any("error", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// post delivers, with a goroutine for each webhook.
type post struct {
	h      *Handler
	client *http.Client
	wg     sync.WaitGroup
	mu     sync.Mutex
	busy   map[string]bool // by network and webhook
}

// look starts delivery to webhooks that are new.
func (p *post) look(ctx context.Context) error {
	names, err := p.h.ctl.WithWebhooks(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := p.h.ctl.Network(ctx, name)
		if err != nil {
			return err
		}
		hooks, err := n.Webhooks(ctx)
		if err != nil {
			return err
		}
		for _, w := range hooks {
			p.start(ctx, n, w.ID)
		}
	}
	return nil
}

func (p *post) start(ctx context.Context, n *apn.Network, id string) {
	key := n.Name() + "/" + id
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[key] {
		return
	}
	p.busy[key] = true
	p.wg.Go(func() {
		err := n.DeliverWebhook(ctx, id, func(ctx context.Context, d apn.Delivery) error { return p.send(ctx, n.Name(), d) }, nil)
		if ctx.Err() == nil && !errors.Is(err, apn.ErrNotFound) {
			p.h.log.LogAttrs(ctx, slog.LevelWarn, "webhook ends", slog.String("webhook", key), slog.Any("error", err))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.busy, key)
	})
}

func (p *post) send(ctx context.Context, network string, d apn.Delivery) error {
	body := delivery{Type: d.Action, Timestamp: d.At.UTC()}
	if d.Event != nil {
		body.Data = deliveredEvent{network, eventOf(*d.Event)}
	} else {
		stale := deliveredStale{Network: network, Count: d.StaleCount, Devices: []device{}}
		for _, dev := range d.Stale {
			stale.Devices = append(stale.Devices, deviceOf(dev))
		}
		body.Data = stale
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Webhook.URL, bytes.NewReader(text))
	if err != nil {
		return errors.New("the URL cannot be used")
	}
	stamp := strconv.FormatInt(p.h.now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "apnkit")
	r.Header.Set("webhook-id", d.ID)
	r.Header.Set("webhook-timestamp", stamp)
	r.Header.Set("webhook-signature", "v1,"+signature(d.Secret, d.ID, stamp, text))
	answer, err := p.client.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the answer has status %d", answer.StatusCode)
	}
	return nil
}

func signature(secret []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body) // a hash takes everything
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
