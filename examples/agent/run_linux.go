package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/source"
	"github.com/apnkit/apnkit/apn/agent/wgdev"
	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

// errStopped ends run when "agent leave" asks for it.
var errStopped = errors.New("stopped")

// run follows the control plane until a signal. What it set up stays, so that
// traffic goes on while it restarts; the next run finds it.
func (o *options) run(ctx context.Context) (err error) {
	dir, id, err := o.identity()
	if err != nil {
		return err
	}
	unlock, err := lock(o.state)
	if err != nil {
		return err
	}
	defer unlock()
	log := o.logger()

	ctx, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer func() {
		stop(nil)
		wg.Wait()
	}()
	iface, err := wgdev.Open(ctx, wgdev.Options{Name: o.iface, MTU: o.mtu, Namespace: o.netns, InProcess: o.inProcess, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rest(context.WithoutCancel(ctx), iface)) }()
	client, err := source.New(id, o.channel())
	if err != nil {
		return err
	}
	defer client.Close()
	wake := make(chan struct{}, 1)
	c := agent.Config{
		Identity: id, Dir: dir, Interface: iface, Source: client, MTU: o.mtu, Version: version, Wake: wake, Logger: log,
	}
	var fw *firewall
	if !o.noFirewall {
		fw = &firewall{opts: o.table(log), boot: filepath.Join(o.state, bootFile), opened: func(t *nft.Table) error {
			changes, err := t.Changes(ctx)
			if err == nil {
				wg.Go(func() { forward(changes, wake) })
			}
			return err
		}}
		c.Firewall = fw
	}
	if !o.noDNS {
		c.Names = o.names(log)
	}
	a, err := agent.New(c)
	if err != nil {
		return err
	}
	v := &view{name: o.iface, id: id, agent: a, iface: iface, fw: fw, stop: func() { stop(errStopped) }}
	if err := v.serve(ctx, filepath.Join(o.state, socketFile), &wg); err != nil {
		return err
	}
	wg.Go(func() { // an interface that somebody deleted does not come back by itself
		select {
		case <-iface.Done():
			stop(wgdev.ErrClosed)
		case <-ctx.Done():
		}
	})
	log.Info("running", "server", id.String(), "interface", o.iface)
	if err = a.Run(ctx); errors.Is(err, errStopped) || errors.Is(err, context.Canceled) { // told to, or a signal
		log.Info("stopped; leases end by themselves")
		return nil
	}
	return err
}

// rest leaves the interface as it is if the kernel keeps it going without us.
// One in this process ends with it.
func rest(ctx context.Context, iface *wgdev.Interface) error {
	dev, err := iface.Device(ctx)
	if err == nil && dev.Type == wgtypes.LinuxKernel {
		return nil
	}
	return iface.Close()
}

// forward wakes the agent for each change.
func forward(changes <-chan struct{}, wake chan<- struct{}) {
	for range changes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// identity returns the state directory and who the server is.
func (o *options) identity() (*agent.Dir, *agent.Identity, error) {
	dir, err := agent.OpenDir(o.state)
	if err != nil {
		return nil, nil, err
	}
	id, err := dir.Identity()
	if err == nil && !id.Joined() {
		err = agent.ErrNotJoined
	}
	if errors.Is(err, agent.ErrNotJoined) {
		err = fmt.Errorf("%w: run \"agent join TOKEN\" first", err)
	}
	return dir, id, err
}

func (o *options) logger() *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(o.stderr, &slog.HandlerOptions{Level: level}))
}

// lock keeps a second agent off the state directory. The kernel gives it up with
// the process, however that ends.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent runs on %s", dir), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

const (
	lockFile   = "lock"
	bootFile   = "boot.nft"
	socketFile = "agent.sock"
)

// table are the options of the nftables table.
func (o *options) table(log *slog.Logger) nft.Options {
	opts := nft.Options{Interface: o.iface, Name: o.iface, Logger: log}
	if o.netns != "" {
		opts.Interface = "" // it is elsewhere: a namespace is its own guard
	}
	return opts
}

// firewall is an nftables table that is opened once all that it holds is known:
// who is let in stays so while the agent starts anew.
type firewall struct {
	opts   nft.Options
	boot   string                 // file that keeps the port closed from the start of the kernel
	opened func(*nft.Table) error // is called once

	mu    sync.Mutex
	table *nft.Table // nil: not yet
}

// state reads the table, nil if there is none yet.
func (f *firewall) state(ctx context.Context) *table {
	t := f.installed()
	if t == nil {
		return nil
	}
	out := new(table)
	var warnings []nft.Warning
	var err error
	if out.State, err = t.State(ctx); err == nil {
		warnings, err = t.Warnings(ctx)
	}
	if err != nil {
		out.Error = err.Error()
	}
	for _, w := range warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	return out
}

func (f *firewall) installed() *nft.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table
}

// Guard implements agent.Firewall.
func (f *firewall) Guard(ctx context.Context, port uint16, protected []netip.Prefix) error {
	f.opts.Port, f.opts.Protected = port, protected
	boot, err := nft.BootFile(f.opts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.boot, boot, 0o600); err != nil {
		return err
	}
	if t := f.installed(); t != nil {
		return t.Guard(ctx, port, protected)
	}
	return nil
}

// Forward implements agent.Firewall.
func (f *firewall) Forward(ctx context.Context, on bool) error {
	f.opts.Forward = on
	if t := f.installed(); t != nil {
		return t.Forward(ctx, on)
	}
	return nil
}

// Apply implements agent.Firewall.
func (f *firewall) Apply(ctx context.Context, o lease.Openings) error {
	if t := f.installed(); t != nil {
		return t.Apply(ctx, o)
	}
	f.opts.Openings = o
	t, err := nft.Open(ctx, f.opts)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.table = t
	f.mu.Unlock()
	return f.opened(t)
}
