package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
	"github.com/apnkit/apnkit/render"
)

// finding is what one check says.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// clockFine is how far the clocks may differ: handshakes only mind steps back,
// leases and certificates mind more.
const clockFine = 30 * time.Second

// doctor checks all that a config file needs, and says for each thing that is
// wrong what to do.
func doctor(ctx context.Context, c *call) error {
	path := c.words[0]
	cfg, err := readConfig(path)
	if err != nil {
		return err
	}
	all := []finding{fileMode(path), sound(cfg.Config), c.overlaps(cfg.Config)}
	all = append(all, c.endpoints(ctx, cfg.Config)...)
	all = append(all, c.control(ctx, cfg)...)
	wrong := 0
	for _, f := range all {
		if !f.OK {
			wrong++
		}
		if !c.json {
			mark := c.paint(green, "ok   ")
			if !f.OK {
				mark = c.paint(red, "WRONG")
			}
			fmt.Fprintf(c.stdout, "%s  %-9s  %s\n", mark, f.Check, clean(f.Text))
			if f.Do != "" {
				fmt.Fprintf(c.stdout, "%18s-> %s\n", "", f.Do)
			}
		}
	}
	if c.json {
		err = c.encode(all)
	}
	if wrong > 0 {
		return errors.Join(err, fmt.Errorf("%d of %d need a hand", wrong, len(all)))
	}
	return err
}

func fileMode(path string) finding {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return finding{"file", false, err.Error(), "give the path of a config file"}
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return finding{"file", false, fmt.Sprintf("others can read the private key (%#o)", info.Mode().Perm()), "chmod 600 " + path}
	}
	return finding{"file", true, "only you can read it", ""}
}

// sound checks keys and values.
func sound(cfg *render.Config) finding {
	switch err := cfg.Validate(render.All); {
	case cfg.Interface.PrivateKey.IsZero():
		return finding{"keys", false, "the private key is missing", "put yours in, or: apnctl config DEVICE -key FILE"}
	case err != nil:
		return finding{"keys", false, strings.ReplaceAll(err.Error(), "\n", "; "), "download it again: apnctl config DEVICE"}
	case len(cfg.Peers) == 0:
		return finding{"keys", false, "there is no peer: no app is open to you", "ask for a role on an app"}
	}
	return finding{"keys", true, fmt.Sprintf("sound, %d servers", len(cfg.Peers)), ""}
}

// overlaps finds addresses that lead to two peers, or into the tunnel and into a
// network that the computer is in.
func (c *call) overlaps(cfg *render.Config) finding {
	local, err := c.local()
	if err != nil {
		return finding{"routes", false, err.Error(), "look at ip route"}
	}
	for i, p := range cfg.Peers {
		for _, route := range p.AllowedIPs {
			for _, other := range cfg.Peers[:i] {
				if at := slices.IndexFunc(other.AllowedIPs, route.Overlaps); at >= 0 {
					return finding{"routes", false, fmt.Sprintf("%v of %s and %v of %s overlap", route, p.Name, other.AllowedIPs[at], other.Name), "remove one: only the narrower gets the traffic"}
				}
			}
			for _, l := range local {
				own := slices.ContainsFunc(cfg.Interface.Addresses, func(a netip.Prefix) bool { return a.Addr() == l.Addr() })
				if !own && route.Bits() > 0 && l.Masked().Overlaps(route) {
					return finding{
						"routes", false, fmt.Sprintf("%v of %s lies in %v, a network that this computer is in", route, p.Name, l.Masked()),
						"leave that network, or give the app another subnet",
					}
				}
			}
		}
	}
	return finding{"routes", true, "no route overlaps a network here", ""}
}

// endpoints looks each of them up. Whether a port answers cannot be told:
// WireGuard keeps silent to strangers.
func (c *call) endpoints(ctx context.Context, cfg *render.Config) []finding {
	var all []finding
	checked := 0
	for _, p := range cfg.Peers {
		if p.Endpoint.IsZero() {
			all = append(all, finding{"endpoint", false, p.Name + " has none: it cannot be called", "apnctl servers set APP/SERVER -endpoint HOST:PORT"})
			continue
		}
		addrs := []netip.Addr{}
		if a, ok := p.Endpoint.Addr(); ok {
			addrs = append(addrs, a.Addr())
		} else if found, err := c.resolve(ctx, "ip", p.Endpoint.Host); err != nil {
			all = append(all, finding{"endpoint", false, p.Name + ": " + p.Endpoint.Host + " has no address", "check the name and this computer's resolver"})
			continue
		} else {
			addrs = found
		}
		checked++
		if len(addrs) > 0 && !routed(ctx, addrs[0], p.Endpoint.Port) {
			all = append(all, finding{"endpoint", false, fmt.Sprintf("%s: no route to %v", p.Name, addrs[0]), "check this computer's network; IPv6 may be missing"})
		}
	}
	if len(all) == 0 && checked > 0 {
		all = append(all, finding{"endpoint", true, fmt.Sprintf("%d found; if one is silent, the port waits for a lease", checked), ""})
	}
	return all
}

// routed reports whether the computer knows a way. Connecting a UDP socket sends
// nothing.
func routed(ctx context.Context, addr netip.Addr, port uint16) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// control asks the server.
func (c *call) control(ctx context.Context, cfg *file) []finding {
	var state apnclient.ConfigState
	err := c.connect()
	if err == nil {
		err = c.findNetwork(ctx)
	}
	if err == nil {
		state, err = c.freshness(ctx, cfg)
	}
	if err != nil {
		return []finding{{"server", false, explain(err), "sign in, or find the way there, to have the rest checked"}}
	}
	text, do := stateText(state, cfg, c.words[0])
	all := []finding{{"config", do == "", text, do}}
	if ahead := c.clock.ahead.Load(); ahead != nil {
		f := finding{"clock", true, "right", ""}
		if ahead.Abs() > clockFine {
			f = finding{"clock", false, fmt.Sprintf("%v off the server's", ahead.Abs().Round(time.Second)), "set the clock, and start the tunnel anew: handshakes are refused after a step back"}
		}
		all = append(all, f)
	}
	return append(all, c.port(ctx, cfg.Config), c.names(ctx, cfg.Config))
}

// port looks whether each app lets this computer's address knock.
func (c *call) port(ctx context.Context, cfg *render.Config) finding {
	me, err := c.client.Whoami(ctx)
	if err != nil || !me.Address.IsValid() {
		return finding{"port", false, "this computer's address cannot be told", "apnctl lease APP -source ADDRESS"}
	}
	for _, app := range appsOf(cfg) {
		open := false
		for l, err := range c.client.Leases(ctx, c.network, app) {
			open = open || err == nil && l.Source.Contains(me.Address)
		}
		if open {
			continue
		}
		for r, err := range c.client.Rules(ctx, c.network, app) {
			open = open || err == nil && r.Source.Contains(me.Address) // only admins see rules
		}
		if !open {
			return finding{"port", false, fmt.Sprintf("%s has no lease for %v", app, me.Address), "apnctl lease " + app + " (unless a rule opens it)"}
		}
	}
	return finding{"port", true, fmt.Sprintf("open for %v", me.Address), ""}
}

// appsOf returns the apps in a config: its peers are named "web-1.shop".
func appsOf(cfg *render.Config) []string {
	var all []string
	for _, p := range cfg.Peers {
		if _, app, ok := strings.Cut(p.Name, "."); ok && !slices.Contains(all, app) {
			all = append(all, app)
		}
	}
	return all
}

// names looks up the servers as programs do.
func (c *call) names(ctx context.Context, cfg *render.Config) finding {
	n, err := c.client.Network(ctx, c.network)
	if err != nil {
		return finding{"names", false, explain(err), "sign in anew"}
	}
	suffix := cmp.Or(n.Suffix, "apn")
	for _, p := range cfg.Peers {
		if !strings.Contains(p.Name, ".") {
			continue // somebody else's peer
		}
		name := p.Name + "." + suffix
		addrs, err := c.resolve(ctx, "ip", name)
		switch {
		case err != nil:
			return finding{"names", false, name + " has no address here", "apnctl zone -hosts, into the hosts file; or have the resolver ask the network's DNS"}
		case !slices.ContainsFunc(addrs, func(a netip.Addr) bool {
			return slices.ContainsFunc(p.AllowedIPs, func(r netip.Prefix) bool { return r.Contains(a.Unmap()) })
		}):
			return finding{"names", false, fmt.Sprintf("%s is %s here, and not the server", name, join(addrs)), "look for the name in the hosts file and the resolver"}
		}
	}
	return finding{"names", true, "all lead to their servers", ""}
}
