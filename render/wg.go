package render

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// words are the fixed parts of the formats that wg, wg-quick and wireguard-go
// read. Each begins a line.
type words struct {
	peer, name, public, preshared, allowed, endpoint, keepalive word

	list     word // between two allowed IPs
	end      word // of the text
	names    bool // write them, as comments
	hostMask bool // write /32 and /128
	hex      bool // keys
}

const nameComment = "\n# Name = "

// wordTable holds the words of Quick and SetConf, Compact and UAPI
// (https://www.wireguard.com/xplatform/).
//
//nolint:gochecknoglobals // a table that is built once and never changes
var wordTable = sync.OnceValue(func() *[4]words {
	long := words{
		peer: wordOf("\n\n[Peer]"), name: wordOf(nameComment), public: wordOf("\nPublicKey = "), preshared: wordOf("\nPresharedKey = "),
		allowed: wordOf("\nAllowedIPs = "), endpoint: wordOf("\nEndpoint = "), keepalive: wordOf("\nPersistentKeepalive = "),
		list: wordOf(", "), end: wordOf("\n"), names: true, hostMask: true,
	}
	return &[4]words{
		Quick: long, SetConf: long,
		Compact: {
			peer: wordOf("\n[Peer]"), public: wordOf("\nPublicKey="), preshared: wordOf("\nPresharedKey="),
			allowed: wordOf("\nAllowedIPs="), endpoint: wordOf("\nEndpoint="), keepalive: wordOf("\nPersistentKeepalive="),
			list: wordOf(","),
		},
		UAPI: {
			public: wordOf("\npublic_key="), preshared: wordOf("\npreshared_key="),
			allowed: wordOf("\nallowed_ip="), endpoint: wordOf("\nendpoint="), keepalive: wordOf("\npersistent_keepalive_interval="),
			list: wordOf("\nallowed_ip="), end: wordOf("\n"), hostMask: true, hex: true,
		},
	}
})

// wg writes Quick, Compact, SetConf or UAPI. dst has room for [draft.size].
func (d *draft) wg(dst []byte, f Format) []byte {
	w, t := &wordTable()[f], digitTable()
	dst = d.head(dst, f)
	for k := range d.Peers {
		p := &d.Peers[k]
		dst = w.putHead(dst, p, t)
		if !p.PresharedKey.IsZero() {
			dst = w.putPreshared(dst, p.PresharedKey)
		}
		dst = w.putRest(dst, p, t)
	}
	return put(dst, &w.end)
}

// head writes the interface.
func (d *draft) head(dst []byte, f Format) []byte {
	i, pretty := &d.Interface, f != Compact
	if f == UAPI {
		b := i.PrivateKey.Reveal()
		dst = hex.AppendEncode(append(dst, "private_key="...), b[:])
		clear(b[:])
		dst = strconv.AppendUint(append(dst, "\nlisten_port="...), uint64(i.ListenPort), 10)
		dst = strconv.AppendUint(append(dst, "\nfwmark="...), uint64(i.FwMark), 10)
		return append(dst, "\nreplace_peers=true"...)
	}
	eq, sep := " = ", ", "
	if !pretty {
		eq, sep = "=", ","
	}
	key := func(name string) {
		dst = append(append(append(dst, '\n'), name...), eq...)
	}
	dst = append(dst, "[Interface]"...)
	if d.Name != "" && pretty {
		dst = appendName(append(dst, nameComment...), d.Name)
	}
	if i.PrivateKey.IsZero() && !d.own.IsZero() && pretty {
		key("# PublicKey")
		dst = base64.StdEncoding.AppendEncode(dst, d.own[:])
	}
	key("PrivateKey")
	dst = i.appendPrivateKey(dst)
	if i.ListenPort != 0 {
		key("ListenPort")
		dst = strconv.AppendUint(dst, uint64(i.ListenPort), 10)
	}
	if i.FwMark != 0 {
		key("FwMark")
		dst = strconv.AppendUint(append(dst, "0x"...), uint64(i.FwMark), 16)
	}
	if f == SetConf {
		return dst
	}
	if len(i.Addresses) > 0 {
		key("Address")
		for k, p := range i.Addresses {
			if k > 0 {
				dst = append(dst, sep...)
			}
			dst = digitTable().putPrefix(dst, p, pretty)
		}
	}
	if i.MTU != 0 {
		key("MTU")
		dst = strconv.AppendUint(dst, uint64(i.MTU), 10)
	}
	if len(i.DNS) > 0 {
		key("DNS")
		for k, a := range i.DNS {
			if k > 0 {
				dst = append(dst, sep...)
			}
			dst = a.AppendTo(dst)
		}
		for _, s := range i.Search {
			dst = append(append(dst, sep...), s...)
		}
	}
	switch i.Table {
	case TableAuto:
	case TableOff:
		key("Table")
		dst = append(dst, "off"...)
	default:
		key("Table")
		dst = strconv.AppendInt(dst, int64(i.Table), 10)
	}
	for _, h := range i.Hooks.all() {
		for _, cmd := range h.commands {
			key(h.key)
			dst = append(dst, cmd...)
		}
	}
	return dst
}

// putHead writes a peer up to where its preshared key belongs.
func (w *words) putHead(dst []byte, p *Peer, t *digits) []byte {
	dst = put(dst, &w.peer)
	if p.Name != "" && w.names {
		dst = appendName(put(dst, &w.name), p.Name)
	}
	dst = put(dst, &w.public)
	if w.hex {
		return hex.AppendEncode(dst, p.PublicKey[:])
	}
	return t.putKey(dst, (*[32]byte)(&p.PublicKey))
}

func (w *words) putPreshared(dst []byte, k keys.PresharedKey) []byte {
	dst = put(dst, &w.preshared)
	b := k.Reveal()
	if w.hex {
		dst = hex.AppendEncode(dst, b[:])
	} else {
		dst = base64.StdEncoding.AppendEncode(dst, b[:])
	}
	clear(b[:])
	return dst
}

// putRest writes a peer from there.
func (w *words) putRest(dst []byte, p *Peer, t *digits) []byte {
	for k, a := range p.AllowedIPs {
		if k == 0 {
			dst = put(dst, &w.allowed)
		} else {
			dst = put(dst, &w.list)
		}
		dst = t.putPrefix(dst, a, w.hostMask)
	}
	if !p.Endpoint.IsZero() {
		dst = t.putPort(p.Endpoint.appendHost(put(dst, &w.endpoint)), p.Endpoint.Port)
	}
	if p.Keepalive > 0 {
		dst = t.putPort(put(dst, &w.keepalive), uint16(p.Keepalive/time.Second)) //nolint:gosec // checked
	}
	return dst
}

// appendPrivateKey writes the key in base64, or the placeholder.
func (i *Interface) appendPrivateKey(dst []byte) []byte {
	if i.PrivateKey.IsZero() {
		return append(dst, Placeholder...)
	}
	b := i.PrivateKey.Reveal()
	dst = base64.StdEncoding.AppendEncode(dst, b[:])
	clear(b[:])
	return dst
}

func (p *Peer) appendPresharedKey(dst []byte) []byte {
	b := p.PresharedKey.Reveal()
	dst = base64.StdEncoding.AppendEncode(dst, b[:])
	clear(b[:])
	return dst
}
