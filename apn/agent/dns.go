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

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// DNSOptions are the optional settings of [NewDNS].
type DNSOptions struct {
	// Port that is answered on, at the server's addresses in the network. Zero
	// means 53.
	Port uint16
	// ListenPacket and Listen open the sockets, for instance in the network
	// namespace of the interface. Nil means those of the net package.
	ListenPacket func(ctx context.Context, network, addr string) (net.PacketConn, error)
	Listen       func(ctx context.Context, network, addr string) (net.Listener, error)
	// Host points the server's own resolver to the names. Nil: it is left alone.
	Host *HostResolver
	// Logger hears of what goes wrong between calls. Nil discards.
	Logger *slog.Logger
}

// DNS answers for the names of a netmap on the server's own addresses. It
// implements [Names].
type DNS struct {
	opts DNSOptions
	src  dnsserver.Source
	srv  *dnsserver.Server

	mu      sync.Mutex
	shown   *netmap.Config // whose names are answered
	serial  uint32
	sockets map[netip.Addr]*socket
}

// socket is where one address is answered.
type socket struct {
	stop context.CancelFunc
	done sync.WaitGroup
	dead chan struct{} // gets a value when either protocol is no longer served
}

// NewDNS returns a DNS that answers nothing yet. opts may be nil.
func NewDNS(opts *DNSOptions) *DNS {
	if opts == nil {
		opts = new(DNSOptions)
	}
	d := &DNS{opts: *opts, sockets: map[netip.Addr]*socket{}}
	if d.opts.Port == 0 {
		d.opts.Port = 53
	}
	if d.opts.ListenPacket == nil {
		d.opts.ListenPacket = new(net.ListenConfig).ListenPacket
	}
	if d.opts.Listen == nil {
		d.opts.Listen = new(net.ListenConfig).Listen
	}
	if d.opts.Logger == nil {
		d.opts.Logger = slog.New(slog.DiscardHandler)
	}
	d.srv = dnsserver.New(&d.src, &dnsserver.Options{Logger: d.opts.Logger})
	return d
}

// Apply implements [Names]. The server's addresses have to be there.
func (d *DNS) Apply(ctx context.Context, c *netmap.Config) (wrote bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !sameNames(d.shown, c) {
		set, err := Zone(c, d.serial)
		if err != nil {
			return false, err
		}
		d.src.Store(set)
		d.shown, d.serial, wrote = c, set.Serial(), true
	}
	opened, err := d.open(ctx, addressesOf(c))
	errs := []error{err}
	if d.opts.Host != nil {
		changed, err := d.opts.Host.apply(ctx, c, d.opts.Port)
		wrote = wrote || changed
		errs = append(errs, err)
	}
	return wrote || opened, errors.Join(errs...)
}

func sameNames(a, b *netmap.Config) bool {
	return a == b || a != nil && a.Suffix == b.Suffix && slices.Equal(a.Routes, b.Routes) &&
		slices.EqualFunc(a.Names, b.Names, func(n, m netmap.Named) bool {
			return n.ID == m.ID && slices.Equal(n.Names, m.Names) && slices.Equal(n.Addrs, m.Addrs)
		})
}

func addressesOf(c *netmap.Config) []netip.Addr {
	addrs := make([]netip.Addr, len(c.Addresses))
	for i, p := range c.Addresses {
		addrs[i] = p.Addr()
	}
	return addrs
}

// open makes addrs the ones that are answered.
func (d *DNS) open(ctx context.Context, addrs []netip.Addr) (opened bool, err error) {
	for a, s := range d.sockets {
		if s.ended() || !slices.Contains(addrs, a) {
			s.close()
			delete(d.sockets, a)
		}
	}
	var errs []error
	for _, a := range addrs {
		if d.sockets[a] != nil {
			continue
		}
		s, err := d.listen(ctx, netip.AddrPortFrom(a, d.opts.Port).String())
		if err != nil {
			errs = append(errs, fmt.Errorf("agent: answer DNS: %w", err))
			continue
		}
		d.sockets[a], opened = s, true
	}
	return opened, errors.Join(errs...)
}

func (d *DNS) listen(ctx context.Context, addr string) (*socket, error) {
	udp, err := d.opts.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	tcp, err := d.opts.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	// The sockets outlive the call that opens them.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &socket{stop: stop, dead: make(chan struct{}, 2)}
	serve := func(err error) {
		if ctx.Err() == nil {
			d.opts.Logger.Error("DNS is no longer answered", "addr", addr, "error", err)
		}
		s.dead <- struct{}{}
	}
	s.done.Go(func() { serve(d.srv.ServePacket(ctx, udp)) })
	s.done.Go(func() { serve(d.srv.ServeStream(ctx, tcp)) })
	return s, nil
}

func (s *socket) ended() bool { return len(s.dead) > 0 }

func (s *socket) close() {
	s.stop()
	s.done.Wait()
}

// Close undoes all that Apply did to the server.
func (d *DNS) Close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a, s := range d.sockets {
		s.close()
		delete(d.sockets, a)
	}
	if d.opts.Host == nil {
		return nil
	}
	return d.opts.Host.undo(ctx)
}
