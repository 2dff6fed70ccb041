package apn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

// inbox takes what a webhook is sent.
type inbox struct {
	mu   sync.Mutex
	got  []string
	ids  []string
	fail int // how many are refused before one is taken
}

func (b *inbox) send(_ context.Context, d apn.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail > 0 {
		b.fail--
		return errors.New("not now\nplease")
	}
	text := d.Action
	if d.Event != nil {
		text += " " + d.Event.Object
	} else {
		text = fmt.Sprintf("%s %d", text, d.StaleCount)
	}
	b.got, b.ids = append(b.got, text), append(b.ids, d.ID)
	return nil
}

func (b *inbox) has(n int) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.got) >= n
	}
}

// deliver runs a delivery and returns how to stop it.
func deliver(t *testing.T, n *apn.Network, id string, send func(context.Context, apn.Delivery) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.DeliverWebhook(ctx, id, send, &apn.DeliverOptions{Retry: time.Millisecond}) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

const patience = 20 * time.Second

func TestWebhook(t *testing.T) {
	t.Parallel()
	ctx, st := t.Context(), store.NewMem()
	ctl := open(t, st)
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	names, err := ctl.WithWebhooks(ctx)
	require.NoError(t, err)
	require.Empty(t, names)
	shop(t, n)
	secret, w, err := n.AddWebhook(ctx, "https://example.com/hook", &apn.WebhookOptions{Actions: []string{"server", "app.add", apn.ActionStale}})
	require.NoError(t, err)
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, secret)
	names, err = ctl.WithWebhooks(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"acme"}, names)
	page, err := st.List(ctx, "net/acme", "hook/", "", 0)
	require.NoError(t, err)
	require.Len(t, page.Entries, 1)
	require.NotContains(t, string(page.Entries[0].Value), secret[6:])

	box := &inbox{fail: 3}
	stop := deliver(t, n, w.ID, box.send)
	_, err = n.DeviceConfig(ctx, "ada", "laptop")
	require.NoError(t, err)
	_, err = n.AddServer(ctx, "shop", "web-3", nil)
	require.NoError(t, err)
	require.Eventually(t, box.has(2), patience, time.Millisecond)
	require.Equal(t, []string{"server.add shop/web-3", "devices.stale 1"}, box.got)

	// After a restart, here in another process, it goes on where it was.
	require.ErrorIs(t, stop(), context.Canceled)
	_, err = n.AddServer(ctx, "shop", "web-4", nil)
	require.NoError(t, err)
	_, err = n.AddMember(ctx, "bob", nil)
	require.NoError(t, err)
	again, err := open(t, st).Network(ctx, "acme")
	require.NoError(t, err)
	stop = deliver(t, again, w.ID, box.send)
	require.Eventually(t, box.has(3), patience, time.Millisecond)
	_, err = n.DeviceConfig(ctx, "ada", "laptop")
	require.NoError(t, err)
	require.Eventually(t, box.has(4), patience, time.Millisecond)
	require.Equal(t, []string{"server.add shop/web-4", "devices.stale 0"}, box.got[2:])
	list, err := n.Webhooks(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Zero(t, list[0].Failed)

	// A secret survives the rotation of the data key.
	require.NoError(t, n.RotateDEK(ctx, nil))
	_, err = n.AddApp(ctx, "new", nil)
	require.NoError(t, err)
	require.Eventually(t, box.has(5), patience, time.Millisecond)
	require.NoError(t, n.RemoveWebhook(ctx, w.ID, nil))
	require.Eventually(t, func() bool {
		list, err := again.Webhooks(ctx)
		return err == nil && len(list) == 0
	}, patience, time.Millisecond)
	require.ErrorIs(t, stop(), apn.ErrNotFound)
	require.ErrorIs(t, n.RemoveWebhook(ctx, w.ID, nil), apn.ErrNotFound)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(box.ids))), len(box.ids), "IDs are unique")
}

// TestWebhookOnce has two processes deliver: each message comes once, in order.
func TestWebhookOnce(t *testing.T) {
	t.Parallel()
	ctx, st := t.Context(), store.NewMem()
	n, err := open(t, st).CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	_, w, err := n.AddWebhook(ctx, "http://127.0.0.1:1/hook", nil)
	require.NoError(t, err)
	box := new(inbox)
	other, err := open(t, st).Network(ctx, "acme")
	require.NoError(t, err)
	deliver(t, n, w.ID, box.send)
	deliver(t, other, w.ID, box.send)
	var want []string
	for i := range 50 {
		name := fmt.Sprintf("m%d", i)
		_, err := n.AddMember(ctx, name, nil)
		require.NoError(t, err)
		want = append(want, "member.add "+name)
	}
	require.Eventually(t, box.has(50), patience, time.Millisecond)
	require.Equal(t, want, box.got)
}

func TestWebhookRefuses(t *testing.T) {
	t.Parallel()
	n := network(t)
	ctx := t.Context()
	for _, u := range []string{"", "x", "ftp://example.com", "https://", "https://user:pw@example.com", "https://example.com/#x", "https://example.com/" + strings.Repeat("x", 1000), "javascript:alert(1)"} {
		_, _, err := n.AddWebhook(ctx, u, nil)
		require.ErrorIs(t, err, apn.ErrInvalid, u)
	}
	for _, actions := range [][]string{{""}, {"a b"}, {strings.Repeat("x", 65)}, slices.Repeat([]string{"a"}, 65)} {
		_, _, err := n.AddWebhook(ctx, "https://example.com", &apn.WebhookOptions{Actions: actions})
		require.ErrorIs(t, err, apn.ErrInvalid)
	}
	for range 10 {
		_, _, err := n.AddWebhook(ctx, "https://example.com", nil)
		require.NoError(t, err)
	}
	_, _, err := n.AddWebhook(ctx, "https://example.com", nil)
	require.ErrorIs(t, err, apn.ErrExhausted)
}

// TestWebhookFails shows what is known of a receiver that does not answer.
func TestWebhookFails(t *testing.T) {
	t.Parallel()
	n := network(t)
	_, w, err := n.AddWebhook(t.Context(), "https://example.com", nil)
	require.NoError(t, err)
	_, err = n.AddMember(t.Context(), "ada", nil)
	require.NoError(t, err)
	deliver(t, n, w.ID, (&inbox{fail: 1 << 30}).send)
	require.Eventually(t, func() bool {
		list, err := n.Webhooks(t.Context())
		require.NoError(t, err)
		return list[0].Failed > 3 && list[0].LastError == "not now please" && !list[0].NextTry.IsZero() && list[0].Acked == w.Acked
	}, patience, time.Millisecond)
}
