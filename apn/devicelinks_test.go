package apn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// links is a network with a device, and counts what was handed out.
type links struct {
	*apn.Network
	ctl   *apn.Control
	st    *store.Mem
	clock *clock
	given int
}

func newLinks(t *testing.T) *links {
	t.Helper()
	l := &links{st: store.NewMem(), clock: newClock()}
	l.ctl = open(t, l.st, withClock(l.clock))
	n, err := l.ctl.CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	l.Network = n
	return l
}

func (l *links) redeem(ctx context.Context, secret, passphrase string) error {
	return l.ctl.RedeemLink(ctx, secret, passphrase, func(_ apn.DeviceLink, configs []*render.Config) error {
		l.given += len(configs)
		return nil
	})
}

// actions returns the actions of the audit log that begin with "link.".
func actions(t *testing.T, n *apn.Network) []string {
	t.Helper()
	events, _, err := n.Audit(t.Context(), 0, 1000)
	require.NoError(t, err)
	list := []string{}
	for _, e := range events {
		if strings.HasPrefix(e.Action, "link.") {
			list = append(list, e.Action)
			require.Equal(t, e.Action == "link.reused" || e.Action == "link.refuse", e.Outcome == apn.OutcomeRefused)
		}
	}
	return list
}

func TestDeviceLink(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	ctx := apn.WithActor(t.Context(), apn.Actor{ID: "root"})
	secret, made, err := l.AddDeviceLink(ctx, "ada", "laptop", &apn.DeviceLinkOptions{Format: "wg-quick"})
	require.NoError(t, err)
	require.Equal(t, "root", made.By)
	require.Equal(t, start().Add(10*time.Minute), made.ExpiresAt)
	list, err := l.DeviceLinks("ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, []apn.DeviceLink{made}, list)

	// The secret is nowhere in the store.
	page, err := l.st.List(ctx, "net/acme", "", "", 0)
	require.NoError(t, err)
	require.NotEmpty(t, page.Entries)
	for _, e := range page.Entries {
		require.NotContains(t, e.Key+string(e.Value), secret[len(secret)-52:])
	}

	from := apn.WithActor(t.Context(), apn.Actor{From: addr("198.51.100.9")})
	err = l.ctl.RedeemLink(from, secret, "", func(got apn.DeviceLink, configs []*render.Config) error {
		require.Equal(t, made, got)
		require.Len(t, configs, 1)
		require.False(t, configs[0].Interface.PrivateKey.IsZero())
		return nil
	})
	require.NoError(t, err)
	d, err := l.Device("ada", "laptop")
	require.NoError(t, err)
	require.NotNil(t, d.HandedOut)
	require.Nil(t, d.Alarm)
	events, _, err := l.Audit(ctx, 0, 1000)
	require.NoError(t, err)
	last := events[len(events)-2:]
	require.Equal(t, "link.redeem", last[0].Action)
	require.Equal(t, "device.config", last[1].Action)
	require.Equal(t, apn.Actor{ID: "link " + made.ID, From: addr("198.51.100.9")}, last[1].Actor)

	// The second time is refused, audited and an alarm, a bounded number of times.
	for range 20 {
		require.ErrorIs(t, l.redeem(from, secret, ""), apn.ErrLinkUsed)
	}
	d, err = l.Device("ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, &apn.Alarm{Kind: apn.LinkReused, At: start(), From: addr("198.51.100.9"), Link: made.ID}, d.Alarm)
	got := actions(t, l.Network)
	require.Equal(t, []string{"link.create", "link.redeem", "link.reused"}, got[:3])
	require.Len(t, got, 2+8)

	// A new key answers the alarm.
	_, err = l.RotateDevice(ctx, "ada", "laptop", keys.PublicKey{}, nil)
	require.NoError(t, err)
	d, err = l.Device("ada", "laptop")
	require.NoError(t, err)
	require.Nil(t, d.Alarm)
	require.ErrorIs(t, l.redeem(ctx, secret, ""), apn.ErrLinkUsed)
	d, err = l.Device("ada", "laptop")
	require.NoError(t, err)
	require.Nil(t, d.Alarm, "the key that was handed out opens nothing any more")
	require.Zero(t, l.given)
	v, err := l.ctl.Verify(ctx, "acme")
	require.NoError(t, err)
	require.Empty(t, v.Problems)
}

func TestDeviceLinkEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts apn.DeviceLinkOptions
		end  func(ctx context.Context, l *links, made apn.DeviceLink) error
		want error
	}{
		"time": {end: func(_ context.Context, l *links, _ apn.DeviceLink) error {
			l.clock.advance(10 * time.Minute)
			return nil
		}},
		"long time": {opts: apn.DeviceLinkOptions{TTL: 24 * time.Hour}, end: func(_ context.Context, l *links, _ apn.DeviceLink) error { l.clock.advance(24 * time.Hour); return nil }},
		"new key": {end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			_, err := l.RotateDevice(ctx, "ada", "laptop", keys.PublicKey{}, nil)
			return err
		}},
		"lost access": {end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			return l.SetRole(ctx, "ada", "blog", apn.Viewer, nil)
		}},
		"lost app": {end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			return l.RemoveApp(ctx, "blog", &apn.RemoveAppOptions{Servers: true})
		}},
		"device gone": {want: apn.ErrNotFound, end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			return l.RemoveDevice(ctx, "ada", "laptop", nil)
		}},
		"another device": {want: apn.ErrNotFound, end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			if err := l.RemoveDevice(ctx, "ada", "laptop", nil); err != nil {
				return err
			}
			_, err := l.AddDevice(ctx, "ada", "laptop", nil)
			return err
		}},
		"member gone": {want: apn.ErrNotFound, end: func(ctx context.Context, l *links, _ apn.DeviceLink) error {
			return l.RemoveMember(ctx, "ada", nil)
		}},
		"revoked": {want: apn.ErrNotFound, end: func(ctx context.Context, l *links, made apn.DeviceLink) error {
			return l.RemoveDeviceLink(ctx, "ada", "laptop", made.ID, nil)
		}},
		"no passphrase": {opts: apn.DeviceLinkOptions{Passphrase: "open sesame"}, end: func(context.Context, *links, apn.DeviceLink) error { return nil }, want: apn.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinks(t)
			secret, made, err := l.AddDeviceLink(t.Context(), "ada", "laptop", &tt.opts)
			require.NoError(t, err)
			require.NoError(t, tt.end(t.Context(), l, made))
			want := tt.want
			if want == nil {
				want = apn.ErrLinkEnded
			}
			require.ErrorIs(t, l.redeem(t.Context(), secret, ""), want)
			require.Zero(t, l.given)
			if tt.want == nil {
				list, err := l.DeviceLinks("ada", "laptop")
				require.NoError(t, err)
				require.NotEmpty(t, list[0].Ended)
			}
		})
	}
}

func TestDeviceLinkPassphrase(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	ctx := t.Context()
	opts := &apn.DeviceLinkOptions{Passphrase: "open sesame"}
	secret, _, err := l.AddDeviceLink(ctx, "ada", "laptop", opts)
	require.NoError(t, err)
	field, ok := errors.AsType[*apn.FieldError](l.redeem(ctx, secret, ""))
	require.True(t, ok)
	require.Equal(t, "passphrase", field.Field)
	require.ErrorIs(t, l.redeem(ctx, secret, "open barley"), apn.ErrInvalid)
	require.NoError(t, l.redeem(ctx, secret, "open sesame"))
	require.Equal(t, 1, l.given)

	secret, made, err := l.AddDeviceLink(ctx, "ada", "laptop", opts)
	require.NoError(t, err)
	for range 4 {
		require.ErrorIs(t, l.redeem(ctx, secret, strings.Repeat("x", 300)), apn.ErrInvalid)
	}
	require.ErrorIs(t, l.redeem(ctx, secret, "wrong"), apn.ErrLinkEnded)
	require.ErrorIs(t, l.redeem(ctx, secret, "open sesame"), apn.ErrLinkEnded)
	require.Equal(t, 1, l.given)
	d, err := l.Device("ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, apn.LinkGuessed, d.Alarm.Kind)
	require.Equal(t, made.ID, d.Alarm.Link)
}

// TestDeviceLinkOnce has many redeemers at two processes: one wins.
func TestDeviceLinkOnce(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	other := open(t, l.st, withClock(l.clock))
	for range 5 {
		secret, _, err := l.AddDeviceLink(t.Context(), "ada", "laptop", &apn.DeviceLinkOptions{Apps: true})
		require.NoError(t, err)
		var won, used atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				ctl := []*apn.Control{l.ctl, other}[i%2]
				err := ctl.RedeemLink(t.Context(), secret, "", func(_ apn.DeviceLink, configs []*render.Config) error {
					if len(configs) != 2 {
						return errors.New("not one per app")
					}
					return nil
				})
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, apn.ErrLinkUsed):
					used.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, 15, used.Load())
	}
}

func TestDeviceLinkRefuses(t *testing.T) {
	t.Parallel()
	l := newLinks(t)
	ctx := t.Context()
	add := func(device string, opts *apn.DeviceLinkOptions) error {
		_, _, err := l.AddDeviceLink(ctx, "ada", device, opts)
		return err
	}
	require.ErrorIs(t, add("nothing", nil), apn.ErrNotFound)
	for _, opts := range []apn.DeviceLinkOptions{
		{TTL: -1}, {TTL: time.Millisecond}, {TTL: 24*time.Hour + 1}, {Format: strings.Repeat("x", 33)}, {Format: "a b"}, {Passphrase: strings.Repeat("x", 257)},
	} {
		require.ErrorIs(t, add("laptop", &opts), apn.ErrInvalid)
	}
	priv, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	_, err = l.AddDevice(ctx, "ada", "self", &apn.DeviceOptions{PublicKey: priv.PublicKey()})
	require.NoError(t, err)
	require.ErrorIs(t, add("self", nil), render.ErrNoPrivateKey)
	_, err = l.AddDevice(ctx, "ada", "once", &apn.DeviceOptions{Custody: keys.Once})
	require.NoError(t, err)
	secret, _, err := l.AddDeviceLink(ctx, "ada", "once", nil)
	require.NoError(t, err)
	second, _, err := l.AddDeviceLink(ctx, "ada", "once", nil)
	require.NoError(t, err)
	require.NoError(t, l.redeem(ctx, secret, ""))
	require.ErrorIs(t, l.redeem(ctx, second, ""), apn.ErrRevealed)
	require.ErrorIs(t, add("once", nil), apn.ErrRevealed)

	var plan apn.Plan
	require.NoError(t, add("laptop", &apn.DeviceLinkOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}}))
	for range 20 {
		require.NoError(t, add("laptop", nil))
	}
	require.ErrorIs(t, add("laptop", nil), apn.ErrExhausted)
	l.clock.advance(time.Hour)
	require.NoError(t, add("laptop", nil))
	l.clock.advance(8 * 24 * time.Hour)
	for range 3 {
		require.NoError(t, add("laptop", nil))
	}
	list, err := l.DeviceLinks("ada", "laptop")
	require.NoError(t, err)
	require.Len(t, list, 3, "old ones are forgotten")

	for _, secret := range []string{"", "apl_", "apl_.", "apl_acme.", "apl_nobody." + strings.Repeat("A", 52), "acme.AAAA", "apl_acme." + strings.Repeat("A", 52), "apl_../x.A"} {
		require.ErrorIs(t, l.redeem(ctx, secret, ""), apn.ErrNotFound, secret)
	}
	require.ErrorIs(t, l.RemoveDeviceLink(ctx, "ada", "laptop", "x", nil), apn.ErrNotFound)
	_, err = l.DeviceLinks("ada", "nothing")
	require.ErrorIs(t, err, apn.ErrNotFound)
}
