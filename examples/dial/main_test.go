package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent/userspace"
	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// TestRun fetches a page by name from a server of the network, which is another
// process's in earnest.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	server, device := generate(t), generate(t)
	udp, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	port := udp.LocalAddr().(*net.UDPAddr).AddrPort().Port() // free in a moment
	require.NoError(t, udp.Close())
	at := netip.MustParseAddr("10.66.0.10")
	n, err := userspace.New(&render.Config{
		Interface: render.Interface{PrivateKey: server, Addresses: []netip.Prefix{netip.PrefixFrom(at, 32)}, ListenPort: port},
		Peers:     []render.Peer{{PublicKey: device.PublicKey(), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.200/32")}}},
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	serve(t, n, at)

	file, err := render.Quick.Append(nil, &render.Config{
		Interface: render.Interface{PrivateKey: device, Addresses: []netip.Prefix{netip.MustParsePrefix("10.66.0.200/32")}},
		Peers: []render.Peer{{
			PublicKey: server.PublicKey(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(at, 32)},
			Endpoint: render.Endpoint{Host: "127.0.0.1", Port: port},
		}},
	}, nil)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, run(ctx, []string{"-", "http://web-1.shop.apn/"}, bytes.NewReader(file), &out))
	require.Equal(t, "hello from inside", out.String())

	require.ErrorContains(t, run(ctx, []string{"-", "http://web-1.shop.apn/else"}, bytes.NewReader(file), io.Discard), "404")
	require.ErrorIs(t, run(ctx, []string{"-", "http://web-2.shop.apn/"}, bytes.NewReader(file), io.Discard), userspace.ErrNoName)
	require.ErrorContains(t, run(ctx, []string{"-"}, nil, nil), "usage")
	require.Error(t, run(ctx, []string{"-", "http://web-1.shop.apn/"}, bytes.NewReader(file[1:]), io.Discard))
	require.Error(t, run(ctx, []string{filepath.Join(t.TempDir(), "none"), "http://web-1.shop.apn/"}, nil, io.Discard))
}

// serve answers HTTP, and DNS as an agent does.
func serve(t *testing.T, n *userspace.Net, at netip.Addr) {
	t.Helper()
	web, err := n.Listen("tcp", ":80")
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello from inside") })
	go func() { _ = http.Serve(web, mux) }()

	zone, _, err := dnszone.Build(dnszone.Config{
		Suffixes: []string{"apn"}, Extra: []dnszone.Record{dnszone.AddrRecord("web-1.shop.apn.", at)},
	}, 1, nil)
	require.NoError(t, err)
	var src dnsserver.Source
	src.Store(zone)
	dns, err := n.ListenPacket("udp", ":53")
	require.NoError(t, err)
	go func() { _ = dnsserver.New(&src, nil).ServePacket(t.Context(), dns) }()
}

func generate(t *testing.T) keys.PrivateKey {
	t.Helper()
	k, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	return k
}
