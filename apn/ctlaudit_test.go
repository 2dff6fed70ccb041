package apn_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

func TestControlAudit(t *testing.T) {
	t.Parallel()
	ctx, st, now := t.Context(), store.NewMem(), newClock()
	a, b := open(t, st, withClock(now)), open(t, st, withClock(now))
	n, err := a.CreateNetwork(ctx, "acme", testPool())
	require.NoError(t, err)
	_, err = n.AddMember(ctx, "ada", nil)
	require.NoError(t, err)
	root := apn.WithActor(ctx, apn.Actor{ID: "root", From: addr("198.51.100.7")})
	secret, token, err := a.AddToken(root, "ci", &apn.TokenOptions{Network: "acme", Member: "ada", TTL: time.Hour})
	require.NoError(t, err)
	session, _, err := b.StartSession(ctx, apn.Session{Name: "ada", Network: "acme", Member: "ada"}, &apn.SessionOptions{Token: secret})
	require.NoError(t, err)
	require.NoError(t, a.EndSession(ctx, session))
	require.NoError(t, b.RemoveToken(ctx, token.ID))

	events, more, err := a.Audit(ctx, 0, 0)
	require.NoError(t, err)
	require.False(t, more)
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%d %s %s %s", e.N, e.Action, e.Object, e.Detail))
		require.NotContains(t, fmt.Sprint(e), secret[4:20])
		require.NotContains(t, fmt.Sprint(e), session[4:20])
	}
	require.Equal(t, []string{
		"1 token.add " + token.ID + " ci, for ada in acme, until 2026-01-02T04:04:05Z",
		"2 session.start ada until 2026-01-02T15:04:05Z", "3 session.end ada ", "4 token.remove " + token.ID + " ",
	}, lines)
	require.Equal(t, apn.Actor{ID: "root", From: addr("198.51.100.7")}, events[0].Actor)

	// Two processes append at a time, and the log is bounded.
	var wg sync.WaitGroup
	for _, ctl := range []*apn.Control{a, b} {
		wg.Go(func() {
			for i := range 100 {
				require.NoError(t, ctl.RecordRefusal(ctx, "login.refuse", "", fmt.Sprint(i)))
			}
		})
	}
	wg.Wait()
	last, err := b.VerifyAudit(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 4+2*30, last)
	now.advance(25 * time.Second)
	for range 3 {
		require.NoError(t, a.RecordRefusal(ctx, "login.refuse", "", "x"))
	}
	events, _, err = a.Audit(ctx, last, 0)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, "x (70 more were not recorded)", events[0].Detail)
	require.Equal(t, "x", events[1].Detail)
	require.Equal(t, apn.OutcomeRefused, events[0].Outcome)

	// What was changed is found.
	page, err := st.Get(ctx, "audit", "event/0000000000000002")
	require.NoError(t, err)
	changed := strings.Replace(string(page.Entries[0].Value), `"object":"ada"`, `"object":"bob"`, 1)
	_, err = st.Commit(ctx, "audit", store.Batch{Writes: []store.Write{{Key: "event/0000000000000002", Value: []byte(changed)}}})
	require.NoError(t, err)
	last, err = a.VerifyAudit(ctx)
	require.ErrorIs(t, err, apn.ErrDamaged)
	require.EqualValues(t, 1, last)
}

func TestSearchAuditBothWays(t *testing.T) {
	t.Parallel()
	now := newClock()
	n := network(t, withClock(now))
	ctx := func(who string) context.Context { return apn.WithActor(t.Context(), apn.Actor{ID: who}) }
	for i := range 20 {
		now.advance(time.Minute)
		_, err := n.AddApp(ctx([]string{"ada", "bob"}[i%2]), fmt.Sprintf("app-%d", i), nil)
		require.NoError(t, err)
		_, err = n.AddServer(ctx("ada"), fmt.Sprintf("app-%d", i), "web", nil)
		require.NoError(t, err)
	}
	tests := []struct {
		name string
		q    apn.AuditQuery
		want []uint64
	}{
		{"actor and action", apn.AuditQuery{Actor: "bob", Action: "app.add", Limit: 3}, []uint64{40, 36, 32}},
		{"oldest first", apn.AuditQuery{Actor: "bob", Action: "app", OldestFirst: true, Limit: 3}, []uint64{4, 8, 12}},
		{"object and below", apn.AuditQuery{Object: "app-3"}, []uint64{9, 8}},
		{"no part of a name", apn.AuditQuery{Object: "app-"}, nil},
		{"times", apn.AuditQuery{From: start().Add(2 * time.Minute), To: start().Add(3 * time.Minute)}, []uint64{5, 4}},
		{"between", apn.AuditQuery{After: 10, Before: 13}, []uint64{12, 11}},
		{"between, oldest first", apn.AuditQuery{After: 10, Before: 13, OldestFirst: true}, []uint64{11, 12}},
		{"refused", apn.AuditQuery{Outcome: apn.OutcomeRefused}, nil},
	}
	for _, tt := range tests {
		events, _, err := n.SearchAudit(t.Context(), tt.q)
		require.NoError(t, err)
		var got []uint64
		for _, e := range events {
			got = append(got, e.N)
		}
		require.Equal(t, tt.want, got, tt.name)
	}

	// Page by page, both ways, every event once.
	for _, up := range []bool{false, true} {
		for limit := 1; limit < 50; limit += 7 {
			q, seen := apn.AuditQuery{Limit: limit, OldestFirst: up}, 0
			for {
				events, next, err := n.SearchAudit(t.Context(), q)
				require.NoError(t, err)
				seen += len(events)
				if next == 0 {
					break
				}
				if up {
					q.After = next
				} else {
					q.Before = next
				}
			}
			require.Equal(t, 41, seen)
		}
	}
}
