package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

// Report is what a [Agent.Sync] found and did.
type Report struct {
	Epoch    string
	Revision uint64 // of the document that the server should match
	// Added, Updated and Removed count peers that were written.
	Added, Updated, Removed int
	// Key and Port tell whether the interface's own key or port was written.
	Key, Port bool
	// Names tells whether anything about names was written.
	Names bool
	// Peers is how many peers the interface should have.
	Peers int
}

// Writes returns how many things were written. It does not count what Interface
// and Firewall found to be written by themselves.
func (r Report) Writes() int {
	n := r.Added + r.Updated + r.Removed
	for _, wrote := range []bool{r.Key, r.Port, r.Names} {
		if wrote {
			n++
		}
	}
	return n
}

// Sync makes the server match the document that the agent has. It reads the
// server and writes only what differs, so repeating it is harmless. First it
// closes what is to be closed, then it sets up the interface, and names last.
//
// If the firewall cannot be set, nothing else is touched. Other failures do not
// keep the rest from being done; the error joins them, and the next Sync tries
// again. Without a document, the error wraps [ErrNoMap].
func (a *Agent) Sync(ctx context.Context) (Report, error) {
	a.syncing.Lock()
	defer a.syncing.Unlock()
	r, err := a.sync(ctx)
	a.mu.Lock()
	a.problems = lines(err)
	if err == nil {
		a.applied = r
	}
	a.mu.Unlock()
	return r, err
}

func (a *Agent) sync(ctx context.Context) (Report, error) {
	want := a.Netmap()
	if want == nil {
		return Report{}, fmt.Errorf("agent: sync: %w", ErrNoMap)
	}
	r := Report{Epoch: want.Epoch, Revision: want.Revision}
	if err := a.closePort(ctx, want); err != nil {
		return r, err
	}

	errs := []error{a.cfg.Interface.SetLinks(ctx, Links{Addresses: want.Addresses, Routes: want.Routes, MTU: a.cfg.MTU, Forward: want.Forward})}
	errs = append(errs, a.configure(ctx, want, &r))
	if a.cfg.Names != nil {
		wrote, err := a.cfg.Names.Apply(ctx, want)
		r.Names = wrote
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// closePort tells the firewall what the document says.
func (a *Agent) closePort(ctx context.Context, want *netmap.Config) error {
	if a.cfg.Firewall == nil {
		return nil
	}
	if g := a.guarded; g == nil || g.ListenPort != want.ListenPort || !slices.Equal(g.Routes, want.Routes) {
		if err := a.cfg.Firewall.Guard(ctx, want.ListenPort, want.Routes); err != nil {
			return err
		}
		a.guarded = want
	}
	return a.cfg.Firewall.Apply(ctx, Openings(want.Openings, a.clockOffset()))
}

// Openings returns o in the times of a clock that is ahead of the control
// plane's by offset. The firewall drops those that have ended.
func Openings(o netmap.Openings, offset time.Duration) lease.Openings {
	out := lease.Openings{Permanent: o.Permanent, Leases: make([]lease.Opening, len(o.Leases))}
	for i, l := range o.Leases {
		out.Leases[i] = lease.Opening{Source: l.Source, ExpiresAt: l.ExpiresAt.Add(offset)}
	}
	return out
}

// configure writes what differs on the interface.
func (a *Agent) configure(ctx context.Context, want *netmap.Config, r *Report) error {
	desired, missing := a.wanted(ctx, want)
	if desired == nil {
		return missing
	}
	r.Peers = len(desired.Peers)
	have, err := a.cfg.Interface.Device(ctx)
	if err != nil {
		return err
	}
	c, err := Plan(have, desired, a.wrote)
	if err != nil {
		return err
	}
	if !Empty(c) {
		if err := a.write(ctx, c, r); err != nil {
			return err
		}
	}
	a.dropOldKeys(want.PublicKey)
	return missing
}

// write applies c and remembers the endpoints in it.
func (a *Agent) write(ctx context.Context, c wgtypes.Config, r *Report) error {
	err := a.cfg.Interface.Configure(ctx, c)
	for _, p := range c.Peers {
		key := keys.PublicKey(p.PublicKey)
		if p.Remove || err != nil { // a part may be in force: the interface itself will tell
			delete(a.wrote, key)
		} else if p.Endpoint != nil {
			ap := p.Endpoint.AddrPort()
			a.wrote[key] = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		}
	}
	if err != nil {
		return err
	}
	r.Key, r.Port = c.PrivateKey != nil, c.ListenPort != nil
	for _, p := range c.Peers {
		switch {
		case p.Remove:
			r.Removed++
		case p.UpdateOnly:
			r.Updated++
		default:
			r.Added++
		}
	}
	return nil
}
