package render

import (
	"encoding/base64"
	"strconv"
	"time"
)

// netdev writes systemd.netdev(5). Its keys are case-sensitive, and a comment
// behind a value becomes part of it, so comments stand alone. networkd skips
// what it cannot read and loads the rest.
func (d *draft) netdev(dst []byte) []byte {
	i := &d.Interface
	line := func(key string) { dst = append(append(dst, '\n'), key...) }
	dst = append(dst, "[NetDev]\nName="...)
	dst = append(dst, InterfaceName(d.Name)...)
	line("Kind=wireguard")
	if i.MTU != 0 {
		line("MTUBytes=")
		dst = strconv.AppendUint(dst, uint64(i.MTU), 10)
	}
	line("\n[WireGuard]")
	line("PrivateKey=")
	dst = i.appendPrivateKey(dst)
	if i.ListenPort != 0 {
		line("ListenPort=")
		dst = strconv.AppendUint(dst, uint64(i.ListenPort), 10)
	}
	if i.FwMark != 0 {
		line("FirewallMark=")
		dst = strconv.AppendUint(dst, uint64(i.FwMark), 10)
	}
	line("RouteTable=") // its default has changed between versions
	switch i.Table {
	case TableAuto:
		dst = append(dst, "main"...)
	case TableOff:
		dst = append(dst, "off"...)
	default:
		dst = strconv.AppendInt(dst, int64(i.Table), 10)
	}
	for k := range d.Peers {
		p := &d.Peers[k]
		line("\n[WireGuardPeer]")
		if p.Name != "" {
			line("# Name = ")
			dst = appendName(dst, p.Name)
		}
		line("PublicKey=")
		dst = base64.StdEncoding.AppendEncode(dst, p.PublicKey[:])
		if !p.PresharedKey.IsZero() {
			line("PresharedKey=")
			dst = p.appendPresharedKey(dst)
		}
		if len(p.AllowedIPs) > 0 {
			line("AllowedIPs=")
			dst = appendList(dst, p.AllowedIPs, ",")
		}
		if !p.Endpoint.IsZero() {
			line("Endpoint=")
			dst = p.Endpoint.append(dst)
		}
		if p.Keepalive > 0 {
			line("PersistentKeepalive=")
			dst = strconv.AppendInt(dst, int64(p.Keepalive/time.Second), 10)
		}
	}
	return append(dst, '\n')
}

// network writes systemd.network(5). With search domains, only their names are
// asked at the resolvers: split DNS, which a wg-quick file cannot say.
func (d *draft) network(dst []byte) []byte {
	i := &d.Interface
	line := func(key string) { dst = append(append(dst, '\n'), key...) }
	dst = append(dst, "[Match]\nName="...)
	dst = append(dst, InterfaceName(d.Name)...)
	line("\n[Network]")
	for _, p := range i.Addresses {
		line("Address=")
		dst = p.AppendTo(dst)
	}
	for _, a := range i.DNS {
		line("DNS=")
		dst = a.AppendTo(dst)
	}
	for _, s := range i.Search {
		line("Domains=")
		dst = append(dst, s...)
	}
	switch {
	case len(i.Search) > 0:
		line("DNSDefaultRoute=no")
	case len(i.DNS) > 0:
		line("DNSDefaultRoute=yes")
	}
	return append(dst, '\n')
}
