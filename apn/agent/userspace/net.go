package userspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"github.com/apnkit/apnkit/render"
)

// Options are the optional settings of [New].
type Options struct {
	// Names returns the addresses of a name without final dot, nothing if there
	// is no such name. Nil asks the resolvers of the config, through the tunnel.
	Names func(name string) []netip.Addr
	// Logger hears what WireGuard has to say. Nil discards.
	Logger *slog.Logger
}

const (
	defaultMTU = 1420 // bytes: fits into Ethernet over IPv4 and IPv6
	patience   = 10 * time.Second
)

// Net is an application's network as seen from one of its members. It is safe
// for concurrent use.
type Net struct {
	names func(string) []netip.Addr
	tun   *stackTUN
	dev   *device.Device

	mu     sync.Mutex // one Update at a time
	config atomic.Pointer[render.Config]
}

// New connects to the network of cfg. opts may be nil. It does not wait for a
// peer: the first packet to one does.
//
// Of cfg's interface, a mark, a table and hooks mean nothing here. Endpoints that
// are host names are looked up by the host's resolver, once.
func New(cfg *render.Config, opts *Options) (*Net, error) {
	if opts == nil {
		opts = &Options{}
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tun, err := newStackTUN()
	if err != nil {
		return nil, fmt.Errorf("userspace: new: %w", err)
	}
	n := &Net{names: opts.Names, tun: tun}
	n.dev = device.NewDevice(tun, conn.NewDefaultBind(), logger(log))
	n.config.Store(&render.Config{})
	err = n.Update(cfg)
	if err == nil {
		err = n.dev.Up()
	}
	if err != nil {
		_ = n.Close()
		return nil, fmt.Errorf("userspace: new: %w", err)
	}
	return n, nil
}

// Update goes over to cfg. Only what differs is changed: connections to peers
// that stay go on, also when addresses are added. If Update fails, a part of cfg
// may be in force; the next one starts from there.
func (n *Net) Update(cfg *render.Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, err := prepare(cfg)
	if err != nil {
		return fmt.Errorf("userspace: update: %w", err)
	}
	last := n.config.Load()
	text, err := render.Diff(last, next).AppendUAPI(nil)
	if err != nil {
		return fmt.Errorf("userspace: update: %w", err)
	}
	defer clear(text)
	err = errors.Join(
		n.dev.IpcSet(string(text)),
		n.tun.setAddresses(last.Interface.Addresses, next.Interface.Addresses),
	)
	if err != nil {
		return fmt.Errorf("userspace: update: %w", err)
	}
	n.tun.setMTU(int(next.Interface.MTU))
	n.config.Store(next)
	return nil
}

// prepare returns a copy of cfg that WireGuard in a process can take.
func prepare(cfg *render.Config) (*render.Config, error) {
	c := cfg.Clone()
	i := &c.Interface
	i.FwMark, i.Table, i.Hooks = 0, render.TableAuto, render.Hooks{}
	if i.MTU == 0 {
		i.MTU = defaultMTU
	}
	for k := range c.Peers {
		p := &c.Peers[k]
		if _, ok := p.Endpoint.Addr(); ok || p.Endpoint.IsZero() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", p.Endpoint.Host)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("endpoint of peer %s: %w", p.PublicKey.Fingerprint(), err)
		}
		p.Endpoint = render.EndpointFrom(netip.AddrPortFrom(list[0], p.Endpoint.Port))
	}
	text, err := render.UAPI.Append(nil, c, nil) // checks all of it
	clear(text)
	return c, err
}

// Close ends all connections and leaves the network. To close again does
// nothing.
func (n *Net) Close() error {
	n.dev.Close()
	return nil
}

// routed reports whether some peer has a.
func (n *Net) routed(a netip.Addr) bool {
	return slices.ContainsFunc(n.config.Load().Peers, func(p render.Peer) bool {
		return slices.ContainsFunc(p.AllowedIPs, func(allowed netip.Prefix) bool { return allowed.Contains(a) })
	})
}

// own reports whether a is an address of ours.
func (n *Net) own(a netip.Addr) bool {
	return slices.ContainsFunc(n.config.Load().Interface.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

// logger hands wireguard-go's lines on, and formats nothing that nobody reads.
func logger(l *slog.Logger) *device.Logger {
	at := func(level slog.Level) func(string, ...any) {
		return func(format string, args ...any) {
			if ctx := context.Background(); l.Enabled(ctx, level) {
				l.Log(ctx, level, "wireguard", slog.String("text", fmt.Sprintf(format, args...)))
			}
		}
	}
	return &device.Logger{Verbosef: at(slog.LevelDebug), Errorf: at(slog.LevelWarn)}
}
