package apn

import (
	"context"
	"time"
	"weak"

	"github.com/apnkit/apnkit/apn/store"
)

// pollEvery is how often a store without [store.Waiter] is asked for its
// revision, and how long a failing one is left alone.
const pollEvery = time.Second

// follow keeps a network up to date with what other processes commit, until ctx
// ends. It does not keep the network in memory while it waits.
func follow(ctx context.Context, ref weak.Pointer[Network]) {
	for ctx.Err() == nil {
		n := ref.Value()
		if n == nil {
			return
		}
		st, space, rev := n.store, n.space(), n.view().rev
		if waiter, ok := st.(store.Waiter); !ok || waiter.Wait(ctx, space, rev) != nil {
			rest(ctx, pollEvery, nil)
		}
		page, err := st.Get(ctx, space)
		if err != nil {
			continue
		}
		if changed := behind(ref, page.Rev); changed != nil {
			rest(ctx, pollEvery, changed) // by a commit of ours, or by what was read
		}
	}
}

// behind has the network read what changed, unless it is at rev. It returns a
// channel that closes when it has.
func behind(ref weak.Pointer[Network], rev store.Rev) <-chan struct{} {
	n := ref.Value()
	if n == nil || n.view().rev == rev {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.behind = true
	n.wake()
	return n.changed
}

// rest waits for so long, less if over is closed or ctx ends.
func rest(ctx context.Context, long time.Duration, over <-chan struct{}) {
	if long <= 0 {
		return
	}
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over:
	case <-ctx.Done():
	}
}
