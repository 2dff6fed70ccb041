package render

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
)

// json writes one object. It is put together by hand, because an encoder's
// buffers would keep the secrets.
func (d *draft) json(dst []byte, secrets bool) []byte {
	i := &d.Interface
	o := object{dst: append(dst, '{')}
	o.text("name", d.Name)
	if d.fingerprint != (Fingerprint{}) {
		o.key("fingerprint")
		o.dst = append(d.fingerprint.append(append(o.dst, '"')), '"')
	}
	o.open("interface", '{')
	if !d.own.IsZero() {
		o.key64("publicKey", d.own[:])
	}
	if secrets && !i.PrivateKey.IsZero() {
		b := i.PrivateKey.Reveal()
		o.key64("privateKey", b[:])
		clear(b[:])
	}
	o.prefixes("addresses", i.Addresses)
	o.number("listenPort", int64(i.ListenPort))
	o.number("fwMark", int64(i.FwMark))
	o.number("mtu", int64(i.MTU))
	if len(i.DNS) > 0 {
		o.open("dns", '[')
		for _, a := range i.DNS {
			o.element()
			o.dst = append(a.AppendTo(append(o.dst, '"')), '"')
		}
		o.close(']')
	}
	o.texts("search", i.Search)
	switch {
	case i.Table == TableOff:
		o.text("table", "off")
	case i.Table > 0:
		o.number("table", int64(i.Table))
	}
	for _, h := range i.Hooks.all() {
		o.texts("p"+h.key[1:], h.commands)
	}
	o.close('}')
	o.open("peers", '[')
	for k := range d.Peers {
		p := &d.Peers[k]
		o.element()
		o.dst, o.more = append(o.dst, '{'), false
		o.text("name", p.Name)
		o.key64("publicKey", p.PublicKey[:])
		if secrets && !p.PresharedKey.IsZero() {
			b := p.PresharedKey.Reveal()
			o.key64("presharedKey", b[:])
			clear(b[:])
		}
		o.prefixes("allowedIPs", p.AllowedIPs)
		o.text("endpoint", p.Endpoint.String())
		o.number("persistentKeepalive", int64(p.Keepalive/time.Second))
		o.close('}')
	}
	o.close(']')
	return append(o.dst, "}\n"...)
}

// object writes the members of JSON objects and arrays. Empty members are left
// out.
type object struct {
	dst  []byte
	more bool // a comma is due before the next member
}

func (o *object) element() {
	if o.more {
		o.dst = append(o.dst, ',')
	}
	o.more = true
}

func (o *object) key(name string) {
	o.element()
	o.dst = append(append(append(o.dst, '"'), name...), `":`...)
}

func (o *object) open(name string, bracket byte) {
	o.key(name)
	o.dst, o.more = append(o.dst, bracket), false
}

func (o *object) close(bracket byte) {
	o.dst, o.more = append(o.dst, bracket), true
}

func (o *object) key64(name string, key []byte) {
	o.key(name)
	o.dst = append(base64.StdEncoding.AppendEncode(append(o.dst, '"'), key), '"')
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.key(name)
		o.dst = strconv.AppendInt(o.dst, n, 10)
	}
}

func (o *object) text(name, s string) {
	if s != "" {
		o.key(name)
		o.quote(s)
	}
}

func (o *object) quote(s string) {
	b, _ := json.Marshal(s) // a string always has a JSON form
	o.dst = append(o.dst, b...)
}

func (o *object) texts(name string, list []string) {
	if len(list) > 0 {
		o.open(name, '[')
		for _, s := range list {
			o.element()
			o.quote(s)
		}
		o.close(']')
	}
}

func (o *object) prefixes(name string, list []netip.Prefix) {
	if len(list) > 0 {
		o.open(name, '[')
		for _, p := range list {
			o.element()
			o.dst = append(p.AppendTo(append(o.dst, '"')), '"')
		}
		o.close(']')
	}
}
