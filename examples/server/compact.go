package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn"
)

const (
	compactEvery = time.Hour
	// keepDeletions is how long a replica may be away and still read only what
	// changed.
	keepDeletions = 24 * time.Hour
)

// compactLoop has every network forget what the flags allow, until ctx ends.
// Several servers on one store may all do it.
func (d *data) compactLoop(ctx context.Context, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(compactEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			err := d.networks(ctx, func(n *apn.Network) error {
				_, err := n.Compact(ctx, apn.Retention{Audit: d.options.keepAudit, Deletions: keepDeletions})
				return err
			})
			if err != nil && ctx.Err() == nil {
				log.Warn("networks are not compacted", "error", err)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}
