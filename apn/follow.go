package apn

import (
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// pollEvery is how often a store without [store.Waiter] is asked for its
// revision, and how long a failing one is left alone.
const pollEvery = time.Second

// follow keeps the network up to date with what other processes commit, until
// the Control closes.
func (n *Network) follow() {
	waiter, _ := n.ctl.store.(store.Waiter)
	ctx := n.ctl.waits
	for ctx.Err() == nil {
		if waiter == nil || waiter.Wait(ctx, n.space(), n.view().rev) != nil {
			n.rest(nil)
		}
		page, err := n.ctl.store.Get(ctx, n.space())
		if err != nil || page.Rev == n.view().rev {
			continue
		}
		n.mu.Lock()
		changed := n.changed
		n.behind = true
		n.wake()
		n.mu.Unlock()
		n.rest(changed) // by a commit of ours, or by what was read
	}
}

// rest waits for pollEvery, less if over is closed or the Control closes.
func (n *Network) rest(over <-chan struct{}) {
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-over:
	case <-n.ctl.waits.Done():
	}
}
