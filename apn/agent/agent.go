package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// Config is what an [Agent] works with.
type Config struct {
	// Identity is who the server is. It has joined.
	Identity *Identity
	// Dir keeps what the agent needs to start without its control plane. Nil:
	// nothing is kept.
	Dir *Dir
	// Interface is the server's WireGuard interface.
	Interface Interface
	// Firewall opens and closes its port. Nil: the port is somebody else's matter.
	Firewall Firewall
	// Names makes the names of peers known on the server. Nil: nobody does.
	Names Names
	// Source is the control plane. Nil: the agent goes by what Dir has.
	Source Source

	// MTU of the interface, in bytes. Zero leaves it as it is.
	MTU int
	// Version of the program, for status reports.
	Version string
	// SyncEvery is how often Run compares the server with the document without
	// being asked to, and looks endpoints that are host names up again. Zero
	// means a minute.
	SyncEvery time.Duration
	// ReportEvery is how often Run reports to the control plane. Zero means a
	// minute.
	ReportEvery time.Duration
	// Wake makes Run sync at once, for instance when somebody else changed the
	// firewall. Nil: nothing does.
	Wake <-chan struct{}
	// Resolve looks up the host name of an endpoint. Nil means the resolver of
	// the net package.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Now is the server's clock. Nil means time.Now.
	Now func() time.Time
	// Logger hears what the agent does. Nil discards.
	Logger *slog.Logger
}

// Agent makes a server match its netmap. It is safe for concurrent use.
type Agent struct {
	cfg Config
	log *slog.Logger
	now func() time.Time

	dirty     chan struct{} // something to sync
	moved     chan struct{} // something to report
	unsettled chan struct{} // something to settle

	mu       sync.Mutex // guards what follows
	identity Identity
	signed   *netmap.Signed
	want     *netmap.Config // of signed; nil: none yet
	sealed   *netmap.Sealed
	secrets  *netmap.Secrets // of sealed, opened for want
	memory   memory
	applied  Report   // of the last sync that set port, links and peers
	problems []string // of the last sync
	trouble  string   // with following the control plane
	lacking  string   // what it does not give

	syncing  sync.Mutex // one sync at a time; guards what follows
	draft    draft
	wrote    Endpoints
	awaited  map[keys.PublicKey]time.Time // since when a first handshake is
	guarded  *netmap.Config               // for which the firewall was told what to guard
	confined bool                         // what it was told last
}

// New returns an Agent that goes by what c.Dir has. A document there that is
// damaged, or not signed by the network's key, counts as missing.
func New(c Config) (*Agent, error) {
	switch {
	case c.Identity == nil || !c.Identity.Joined():
		return nil, fmt.Errorf("agent: new: %w", ErrNotJoined)
	case c.Interface == nil:
		return nil, errors.New("agent: new: an Interface is required")
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = time.Minute
	}
	if c.ReportEvery == 0 {
		c.ReportEvery = time.Minute
	}
	if c.Resolve == nil {
		c.Resolve = lookup
	}
	if c.Now == nil {
		c.Now = time.Now //nolint:forbidigo // the default of Config.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		cfg: c, log: c.Logger, now: c.Now, identity: *c.Identity,
		dirty: make(chan struct{}, 1), moved: make(chan struct{}, 1), unsettled: make(chan struct{}, 1),
		wrote: Endpoints{}, awaited: map[keys.PublicKey]time.Time{},
	}
	a.identity.PrivateKeys = slices.Clone(a.identity.PrivateKeys)
	if c.Dir != nil {
		a.boot()
	}
	return a, nil
}

// boot takes over what the directory has.
func (a *Agent) boot() {
	s, err := a.cfg.Dir.read()
	if err != nil {
		a.log.Error("saved state is damaged and counts as missing", "error", err)
	}
	a.sealed, a.memory = s.sealed, s.memory
	if s.signed == nil {
		return
	}
	want, err := a.open(s.signed)
	if err != nil {
		a.log.Error("saved document is refused", "error", err)
		return
	}
	a.signed, a.want = s.signed, want
	a.openSecrets()
}

func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Netmap returns what the server should be, nil if there is no document yet. It
// must not be changed.
func (a *Agent) Netmap() *netmap.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.want
}

// nudge tells whoever waits on c, without waiting.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
