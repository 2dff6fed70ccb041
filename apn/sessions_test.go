package apn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

func TestSessions(t *testing.T) {
	t.Parallel()
	ctx, now, st := t.Context(), newClock(), store.NewMem()
	ctl := open(t, st, withClock(now))
	n, err := ctl.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	_, err = n.AddMember(ctx, "ada", nil)
	require.NoError(t, err)
	forbidden := func(secret string) {
		t.Helper()
		_, err := ctl.Session(ctx, secret)
		require.ErrorIs(t, err, apn.ErrForbidden)
	}

	ada := apn.Session{Name: "ada", Network: "acme", Member: "ada"}
	secret, s, err := ctl.StartSession(ctx, ada, nil)
	require.NoError(t, err)
	require.Equal(t, now.now().Add(12*time.Hour), s.ExpiresAt)
	got, err := ctl.Session(ctx, secret)
	require.NoError(t, err)
	require.Equal(t, s, got)
	for _, wrong := range []string{"", "aps_", secret[:len(secret)-1], secret + "A", "aps_" + fmt.Sprintf("%052d", 1), "apn_" + secret[4:]} {
		forbidden(wrong)
	}

	// Rotated, it lasts no longer, and the secret before works a minute.
	now.advance(time.Hour)
	next, s, err := ctl.RotateSession(ctx, secret)
	require.NoError(t, err)
	require.Equal(t, got.ExpiresAt, s.ExpiresAt)
	require.Equal(t, now.now(), s.RotatedAt)
	_, _, err = ctl.RotateSession(ctx, secret)
	require.ErrorIs(t, err, apn.ErrConflict)
	_, err = ctl.Session(ctx, secret)
	require.NoError(t, err)
	now.advance(time.Minute)
	forbidden(secret)
	_, err = ctl.Session(ctx, next)
	require.NoError(t, err)

	// Ended, no secret of it works.
	last, _, err := ctl.RotateSession(ctx, next)
	require.NoError(t, err)
	require.NoError(t, ctl.EndSession(ctx, last))
	require.NoError(t, ctl.EndSession(ctx, last))
	forbidden(next)
	forbidden(last)

	// It ends with its time, its token and its member.
	secret, _, err = ctl.StartSession(ctx, ada, &apn.SessionOptions{TTL: time.Hour})
	require.NoError(t, err)
	now.advance(time.Hour)
	forbidden(secret)
	for _, remove := range []bool{true, false} {
		token, made, err := ctl.AddToken(ctx, "root", &apn.TokenOptions{TTL: time.Hour})
		require.NoError(t, err)
		secret, _, err = ctl.StartSession(ctx, apn.Session{Name: "root", Operator: true}, &apn.SessionOptions{Token: token})
		require.NoError(t, err)
		s, err := ctl.Session(ctx, secret)
		require.NoError(t, err)
		require.True(t, s.Operator)
		if remove {
			require.NoError(t, ctl.RemoveToken(ctx, made.ID))
		} else {
			now.advance(time.Hour)
		}
		forbidden(secret)
	}
	secret, _, err = ctl.StartSession(ctx, ada, nil)
	require.NoError(t, err)
	require.NoError(t, n.RemoveMember(ctx, "ada", nil))
	_, _, err = ctl.StartSession(ctx, ada, nil)
	require.ErrorIs(t, err, apn.ErrNotFound)
	_, err = n.AddMember(ctx, "ada", nil)
	require.NoError(t, err)
	forbidden(secret) // a later member of the same name is somebody else

	// No secret is in the store, and what has ended goes by and by.
	for range 100 {
		now.advance(13 * time.Hour)
		secret, _, err = ctl.StartSession(ctx, ada, nil)
		require.NoError(t, err)
	}
	page, err := st.List(ctx, "dir", "session/", "", 0)
	require.NoError(t, err)
	require.Less(t, len(page.Entries), 30)
	for _, e := range page.Entries {
		require.NotContains(t, e.Key+string(e.Value), secret[4:])
	}
}
