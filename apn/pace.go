package apn

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// pace keeps replicas that write to one network from starving each other. The
// winner of a conflict needs one round trip to the store for its next commit,
// the losers two, so without a pause the winner would go on winning.
type pace struct {
	conflict time.Time     // the last one
	took     time.Duration // smoothed time of a commit
}

// contended is how long after a conflict others are taken to be at work.
const contended = 300 * time.Millisecond

// commit notes how a commit ended.
func (p *pace) commit(began, ended time.Time, err error) {
	switch {
	case err == nil:
		p.took += (ended.Sub(began) - p.took) / 8
	case errors.Is(err, store.ErrConflict):
		p.conflict = ended
	}
}

// pause returns how long to leave the network to others: about four commits.
func (p *pace) pause(now time.Time) time.Duration {
	if p.took <= 0 || now.Sub(p.conflict) > contended {
		return 0
	}
	return 2*p.took + rand.N(4*p.took) //nolint:gosec // jitter, not a secret
}
