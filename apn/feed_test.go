package apn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

func TestEventNumber(t *testing.T) {
	t.Parallel()
	ctx, now := t.Context(), newClock()
	n := network(t, withClock(now))
	revs := map[store.Rev]uint64{n.Rev(): 1}
	for i := range 20 {
		_, err := n.AddMember(ctx, fmt.Sprintf("m%d", i), nil)
		require.NoError(t, err)
		revs[n.Rev()] = uint64(i) + 2
	}
	for rev, want := range revs {
		got, err := n.EventNumber(ctx, rev)
		require.NoError(t, err)
		require.Equal(t, want, got)
		events, _, err := n.Audit(ctx, got, 0)
		require.NoError(t, err)
		require.Len(t, events, 21-int(want))
	}
	_, err := n.EventNumber(ctx, n.Rev()+1)
	require.ErrorIs(t, err, apn.ErrStartOver)
	require.NotEmpty(t, n.Epoch())

	// What was forgotten cannot be told.
	past := n.Rev()
	now.advance(time.Hour)
	_, err = n.AddMember(ctx, "late", nil)
	require.NoError(t, err)
	_, err = n.Compact(ctx, apn.Retention{Audit: time.Minute})
	require.NoError(t, err)
	_, err = n.EventNumber(ctx, past)
	require.ErrorIs(t, err, apn.ErrStartOver)
	got, err := n.EventNumber(ctx, n.Rev())
	require.NoError(t, err)
	require.EqualValues(t, 22, got)
}
