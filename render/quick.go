package render

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"time"
)

// words are the fixed parts of the wg family of formats. Each begins a line.
type words struct {
	peer, public, preshared, allowed, endpoint, keepalive string
	list                                                  string // between the values of a list
	hostMask                                              bool   // write /32 and /128
}

const quickName = "\n# Name = "

func wordsOf(f Format) words {
	if f == Compact {
		return words{"\n[Peer]", "\nPublicKey=", "\nPresharedKey=", "\nAllowedIPs=", "\nEndpoint=", "\nPersistentKeepalive=", ",", false}
	}
	return words{"\n\n[Peer]", "\nPublicKey = ", "\nPresharedKey = ", "\nAllowedIPs = ", "\nEndpoint = ", "\nPersistentKeepalive = ", ", ", true}
}

// quick writes Quick, Compact or SetConf. Compact has no final line end.
func (d *draft) quick(dst []byte, f Format) []byte {
	w := wordsOf(f)
	dst = d.Interface.quick(dst, f, &w, d)
	for k := range d.Peers {
		dst = d.Peers[k].quick(dst, f, &w)
	}
	if f != Compact {
		dst = append(dst, '\n')
	}
	return dst
}

func (i *Interface) quick(dst []byte, f Format, w *words, d *draft) []byte {
	eq := " = "
	if f == Compact {
		eq = "="
	}
	key := func(name string) {
		dst = append(append(append(dst, '\n'), name...), eq...)
	}
	dst = append(dst, "[Interface]"...)
	if d.Name != "" && f != Compact {
		dst = appendName(append(dst, quickName...), d.Name)
	}
	if i.PrivateKey.IsZero() && !d.own.IsZero() && f != Compact {
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
		dst = w.appendPrefixes(dst, i.Addresses)
	}
	if i.MTU != 0 {
		key("MTU")
		dst = strconv.AppendUint(dst, uint64(i.MTU), 10)
	}
	if len(i.DNS) > 0 {
		key("DNS")
		for k, a := range i.DNS {
			if k > 0 {
				dst = append(dst, w.list...)
			}
			dst = a.AppendTo(dst)
		}
		for _, s := range i.Search {
			dst = append(append(dst, w.list...), s...)
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

func (p *Peer) quick(dst []byte, f Format, w *words) []byte {
	dst = append(dst, w.peer...)
	if p.Name != "" && f != Compact {
		dst = appendName(append(dst, quickName...), p.Name)
	}
	dst = append(dst, w.public...)
	dst = base64.StdEncoding.AppendEncode(dst, p.PublicKey[:])
	if !p.PresharedKey.IsZero() {
		dst = p.appendPresharedKey(append(dst, w.preshared...))
	}
	if len(p.AllowedIPs) > 0 {
		dst = w.appendPrefixes(append(dst, w.allowed...), p.AllowedIPs)
	}
	if !p.Endpoint.IsZero() {
		dst = p.Endpoint.append(append(dst, w.endpoint...))
	}
	if p.Keepalive > 0 {
		dst = strconv.AppendInt(append(dst, w.keepalive...), int64(p.Keepalive/time.Second), 10)
	}
	return dst
}

func (w *words) appendPrefixes(dst []byte, list []netip.Prefix) []byte {
	for k, p := range list {
		if k > 0 {
			dst = append(dst, w.list...)
		}
		if p.IsSingleIP() && !w.hostMask {
			dst = p.Addr().AppendTo(dst)
		} else {
			dst = p.AppendTo(dst)
		}
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
