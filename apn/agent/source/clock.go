package source

import "time"

// late is how far an answer's time may be behind the estimate before the
// control plane's clock is taken to have been set back.
const late = 500 * time.Millisecond

// clock estimates the control plane's time from that of its answers. An answer
// takes its time to arrive, so each is late, and the least late one is the best.
type clock struct {
	at    time.Time     // the control plane's time
	when  time.Duration // of our own steady clock
	known bool
}

func (c *clock) set(t time.Time, when time.Duration) {
	if now, ok := c.now(when); ok && !t.After(now) && now.Sub(t) < late {
		return
	}
	c.at, c.when, c.known = t, when, true
}

func (c *clock) now(when time.Duration) (time.Time, bool) {
	return c.at.Add(when - c.when), c.known
}
