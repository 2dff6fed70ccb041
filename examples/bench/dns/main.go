// Command dns is the dnszone side of dns.sh: it writes the zone and the queries
// that all servers of the comparison share, or serves that zone.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

func main() {
	servers := flag.Int("servers", 5000, "servers in the zone; each has two names")
	dir := flag.String("write", "", "write apn.zone and queries to this folder and exit")
	listen := flag.String("listen", "", "serve the zone on this UDP and TCP address")
	flag.Parse()
	if err := run(*servers, *dir, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(servers int, dir, listen string) error {
	hosts := make([]dnszone.Host, servers)
	for i := range hosts {
		hosts[i] = dnszone.Host{
			ID: fmt.Sprint(i), App: fmt.Sprintf("app-%04d", i/50), Name: fmt.Sprintf("srv-%06d", i),
			Addrs: []netip.Addr{
				netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
				netip.AddrFrom16([16]byte{0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}),
			},
		}
	}
	set, _, err := dnszone.Build(dnszone.Config{}, 1, slices.Values(hosts[1:]))
	if err != nil {
		return err
	}
	if dir != "" {
		return write(set, hosts[1:], dir)
	}
	return serve(set, listen)
}

func write(set *dnszone.Set, hosts []dnszone.Host, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	zone, err := root.Create("apn.zone")
	if err != nil {
		return err
	}
	z, _ := set.Zone("apn")
	if _, err := z.WriteTo(zone); err != nil {
		return err
	}
	queries, err := root.Create("queries")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(queries)
	for i := range 100_000 { // 70 % A, 20 % AAAA, 5 % unknown names, 5 % other types
		h := hosts[i*7919%len(hosts)]
		name, typ := h.Name+".apn", "A"
		if i%2 == 0 {
			name = h.Name + "." + h.App + ".apn"
		}
		switch i % 20 {
		case 0:
			name = "x" + name
		case 1:
			typ = "MX"
		case 2, 3, 4, 5:
			typ = "AAAA"
		}
		_, _ = fmt.Fprintln(w, name, typ)
	}
	return errors.Join(w.Flush(), queries.Close(), zone.Close(), root.Close())
}

func serve(set *dnszone.Set, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp", listen)
	if err != nil {
		return err
	}
	stream, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	src := &dnsserver.Source{}
	src.Store(set)
	srv := dnsserver.New(src, nil)
	failed := make(chan error, 2)
	go func() { failed <- srv.ServePacket(ctx, packets) }()
	go func() { failed <- srv.ServeStream(ctx, stream) }()
	return errors.Join(<-failed, <-failed)
}
