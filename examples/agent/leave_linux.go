package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/source"
	"github.com/apnkit/apnkit/apn/agent/wgdev"
	"github.com/apnkit/apnkit/lease/nft"
)

// leave removes what the agent made: interface, routes, table, names, files. An
// agent that runs is stopped first. What fails does not keep the rest from being
// removed, and is said.
func (o *options) leave(ctx context.Context) error {
	dir, id, err := o.identity()
	if err != nil && !errors.Is(err, agent.ErrNotJoined) {
		return err
	}
	unlock, err := o.takeOver(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	var errs []error
	step := func(done string, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		fmt.Fprintln(o.stdout, done)
	}
	if id != nil && id.Joined() {
		o.tell(ctx, id)
	}
	if !o.noDNS {
		step("names are gone", o.names(slog.New(slog.DiscardHandler)).Close(ctx))
	}
	step(o.iface+" is gone", o.removeInterface(ctx))
	if !o.noFirewall {
		step("table inet "+o.iface+" is gone", o.removeTable(ctx))
	}
	if len(errs) > 0 { // the next try needs the files
		return errors.Join(append(errs, errors.New("the rest is removed; run \"agent leave\" again once this is solved"))...)
	}
	step("state is gone", o.removeState(dir))
	return errors.Join(errs...)
}

// takeOver stops an agent that runs here, and waits until it has.
func (o *options) takeOver(ctx context.Context) (unlock func(), err error) {
	if err := o.ask(ctx, "/stop", nil); err != nil && !errors.Is(err, errNotRunning) {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for {
		if unlock, err = lock(o.state); err == nil {
			return unlock, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// tell makes the credential void. A control plane that is away is no reason to
// stay.
func (o *options) tell(ctx context.Context, id *agent.Identity) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client, err := source.New(id, o.channel())
	if err == nil {
		defer client.Close()
		err = client.Leave(ctx)
	}
	if err != nil {
		fmt.Fprintf(o.stderr, "agent: the control plane does not know that this server leaves; remove it there: %v\n", err)
		return
	}
	fmt.Fprintln(o.stdout, "the control plane knows")
}

// removeInterface takes the interface over, which fails if it is somebody
// else's, and closes it.
func (o *options) removeInterface(ctx context.Context) error {
	_, missing := net.InterfaceByName(o.iface)
	if o.netns != "" {
		missing = inside(o.netns, func() error {
			_, err := net.InterfaceByName(o.iface)
			return err
		})
	}
	if _, err := os.Stat(filepath.Join("/run/wireguard", o.iface+".sock")); missing != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	i, err := wgdev.Open(ctx, wgdev.Options{Name: o.iface, Namespace: o.netns, InProcess: o.inProcess})
	if err != nil {
		return err
	}
	return i.Close()
}

func (o *options) removeTable(ctx context.Context) error {
	opts := o.table(nil)
	opts.Port = 51820 // it has to have one
	t, err := nft.Open(ctx, opts)
	if errors.Is(err, nft.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(t.Remove(ctx), t.Close())
}

func (o *options) removeState(dir *agent.Dir) error {
	errs := []error{dir.Clear()}
	for _, name := range []string{bootFile, socketFile, lockFile} {
		if err := os.Remove(filepath.Join(o.state, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(o.state) // unless somebody keeps something there
	return errors.Join(errs...)
}

// noInterface stands for the interface where only documents are read.
type noInterface struct{}

func (noInterface) Device(context.Context) (*wgtypes.Device, error) { return new(wgtypes.Device), nil }
func (noInterface) Configure(context.Context, wgtypes.Config) error { return nil }
func (noInterface) SetLinks(context.Context, agent.Links) error     { return nil }
