package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
)

const (
	firstPause   = time.Second     // the longest pause after one failure; it doubles
	longestPause = time.Minute     // after many
	refusedPause = 5 * time.Minute // when the control plane does not know us
	reportSoon   = 10 * time.Second
)

// Run makes the server match what the agent has, then follows the control plane
// until ctx ends. It keeps trying through all failures, which are logged and
// reported; the error is the cause that ended ctx. A Run at a time is enough.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if a.cfg.Source != nil {
		wg.Go(func() { a.follow(ctx) })
		wg.Go(func() { a.keepSettled(ctx) })
		wg.Go(func() { a.tellRegularly(ctx) })
	}
	a.keep(ctx)
	wg.Wait()
	return context.Cause(ctx)
}

// keep syncs whenever there is something to sync, and now and then.
func (a *Agent) keep(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		r, err := a.Sync(ctx)
		wait := a.cfg.SyncEvery
		switch {
		case err != nil && ctx.Err() != nil:
		case errors.Is(err, ErrNoMap):
			a.log.Info("waiting for the first document")
		case err != nil:
			a.log.Error("server does not match its document", "revision", r.Revision, "error", err)
			wait = min(wait, p.next())
			nudge(a.moved)
		default:
			p = pause{}
			if n := r.Writes(); n > 0 {
				a.log.Info("server follows its document", "revision", r.Revision, "peers", r.Peers,
					"added", r.Added, "updated", r.Updated, "removed", r.Removed)
				nudge(a.moved)
			}
		}
		sleep(ctx, a.untilLook(wait), a.dirty, a.cfg.Wake)
	}
}

// follow takes document after document from the control plane.
func (a *Agent) follow(ctx context.Context) {
	var p pause
	whole := false // ask for everything
	for ctx.Err() == nil {
		err := a.poll(ctx, whole)
		if ctx.Err() != nil {
			return
		}
		a.note(&a.trouble, err)
		if err == nil {
			p, whole = pause{}, false
			continue
		}
		// What does not fit what is here may fit nothing.
		misfit := errors.Is(err, ErrStartOver) || errors.Is(err, netmap.ErrBase) || errors.Is(err, netmap.ErrSignature)
		if misfit && !whole { // it answers: a row of failures is over
			p = pause{}
		}
		whole = misfit
		wait := p.next()
		if errors.Is(err, ErrRefused) {
			wait += jitter(refusedPause)
		}
		if patience, ok := errors.AsType[*RetryError](err); ok {
			wait = max(wait, patience.After+jitter(firstPause))
		}
		a.log.Warn("control plane is not followed", "error", err, "retry", wait)
		sleep(ctx, wait, nil, nil)
	}
}

// poll waits for one document and takes it.
func (a *Agent) poll(ctx context.Context, whole bool) error {
	a.mu.Lock()
	have := a.signed
	a.mu.Unlock()
	if whole {
		have = nil
	}
	began := a.now()
	d, err := a.cfg.Source.Netmap(ctx, have)
	if err != nil {
		return err
	}
	if d == nil {
		if a.now().Sub(began) < firstPause { // a source that does not wait is not asked all the time
			sleep(ctx, firstPause, nil, nil)
		}
		nudge(a.dirty) // the clocks may be known better
		return nil
	}
	if err := a.take(d); err != nil {
		return err
	}
	a.settleKey(ctx)
	nudge(a.dirty)
	nudge(a.unsettled)
	a.saveDocument()
	return nil
}

// keepSettled gets what documents ask for besides themselves. They go on coming
// while that fails.
func (a *Agent) keepSettled(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		err := a.settle(ctx)
		if ctx.Err() != nil {
			return
		}
		a.note(&a.lacking, err)
		if err == nil {
			p = pause{}
			sleep(ctx, longestPause, a.unsettled, nil)
			continue
		}
		wait := p.next()
		a.log.Warn("control plane does not give all that the document asks for", "error", err, "retry", wait)
		sleep(ctx, wait, a.unsettled, nil)
	}
}

// note remembers an error for status reports.
func (a *Agent) note(where *string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*where = strings.Join(lines(err), "; ")
}

// tellRegularly reports every now and then, and soon after something changed.
// Changes reach thousands of servers at once, so their reports are spread.
func (a *Agent) tellRegularly(ctx context.Context) {
	last := a.now()
	wait := jitter(min(reportSoon, a.cfg.ReportEvery))
	for ctx.Err() == nil {
		if sleep(ctx, wait, a.moved, nil) {
			sleep(ctx, jitter(min(reportSoon, a.cfg.ReportEvery)), nil, nil)
		}
		if ctx.Err() != nil {
			return
		}
		now := a.now()
		wait = a.cfg.ReportEvery
		if err := a.tell(ctx, now.Sub(last)); err != nil {
			a.log.Debug("control plane does not take the report", "error", err)
			continue
		}
		last = now
	}
}

// sleep waits for d, less if one of the channels tells, which it reports, or ctx
// ends.
func sleep(ctx context.Context, d time.Duration, one, two <-chan struct{}) (told bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-one:
		return true
	case <-two:
		return true
	case <-ctx.Done():
	}
	return false
}

// pause tells how long to wait after each failure in a row: a random part of a
// span that doubles, so that thousands of agents do not come back at once.
type pause struct{ span time.Duration }

func (p *pause) next() time.Duration {
	p.span = min(max(2*p.span, firstPause), longestPause)
	return 100*time.Millisecond + jitter(p.span)
}

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:])                                                     // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(max(d, 1))) //nolint:gosec // below d
}
