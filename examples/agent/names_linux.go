package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/apn/agent"
)

// names answers DNS on the interface, wherever that is, and points the resolver
// of this server there.
func (o *options) names(log *slog.Logger) *agent.DNS {
	opts := &agent.DNSOptions{Logger: log}
	if !o.noHost {
		opts.Host = &agent.HostResolver{Interface: o.iface, Tag: o.iface, HostsFile: o.hosts}
	}
	if o.netns == "" {
		return agent.NewDNS(opts)
	}
	// In a namespace, what runs there reads /etc/netns/NAME/hosts if anything.
	if opts.Host != nil {
		opts.Host.Interface = ""
		if o.hosts == "" {
			opts.Host = nil
		}
	}
	opts.ListenPacket = func(ctx context.Context, network, addr string) (c net.PacketConn, err error) {
		err = inside(o.netns, func() error {
			c, err = new(net.ListenConfig).ListenPacket(ctx, network, addr)
			return err
		})
		return c, err
	}
	opts.Listen = func(ctx context.Context, network, addr string) (l net.Listener, err error) {
		err = inside(o.netns, func() error {
			l, err = new(net.ListenConfig).Listen(ctx, network, addr)
			return err
		})
		return l, err
	}
	return agent.NewDNS(opts)
}

// inside runs f in a network namespace, on a thread that ends with it: one that
// was elsewhere must not run anything else.
func inside(netns string, f func() error) error {
	path := netns
	if !strings.Contains(path, "/") {
		path = filepath.Join("/run/netns", path)
	}
	ns, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // read only
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", netns, err)
			return
		}
		done <- f()
	}()
	return <-done
}
