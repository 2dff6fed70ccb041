package render

import (
	"encoding/hex"
	"strconv"
	"time"
)

// uapi writes the lines of a set operation that replaces all peers, without
// "set=1" in front and the empty line at the end, as wireguard-go's IpcSet takes
// them (https://www.wireguard.com/xplatform/).
func (d *draft) uapi(dst []byte) []byte {
	i := &d.Interface
	dst = append(dst, "private_key="...)
	b := i.PrivateKey.Reveal()
	dst = hex.AppendEncode(dst, b[:])
	clear(b[:])
	dst = append(dst, "\nlisten_port="...)
	dst = strconv.AppendUint(dst, uint64(i.ListenPort), 10)
	dst = append(dst, "\nfwmark="...)
	dst = strconv.AppendUint(dst, uint64(i.FwMark), 10)
	dst = append(dst, "\nreplace_peers=true\n"...)
	for k := range d.Peers {
		dst = d.Peers[k].uapi(dst)
	}
	return dst
}

func (p *Peer) uapi(dst []byte) []byte {
	dst = append(dst, "public_key="...)
	dst = hex.AppendEncode(dst, p.PublicKey[:])
	if !p.PresharedKey.IsZero() {
		dst = append(dst, "\npreshared_key="...)
		b := p.PresharedKey.Reveal()
		dst = hex.AppendEncode(dst, b[:])
		clear(b[:])
	}
	if !p.Endpoint.IsZero() {
		dst = append(dst, "\nendpoint="...)
		dst = p.Endpoint.append(dst)
	}
	dst = append(dst, "\npersistent_keepalive_interval="...)
	dst = strconv.AppendInt(dst, int64(p.Keepalive/time.Second), 10)
	dst = append(dst, "\nreplace_allowed_ips=true\n"...)
	for _, a := range p.AllowedIPs {
		dst = append(dst, "allowed_ip="...)
		dst = append(a.AppendTo(dst), '\n')
	}
	return dst
}
