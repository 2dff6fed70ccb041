package dnsserver

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apnkit/apnkit/dnszone"
)

// A Source holds the Set that servers answer from. The zero value holds none.
// A Source is safe for concurrent use and must not be copied.
type Source struct {
	current atomic.Pointer[dnszone.Set]

	mu      sync.Mutex
	keep    int            // how many Sets incremental transfers reach back
	history []*dnszone.Set // the oldest first, current last
	subs    []chan struct{}
}

// historyLen is how many steps a secondary may be behind and still get only
// what changed. Sets share what they have in common.
const historyLen = 16

// Store makes set the current one; nil makes all queries fail. Queries that are
// being answered finish with the Set that they began with.
func (s *Source) Store(set *dnszone.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.history); set == nil || n > 0 && int32(set.Serial()-s.history[n-1].Serial()) <= 0 { //nolint:gosec // RFC 1982 arithmetic
		s.history = nil // a restart of the serials: nothing leads here step by step
	}
	if s.keep > 0 && set != nil {
		s.history = append(s.history, set)
		s.history = s.history[max(0, len(s.history)-s.keep):]
	}
	s.current.Store(set)
	for _, c := range s.subs {
		select {
		case c <- struct{}{}:
		default: // a signal already waits
		}
	}
}

// Load returns the current Set, nil if there is none yet.
func (s *Source) Load() *dnszone.Set { return s.current.Load() }

// Subscribe returns a channel that gets a signal after a Store, and a function
// that ends it. Several Stores may come as one signal.
func (s *Source) Subscribe() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs = append(s.subs, c)
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subs = slices.DeleteFunc(s.subs, func(have chan struct{}) bool { return have == c })
	}
}

// remember keeps Sets for incremental transfers from now on.
func (s *Source) remember() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = historyLen
	if set := s.current.Load(); set != nil && len(s.history) == 0 {
		s.history = []*dnszone.Set{set}
	}
}

// since returns the Sets from the one at serial up to set, or nil.
func (s *Source) since(serial uint32, set *dnszone.Set) []*dnszone.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := slices.IndexFunc(s.history, func(h *dnszone.Set) bool { return h.Serial() == serial })
	to := slices.Index(s.history, set)
	if from < 0 || to < from {
		return nil
	}
	return slices.Clone(s.history[from : to+1])
}
