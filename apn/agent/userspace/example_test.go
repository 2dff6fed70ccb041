package userspace_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn/agent/userspace"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// A program of the application serves inside the network, another one dials it
// by name. Usually each gets its config from the control plane.
func Example() {
	names := &userspace.Options{Names: func(name string) []netip.Addr {
		if name == "web-1.shop.apn" {
			return []netip.Addr{netip.MustParseAddr("10.66.0.10")}
		}
		return nil
	}}
	serverKey, _ := keys.GeneratePrivateKey()
	laptopKey, _ := keys.GeneratePrivateKey()

	server, err := userspace.New(&render.Config{
		Interface: render.Interface{PrivateKey: serverKey, Addresses: []netip.Prefix{netip.MustParsePrefix("10.66.0.10/24")}, ListenPort: 21871},
		Peers:     []render.Peer{{PublicKey: laptopKey.PublicKey(), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.200/32")}}},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = server.Close() }()
	l, err := server.Listen("tcp", ":5432")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello from inside")
			_ = c.Close()
		}
	}()

	laptop, err := userspace.New(&render.Config{
		Interface: render.Interface{PrivateKey: laptopKey, Addresses: []netip.Prefix{netip.MustParsePrefix("10.66.0.200/24")}},
		Peers: []render.Peer{{
			PublicKey: serverKey.PublicKey(), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.10/32")},
			Endpoint: render.Endpoint{Host: "127.0.0.1", Port: 21871},
		}},
	}, names)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = laptop.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := laptop.DialContext(ctx, "tcp", "web-1.shop.apn:5432")
	if err != nil {
		fmt.Println(err)
		return
	}
	got, _ := io.ReadAll(c)
	fmt.Println(string(got))
	// Output: hello from inside
}
