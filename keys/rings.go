package keys

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// RingsOptions are the optional settings of [Rings].
type RingsOptions struct {
	// MaxAge is how long an opened ring serves since the KEK last unwrapped its
	// data keys; use does not extend it, so a revoked KEK bites. Zero means one
	// hour.
	MaxAge time.Duration

	// StaleReads is how much longer a ring still opens records, but seals none,
	// while the KEK is unavailable. Zero means not at all.
	StaleReads time.Duration

	// Size is how many networks are kept open; the least recently used one goes
	// first. Zero means 1,024, about 5 MiB.
	Size int
}

// Rings keeps opened rings: one KEK call per network and maximum age, however
// many callers wait for it. It is safe for concurrent use.
type Rings struct {
	kek  *KEKSet
	opts RingsOptions

	mu       sync.Mutex
	networks map[string]*list.Element // of *ringEntry
	recent   list.List                // most recently used first
}

type ringEntry struct {
	network string
	ring    *Ring     // nil before the first success
	opening *ringCall // nil if nobody is opening it
}

// ringCall is one attempt to open a ring. The caller that made it does the
// work; the others wait for done.
type ringCall struct {
	done chan struct{}
	ring *Ring
	err  error
	// abandoned means that the caller gave up, not that the ring cannot be
	// opened: whoever still waits tries again.
	abandoned bool
}

// NewRings returns an empty cache. opts may be nil.
func NewRings(k *KEKSet, opts *RingsOptions) *Rings {
	s := &Rings{kek: k, networks: map[string]*list.Element{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.MaxAge == 0 {
		s.opts.MaxAge = time.Hour
	}
	if s.opts.Size == 0 {
		s.opts.Size = 1024
	}
	return s
}

// Ring returns the opened ring of network. If there is none young enough, it
// opens one from the records that load returns. Concurrent callers share one
// attempt; if the context of the one that works ends, another takes over.
//
// A cached ring does not learn of a rotation elsewhere: compare it with the
// stored records ([Ring.Covers]) and [Rings.Flush] if they moved on.
func (s *Rings) Ring(ctx context.Context, network string, now time.Time, load func(context.Context) ([]DEKRecord, error)) (*Ring, error) {
	for {
		s.mu.Lock()
		e := s.entry(network)
		if ring := e.ring; ring != nil && s.age(ring, now) < s.opts.MaxAge {
			s.mu.Unlock()
			return ring, nil
		}
		call := e.opening
		if call == nil {
			call = &ringCall{done: make(chan struct{}), abandoned: true}
			e.opening = call
			s.mu.Unlock()
			s.open(ctx, e, call, now, load)
			return call.ring, call.err
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("keys: open ring of %q: %w", network, ctx.Err())
		case <-call.done:
			if !call.abandoned {
				return call.ring, call.err
			}
		}
	}
}

// Flush forgets the ring of network, also one that is being opened right now:
// its callers get it, later callers do not.
func (s *Rings) Flush(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el := s.networks[network]; el != nil {
		s.recent.Remove(el)
		delete(s.networks, network)
	}
}

// entry finds or adds the entry of network and makes it the most recent one.
func (s *Rings) entry(network string) *ringEntry {
	if el := s.networks[network]; el != nil {
		s.recent.MoveToFront(el)
		return el.Value.(*ringEntry)
	}
	if s.recent.Len() >= s.opts.Size {
		last := s.recent.Back()
		delete(s.networks, s.recent.Remove(last).(*ringEntry).network)
	}
	e := &ringEntry{network: network}
	s.networks[network] = s.recent.PushFront(e)
	return e
}

// open makes one attempt and tells those who wait for it, even if load or the
// KEK panics.
func (s *Rings) open(ctx context.Context, e *ringEntry, call *ringCall, now time.Time, load func(context.Context) ([]DEKRecord, error)) {
	defer close(call.done)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.opening = nil
		switch {
		case call.err == nil && call.ring != nil:
			e.ring = call.ring
		case !errors.Is(call.err, ErrKEKUnavailable):
			e.ring = nil // a refusal ends stale reads too
		case e.ring != nil && s.age(e.ring, now) < s.opts.MaxAge+s.opts.StaleReads:
			call.ring, call.err = &Ring{in: e.ring.in, readOnly: true}, nil
		}
	}()
	call.ring, call.err = s.load(ctx, e.network, now, load)
	call.abandoned = call.err != nil && ctx.Err() != nil
}

func (s *Rings) load(ctx context.Context, network string, now time.Time, load func(context.Context) ([]DEKRecord, error)) (*Ring, error) {
	recs, err := load(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: load DEKs of %q: %w", network, err)
	}
	ring, err := OpenRing(ctx, s.kek, now, recs...)
	if err == nil && ring.Network() != network {
		err = dekError("open", network, 0, "", fmt.Errorf("%w: loaded the DEKs of %q", ErrWrongOwner, ring.Network()))
	}
	if err != nil {
		return nil, err
	}
	return ring, nil
}

// age counts both ways: callers race with times a little apart, and a clock
// that was set back must not keep a ring forever.
func (s *Rings) age(r *Ring, now time.Time) time.Duration { return now.Sub(r.Proven()).Abs() }
