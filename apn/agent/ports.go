package agent

import (
	"context"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

// Interface is the server's WireGuard interface, and the IP layer on top of it.
type Interface interface {
	// Device reads the interface: its keys, its peers and their handshakes.
	Device(ctx context.Context) (*wgtypes.Device, error)
	// Configure changes what c names and leaves the rest, in the order of c.
	// If it fails, a part of c may be in force.
	Configure(ctx context.Context, c wgtypes.Config) error
	// SetLinks makes the addresses, routes and MTU exactly those of l. It is
	// idempotent, and writes nothing if all is as it should be.
	SetLinks(ctx context.Context, l Links) error
}

// Links are what the interface is in the IP layer.
type Links struct {
	// Addresses of the interface.
	Addresses []netip.Prefix
	// Routes are the prefixes behind the interface. One that the addresses bring
	// along already may be among them.
	Routes []netip.Prefix
	// MTU in bytes. Zero leaves it as it is.
	MTU int
	// Forward lets packets that come in through the interface leave through it
	// again: the server is a gateway.
	Forward bool
}

// Firewall lets in what openings say, and keeps the private network's addresses
// off all other interfaces.
type Firewall interface {
	// Apply opens the port to o, and to nobody else. Times are of the server's
	// clock; each lease ends at its time even if Apply is never called again.
	lease.Firewall
	// Guard says which UDP port that is, and which prefixes enter the server
	// through the WireGuard interface only. It is idempotent and keeps openings.
	Guard(ctx context.Context, port uint16, protected []netip.Prefix) error
	// Forward says whether the server is a gateway. If it is, what comes through
	// the WireGuard interface reaches no other network that the server happens to
	// have a route to. It is off at first, idempotent, and keeps openings.
	Forward(ctx context.Context, on bool) error
}

// Names makes the names of a netmap known on the server.
type Names interface {
	// Apply makes c's names the ones that resolve. It is idempotent, and reports
	// whether anything was written. What it cannot do on this server it says in
	// plain words in the error, and does the rest.
	Apply(ctx context.Context, c *netmap.Config) (wrote bool, err error)
}

// Source is the control plane.
type Source interface {
	// Netmap waits until there is another document than have, which may be nil,
	// and returns what leads there. It returns nil if none came in the time that
	// the Source thinks fit.
	//
	// An error that wraps [ErrStartOver] asks for a call with nil, one that wraps
	// [ErrRefused] says that the control plane does not know this server. A
	// [*RetryError] says when to try again.
	Netmap(ctx context.Context, have *netmap.Signed) (*netmap.Delta, error)
	// Secrets returns what is sealed to this server, nil if there is nothing.
	Secrets(ctx context.Context) (*netmap.Sealed, error)
	// Announce says that the server wants to go over to another key of its own.
	// It is idempotent.
	Announce(ctx context.Context, key keys.PublicKey) error
	// Report tells the control plane how the server is.
	Report(ctx context.Context, s netmap.Status) error
	// Now returns the control plane's time, as far as the server can know it,
	// and false before the first answer. It does not follow the server's clock
	// when that is set.
	Now() (time.Time, bool)
}
