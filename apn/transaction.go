package apn

import "context"

// join decides cmd and commits it inside a transaction of the caller's. Nobody
// else may see what is not yet committed, so a Network of its own does it, with
// a copy of the state and a pool.
func (n *Network) join(ctx context.Context, cmd *command) error {
	own := newNetwork(n.ctl, n.name, cmd.opts.In)
	own.ctx, own.joined = ctx, true
	n.mu.Lock() // copying a state that others copy, too
	own.tip = n.view().copy()
	n.mu.Unlock()
	if err := own.buildPool(); err != nil {
		return err
	}
	own.stale = true
	own.show()
	own.process([]*command{cmd}) //nolint:contextcheck // own.ctx is ctx
	err := <-cmd.done
	if err == nil && cmd.plan != nil {
		*cmd.opts.DryRun = *cmd.plan
	}
	return err
}
