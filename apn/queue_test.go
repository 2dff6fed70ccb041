package apn_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/store"
)

// gatedStore holds commits to one space until the gate opens.
type gatedStore struct {
	*store.Mem
	space string
	gate  chan struct{} // nil: open
}

func (s *gatedStore) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if space == s.space {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return s.Mem.Commit(ctx, space, b)
}

// TestSlowNetwork has a network whose commits hang. Another one goes on; callers
// beyond the bound wait outside of the queue, and may leave; what was accepted
// happens once the store answers.
func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &gatedStore{Mem: store.NewMem(), gate: make(chan struct{})}
		ctl := open(t, st)
		slow, err := ctl.CreateNetwork(t.Context(), "slow", testPool())
		require.NoError(t, err)
		other, err := ctl.CreateNetwork(t.Context(), "other", testPool())
		require.NoError(t, err)
		st.space = "net/slow"

		const callers = 5000 // more than may queue
		left, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		errs := make([]error, callers)
		for i := range callers {
			wg.Go(func() {
				_, errs[i] = slow.AddMember(left, fmt.Sprintf("m%d", i), nil)
			})
		}
		synctest.Wait()
		_, err = other.AddApp(t.Context(), "shop", nil)
		require.NoError(t, err, "nothing else is held up")

		time.Sleep(5 * time.Second) // the callers give up
		wg.Wait()
		unknown := 0
		for _, err := range errs {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			if strings.Contains(err.Error(), "outcome unknown") {
				unknown++
			}
		}
		require.Positive(t, unknown)
		require.Less(t, unknown, 100, "only those that the committer had taken")
		close(st.gate)
		synctest.Wait()
		time.Sleep(time.Minute)
		members, _ := slow.Members(nil)
		require.LessOrEqual(t, len(members), unknown, "who left the queue in time is not carried out")
		_, err = slow.AddApp(t.Context(), "shop", nil)
		require.NoError(t, err)
	})
}
