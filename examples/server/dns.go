package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// serveDNS answers for the zone of one network over UDP and TCP, at
// [NETWORK@]ADDRESS. Without a name it is the only network, once there is one:
// several networks may have the same suffix. It returns when the sockets are
// bound.
func (d *data) serveDNS(ctx context.Context, log *slog.Logger) (stop func(), err error) {
	name, addr, found := strings.Cut(d.options.dns, "@")
	if !found {
		name, addr = "", name
	}
	conn, ln, err := bindBoth(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("-dns %s: %w", addr, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	src := new(dnsserver.Source)
	srv := dnsserver.New(src, nil)
	var wg sync.WaitGroup
	run := func(what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				log.Error("DNS ends", "part", what, "error", err)
			}
		})
	}
	run("UDP", func() error { return srv.ServePacket(ctx, conn) })
	run("TCP", func() error { return srv.ServeStream(ctx, ln) })
	run("zone", func() error { return d.followZone(ctx, name, src) })
	d.dnsAddr = conn.LocalAddr()
	return func() {
		cancel()
		wg.Wait()
	}, nil
}

// bindBoth binds one port for UDP and TCP. If the port is left to the system,
// one that is free for UDP may be taken for TCP: then it tries another.
func bindBoth(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	_, port, _ := net.SplitHostPort(addr)
	for tries := 10; ; tries-- {
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
		if err != nil {
			return nil, nil, err
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", conn.LocalAddr().String())
		if err == nil {
			return conn, ln, nil
		}
		if err = errors.Join(err, conn.Close()); port != "0" || tries == 0 {
			return nil, nil, err
		}
	}
}

// followZone keeps src at the network's zone.
func (d *data) followZone(ctx context.Context, name string, src *dnsserver.Source) error {
	n, err := d.awaitNetwork(ctx, name)
	if err != nil {
		return err
	}
	for _, err := range n.Watch(ctx, 0) {
		if err != nil {
			return err
		}
		set, err := n.Zone(ctx)
		if err != nil {
			return err
		}
		if set != src.Load() {
			src.Store(set)
		}
	}
	return nil
}

// awaitNetwork returns the network of that name, or the only one if name is
// empty, as soon as it exists.
func (d *data) awaitNetwork(ctx context.Context, name string) (*apn.Network, error) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		names := []string{name}
		if name == "" {
			var err error
			if names, _, err = d.ctl.Networks(ctx, "", 2); err != nil {
				return nil, err
			}
		}
		if len(names) > 1 {
			return nil, fmt.Errorf("there are several networks: say -dns NETWORK@ADDRESS")
		}
		if len(names) == 1 {
			if n, err := d.ctl.Network(ctx, names[0]); !errors.Is(err, apn.ErrNotFound) {
				return n, err
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
