package lease

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Book keeps leases in memory, for a caller that stores them nowhere else. It
// makes the decisions of its [Policy].
//
// A Book is not safe for concurrent use. Leases that have ended stay in it
// until Expire or Revoke returns them; nothing else counts them.
type Book struct {
	policy  Policy
	leases  map[string]*booked // by ID
	members map[member][]string
	queue   dueHeap
}

type booked struct {
	Lease
	// queued is the time of the one entry in the queue that speaks for this
	// lease; renewing leaves it behind ExpiresAt.
	queued time.Time
}

type member struct{ network, name string }

// NewBook returns an empty Book.
func NewBook(p Policy) *Book {
	return &Book{policy: p, leases: map[string]*booked{}, members: map[member][]string{}}
}

// Grant grants the lease for k, or renews it if it is active: see
// [Policy.Grant], which also lists the errors.
func (b *Book) Grant(k Key, d time.Duration, now time.Time) (Lease, error) {
	id := IDOf(k)
	if have := b.leases[id]; have != nil && have.Active(now) {
		return b.renew(have, d, now)
	}
	l, err := b.policy.Grant(k, d, nil, b.live(k, now), now)
	if err != nil {
		return Lease{}, err
	}
	b.drop(id) // ended, and superseded before Expire saw it
	b.leases[id] = &booked{Lease: l, queued: l.ExpiresAt}
	m := member{k.Network, k.Member}
	b.members[m] = append(b.members[m], id)
	b.queue.push(due{l.ExpiresAt, id})
	return l, nil
}

// Renew extends the lease id by d from now; zero means the default. If there is
// no such lease, the error wraps [ErrNotFound]; for the others see
// [Policy.Renew].
func (b *Book) Renew(id string, d time.Duration, now time.Time) (Lease, error) {
	have := b.leases[id]
	if have == nil {
		return Lease{}, fmt.Errorf("lease: renew %q: %w", id, ErrNotFound)
	}
	return b.renew(have, d, now)
}

func (b *Book) renew(have *booked, d time.Duration, now time.Time) (Lease, error) {
	l, err := b.policy.Renew(have.Lease, d, now)
	if err != nil {
		return Lease{}, err
	}
	have.Lease = l
	return l, nil
}

// Revoke ends the lease id at once and returns it. If there is no such lease,
// the error wraps [ErrNotFound].
func (b *Book) Revoke(id string) (Lease, error) {
	have := b.leases[id]
	if have == nil {
		return Lease{}, fmt.Errorf("lease: revoke %q: %w", id, ErrNotFound)
	}
	b.drop(id)
	if len(b.queue) > 2*len(b.leases)+64 {
		b.requeue()
	}
	return have.Lease, nil
}

// Lease returns the lease id. It may have ended: ask [Lease.Active].
func (b *Book) Lease(id string) (l Lease, ok bool) {
	have, ok := b.leases[id]
	if !ok {
		return Lease{}, false
	}
	return have.Lease, true
}

// Active yields the leases that hold at now, in no promised order.
func (b *Book) Active(now time.Time) iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for _, l := range b.leases {
			if l.Active(now) && !yield(l.Lease) {
				return
			}
		}
	}
}

// Expire removes the leases that have ended at now and returns them, in the
// order in which they ended.
func (b *Book) Expire(now time.Time) []Lease {
	var ended []Lease
	for b.settle() {
		l := b.leases[b.queue[0].id]
		if l.Active(now) {
			break
		}
		ended = append(ended, l.Lease)
		b.queue.pop()
		b.drop(l.ID)
	}
	return ended
}

// Next returns when Expire will have something to return: now, if it already
// has. It reports false if there is no lease.
func (b *Book) Next(now time.Time) (time.Time, bool) {
	if !b.settle() {
		return time.Time{}, false
	}
	at := b.queue[0].at
	if at.Before(now) {
		at = now.UTC()
	}
	return at, true
}

// settle brings an entry to the head of the queue that tells the true end of
// its lease. It reports false if there is none.
func (b *Book) settle() bool {
	for len(b.queue) > 0 {
		head := b.queue[0]
		l := b.leases[head.id]
		switch {
		case l == nil || !l.queued.Equal(head.at):
			b.queue.pop()
		case l.ExpiresAt.After(head.at):
			l.queued = l.ExpiresAt
			b.queue.replace(due{l.ExpiresAt, head.id})
		default:
			return true
		}
	}
	return false
}

// requeue builds the queue anew, without entries of revoked leases.
func (b *Book) requeue() {
	b.queue = nil
	for id, l := range b.leases {
		l.queued = l.ExpiresAt
		b.queue.push(due{l.queued, id})
	}
}

// live counts the active leases of the member of k.
func (b *Book) live(k Key, now time.Time) (n int) {
	for _, id := range b.members[member{k.Network, k.Member}] {
		if b.leases[id].Active(now) {
			n++
		}
	}
	return n
}

// drop takes the lease id out of all but the queue.
func (b *Book) drop(id string) {
	l := b.leases[id]
	if l == nil {
		return
	}
	delete(b.leases, id)
	m := member{l.Network, l.Member}
	ids := b.members[m]
	i := slices.Index(ids, id)
	if ids = slices.Delete(ids, i, i+1); len(ids) == 0 {
		delete(b.members, m)
		return
	}
	b.members[m] = ids
}
