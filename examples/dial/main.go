// Command dial fetches a URL from inside a network, without root or a network
// interface: WireGuard and TCP/IP run in this process.
//
//	dial CONFIG URL
//
// CONFIG is the file of a device, as its member downloads it; "-" reads it from
// stdin. If it names no resolver, servers of the network are asked for names.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/signal"

	"github.com/apnkit/apnkit/apn/agent/userspace"
	"github.com/apnkit/apnkit/render"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "dial: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: dial CONFIG URL")
	}
	cfg, err := read(args[0], stdin)
	if err != nil {
		return err
	}
	n, err := userspace.New(cfg, nil) //nolint:contextcheck // the network outlives no call here
	if err != nil {
		return err
	}
	defer n.Close() //nolint:errcheck // all is read by then

	client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[1], nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if _, err := io.Copy(stdout, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return errors.New(resp.Status)
	}
	return nil
}

// read reads a config file.
func read(path string, stdin io.Reader) (*render.Config, error) {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(path) //nolint:gosec // the user's own choice
	}
	if err != nil {
		return nil, err
	}
	cfg, err := render.Parse(data, nil)
	if err != nil {
		return nil, err
	}
	if len(cfg.Interface.DNS) == 0 {
		cfg.Interface.DNS = servers(cfg)
	}
	return cfg, nil
}

// servers returns addresses of some peers. The agent of each server knows the
// names of the network.
func servers(cfg *render.Config) (some []netip.Addr) {
	const enough = 3
	for _, p := range cfg.Peers {
		for _, a := range p.AllowedIPs {
			if a.IsSingleIP() && len(some) < enough {
				some = append(some, a.Addr())
				break
			}
		}
	}
	return some
}
