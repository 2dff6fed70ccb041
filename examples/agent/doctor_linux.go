package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/source"
	"github.com/apnkit/apnkit/apn/netmap"
)

// finding is what one check says.
type finding struct {
	name string
	text string
	do   string // what to do about it; empty: all is well
}

// examination is what the checks of one doctor share.
type examination struct {
	o      *options
	id     *agent.Identity
	s      state
	runs   bool
	latest *netmap.Signed // document of the control plane
	client *source.Client
	reach  error // of the control plane
}

// doctor checks all that has to be right, and says for each thing that is not
// what to do.
func (o *options) doctor(ctx context.Context) error {
	_, id, err := o.identity()
	if err != nil {
		return err
	}
	e := &examination{o: o, id: id}
	if err := o.ask(ctx, "/status", &e.s); err == nil {
		e.runs = true
	} else if e.s, err = o.saved(); err != nil {
		return err
	}
	if e.client, err = source.New(id, o.channel()); err != nil {
		return err
	}
	defer e.client.Close()

	t := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	wrong := 0
	for _, check := range []func(context.Context) finding{
		e.agent, e.control, e.clock, e.revision, e.device, e.port, e.firewall, e.mtu, e.resolver,
	} {
		ctx, cancel := context.WithTimeout(ctx, o.timeout)
		f := check(ctx)
		cancel()
		mark := "ok"
		if f.do != "" {
			mark = "WRONG"
			wrong++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", mark, f.name, f.text)
		if f.do != "" {
			fmt.Fprintf(t, "\t\tdo: %s\n", f.do)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of these need a hand", wrong)
	}
	return nil
}

func (e *examination) agent(context.Context) finding {
	f := finding{name: "agent", text: "runs as " + e.s.Server}
	switch {
	case !e.runs:
		f.text, f.do = "does not run", "start it: agent run, or systemctl start apn-agent"
	case len(e.s.Errors) > 0:
		f.text, f.do = strings.Join(e.s.Errors, "; "), "see the checks below, and the agent's log"
	}
	return f
}

func (e *examination) control(ctx context.Context) finding {
	f := finding{name: "control plane", text: e.id.URL + " answers"}
	d, err := e.client.Netmap(ctx, nil)
	if err == nil {
		e.latest, err = (*netmap.Signed)(nil).Apply(d)
	}
	if err == nil {
		_, err = e.latest.Open(e.id.Key)
	}
	e.reach = err
	switch {
	case err == nil:
	case errors.Is(err, agent.ErrRefused):
		f.text, f.do = err.Error(), "agent leave, then join with a new token"
	case errors.Is(err, source.ErrPin):
		f.text, f.do = err.Error(), "if it was renewed with another key: agent leave, then join with a new token; otherwise somebody is in between"
	case errors.Is(err, netmap.ErrSignature):
		f.text, f.do = err.Error(), "the network's key is not the one that this server joined with: ask who runs the control plane"
	default:
		f.text, f.do = err.Error(), "check the way there; until it answers, peers stay and leases end"
	}
	return f
}

// clockFine is how far the clocks may differ. The agent allows for any
// difference; logs and certificates do not.
const clockFine = 5 * time.Second

func (e *examination) clock(context.Context) finding {
	offset := e.s.ClockOffset
	if theirs, ok := e.client.Now(); ok {
		offset = time.Since(theirs)
	} else if !e.runs {
		return finding{"clock", "not known without the control plane", "see above"}
	}
	f := finding{name: "clock", text: fmt.Sprintf("%v ahead of the control plane's", offset.Round(time.Millisecond))}
	if offset.Abs() > clockFine {
		f.do = "set it by NTP: timedatectl set-ntp true; leases end on time in any case"
	}
	return f
}

func (e *examination) revision(context.Context) finding {
	f := finding{name: "revision", text: fmt.Sprintf("%d, applied", e.s.Applied)}
	switch {
	case !e.runs:
		f.text, f.do = fmt.Sprintf("%d is saved", e.s.Wanted), "start the agent"
	case e.s.Wanted == 0:
		f.text, f.do = "no document yet", "see control plane"
	case e.s.Applied != e.s.Wanted:
		f.text, f.do = fmt.Sprintf("%d, applied %d", e.s.Wanted, e.s.Applied), "see the agent's own errors above"
	case e.latest != nil && e.latest.Epoch() == e.s.Epoch && e.latest.Revision() > e.s.Wanted && !e.same():
		f.text, f.do = fmt.Sprintf("%d, the control plane has %d", e.s.Wanted, e.latest.Revision()), "wait a minute; if it stays so, see the agent's log"
	}
	return f
}

// same reports whether the newest document says nothing else than the saved one.
func (e *examination) same() bool {
	s, err := e.o.saved()
	if err != nil {
		return false
	}
	m, err := e.latest.Open(e.id.Key)
	if err != nil {
		return false
	}
	c, err := m.For(e.id.PeerID())
	return err == nil && len(c.Peers) == len(s.Peers) && slices.EqualFunc(c.Peers, s.Peers, func(p netmap.Peer, q peer) bool {
		return p.ID == q.ID && slices.Equal(p.AllowedIPs, q.AllowedIPs)
	})
}

func (e *examination) device(context.Context) finding {
	up := 0
	for _, p := range e.s.Peers {
		if time.Since(p.Handshake) < 3*time.Minute {
			up++
		}
	}
	f := finding{name: "interface", text: fmt.Sprintf("%s, %s, %d peers, %d of them up", e.o.iface, e.s.Kind, len(e.s.Peers), up)}
	if e.s.Kind == "" {
		f.text, f.do = e.o.iface+" is not there", "start the agent as root"
	}
	return f
}

func (e *examination) port(context.Context) finding {
	f := finding{name: "port", text: fmt.Sprintf("UDP %d", e.s.Port)}
	switch {
	case e.s.Port == 0:
		f.text, f.do = "no UDP port is open", "start the agent"
	case e.s.Table != nil && len(e.s.Table.Warnings) > 0:
		f.text = strings.Join(e.s.Table.Warnings, "; ")
		f.do = fmt.Sprintf("let UDP port %d in there; the table %s decides who may send", e.s.Port, e.o.iface)
	}
	return f
}

func (e *examination) firewall(context.Context) finding {
	f := finding{name: "firewall"}
	switch t := e.s.Table; {
	case e.o.noFirewall:
		f.text = "is somebody else's (-no-firewall)"
	case t == nil:
		f.text, f.do = "the port is not guarded", "start the agent as root; without nftables in the kernel, with -no-firewall behind a firewall of your own"
	case t.Error != "":
		f.text, f.do = t.Error, "see the agent's log"
	case !t.Installed:
		f.text, f.do = "the table is gone: the port is open to everybody", "restart the agent; find out who flushes the ruleset"
	default:
		f.text = fmt.Sprintf("table inet %s: %d leases, %d rules; turned away: %d in, %d out, %d spoofed",
			e.o.iface, len(e.s.Openings.Leases), len(e.s.Openings.Permanent), t.Knocks, t.Answers, t.Spoofed)
	}
	return f
}

// overhead is what WireGuard adds to a packet, over IPv6: 40 + 8 + 32 bytes.
const overhead = 80

func (e *examination) mtu(ctx context.Context) finding {
	f := finding{name: "MTU"}
	var inner int
	var err error
	read := func() error {
		i, err := net.InterfaceByName(e.o.iface)
		if err == nil {
			inner = i.MTU
		}
		return err
	}
	if e.o.netns != "" {
		err = inside(e.o.netns, read)
	} else {
		err = read()
	}
	if err != nil {
		return finding{"MTU", "the interface is not there", "start the agent"}
	}
	f.text = fmt.Sprintf("%d", inner)
	outer := smallest(ctx, e.s.Peers)
	if outer > 0 {
		f.text = fmt.Sprintf("%d inside %d", inner, outer)
	}
	switch {
	case outer > 0 && inner > outer-overhead:
		f.do = fmt.Sprintf("run the agent with -mtu %d, or large packets get lost", max(outer-overhead, 1280))
	case inner < 1280:
		f.do = "IPv6 needs 1280: run the agent with -mtu 1280 or more"
	}
	return f
}

// smallest returns the smallest MTU of this server's interfaces that lead to
// peers; 0 if none does.
func smallest(ctx context.Context, peers []peer) int {
	mtus := map[netip.Addr]int{}
	list, _ := net.Interfaces() // without them, there is nothing to compare
	for _, i := range list {
		addrs, _ := i.Addrs() // likewise
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				mtus[p.Addr().Unmap()] = i.MTU
			}
		}
	}
	least := 0
	for _, p := range peers {
		if _, err := netip.ParseAddrPort(p.Endpoint); err != nil {
			continue
		}
		c, err := new(net.Dialer).DialContext(ctx, "udp", p.Endpoint) // sends nothing
		if err != nil {
			continue
		}
		if ap, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
			if mtu := mtus[ap.Addr().Unmap()]; mtu > 0 && (least == 0 || mtu < least) {
				least = mtu
			}
		}
		_ = c.Close()
	}
	return least
}

func (e *examination) resolver(ctx context.Context) finding {
	f := finding{name: "resolver"}
	if e.o.noDNS || len(e.s.Names) == 0 || len(e.s.Addresses) == 0 {
		f.text = "no names to answer"
		return f
	}
	name, addr := e.s.Names[len(e.s.Names)-1], e.s.Addresses[0].Addr()
	own := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		dial := func() error {
			c, err = new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(addr, 53).String())
			return err
		}
		if e.o.netns != "" {
			return c, inside(e.o.netns, dial)
		}
		return c, dial()
	}}
	if ns, err := own.LookupNS(ctx, e.s.Suffix+"."); err != nil || len(ns) == 0 { // no hosts file answers this
		f.text = fmt.Sprintf("%s does not answer for .%s", addr, e.s.Suffix)
		f.do = "start the agent; if it runs, see its log: another DNS server may have port 53"
		if e.o.netns != "" {
			f.do += fmt.Sprintf("; a namespace needs its loopback: ip -n %s link set lo up", e.o.netns)
		}
		return f
	}
	f.text = name + " resolves"
	if e.o.noHost || e.o.netns != "" {
		f.text = fmt.Sprintf("%s answers for %s", addr, name)
		return f
	}
	if got, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name); err != nil || !has(got, addr) {
		f.text = fmt.Sprintf("%s answers, but this server's resolver does not ask it for %s", addr, name)
		f.do = fmt.Sprintf("point the resolver at %s for .%s only, or let the agent write the hosts file", addr, e.s.Suffix)
	}
	return f
}

func has(addrs []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(b netip.Addr) bool { return a == b.Unmap() })
}
