package agenttest

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/lease"
)

// Firewall is an [agent.Firewall] whose leases end by its clock.
//
// [agent.Firewall]: https://pkg.go.dev/github.com/apnkit/apnkit/apn/agent#Firewall
type Firewall struct {
	Now func() time.Time // required

	mu        sync.Mutex
	port      uint16
	protected []netip.Prefix
	confined  bool
	openings  lease.Openings
	writes    int
	fail      error
}

// Apply implements lease.Firewall.
func (f *Firewall) Apply(_ context.Context, o lease.Openings) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	now := f.Now()
	o.Leases = slices.DeleteFunc(slices.Clone(o.Leases), func(l lease.Opening) bool { return !now.Before(l.ExpiresAt) })
	o.Permanent = slices.Clone(o.Permanent)
	f.openings.Leases = slices.DeleteFunc(f.openings.Leases, func(l lease.Opening) bool { return !now.Before(l.ExpiresAt) })
	if len(o.Leases)+len(o.Permanent)+len(f.openings.Leases)+len(f.openings.Permanent) > 0 && !reflect.DeepEqual(o, f.openings) {
		f.writes++
	}
	f.openings = o
	return nil
}

// Guard implements agent.Firewall.
func (f *Firewall) Guard(_ context.Context, port uint16, protected []netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if f.port != port || !slices.Equal(f.protected, protected) {
		f.writes++
	}
	f.port, f.protected = port, slices.Clone(protected)
	return nil
}

// Forward implements agent.Firewall.
func (f *Firewall) Forward(_ context.Context, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	if f.confined != on {
		f.writes++
	}
	f.confined = on
	return nil
}

// Open reports whether a may send to the port now.
func (f *Firewall) Open(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	return slices.ContainsFunc(f.openings.Permanent, func(p netip.Prefix) bool { return p.Contains(a) }) ||
		slices.ContainsFunc(f.openings.Leases, func(l lease.Opening) bool { return l.Source.Contains(a) && now.Before(l.ExpiresAt) })
}

// Guarded returns the port and the prefixes that are guarded.
func (f *Firewall) Guarded() (uint16, []netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.port, f.protected
}

// Confined reports whether what comes through the interface is kept off other
// networks.
func (f *Firewall) Confined() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.confined
}

// Writes returns how often something was written.
func (f *Firewall) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Fail makes later calls fail. Nil ends that.
func (f *Firewall) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Names is an agent.Names that remembers names.
type Names struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
	fail  error
}

// Apply implements agent.Names.
func (n *Names) Apply(_ context.Context, c *netmap.Config) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return false, n.fail
	}
	names := map[string][]netip.Addr{}
	for _, named := range c.Names {
		for _, name := range named.Names {
			names[name] = named.Addrs
		}
	}
	wrote := !reflect.DeepEqual(names, n.names)
	n.names = names
	return wrote, nil
}

// Lookup returns the addresses of a name.
func (n *Names) Lookup(name string) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[name]
}

// Fail makes later calls fail. Nil ends that.
func (n *Names) Fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}
