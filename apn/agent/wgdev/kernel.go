//go:build linux

package wgdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// alias marks a kernel interface as ours, for the next process.
const alias = "apnkit"

// kernelDevice is WireGuard in the kernel. It outlives the process.
type kernelDevice struct {
	name, namespace string
	once            sync.Once
	closed          chan struct{}
	err             error // of close
}

// openKernel returns EOPNOTSUPP if the kernel has no WireGuard.
func openKernel(o Options) (device, error) {
	k := &kernelDevice{name: o.Name, namespace: o.Namespace, closed: make(chan struct{})}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = o.Name, o.MTU
	if o.Namespace != "" {
		ns, err := openNamespace(o.Namespace)
		if err != nil {
			return nil, err
		}
		defer func() { _ = ns.Close() }()
		// Made from here, its UDP socket stays here.
		attrs.Namespace = netlink.NsFd(ns.Fd())
	}
	made := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return nil, made
	}
	err := inside(o.Namespace, func() error {
		l, err := netlink.LinkByName(o.Name)
		if err != nil {
			return errors.Join(made, err)
		}
		if made != nil { // EEXIST
			if l.Type() != "wireguard" || l.Attrs().Alias != alias {
				return made
			}
			return netlink.LinkSetUp(l)
		}
		err = errors.Join(netlink.LinkSetAlias(l, alias), k.listen(o.ListenPort), netlink.LinkSetUp(l))
		if err != nil {
			err = errors.Join(err, netlink.LinkDel(l))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kernelDevice) listen(port int) error {
	if port == 0 {
		return nil
	}
	return k.withClient(func(c *wgctrl.Client) error {
		return c.ConfigureDevice(k.name, wgtypes.Config{ListenPort: &port})
	})
}

// withClient runs f in the namespace of this thread.
func (k *kernelDevice) withClient(f func(*wgctrl.Client) error) error {
	c, err := wgctrl.New()
	if err != nil {
		return err
	}
	err = f(c)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrClosed
	}
	return errors.Join(err, c.Close())
}

// call gives up with ctx: the client has no deadline of its own.
func (k *kernelDevice) call(ctx context.Context, f func(*wgctrl.Client) error) error {
	result := make(chan error, 1)
	go func() {
		result <- inside(k.namespace, func() error { return k.withClient(f) })
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (k *kernelDevice) read(ctx context.Context) (*wgtypes.Device, error) {
	var got *wgtypes.Device
	err := k.call(ctx, func(c *wgctrl.Client) (err error) {
		got, err = c.Device(k.name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func (k *kernelDevice) configure(ctx context.Context, cfg wgtypes.Config) error {
	return k.call(ctx, func(c *wgctrl.Client) error { return c.ConfigureDevice(k.name, cfg) })
}

func (k *kernelDevice) setMTU(int) {} // it is the interface

func (k *kernelDevice) done() <-chan struct{} { return k.closed }

func (k *kernelDevice) close() error {
	k.once.Do(func() {
		close(k.closed)
		k.err = inside(k.namespace, func() error {
			l, err := netlink.LinkByName(k.name)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil
			}
			if err != nil {
				return err
			}
			if l.Type() != "wireguard" || l.Attrs().Alias != alias {
				return fmt.Errorf("interface: %w", ErrExists)
			}
			return netlink.LinkDel(l)
		})
	})
	return k.err
}
