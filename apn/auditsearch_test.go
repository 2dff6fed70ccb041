package apn_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
)

func TestSearchAudit(t *testing.T) {
	t.Parallel()
	now := newClock()
	n := network(t, withClock(now))
	shop(t, n)
	ada := apn.WithActor(t.Context(), apn.Actor{ID: "ada"})
	for i := range 1200 {
		if i == 600 {
			now.advance(24 * time.Hour)
		}
		require.NoError(t, n.SetRole(ada, "ada", []string{"shop", "blog"}[i%2], apn.Role(1+i%3), nil))
	}
	all, more, err := n.Audit(t.Context(), 0, 2000)
	require.NoError(t, err)
	require.False(t, more)

	// want does the same the long way.
	want := func(q apn.AuditQuery, fits func(apn.Event) bool) []apn.Event {
		list := []apn.Event{}
		for _, e := range slices.Backward(all) {
			if fits(e) && (q.Before == 0 || e.N < q.Before) {
				list = append(list, e)
			}
		}
		return list
	}
	check := func(q apn.AuditQuery, fits func(apn.Event) bool) {
		t.Helper()
		expected, got := want(q, fits), []apn.Event{}
		for {
			events, next, err := n.SearchAudit(t.Context(), q)
			require.NoError(t, err)
			require.LessOrEqual(t, len(events), max(q.Limit, 100))
			got = append(got, events...)
			if next == 0 {
				break
			}
			q.Before = next
		}
		require.Equal(t, expected, got, fmt.Sprint(q))
	}
	anything := func(apn.Event) bool { return true }
	for _, limit := range []int{0, 1, 7, 499, 500, 501, len(all)} {
		if limit != 1 {
			check(apn.AuditQuery{Limit: limit}, anything)
		}
		check(apn.AuditQuery{Limit: limit, Before: 3}, anything)
		check(apn.AuditQuery{Limit: limit, Before: 1 << 40, Action: "server"}, func(e apn.Event) bool { return e.Action == "server.add" })
	}
	check(apn.AuditQuery{Before: 1}, anything)
	check(apn.AuditQuery{Actor: "ada", Object: "ada/shop"}, func(e apn.Event) bool { return e.Actor.ID == "ada" && e.Object == "ada/shop" })
	check(apn.AuditQuery{Object: "shop"}, func(e apn.Event) bool { return len(e.Object) >= 4 && e.Object[:4] == "shop" })
	check(apn.AuditQuery{Object: "sho"}, func(apn.Event) bool { return false })
	check(apn.AuditQuery{Action: "serve"}, func(apn.Event) bool { return false })

	// What was forgotten is not asked for.
	forgotten, err := n.Compact(t.Context(), apn.Retention{Audit: time.Hour})
	require.NoError(t, err)
	require.Positive(t, forgotten)
	all, _, err = n.Audit(t.Context(), 0, 2000)
	require.NoError(t, err)
	check(apn.AuditQuery{}, anything)
	check(apn.AuditQuery{Action: "network.create"}, func(apn.Event) bool { return false })
}
