package agenttest

import (
	"context"
	"crypto/ed25519"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// Source is a control plane in memory. It signs what it publishes, and hands it
// out as a real one does: encoded, and as deltas.
type Source struct {
	// Key signs documents. It has to be set.
	Key ed25519.PrivateKey
	// Clock is the control plane's clock. It has to be set.
	Clock func() time.Time
	// Wait is how long Netmap waits for a document. Zero means 55 s.
	Wait time.Duration

	mu        sync.Mutex
	now       *netmap.Signed
	moved     chan struct{} // closed when now moves
	fail      error
	reached   bool
	polls     int
	secrets   *netmap.Sealed
	announced []keys.PublicKey
	statuses  []netmap.Status
}

// Publish signs m and hands it to all that wait.
func (s *Source) Publish(m *netmap.Map) (*netmap.Signed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	signed, err := netmap.Sign(s.Key, m, s.now)
	if err != nil {
		return nil, err
	}
	s.show(signed)
	return signed, nil
}

// Show hands out a document that somebody else signed.
func (s *Source) Show(signed *netmap.Signed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(signed)
}

func (s *Source) show(signed *netmap.Signed) {
	s.now = signed
	if s.moved != nil {
		close(s.moved)
	}
	s.moved = make(chan struct{})
}

// Fail makes calls fail, those that wait as well. Nil ends that.
func (s *Source) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
	s.show(s.now)
}

// SetSecrets is what Secrets returns from now on.
func (s *Source) SetSecrets(sealed *netmap.Sealed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = sealed
}

// Polls returns how often Netmap was called.
func (s *Source) Polls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls
}

// Statuses returns what was reported, oldest first.
func (s *Source) Statuses() []netmap.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.statuses)
}

// Announced returns the keys that were announced, oldest first.
func (s *Source) Announced() []keys.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.announced)
}

// Netmap implements [agent.Source].
func (s *Source) Netmap(ctx context.Context, have *netmap.Signed) (*netmap.Delta, error) {
	wait := s.Wait
	if wait == 0 {
		wait = 55 * time.Second
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	first := true
	for {
		s.mu.Lock()
		if first {
			s.polls++
			first = false
		}
		now, fail := s.now, s.fail
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.reached = s.reached || fail == nil
		s.mu.Unlock()
		switch {
		case fail != nil:
			return nil, fail
		case now == nil:
		case have == nil, have.Epoch() == now.Epoch() && have.Revision() != now.Revision():
			return netmap.ParseDelta(netmap.Diff(have, now).Append(nil))
		case have.Epoch() != now.Epoch():
			return nil, agent.ErrStartOver
		}
		select {
		case <-moved:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Secrets implements [agent.Source].
func (s *Source) Secrets(context.Context) (*netmap.Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets, s.fail
}

// Announce implements [agent.Source].
func (s *Source) Announce(_ context.Context, key keys.PublicKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.announced = append(s.announced, key)
	}
	return s.fail
}

// Report implements [agent.Source].
func (s *Source) Report(_ context.Context, st netmap.Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.statuses = append(s.statuses, st)
	}
	return s.fail
}

// Now implements [agent.Source].
func (s *Source) Now() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Clock(), s.reached
}
