//go:build linux

package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/wgdev"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease/nft"
	"github.com/apnkit/apnkit/render"
)

// apn0 is the name of everybody's WireGuard interface.
const apn0 = "apn0"

// use brings a config file up on the host, as WireGuard's app would.
func (h *host) use(t *testing.T, file []byte) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apn0.conf")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	p := h.start(t, role+"=peer", "/proc/self/exe", path)
	p.says(t, "up")
	return p
}

// runPeer is WireGuard's app: it brings up the config in a file.
func runPeer(ctx context.Context, args []string) (err error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	c, err := render.Parse(data, nil)
	if err != nil {
		return err
	}
	i, err := wgdev.Open(ctx, wgdev.Options{Name: apn0, InProcess: true, ListenPort: int(c.Interface.ListenPort)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	l := wgdev.Links{Addresses: c.Interface.Addresses}
	for _, p := range c.Peers {
		l.Routes = append(l.Routes, p.AllowedIPs...)
	}
	if err := errors.Join(i.SetLinks(ctx, l), i.Configure(ctx, configOf(c))); err != nil {
		return err
	}
	fmt.Println("up")
	<-ctx.Done()
	return nil
}

// configOf returns a config file in WireGuard's own terms.
func configOf(c *render.Config) wgtypes.Config {
	key := wgtypes.Key(*c.Interface.PrivateKey.Reveal())
	out := wgtypes.Config{PrivateKey: &key}
	for _, p := range c.Peers {
		peer := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), PersistentKeepaliveInterval: &p.Keepalive}
		if !p.PresharedKey.IsZero() {
			psk := wgtypes.Key(*p.PresharedKey.Reveal())
			peer.PresharedKey = &psk
		}
		if end, err := netip.ParseAddrPort(p.Endpoint.String()); err == nil {
			peer.Endpoint = net.UDPAddrFromAddrPort(end)
		}
		for _, ip := range p.AllowedIPs {
			peer.AllowedIPs = append(peer.AllowedIPs, net.IPNet{IP: ip.Addr().AsSlice(), Mask: net.CIDRMask(ip.Bits(), ip.Addr().BitLen())})
		}
		out.Peers = append(out.Peers, peer)
	}
	return out
}

// wireguard reads the host's interface, whoever made it.
func (h *host) wireguard(t *testing.T) *wgtypes.Device {
	t.Helper()
	var d *wgtypes.Device
	h.must(t, func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // read only
		d, err = c.Device(apn0)
		return err
	})
	return d
}

// fresh makes the host forget when it last tried to reach each peer: WireGuard
// tries again after 5 s only.
func (h *host) fresh(t *testing.T) {
	t.Helper()
	d := h.wireguard(t)
	c := wgtypes.Config{ReplacePeers: true}
	for _, p := range d.Peers {
		c.Peers = append(c.Peers, wgtypes.PeerConfig{
			PublicKey: p.PublicKey, PresharedKey: &p.PresharedKey, Endpoint: p.Endpoint, AllowedIPs: p.AllowedIPs,
			PersistentKeepaliveInterval: &p.PersistentKeepaliveInterval,
		})
	}
	h.must(t, func() error {
		w, err := wgctrl.New()
		if err != nil {
			return err
		}
		return errors.Join(w.ConfigureDevice(apn0, c), w.Close())
	})
}

// runKeep makes the host match what an agent has saved in a directory, and then
// leaves it alone. With a second argument there are firewall and names, too, and
// each line of the input asks for ten syncs.
func runKeep(ctx context.Context, args []string) (err error) {
	dir, err := agent.OpenDir(args[0])
	if err != nil {
		return err
	}
	id, err := dir.Identity()
	if err != nil {
		return err
	}
	i, err := wgdev.Open(ctx, wgdev.Options{Name: apn0})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	c := agent.Config{Identity: id, Dir: dir, Interface: i}
	if len(args) > 1 {
		table, err := nft.Open(ctx, nft.Options{Name: apn0, Interface: apn0, Port: wirePort})
		if err != nil {
			return err
		}
		defer table.Close() //nolint:errcheck // the table stays
		c.Firewall, c.Names = table, agent.NewDNS(&agent.DNSOptions{Host: &agent.HostResolver{Tag: apn0}})
	}
	a, err := agent.New(c)
	if err != nil {
		return err
	}
	if _, err := a.Sync(ctx); err != nil {
		return err
	}
	fmt.Println("up")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		writes := 0
		for range 10 {
			r, err := a.Sync(ctx)
			if err != nil {
				return err
			}
			writes += r.Writes()
			time.Sleep(20 * time.Millisecond)
		}
		fmt.Println("writes:", writes)
	}
	return nil
}

// has reports whether an interface has a peer.
func has(d *wgtypes.Device, key keys.PublicKey) bool {
	for i := range d.Peers {
		if d.Peers[i].PublicKey == wgtypes.Key(key) {
			return true
		}
	}
	return false
}
