package render

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"

	"github.com/apnkit/apnkit/keys"
)

// Format is a kind of text that a client reads.
type Format uint8

// The formats.
const (
	Quick           Format = iota // the file of wg-quick and of all WireGuard apps
	Compact                       // the same without comments and blanks, for QR codes
	SetConf                       // what `wg setconf` and `wg syncconf` read: keys, port, mark and peers
	UAPI                          // the lines of a set operation of the userspace implementations: the same, for wireguard-go's IpcSet
	NetworkdNetdev                // systemd.netdev(5)
	NetworkdNetwork               // systemd.network(5), the other half
	NMKeyfile                     // NetworkManager, nm-settings-keyfile(5)
	JSON                          // for programs
	formats         = int(iota)
)

// Placeholder stands in files for a private key that only its holder has. No
// client takes it for a key. [Parse] does, as none.
const Placeholder = "PASTE-YOUR-PRIVATE-KEY-HERE"

// Options are the optional settings of [Format.Append], [Format.WriteTo] and
// [AppendZip].
type Options struct {
	// Fingerprint is c's, for a caller who has computed it already. Zero: computed,
	// which takes about as long as the rest of the text.
	Fingerprint Fingerprint
	// NoFingerprint leaves out the comment that [ReadFingerprint] reads. False
	// writes it as the first line of every format that has comments, except
	// Compact.
	NoFingerprint bool
	// Secrets writes private and preshared keys into JSON. False leaves them out.
	Secrets bool
	// Hooks allows a config with hooks. False refuses it.
	Hooks bool
}

// Append appends c in a format to dst. opts may be nil.
//
// Every format writes the normal form of c: equal configs give equal bytes. It
// refuses values that some client would misread and peers that exclude each
// other, as joined [*ValueError] and [*ConflictError], and with
// [ErrNoPrivateKey] a setconf or UAPI text without its private key. On an error
// dst is returned unchanged.
//
// Quick, Compact, SetConf and UAPI allocate nothing if dst has room, the
// interface has its PublicKey, and c is in normal form with prefixes that rise
// from peer to peer in each family, as addresses are usually handed out.
//
// The text holds the private key, and clearing it is up to the caller;
// [Format.WriteTo] does.
func (f Format) Append(dst []byte, c *Config, opts *Options) ([]byte, error) {
	if opts == nil {
		opts = &Options{}
	}
	d, err := prepare(f, c, opts)
	if err != nil {
		return dst, err
	}
	out := slices.Grow(dst, d.size(f))
	if !opts.NoFingerprint && f != Compact && f != UAPI {
		if d.fingerprint = opts.Fingerprint; d.fingerprint == (Fingerprint{}) {
			d.fingerprint = sha256.Sum256(d.appendCanonical(out, d.own)[len(dst):]) // in the room for the text
		}
		if f != JSON {
			out = append(out, fingerprintComment...)
			out = append(d.fingerprint.append(out), '\n')
		}
	}
	switch f {
	case Quick, Compact, SetConf, UAPI:
		out = d.wg(out, f)
	case NetworkdNetdev:
		out = d.netdev(out)
	case NetworkdNetwork:
		out = d.network(out)
	case NMKeyfile:
		out = d.keyfile(out)
	case JSON:
		out = d.json(out, opts.Secrets)
	}
	return out, nil
}

// WriteTo writes c to w in one call and clears its buffer. opts may be nil.
func (f Format) WriteTo(w io.Writer, c *Config, opts *Options) (int64, error) {
	b, err := f.Append(nil, c, opts)
	if err != nil {
		return 0, err
	}
	defer clear(b)
	n, err := w.Write(b)
	if err != nil {
		err = fmt.Errorf("render: write %v: %w", f, err)
	}
	return int64(n), err
}

// draft is a config that may be written: checked, in normal form, with the
// interface's public key at hand.
type draft struct {
	*Config
	own         keys.PublicKey
	fingerprint Fingerprint // zero: not wanted
}

// size bounds the length of a text from above, so that no buffer is outgrown and
// left behind with a private key in it. Only JSON with odd names exceeds it.
func (d *draft) size(f Format) int {
	i := &d.Interface
	n := 1024 + 64*(len(i.Addresses)+len(i.DNS)) + 2*len(d.Name)
	for _, s := range i.Search {
		n += len(s) + 16
	}
	for _, h := range i.Hooks.all() {
		for _, cmd := range h.commands {
			n += len(cmd) + 16
		}
	}
	peer := 200 // fixed texts, key, port and keepalive
	if f > UAPI {
		peer = 300
	}
	for k := range d.Peers {
		p := &d.Peers[k]
		n += peer + min(len(p.Name), maxName) + len(p.Endpoint.Host)
		if !p.PresharedKey.IsZero() {
			n += 100
		}
		for _, a := range p.AllowedIPs {
			n += 32
			if a.Addr().Is6() {
				n += 32
			}
		}
	}
	return n
}

func prepare(f Format, c *Config, opts *Options) (draft, error) {
	if int(f) >= formats {
		return draft{}, fmt.Errorf("render: append %v: unknown format", f)
	}
	d := draft{Config: c, own: c.Interface.public()}
	s := c.survey()
	errs := s.errs
	if !c.Interface.Hooks.IsZero() && !opts.Hooks {
		errs = append(errs, &ValueError{Field: "Hooks", Reason: "not allowed by the options"})
	}
	errs = append(errs, f.problems(c)...)
	secrets := f != NetworkdNetwork && (f != JSON || opts.Secrets)
	errs = append(errs, f.peerProblems(c, secrets && s.sealed)...)
	if len(errs) == 0 {
		if !s.plain {
			d.Config = c.Clone()
			d.Normalize()
		}
		errs = d.conflicts(d.own, s.plain)
	}
	return d, errors.Join(errs...)
}

// problems lists what a format cannot say of an interface.
func (f Format) problems(c *Config) (errs []error) {
	switch f {
	case SetConf, UAPI:
		if c.Interface.PrivateKey.IsZero() {
			errs = append(errs, fmt.Errorf("render: append %v: %w", f, ErrNoPrivateKey))
		}
	case NetworkdNetdev, NetworkdNetwork, NMKeyfile:
		if c.Name == "" {
			errs = append(errs, &ValueError{Field: "Name", Reason: "missing"})
		}
		if !c.Interface.Hooks.IsZero() {
			errs = append(errs, &ValueError{Field: "Hooks", Reason: "not known to this format"})
		}
	case Quick, Compact, JSON:
	}
	return errs
}

// peerProblems lists what a format cannot say of the peers. sealed means that
// one has a preshared key that is needed and not at hand.
func (f Format) peerProblems(c *Config, sealed bool) (errs []error) {
	networkd := (f == NetworkdNetdev || f == NetworkdNetwork) && c.Interface.Table == TableAuto
	if f != UAPI && !networkd && !sealed {
		return nil
	}
	everything := func(p netip.Prefix) bool { return p.Bits() == 0 }
	for k := range c.Peers {
		p := &c.Peers[k]
		if sealed && p.PresharedKey.IsZero() && p.PresharedDigest != (PresharedDigest{}) {
			errs = append(errs, &ValueError{Field: "PresharedKey", Peer: p.label(), Reason: "not at hand"})
		}
		if f == UAPI && !p.Endpoint.IsZero() && !p.Endpoint.numeric() {
			errs = append(errs, &ValueError{Field: "Endpoint", Peer: p.label(), Reason: "a host name, which UAPI does not resolve"})
		}
		// wg-quick keeps the tunnel's own packets off a default route by policy;
		// networkd would send them into the tunnel.
		if networkd && slices.ContainsFunc(p.AllowedIPs, everything) {
			errs = append(errs, &ValueError{Field: "AllowedIPs", Peer: p.label(), Reason: "a default route, which networkd needs a Table for"})
		}
	}
	return errs
}

// ParseFormat reads what String writes.
func ParseFormat(s string) (Format, error) {
	for f := range Format(formats) {
		if f.String() == s {
			return f, nil
		}
	}
	return 0, errors.New("render: parse format: unknown")
}

// String returns wg-quick, compact, setconf, uapi, networkd-netdev,
// networkd-network, networkmanager or json.
func (f Format) String() string {
	names := [formats]string{"wg-quick", "compact", "setconf", "uapi", "networkd-netdev", "networkd-network", "networkmanager", "json"}
	if int(f) < len(names) {
		return names[f]
	}
	return "Format(" + strconv.Itoa(int(f)) + ")"
}

// Filename returns the name that a client expects of the file: the
// [InterfaceName] of c.Name and the format's extension. A config without a name
// is an error.
func (f Format) Filename(c *Config) (string, error) {
	if c.Name == "" {
		return "", &ValueError{Field: "Name", Reason: "missing"}
	}
	if int(f) >= formats {
		return "", fmt.Errorf("render: name file %v: unknown format", f)
	}
	ext := [formats]string{".conf", ".conf", ".conf", ".uapi", ".netdev", ".network", ".nmconnection", ".json"}
	return InterfaceName(c.Name) + ext[f], nil
}

// MIME returns the media type of the text.
func (f Format) MIME() string {
	if f == JSON {
		return "application/json"
	}
	return "text/plain; charset=us-ascii"
}

// FileMode returns the permissions that the file needs: 0600, but 0640 for the
// .netdev file, whose group is systemd-network, and 0644 for the .network file,
// which holds no secret.
func (f Format) FileMode() fs.FileMode {
	switch f {
	case NetworkdNetdev:
		return 0o640
	case NetworkdNetwork:
		return 0o644
	case Quick, Compact, SetConf, UAPI, NMKeyfile, JSON:
	}
	return 0o600
}
