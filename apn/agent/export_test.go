package agent

import "context"

// Poll takes one document from the source.
func (a *Agent) Poll(ctx context.Context) error { return a.poll(ctx, false) }
