package agenttest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/keys"
)

// Interface is a WireGuard interface that follows the rules of the real ones: an
// address belongs to the peer that got it last, a peer with the interface's own
// key is ignored, an update of a peer that is not there does nothing.
type Interface struct {
	mu     sync.Mutex
	key    wgtypes.Key
	public wgtypes.Key
	port   int
	peers  map[wgtypes.Key]*wgtypes.Peer
	order  []wgtypes.Key
	owner  map[netip.Prefix]wgtypes.Key
	links  agent.Links
	writes int
	named  int
	fail   error
	log    []wgtypes.Config
}

// NewInterface returns an interface without a key and without peers.
func NewInterface() *Interface {
	return &Interface{peers: map[wgtypes.Key]*wgtypes.Peer{}, owner: map[netip.Prefix]wgtypes.Key{}}
}

// Device implements [agent.Interface].
func (i *Interface) Device(context.Context) (*wgtypes.Device, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	d := &wgtypes.Device{
		Name: "apn0", Type: wgtypes.Userspace, PrivateKey: i.key, PublicKey: i.public, ListenPort: i.port,
		Peers: make([]wgtypes.Peer, 0, len(i.order)),
	}
	for _, k := range i.order {
		p := *i.peers[k]
		p.AllowedIPs = slices.Clone(p.AllowedIPs)
		d.Peers = append(d.Peers, p)
	}
	return d, nil
}

// Configure implements [agent.Interface].
func (i *Interface) Configure(_ context.Context, c wgtypes.Config) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.writes++
	i.named += len(c.Peers)
	i.log = append(i.log, c)
	if c.PrivateKey != nil {
		i.key, i.public = *c.PrivateKey, c.PrivateKey.PublicKey()
		i.remove(i.public)
	}
	if c.ListenPort != nil {
		i.port = *c.ListenPort
	}
	if c.ReplacePeers {
		clear(i.peers)
		clear(i.owner)
		i.order = nil
	}
	for n, p := range c.Peers {
		if i.fail != nil && n == len(c.Peers)/2 {
			return i.fail // what came before stays
		}
		i.set(p)
	}
	return i.fail
}

func (i *Interface) set(c wgtypes.PeerConfig) {
	p, ok := i.peers[c.PublicKey]
	switch {
	case c.Remove:
		i.remove(c.PublicKey)
		return
	case !ok && c.UpdateOnly, c.PublicKey == i.public:
		return
	case !ok:
		p = &wgtypes.Peer{PublicKey: c.PublicKey}
		i.peers[c.PublicKey] = p
		i.order = append(i.order, c.PublicKey)
	}
	if c.PresharedKey != nil {
		p.PresharedKey = *c.PresharedKey
	}
	if c.Endpoint != nil {
		p.Endpoint = mapped(c.Endpoint.AddrPort())
	}
	if c.PersistentKeepaliveInterval != nil {
		p.PersistentKeepaliveInterval = *c.PersistentKeepaliveInterval
	}
	if c.ReplaceAllowedIPs {
		i.disown(p)
	}
	for _, n := range c.AllowedIPs {
		prefix := prefixOf(n)
		if other, taken := i.owner[prefix]; taken {
			q := i.peers[other]
			q.AllowedIPs = slices.DeleteFunc(q.AllowedIPs, func(n net.IPNet) bool { return prefixOf(n) == prefix })
		}
		i.owner[prefix] = c.PublicKey
		p.AllowedIPs = append(p.AllowedIPs, n)
	}
}

func (i *Interface) remove(k wgtypes.Key) {
	p, ok := i.peers[k]
	if !ok {
		return
	}
	i.disown(p)
	delete(i.peers, k)
	i.order = slices.DeleteFunc(i.order, func(o wgtypes.Key) bool { return o == k })
}

func (i *Interface) disown(p *wgtypes.Peer) {
	for _, n := range p.AllowedIPs {
		delete(i.owner, prefixOf(n))
	}
	p.AllowedIPs = nil
}

func prefixOf(n net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

// mapped returns an address as the net package and wgctrl give it: IPv4 as a
// mapped IPv6 address.
func mapped(ap netip.AddrPort) *net.UDPAddr {
	return &net.UDPAddr{IP: net.IP(ap.Addr().AsSlice()).To16(), Port: int(ap.Port())}
}

// SetLinks implements [agent.Interface].
func (i *Interface) SetLinks(_ context.Context, l agent.Links) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.Equal(i.links.Addresses, l.Addresses) && slices.Equal(i.links.Routes, l.Routes) && i.links.MTU == l.MTU && i.links.Forward == l.Forward {
		return nil
	}
	i.writes++
	i.links = agent.Links{Addresses: slices.Clone(l.Addresses), Routes: slices.Clone(l.Routes), MTU: l.MTU, Forward: l.Forward}
	return nil
}

// Links returns what the interface is in the IP layer.
func (i *Interface) Links() agent.Links {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.links
}

// Writes returns how often something was written, and how many peers the writes
// named.
func (i *Interface) Writes() (writes, peers int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.writes, i.named
}

// Configs returns all that was written, oldest first.
func (i *Interface) Configs() []wgtypes.Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.log)
}

// Fail makes later writes of peers fail half-way. Nil ends that.
func (i *Interface) Fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = err
}

// Handshake makes the interface show a handshake of a peer that came from an
// address, as if the peer had roamed there.
func (i *Interface) Handshake(peer keys.PublicKey, from netip.AddrPort, at time.Time, received, sent int64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, ok := i.peers[wgtypes.Key(peer)]
	if !ok {
		return errors.New("agenttest: handshake: no such peer")
	}
	p.Endpoint, p.LastHandshakeTime, p.ReceiveBytes, p.TransmitBytes = mapped(from), at, received, sent
	return nil
}
