package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/dnszone"
)

// HostResolver points the resolver of a Linux server to the names of a netmap,
// and leaves all other names alone. Where systemd-resolved resolves, it gets a
// route for the suffix; elsewhere the names go into a section of the hosts file.
// The zero value is ready.
type HostResolver struct {
	// Interface is the name of the WireGuard interface, to which systemd-resolved
	// ties the route. Empty: the hosts file is used.
	Interface string
	// Tag marks our section of the hosts file. Two agents on one server need two
	// tags. Empty means "apn".
	Tag string
	// HostsFile is the hosts file. Empty means /etc/hosts.
	HostsFile string
	// HostsLimit is how many addresses our section may hold at most; resolvers
	// read the whole file for each lookup. Zero means 10,000.
	HostsLimit int
	// Resolvectl runs resolvectl(1) and returns what it prints. Nil means the
	// program, if systemd-resolved is what /etc/resolv.conf points to.
	Resolvectl func(ctx context.Context, args ...string) (string, error)
}

// apply makes c's names resolve on this server, and reports whether it wrote.
func (h *HostResolver) apply(ctx context.Context, c *netmap.Config, port uint16) (wrote bool, err error) {
	if run := h.resolvectl(); run != nil {
		return h.route(ctx, run, c, port)
	}
	wrote, err = h.writeHosts(hostsLines(c))
	if err != nil {
		return wrote, fmt.Errorf("agent: names resolve only for those who ask %s: systemd-resolved does not run here, and the hosts file is as it was: %w",
			netip.AddrPortFrom(c.Addresses[0].Addr(), port), err)
	}
	return wrote, nil
}

func (h *HostResolver) resolvectl() func(context.Context, ...string) (string, error) {
	switch {
	case h.Interface == "":
		return nil
	case h.Resolvectl != nil:
		return h.Resolvectl
	case !resolvedRuns("/etc/resolv.conf"):
		return nil
	}
	return func(ctx context.Context, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "resolvectl", args...).CombinedOutput() //nolint:gosec // our own words, an interface and a suffix
		if err != nil {
			return "", fmt.Errorf("agent: resolvectl %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
		return string(out), nil
	}
}

// resolvedRuns reports whether lookups go to systemd-resolved: its stub is the
// name server in resolv.conf.
func resolvedRuns(resolvConf string) bool {
	data, err := os.ReadFile(resolvConf) //nolint:gosec // a fixed path
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "nameserver" && (f[1] == "127.0.0.53" || f[1] == "127.0.0.54") {
			_, err := exec.LookPath("resolvectl")
			return err == nil
		}
	}
	return false
}

// route gives systemd-resolved a route for the suffix and the reverse zones. It
// forgets them when it restarts or the interface goes, so it is asked first.
func (h *HostResolver) route(ctx context.Context, run func(context.Context, ...string) (string, error), c *netmap.Config, port uint16) (wrote bool, err error) {
	servers := []string{"dns", h.Interface}
	for _, a := range addressesOf(c) {
		server := a.String()
		if port != 53 {
			server = netip.AddrPortFrom(a, port).String()
		}
		servers = append(servers, server)
	}
	// A bare suffix is searched, too: "ping web-1" works.
	domains := []string{"domain", h.Interface, c.Suffix, "~" + c.Suffix}
	for _, p := range c.Routes {
		zones, err := dnszone.ReverseZones(p)
		if err != nil || len(zones) > 16 { // lookups of addresses are not worth hundreds of routes
			continue
		}
		for _, z := range zones {
			domains = append(domains, "~"+strings.TrimSuffix(z, "."))
		}
	}
	if h.has(ctx, run, servers) && h.has(ctx, run, domains) {
		return false, nil
	}
	var errs []error
	for _, args := range [][]string{servers, domains, {"default-route", h.Interface, "false"}, {"dnssec", h.Interface, "no"}} {
		_, err := run(ctx, args...)
		errs = append(errs, err)
	}
	return true, errors.Join(errs...)
}

// has reports whether resolvectl shows all that args would set.
func (h *HostResolver) has(ctx context.Context, run func(context.Context, ...string) (string, error), args []string) bool {
	out, err := run(ctx, args[:2]...)
	if err != nil {
		return false
	}
	shown := map[string]bool{}
	for f := range strings.FieldsSeq(out) {
		shown[f] = true
	}
	for _, want := range args[2:] {
		if !shown[want] {
			return false
		}
	}
	return true
}

// undo takes back what apply did, in this process or an earlier one.
func (h *HostResolver) undo(ctx context.Context) error {
	if run := h.resolvectl(); run != nil {
		_, _ = run(ctx, "revert", h.Interface) // if the interface is gone, so is the route
	}
	if _, err := h.writeHosts(nil); err != nil {
		return fmt.Errorf("agent: take names out of the hosts file: %w", err)
	}
	return nil
}
