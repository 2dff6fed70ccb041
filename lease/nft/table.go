//go:build linux

package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/lease"
)

// Table is our table in the kernel. It implements [lease.Firewall] and is safe
// for concurrent use. Without the process, the table stays and leases end on
// time.
type Table struct {
	mu   sync.Mutex
	opts Options
	link *link // nil: not connected
	// have is what the kernel holds, if the generation of its ruleset is still
	// gen. Zero: not known.
	have lease.Openings
	gen  uint32
	// The leases of have were written when the clock on the wall said wall, and
	// the monotonic clock mono.
	wall, mono time.Time
}

// Open closes the port to all but o.Openings: it installs a table in place of any
// that has its name, in one transaction.
//
// Errors wrap [ErrInvalid], [ErrPrivilege] or [ErrUnsupported] where one of
// them is the reason.
func Open(ctx context.Context, o Options) (*Table, error) {
	t := &Table{opts: o}
	err := t.opts.check()
	if err == nil {
		err = t.apply(ctx, o.Openings, t.opts)
		t.opts.Openings = lease.Openings{} // Apply has later ones
	}
	if err != nil {
		return nil, failed("open", err)
	}
	return t, nil
}

// Apply implements [lease.Firewall]. What changes is one transaction: no packet
// sees a part of it, and none that may pass before and after is lost.
//
// Openings that are in force already are not written again, unless somebody
// else changed the ruleset since, or the clock and the kernel's timeouts no
// longer agree: timeouts rest while the host sleeps. If somebody did, the table
// is installed anew.
//
// A lease that has ended lets nobody in. One without an end, or of the wrong
// form, is an [*OpeningError], and nothing changes.
func (t *Table) Apply(ctx context.Context, o lease.Openings) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return failed("apply", t.apply(ctx, o, t.opts))
}

// Guard changes the port and the protected prefixes, and keeps the openings. It
// is one transaction, or none if nothing changes.
func (t *Table) Guard(ctx context.Context, port uint16, protected []netip.Prefix) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.opts
	o.Port, o.Protected = port, protected
	return failed("guard", t.reconfigure(ctx, o))
}

// Forward says whether the host passes packets of the private network on. If it
// does, those that came in through the Interface may leave through it again, or
// through one of those Inside, but reach no other network that the host happens
// to have a route to. Answers, and what the host itself has redirected (DNAT),
// pass everywhere. It keeps the openings, and does nothing if nothing changes.
func (t *Table) Forward(ctx context.Context, on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.opts
	o.Forward = on
	return failed("forward", t.reconfigure(ctx, o))
}

func (t *Table) reconfigure(ctx context.Context, o Options) error {
	if err := o.check(); err != nil || o.equal(&t.opts) {
		return err
	}
	if err := t.apply(ctx, t.have, o); err != nil {
		return err
	}
	t.opts = o
	return nil
}

// Remove deletes the table: the port is open to everybody. It is not an error
// if there is none.
func (t *Table) Remove(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.transact(ctx, func(l *link) error {
		l.AddTable(t.opts.table()) // so that there is one
		l.DelTable(t.opts.table())
		t.gen = 0
		return l.Flush()
	})
	return failed("remove", err)
}

// Close ends the connection to the kernel. The table stays, and leases end on
// time. A call after Close connects again.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return failed("close", t.disconnect())
}

// apply makes the kernel hold o under the rules of opts. The caller holds mu.
func (t *Table) apply(ctx context.Context, o lease.Openings, opts Options) error {
	now := t.opts.Now()
	want, err := normal(o, now)
	if err != nil {
		return err
	}
	changed := false // not replaced
	write := func(l *link) error {
		gen, err := l.generation()
		if err != nil {
			return err
		}
		if t.gen != 0 && t.gen != gen {
			t.opts.Logger.InfoContext(ctx, "somebody else changed the ruleset: installing the table again")
		}
		p := newPlan(t.have, want, now)
		known := t.gen == gen && gen != 0 && opts.equal(&t.opts) && !t.drifted(now)
		if known && p.empty() {
			return nil
		}
		b := &batch{Conn: l.Conn, opts: &opts, now: now}
		if changed = known && p.small(len(want.Leases)); changed {
			b.change(&p, want.Permanent)
		} else {
			b.replace(want)
			t.wall, t.mono = now.Round(0), time.Now()
		}
		t.gen = 0 // until it is certain
		if err := b.flush(); err != nil {
			return err
		}
		t.have = want
		// If somebody else was between the two, the next Apply finds out.
		if after, err := l.generation(); err == nil && after == gen+1 {
			t.gen = after
		}
		return nil
	}
	err = t.transact(ctx, write)
	if err != nil && changed { // the table may have gone in between
		err = t.transact(ctx, write)
	}
	return err
}

// drifted reports whether the clock has gone another way than the kernel's
// timeouts since they were written: it was set, or the host slept.
func (t *Table) drifted(now time.Time) bool {
	drift := now.Sub(t.wall) - time.Since(t.mono)
	return drift < -tolerance || drift > tolerance
}

const tolerance = 500 * time.Millisecond

func (o *Options) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: o.Name}
}

func failed(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w (%w)", ErrPrivilege, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		err = fmt.Errorf("%w (%w)", ErrUnsupported, err)
	}
	return fmt.Errorf("nft: %s: %w", verb, err)
}

var _ lease.Firewall = (*Table)(nil)
