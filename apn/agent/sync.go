package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

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

// count adds what was written.
func (r *Report) count(c wgtypes.Config) {
	r.Key, r.Port = r.Key || c.PrivateKey != nil, r.Port || c.ListenPort != nil
	for i := range c.Peers {
		switch p := &c.Peers[i]; {
		case p.Remove:
			r.Removed++
		case p.UpdateOnly:
			r.Updated++
		default:
			r.Added++
		}
	}
}

// Sync makes the server match the document that the agent has. It reads the
// server and writes only what differs, so repeating it is harmless. First it
// closes what is to be closed, then it sets up the interface, and names last.
// Host names of endpoints are looked up after all else, which does not wait for
// them.
//
// Besides the document's rules and leases, peers may send to the port, from the
// address where they listen themselves.
//
// A peer that was added, and has not answered when a Sync comes by a moment
// later, is removed and added once more, so that the handshake begins anew.
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
	a.mu.Unlock()
	return r, err
}

func (a *Agent) sync(ctx context.Context) (Report, error) {
	want := a.Netmap()
	if want == nil {
		return Report{}, fmt.Errorf("agent: sync: %w", ErrNoMap)
	}
	r := Report{Epoch: want.Epoch, Revision: want.Revision, Peers: len(want.Peers)}
	a.drawUp(want)
	silent := a.due()
	if err := a.closePort(ctx); err != nil {
		return r, err
	}
	links := a.cfg.Interface.SetLinks(ctx, Links{Addresses: want.Addresses, Routes: want.Routes, MTU: a.cfg.MTU, Forward: want.Forward})
	if links == nil {
		links = a.confine(ctx, want.Forward)
	}
	peers := a.configure(ctx, &r)
	if peers == nil {
		peers = a.again(ctx, silent)
	}
	var names error
	if a.cfg.Names != nil {
		r.Names, names = a.cfg.Names.Apply(ctx, want)
	}
	moved, unknown := a.lookUp(ctx)
	if moved {
		if err := a.closePort(ctx); err != nil {
			return r, err
		}
		peers = a.configure(ctx, &r)
	}
	if links == nil && peers == nil {
		a.mu.Lock()
		a.applied = r
		a.mu.Unlock()
	}
	return r, errors.Join(links, peers, names, unknown)
}

// closePort tells the firewall what the draft says.
func (a *Agent) closePort(ctx context.Context) error {
	if a.cfg.Firewall == nil {
		return nil
	}
	want := a.draft.want
	if g := a.guarded; g == nil || g.ListenPort != want.ListenPort || !slices.Equal(g.Routes, want.Routes) {
		if err := a.cfg.Firewall.Guard(ctx, want.ListenPort, want.Routes); err != nil {
			return err
		}
		a.guarded = want
	}
	if want.Forward {
		if err := a.confine(ctx, true); err != nil {
			return err
		}
	}
	// The firewall goes by this server's clock, and drops what has ended.
	offset := a.clockOffset()
	o := lease.Openings{Permanent: a.draft.permanent, Leases: make([]lease.Opening, len(want.Openings.Leases))}
	for i, l := range want.Openings.Leases {
		o.Leases[i] = lease.Opening{Source: l.Source, ExpiresAt: l.ExpiresAt.Add(offset)}
	}
	return a.cfg.Firewall.Apply(ctx, o)
}

// confine keeps what comes through the interface off other networks. That is on
// before the server forwards, and off after.
func (a *Agent) confine(ctx context.Context, on bool) error {
	if a.cfg.Firewall == nil || a.confined == on {
		return nil
	}
	if err := a.cfg.Firewall.Forward(ctx, on); err != nil {
		return err
	}
	a.confined = on
	return nil
}

// configure writes what differs on the interface.
func (a *Agent) configure(ctx context.Context, r *Report) error {
	desired := a.draft.desired
	if desired.PrivateKey.IsZero() {
		return fmt.Errorf("agent: sync: %w", ErrNoKey)
	}
	have, err := a.cfg.Interface.Device(ctx)
	if err != nil {
		return err
	}
	c, err := Plan(have, desired, a.wrote)
	if err != nil {
		return err
	}
	if !Empty(c) {
		if err := a.write(ctx, c); err != nil {
			return err
		}
		r.count(c)
		a.await(c)
	}
	a.dropOldKeys(a.draft.want.PublicKey)
	if n := a.draft.pending; n > 0 {
		return fmt.Errorf("agent: sync: the preshared keys of %d peers are not here yet", n)
	}
	return nil
}

// write applies c and remembers the endpoints in it.
func (a *Agent) write(ctx context.Context, c wgtypes.Config) error {
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
	return err
}
