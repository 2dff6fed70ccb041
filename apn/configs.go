package apn

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// DeviceConfig returns the config of a device: every server of every app on
// which the member is Developer or higher is a peer. It counts as handed out, so
// the device is stale as soon as the config would change.
//
// The private key is in it in custody Managed, and the first time in custody
// Once. After that the error wraps [ErrRevealed]. In custody Self the config has
// only the public key.
func (n *Network) DeviceConfig(ctx context.Context, member, device string) (*render.Config, error) {
	var out *render.Config
	err := n.HandOut(ctx, member, device, func(cfg *render.Config, _ render.Fingerprint) error {
		out = cfg
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// HandOut gives the config of a device and its fingerprint, which
// [render.Options] takes, to use, and records that it was handed out once use
// has returned nil. What use made of the config must not reach anybody if
// HandOut returns an error: then nothing was recorded. use is called once.
func (n *Network) HandOut(ctx context.Context, member, device string, use func(*render.Config, render.Fingerprint) error) error {
	return n.handOut(ctx, member, device, func(c *shownConfig, cfg *render.Config) error {
		return use(cfg, c.fingerprint)
	})
}

// HandOutApps is [Network.HandOut] with one config per app, sorted by app, for
// clients that hold several tunnels: each is smaller than the whole. A member
// without access has none.
func (n *Network) HandOutApps(ctx context.Context, member, device string, use func([]*render.Config) error) error {
	return n.handOut(ctx, member, device, func(c *shownConfig, cfg *render.Config) error {
		return use(c.split(n.name, cfg))
	})
}

// split returns a config per app, and remembers that they were handed out so.
func (c *shownConfig) split(network string, cfg *render.Config) []*render.Config {
	configs := splitConfig(network, cfg, c.peers)
	for _, part := range configs {
		c.row.Parts = append(c.row.Parts, part.Fingerprint().String())
	}
	return configs
}

// splitConfig returns a config per app. lines are those of the peers, in their
// order, and begin with the app.
func splitConfig(network string, cfg *render.Config, lines []string) []*render.Config {
	var configs []*render.Config
	last := ""
	for i, p := range cfg.Peers {
		if app, _, _ := strings.Cut(lines[i], "/"); i == 0 || app != last {
			configs = append(configs, &render.Config{Name: network + "-" + app, Interface: cfg.Interface})
			last = app
		}
		config := configs[len(configs)-1]
		config.Peers = append(config.Peers, p)
	}
	return configs
}

// handOut draws up a device's config, gives it to use, and records it.
func (n *Network) handOut(ctx context.Context, member, device string, use func(*shownConfig, *render.Config) error) error {
	if err := n.tryHandOut(ctx, member, device, use); err != nil {
		return &Error{Op: "hand out config", Object: member + "/" + device, Err: err}
	}
	return nil
}

func (n *Network) tryHandOut(ctx context.Context, member, device string, use func(*shownConfig, *render.Config) error) error {
	ring, err := n.ring(ctx)
	if err != nil {
		return err
	}
	s := n.view()
	key := devKey(member, device)
	k, ok := find[*keyRow](s, keyKey(key))
	if !ok {
		return ErrNotFound
	}
	if k.Custody == keys.Once && k.Revealed {
		return ErrRevealed
	}
	cfg, shown := s.deviceConfig(n.name, member, device, ring)
	if cfg.Interface.PrivateKey, err = n.private(ring, key, k); err != nil {
		return err
	}
	shown.fingerprint = cfg.Fingerprint()
	if err := use(&shown, cfg); err != nil {
		return err
	}
	shown.row.At, shown.row.Fingerprint = n.ctl.now().UTC(), shown.fingerprint.String()
	return n.do(ctx, nil, func(t *tx) error {
		if shown.claim != nil {
			if err := shown.claim(t); err != nil {
				return err
			}
		}
		now, ok := find[*keyRow](t.state, keyKey(key))
		switch {
		case !ok:
			return ErrNotFound
		case now.UID != k.UID || now.Gen != k.Gen:
			return ErrConflict // the key in the config is not the device's any more
		case now.Revealed:
			return ErrRevealed
		}
		if now.Custody == keys.Once {
			forgotten := *now
			forgotten.Priv, forgotten.Revealed = nil, true
			t.put(keyKey(key), &forgotten)
		}
		t.recordHandOut(member, device, shown)
		t.event("device.config", member+"/"+device, fmt.Sprintf("%d servers, key %d", len(cfg.Peers), k.Gen))
		return nil
	})
}

// deviceConfig returns a device's config without the private key, and what is to
// be remembered of it.
func (s *state) deviceConfig(network, member, device string, ring *keys.Ring) (*render.Config, shownConfig) {
	key := devKey(member, device)
	r, _ := find[*devRow](s, key)
	k, _ := find[*keyRow](s, keyKey(key))
	net := s.net()
	cfg := &render.Config{
		Name:      network + "-" + device,
		Interface: render.Interface{PublicKey: k.pub, Addresses: hosts(r.Addrs)},
	}
	shown := shownConfig{row: handRow{Gen: k.Gen, Rev: s.rev, Interface: s.interfaceLine(key), Apps: s.appsOf(member)}}
	size := 0
	for _, app := range shown.row.Apps {
		size += s.count(srvKey(app, ""))
	}
	// Thousands of peers share a few allocations.
	cfg.Peers = make([]render.Peer, 0, size)
	prefixes, lines, ends := make([]netip.Prefix, 0, 2*size), make([]byte, 0, 96*size), make([]int, 0, size)
	for p := range s.reachedBy(member) {
		first := len(prefixes)
		prefixes = appendHosts(prefixes, p.addr)
		cfg.Peers = append(cfg.Peers, render.Peer{
			Name: p.name(), PublicKey: p.key.pub, PresharedKey: net.preshared(ring, k.pub, p.key.pub),
			AllowedIPs: slices.Clip(prefixes[first:]), Endpoint: p.end, Keepalive: net.keepalive(),
		})
		lines = p.appendLine(lines)
		ends = append(ends, len(lines))
	}
	shown.peers = make([]string, len(ends))
	for text, i, from := string(lines), 0, 0; i < len(ends); i++ {
		shown.peers[i], from = text[from:ends[i]], ends[i]
	}
	shown.row.Servers = len(shown.peers)
	return cfg, shown
}

// ServerConfig returns the config of a server: the servers of its own and of
// linked apps, and the devices that reach it, are peers. The private key is in
// it in custody Managed. It is audited as handed out.
func (n *Network) ServerConfig(ctx context.Context, app, server string) (*render.Config, error) {
	cfg, err := n.serverConfig(ctx, app, server)
	if err != nil {
		return nil, &Error{Op: "server config", Object: app + "/" + server, Err: err}
	}
	return cfg, nil
}

func (n *Network) serverConfig(ctx context.Context, app, server string) (*render.Config, error) {
	ring, err := n.ring(ctx)
	if err != nil {
		return nil, err
	}
	s := n.view()
	key := srvKey(app, server)
	r, ok := find[*srvRow](s, key)
	k, has := find[*keyRow](s, keyKey(key))
	if !ok || !has {
		return nil, ErrNotFound
	}
	net := s.net()
	cfg := &render.Config{
		Name: n.name + "-" + server + "." + app,
		Interface: render.Interface{
			PublicKey: k.pub, Addresses: hosts(r.Addrs), ListenPort: net.Port,
		},
	}
	add := func(p peer) {
		keep := net.keepalive()
		if p.end.IsZero() {
			keep = 0 // it calls us, and keeps its own mapping alive
		}
		cfg.Peers = append(cfg.Peers, render.Peer{
			Name: p.name(), PublicKey: p.key.pub, PresharedKey: net.preshared(ring, k.pub, p.key.pub),
			AllowedIPs: hosts(p.addr), Endpoint: p.end, Keepalive: keep,
		})
	}
	for p := range s.linkedTo(app, server) {
		add(p)
	}
	for p := range s.devicesInto(app) {
		add(p)
	}
	if cfg.Interface.PrivateKey, err = n.private(ring, key, k); err != nil {
		return nil, err
	}
	err = n.do(ctx, nil, func(t *tx) error {
		now, ok := find[*keyRow](t.state, keyKey(key))
		if !ok {
			return ErrNotFound
		}
		if now.UID != k.UID || now.Gen != k.Gen {
			return ErrConflict
		}
		t.event("server.config", app+"/"+server, fmt.Sprintf("%d peers, key %d", len(cfg.Peers), k.Gen))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return cfg, nil
}
