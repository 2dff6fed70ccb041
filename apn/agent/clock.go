package agent

import "time"

// clockStep is how much two estimates of the clocks' difference may differ
// before the later one counts: packets take their time, and openings that do
// not change are not to be written again.
const clockStep = 100 * time.Millisecond

// clockOffset returns how far the server's clock is ahead of the control
// plane's, as far as is known. What was learnt last serves when the control plane
// is away, so leases end on time after a restart without it, too.
func (a *Agent) clockOffset() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cfg.Source == nil {
		return a.memory.ClockOffset
	}
	theirs, ok := a.cfg.Source.Now()
	if !ok {
		return a.memory.ClockOffset
	}
	// Round strips the monotonic reading: the wall clock is what was set wrong.
	offset := a.now().Round(0).Sub(theirs.Round(0))
	if (offset - a.memory.ClockOffset).Abs() > clockStep {
		a.memory.ClockOffset = offset
		a.remember()
	}
	return a.memory.ClockOffset
}
