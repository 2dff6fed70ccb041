package render

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"time"
)

// keyfile writes a connection of NetworkManager (nm-settings-keyfile(5)). Lists
// end in a semicolon. NetworkManager drops an endpoint that it cannot read
// without a word.
func (d *draft) keyfile(dst []byte) []byte {
	i := &d.Interface
	line := func(key string) { dst = append(append(dst, '\n'), key...) }
	name := InterfaceName(d.Name)
	dst = append(append(dst, "[connection]\nid="...), name...)
	line("type=wireguard")
	line("interface-name=")
	dst = append(dst, name...)

	line("\n[wireguard]")
	line("private-key=")
	dst = i.appendPrivateKey(dst)
	if i.ListenPort != 0 {
		line("listen-port=")
		dst = strconv.AppendUint(dst, uint64(i.ListenPort), 10)
	}
	if i.FwMark != 0 {
		line("fwmark=")
		dst = strconv.AppendUint(dst, uint64(i.FwMark), 10)
	}
	if i.MTU != 0 {
		line("mtu=")
		dst = strconv.AppendUint(dst, uint64(i.MTU), 10)
	}
	if i.Table == TableOff {
		line("peer-routes=false")
	}
	for k := range d.Peers {
		p := &d.Peers[k]
		line("\n[wireguard-peer.")
		dst = base64.StdEncoding.AppendEncode(dst, p.PublicKey[:])
		dst = append(dst, ']')
		if p.Name != "" {
			line("# Name = ")
			dst = appendName(dst, p.Name)
		}
		if !p.PresharedKey.IsZero() {
			line("preshared-key=")
			dst = p.appendPresharedKey(dst)
			line("preshared-key-flags=0") // kept in this file, not asked for
		}
		if len(p.AllowedIPs) > 0 {
			line("allowed-ips=")
			dst = append(appendList(dst, p.AllowedIPs, ";"), ';')
		}
		if !p.Endpoint.IsZero() {
			line("endpoint=")
			dst = p.Endpoint.append(dst)
		}
		if p.Keepalive > 0 {
			line("persistent-keepalive=")
			dst = strconv.AppendInt(dst, int64(p.Keepalive/time.Second), 10)
		}
	}
	dst = i.keyfileIP(dst, "\n\n[ipv4]", netip.Addr.Is4)
	dst = i.keyfileIP(dst, "\n\n[ipv6]", netip.Addr.Is6)
	return append(dst, '\n')
}

// keyfileIP writes the section of one address family.
func (i *Interface) keyfileIP(dst []byte, section string, is func(netip.Addr) bool) []byte {
	dst = append(dst, section...)
	n := 0
	for _, p := range i.Addresses {
		if is(p.Addr()) {
			if n++; n == 1 {
				dst = append(dst, "\nmethod=manual"...)
			}
			dst = append(dst, "\naddress"...)
			dst = append(strconv.AppendInt(dst, int64(n), 10), '=')
			dst = p.AppendTo(dst)
		}
	}
	if n == 0 {
		return append(dst, "\nmethod=disabled"...)
	}
	if i.Table > 0 {
		dst = append(dst, "\nroute-table="...)
		dst = strconv.AppendInt(dst, int64(i.Table), 10)
	}
	found := false
	for _, a := range i.DNS {
		if is(a) {
			if !found {
				dst = append(dst, "\ndns="...)
			}
			found = true
			dst = append(a.AppendTo(dst), ';')
		}
	}
	if found && len(i.Search) > 0 {
		dst = append(dst, "\ndns-search="...)
		for _, s := range i.Search {
			dst = append(append(dst, s...), ';')
		}
	}
	return dst
}

func appendList(dst []byte, list []netip.Prefix, sep string) []byte {
	for k, p := range list {
		if k > 0 {
			dst = append(dst, sep...)
		}
		dst = p.AppendTo(dst)
	}
	return dst
}
