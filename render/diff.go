package render

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// Changes turn one config into another on a running interface. The fields have
// the meaning of wgctrl's wgtypes.Config and wgtypes.PeerConfig.
type Changes struct {
	PrivateKey keys.PrivateKey // zero: unchanged
	ListenPort *uint16         // nil: unchanged
	FwMark     *uint32         // nil: unchanged; 0: none
	Peers      []PeerChange    // removals first, each part sorted as a config's peers
	// Settings reports that addresses, MTU, resolvers, search domains, table or
	// hooks differ. WireGuard does not know them; the caller sets them.
	Settings bool
}

// PeerChange adds, changes or removes one peer.
type PeerChange struct {
	PublicKey    keys.PublicKey
	Remove       bool               // everything else is zero
	UpdateOnly   bool               // the peer is there already; do not bring it back if it is gone
	PresharedKey *keys.PresharedKey // nil: unchanged; zero key: none
	Endpoint     *Endpoint          // nil: unchanged
	Keepalive    *time.Duration     // nil: unchanged; 0: off
	// AllowedIPs replace those of the peer if ReplaceAllowedIPs is set.
	AllowedIPs        []netip.Prefix
	ReplaceAllowedIPs bool
}

// Diff returns what turns from into to. A nil from is an interface without key
// and peers. A private key that to lacks stays, and so does an endpoint: WireGuard
// cannot forget one, short of removing its peer. Equal configs give no changes.
func Diff(from, to *Config) *Changes {
	if from == nil {
		from = &Config{}
	}
	from, to = from.normalized(), to.normalized()
	a, b := &from.Interface, &to.Interface
	d := new(Changes)
	if !b.PrivateKey.IsZero() && !b.PrivateKey.Equal(a.PrivateKey) {
		d.PrivateKey = b.PrivateKey
	}
	d.ListenPort = changed(a.ListenPort, b.ListenPort)
	d.FwMark = changed(a.FwMark, b.FwMark)
	d.Settings = !a.sameSettings(b)

	wanted := make(map[keys.PublicKey]struct{}, len(to.Peers))
	for k := range to.Peers {
		wanted[to.Peers[k].PublicKey] = struct{}{}
	}
	old := make(map[keys.PublicKey]*Peer, len(from.Peers))
	for k := range from.Peers {
		p := &from.Peers[k]
		old[p.PublicKey] = p
		if _, ok := wanted[p.PublicKey]; !ok {
			d.Peers = append(d.Peers, PeerChange{PublicKey: p.PublicKey, Remove: true})
		}
	}
	for k := range to.Peers {
		p := &to.Peers[k]
		o, known := old[p.PublicKey]
		if !known {
			o = &Peer{}
		}
		c := PeerChange{PublicKey: p.PublicKey, UpdateOnly: known, Keepalive: changed(o.Keepalive, p.Keepalive)}
		if !p.PresharedKey.Equal(o.PresharedKey) {
			c.PresharedKey = &p.PresharedKey
		}
		if !p.Endpoint.IsZero() {
			c.Endpoint = changed(o.Endpoint, p.Endpoint)
		}
		if !known || !slices.Equal(o.AllowedIPs, p.AllowedIPs) {
			c.AllowedIPs, c.ReplaceAllowedIPs = slices.Clone(p.AllowedIPs), true
		}
		if c.ReplaceAllowedIPs || c.PresharedKey != nil || c.Endpoint != nil || c.Keepalive != nil {
			d.Peers = append(d.Peers, c)
		}
	}
	return d
}

func changed[T comparable](from, to T) *T {
	if from == to {
		return nil
	}
	return &to
}

// IsZero reports whether there is nothing to do.
func (d *Changes) IsZero() bool {
	return d.PrivateKey.IsZero() && d.ListenPort == nil && d.FwMark == nil && len(d.Peers) == 0 && !d.Settings
}

// AppendUAPI appends the changes as lines of a set operation, as [UAPI] does for
// a whole config; its length follows the number of changes, not of peers. An
// endpoint with a host name is a [*ValueError]; dst is then returned unchanged.
func (d *Changes) AppendUAPI(dst []byte) ([]byte, error) {
	out := slices.Grow(dst, 256+400*len(d.Peers))
	if b := d.PrivateKey.Reveal(); b != nil {
		out = append(hex.AppendEncode(append(out, "private_key="...), b[:]), '\n')
		clear(b[:])
	}
	if d.ListenPort != nil {
		out = append(strconv.AppendUint(append(out, "listen_port="...), uint64(*d.ListenPort), 10), '\n')
	}
	if d.FwMark != nil {
		out = append(strconv.AppendUint(append(out, "fwmark="...), uint64(*d.FwMark), 10), '\n')
	}
	for k := range d.Peers {
		var err error
		if out, err = d.Peers[k].appendUAPI(out); err != nil {
			clear(out[len(dst):])
			return dst, err
		}
	}
	return out, nil
}

func (c *PeerChange) appendUAPI(dst []byte) ([]byte, error) {
	dst = append(hex.AppendEncode(append(dst, "public_key="...), c.PublicKey[:]), '\n')
	if c.Remove {
		return append(dst, "remove=true\n"...), nil
	}
	if c.UpdateOnly {
		dst = append(dst, "update_only=true\n"...)
	}
	if c.PresharedKey != nil {
		b := c.PresharedKey.Reveal()
		if b == nil {
			b = new([32]byte) // all zero: no key
		}
		dst = append(hex.AppendEncode(append(dst, "preshared_key="...), b[:]), '\n')
		clear(b[:])
	}
	if c.Endpoint != nil {
		a, ok := c.Endpoint.Addr()
		if !ok {
			return dst, &ValueError{Field: "Endpoint", Peer: c.PublicKey.Fingerprint(), Reason: "a host name, which UAPI does not resolve"}
		}
		dst = append(a.AppendTo(append(dst, "endpoint="...)), '\n')
	}
	if c.Keepalive != nil {
		dst = append(dst, "persistent_keepalive_interval="...)
		dst = append(strconv.AppendInt(dst, int64(*c.Keepalive/time.Second), 10), '\n')
	}
	if c.ReplaceAllowedIPs {
		dst = append(dst, "replace_allowed_ips=true\n"...)
		for _, p := range c.AllowedIPs {
			dst = append(p.AppendTo(append(dst, "allowed_ip="...)), '\n')
		}
	}
	return dst, nil
}
