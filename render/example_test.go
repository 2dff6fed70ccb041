package render_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// exampleKey is a private key for examples: one byte, 32 times.
func exampleKey(b byte) keys.PrivateKey {
	k, err := keys.NewPrivateKey(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

// exampleConfig is a laptop that reaches a number of servers.
func exampleConfig(servers int) *render.Config {
	c := &render.Config{
		Name: "laptop",
		Interface: render.Interface{
			PrivateKey: exampleKey(200),
			Addresses:  []netip.Prefix{netip.MustParsePrefix("10.66.0.2/32")},
		},
	}
	for i := range servers {
		c.Peers = append(c.Peers, render.Peer{
			Name:       fmt.Sprintf("web-%d", i+1),
			PublicKey:  exampleKey(byte(i + 1)).PublicKey(),
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 1, byte(i + 1)}), 32)},
			Endpoint:   render.Endpoint{Host: fmt.Sprintf("203.0.113.%d", i+1), Port: 51820},
			Keepalive:  25 * time.Second,
		})
	}
	return c
}

func ExampleFormat_Append() {
	text, err := render.Quick.Append(nil, exampleConfig(1), nil)
	fmt.Println(string(text), err)
	// Output:
	// # apn-config: v1.pIj2z7WNA0LtRpWPdtG4YhzNQW8kG5KT3Xi5s4-hWvQ
	// [Interface]
	// # Name = laptop
	// PrivateKey = yMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyEg=
	// Address = 10.66.0.2/32
	//
	// [Peer]
	// # Name = web-1
	// PublicKey = pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=
	// AllowedIPs = 10.66.1.1/32
	// Endpoint = 203.0.113.1:51820
	// PersistentKeepalive = 25
	//  <nil>
}

func ExampleFormat_Append_setConf() {
	text, err := render.SetConf.Append(nil, exampleConfig(1), &render.Options{NoFingerprint: true})
	fmt.Println(string(text), err)
	// Output:
	// [Interface]
	// # Name = laptop
	// PrivateKey = yMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyEg=
	//
	// [Peer]
	// # Name = web-1
	// PublicKey = pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=
	// AllowedIPs = 10.66.1.1/32
	// Endpoint = 203.0.113.1:51820
	// PersistentKeepalive = 25
	//  <nil>
}

func ExampleFormat_Filename() {
	name, err := render.Quick.Filename(&render.Config{Name: "Ada's laptop"})
	fmt.Println(name, render.Quick.FileMode(), err)
	// Output:
	// Ada-s-lapt-aeki.conf -rw------- <nil>
}

func ExampleParse() {
	c, err := render.Parse([]byte(`
[Interface]
PrivateKey = yMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyEg=
Address = 10.66.0.2

[Peer]
PublicKey = pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=
AllowedIPs = 10.66.1.7/24
Endpoint = web-1.example.net:51820
`), nil)
	fmt.Println(c.Interface.Addresses, c.Peers[0].AllowedIPs, c.Peers[0].Endpoint, err)

	_, err = render.Parse([]byte("[Interface]\nPrivateKey = short\n"), nil)
	fmt.Println(err)
	// Output:
	// [10.66.0.2/32] [10.66.1.0/24] web-1.example.net:51820 <nil>
	// render: parse config: line 2: PrivateKey: keys: parse private key: malformed: 5 characters, want 44
}

func ExampleReadFingerprint() {
	file, err := render.Quick.Append(nil, exampleConfig(3), nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	// Later a server is added. Is the file still current?
	got, ok := render.ReadFingerprint(file)
	fmt.Println(ok, got == exampleConfig(3).Fingerprint(), got == exampleConfig(4).Fingerprint())
	// Output: true true false
}

func ExampleConfig_Validate() {
	c := exampleConfig(2)
	c.Interface.FwMark = 51820
	c.Peers[1].AllowedIPs = c.Peers[0].AllowedIPs
	fmt.Println(c.Validate(render.Android))
	fmt.Println(c.Validate(render.Linux))
	// Output:
	// render: interface: FwMark: Linux only
	// render: "web-1" and "web-2" share 10.66.1.1/32
}

func ExampleQR() {
	symbol, err := render.QR(exampleConfig(10), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(symbol.Version(), symbol.Size(), symbol.Columns(), len(symbol.AppendPNG(nil, 0)) > 0)

	_, err = render.QR(exampleConfig(11), nil)
	fmt.Println(err)
	if errors.Is(err, render.ErrNoQR) {
		fmt.Println("download the configuration file")
	}
	// Output:
	// 27 125 133 true
	// render: QR code: 11 servers, limit 10
	// download the configuration file
}

func ExampleSymbol_AppendText() {
	symbol, err := render.NewSymbol(21, func(x, y int) bool { return x == y })
	if err != nil {
		fmt.Println(err)
		return
	}
	text := symbol.AppendText(nil, &render.TextOptions{Plain: true, DarkText: true})
	fmt.Println(len(bytes.Split(text, []byte("\n"))), symbol.Columns())
	// Output: 16 29
}

func ExampleAppendZip() {
	shop, blog := exampleConfig(2), exampleConfig(1)
	shop.Name, blog.Name = "shop", "blog"
	blog.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("10.66.2.1/32")
	archive, err := render.AppendZip(nil, []*render.Config{shop, blog}, nil)
	fmt.Println(len(archive), err)

	blog.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("10.66.1.0/24")
	_, err = render.AppendZip(nil, []*render.Config{shop, blog}, nil)
	fmt.Println(err)
	// Output:
	// 1026 <nil>
	// render: "blog" and "shop" share 10.66.1.1/32
}

func ExampleMesh() {
	var servers []render.MeshServer
	for i := range byte(3) {
		address := netip.AddrFrom4([4]byte{10, 66, 0, i + 1})
		servers = append(servers, render.MeshServer{
			Interface: render.Interface{
				PrivateKey: exampleKey(i + 1),
				Addresses:  []netip.Prefix{netip.PrefixFrom(address, 24)},
				ListenPort: 51820,
			},
			Peer: render.Peer{
				Name:       fmt.Sprintf("web-%d", i+1),
				AllowedIPs: []netip.Prefix{netip.PrefixFrom(address, 32)},
				Endpoint:   render.Endpoint{Host: fmt.Sprintf("203.0.113.%d", i+1), Port: 51820},
			},
		})
	}
	m, err := render.NewMesh(render.Quick, servers, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := m.Append(nil, 1)
	fmt.Println(string(text), err)
	// Output:
	// [Interface]
	// PrivateKey = AAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAkI=
	// ListenPort = 51820
	// Address = 10.66.0.2/24
	//
	// [Peer]
	// # Name = web-1
	// PublicKey = pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=
	// AllowedIPs = 10.66.0.1/32
	// Endpoint = 203.0.113.1:51820
	//
	// [Peer]
	// # Name = web-3
	// PublicKey = Xf7dO2vUf2+ijuFdlp1bsOpTd01Ii9r53xxuASSz7yI=
	// AllowedIPs = 10.66.0.3/32
	// Endpoint = 203.0.113.3:51820
	//  <nil>
}

func ExampleDiff() {
	from, to := exampleConfig(3), exampleConfig(3)
	to.Peers = to.Peers[1:]     // access to web-1 is lost
	to.Peers[1].Endpoint.Port++ // web-3 has moved
	d := render.Diff(from, to)
	text, err := d.AppendUAPI(nil)
	fmt.Println(string(text), err)
	// Output:
	// public_key=a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209
	// remove=true
	// public_key=5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22
	// update_only=true
	// endpoint=203.0.113.3:51821
	//  <nil>
}

func ExampleParseEndpoint() {
	for _, s := range []string{"203.0.113.7:51820", "[2001:DB8::1]:51820", "Web-1.example.net:51820", "2001:db8::1:51820"} {
		e, err := render.ParseEndpoint(s)
		fmt.Println(e, err)
	}
	// Output:
	// 203.0.113.7:51820 <nil>
	// [2001:db8::1]:51820 <nil>
	// web-1.example.net:51820 <nil>
	//  render: parse endpoint: IPv6 address without brackets
}

func ExampleInterfaceName() {
	for _, s := range []string{"apn0", "Ada's laptop", "../../etc/passwd", "con"} {
		fmt.Println(render.InterfaceName(s))
	}
	// Output:
	// apn0
	// Ada-s-lapt-aeki
	// etc-passwd-g5kn
	// con-cfb5
}

func ExampleDigestPreshared() {
	k, err := keys.ParsePresharedKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		fmt.Println(err)
		return
	}
	open, sealed := exampleConfig(1), exampleConfig(1)
	open.Peers[0].PresharedKey = k
	sealed.Peers[0].PresharedDigest = render.DigestPreshared(k)
	fmt.Println(open.Fingerprint() == sealed.Fingerprint())
	// Output: true
}
