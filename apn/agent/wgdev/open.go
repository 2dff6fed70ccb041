//go:build linux

package wgdev

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
)

var _ agent.Interface = (*Interface)(nil)

// patience ends what a kernel or a process that hangs would never end.
const patience = 10 * time.Second

// Interface is a WireGuard interface, an [agent.Interface]. It is safe for
// concurrent use.
type Interface struct {
	opts Options
	dev  device

	links    sync.Mutex // one SetLinks at a time
	forwards []string   // settings that we turned on
}

// device is WireGuard itself, in the kernel or in this process.
type device interface {
	read(ctx context.Context) (*wgtypes.Device, error)
	configure(ctx context.Context, c wgtypes.Config) error
	setMTU(bytes int) // tells it what the interface has
	done() <-chan struct{}
	close() error
}

// Open makes a WireGuard interface and brings it up. It has no key and no
// peers then, and no addresses.
//
// A kernel interface that an earlier process made with Open, and did not close,
// is taken over as it is, so that traffic goes on while an agent restarts. So is
// a socket that nobody listens on.
//
// Errors wrap [ErrInvalid], [ErrExists], [ErrPrivilege], [ErrNoTUN] or
// [ErrNamespace] where one of them is the reason; nothing is left then.
func Open(ctx context.Context, o Options) (*Interface, error) {
	fail := func(err error) error { return fmt.Errorf("wgdev: open %q: %w", o.Name, reason(err)) }
	if err := o.check(); err != nil {
		return nil, fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	i := &Interface{opts: o}
	err := error(unix.EOPNOTSUPP)
	if !o.InProcess {
		i.dev, err = openKernel(o)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		i.dev, err = openProcess(ctx, o)
	}
	if err != nil {
		return nil, fail(err)
	}
	return i, nil
}

// Device reads the interface: keys, peers, their handshakes and bytes.
func (i *Interface) Device(ctx context.Context) (*wgtypes.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := i.dev.read(ctx)
	if err != nil {
		return nil, i.failed("read", err)
	}
	return d, nil
}

// Configure changes what c names and leaves the rest. Peers that c does not
// name stay, unless it says ReplacePeers, which interrupts the traffic of all.
//
// If Configure fails, a part of c may be in force: read and compare again.
func (i *Interface) Configure(ctx context.Context, c wgtypes.Config) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := i.dev.configure(ctx, c); err != nil {
		return i.failed("configure", err)
	}
	return nil
}

// Done is closed when the interface is gone, by [Interface.Close] or because
// somebody deleted it. An interface of the kernel that somebody deleted shows
// in [ErrClosed] only.
func (i *Interface) Done() <-chan struct{} { return i.dev.done() }

// Close removes the interface with its addresses, routes and socket. To close
// again does nothing.
func (i *Interface) Close() error {
	if err := i.dev.close(); err != nil {
		return i.failed("close", err)
	}
	return nil
}

func (i *Interface) failed(verb string, err error) error {
	return fmt.Errorf("wgdev: %s %q: %w", verb, i.opts.Name, reason(err))
}

// reason adds our sentinel to an error of the kernel.
func reason(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (%w)", ErrExists, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (%w)", ErrPrivilege, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", ErrClosed, err)
	}
	return err
}
