package wgdev

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// appendConfig appends the body of a "set" of the configuration protocol
// (https://www.wireguard.com/xplatform/#configuration-protocol).
func appendConfig(dst []byte, c wgtypes.Config) []byte {
	if c.PrivateKey != nil {
		dst = appendKey(dst, "private_key", c.PrivateKey)
	}
	if c.ListenPort != nil {
		dst = fmt.Appendf(dst, "listen_port=%d\n", *c.ListenPort)
	}
	if c.FirewallMark != nil {
		dst = fmt.Appendf(dst, "fwmark=%d\n", *c.FirewallMark)
	}
	if c.ReplacePeers {
		dst = append(dst, "replace_peers=true\n"...)
	}
	for i := range c.Peers {
		dst = appendPeer(dst, &c.Peers[i])
	}
	return dst
}

func appendPeer(dst []byte, p *wgtypes.PeerConfig) []byte {
	dst = appendKey(dst, "public_key", &p.PublicKey)
	if p.Remove {
		return append(dst, "remove=true\n"...)
	}
	if p.UpdateOnly {
		dst = append(dst, "update_only=true\n"...)
	}
	if p.PresharedKey != nil {
		dst = appendKey(dst, "preshared_key", p.PresharedKey)
	}
	if p.Endpoint != nil {
		at := p.Endpoint.AddrPort() // IPv4 comes mapped into IPv6
		dst = append(dst, "endpoint="...)
		dst = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).AppendTo(dst)
		dst = append(dst, '\n')
	}
	if p.PersistentKeepaliveInterval != nil {
		dst = fmt.Appendf(dst, "persistent_keepalive_interval=%d\n", *p.PersistentKeepaliveInterval/time.Second)
	}
	if p.ReplaceAllowedIPs {
		dst = append(dst, "replace_allowed_ips=true\n"...)
	}
	for i := range p.AllowedIPs {
		dst = append(dst, "allowed_ip="...)
		dst = append(dst, p.AllowedIPs[i].String()...)
		dst = append(dst, '\n')
	}
	return dst
}

func appendKey(dst []byte, name string, k *wgtypes.Key) []byte {
	dst = append(append(dst, name...), '=')
	return append(hex.AppendEncode(dst, k[:]), '\n')
}

// parseDevice reads the answer to a "get". No error repeats a value: it may be
// a key.
func parseDevice(text string) (*wgtypes.Device, error) {
	d := &wgtypes.Device{}
	var p *wgtypes.Peer // nil before the first one
	var handshake time.Duration
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if name == "public_key" {
			d.Peers = append(d.Peers, wgtypes.Peer{})
			p = &d.Peers[len(d.Peers)-1]
			handshake = 0
		}
		var err error
		if p == nil {
			err = setDevice(d, name, value)
		} else {
			err = setPeer(p, &handshake, name, value)
		}
		if err != nil {
			return nil, fmt.Errorf("answer of wireguard-go: bad %s", name)
		}
	}
	return d, nil
}

func setDevice(d *wgtypes.Device, name, value string) (err error) {
	switch name {
	case "private_key":
		d.PrivateKey, err = parseKey(value)
		d.PublicKey = d.PrivateKey.PublicKey()
	case "listen_port":
		d.ListenPort, err = strconv.Atoi(value)
	case "fwmark":
		d.FirewallMark, err = strconv.Atoi(value)
	}
	return err
}

func setPeer(p *wgtypes.Peer, handshake *time.Duration, name, value string) (err error) {
	switch name {
	case "public_key":
		p.PublicKey, err = parseKey(value)
	case "preshared_key":
		p.PresharedKey, err = parseKey(value)
	case "endpoint":
		var at netip.AddrPort
		at, err = netip.ParseAddrPort(value)
		p.Endpoint = net.UDPAddrFromAddrPort(at)
	case "last_handshake_time_sec", "last_handshake_time_nsec":
		unit := time.Second
		if strings.HasSuffix(name, "nsec") {
			unit = time.Nanosecond
		}
		var n int64
		n, err = strconv.ParseInt(value, 10, 64)
		*handshake += time.Duration(n) * unit
		if *handshake != 0 {
			p.LastHandshakeTime = time.Unix(0, int64(*handshake))
		}
	case "tx_bytes":
		p.TransmitBytes, err = strconv.ParseInt(value, 10, 64)
	case "rx_bytes":
		p.ReceiveBytes, err = strconv.ParseInt(value, 10, 64)
	case "persistent_keepalive_interval":
		var n int64
		n, err = strconv.ParseInt(value, 10, 32)
		p.PersistentKeepaliveInterval = time.Duration(n) * time.Second
	case "allowed_ip":
		var allowed netip.Prefix
		allowed, err = netip.ParsePrefix(value)
		if err == nil {
			p.AllowedIPs = append(p.AllowedIPs, ipNet(allowed))
		}
	case "protocol_version":
		p.ProtocolVersion, err = strconv.Atoi(value)
	}
	return err
}

func parseKey(value string) (k wgtypes.Key, err error) {
	if len(value) != hex.EncodedLen(len(k)) {
		return k, hex.ErrLength
	}
	_, err = hex.Decode(k[:], []byte(value))
	return k, err
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
