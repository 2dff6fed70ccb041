package apn

import (
	"context"

	"github.com/apnkit/apnkit/apn/store"
)

// Epoch changes when the store is restored from a copy: revisions of two epochs
// do not compare.
func (n *Network) Epoch() string { return n.view().net().Epoch }

// EventNumber returns the number of the last audit event of commits up to rev,
// from where [Network.Audit] goes on. If events after rev were forgotten, or the
// network has never been at rev, the error wraps [ErrStartOver].
func (n *Network) EventNumber(ctx context.Context, rev store.Rev) (uint64, error) {
	number, err := n.eventNumber(ctx, rev)
	if err != nil {
		return 0, &Error{Op: "find audit event", Object: n.name, Err: err}
	}
	return number, nil
}

func (n *Network) eventNumber(ctx context.Context, rev store.Rev) (uint64, error) {
	if rev > n.view().rev {
		if err := n.catchUpNow(ctx); err != nil {
			return 0, err
		}
	}
	s := n.view()
	switch {
	case rev > s.rev:
		return 0, ErrStartOver
	case rev == s.rev:
		return s.ctr().Events, nil
	}
	if err := n.drain(ctx); err != nil {
		return 0, err
	}
	floor, _, err := n.auditMark(ctx, auditFloorKey)
	if err != nil {
		return 0, err
	}
	low, high := floor.N, s.ctr().Events // the event searched for is at or after low
	for low < high {
		mid := low + (high-low+1)/2
		page, err := n.ctl.store.Get(ctx, n.auditSpace(), auditEvent+outNumber(mid))
		if err != nil {
			return 0, storeError(err)
		}
		if len(page.Entries) == 0 {
			return 0, ErrStartOver // forgotten meanwhile
		}
		c, err := decodeEvent(page.Entries[0])
		if err != nil {
			return 0, err
		}
		if c.Rev <= rev {
			low = mid
		} else {
			high = mid - 1
		}
	}
	if low == floor.N && floor.N > 0 {
		return 0, ErrStartOver // what was forgotten may have come after rev
	}
	return low, nil
}
