package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
)

// status prints how the server is. Without a running agent it prints what is
// saved.
func (o *options) status(ctx context.Context) error {
	var s state
	err := o.ask(ctx, "/status", &s)
	if errors.Is(err, errNotRunning) {
		if s, err = o.saved(); err == nil {
			s.Errors = append(s.Errors, errNotRunning.Error()+"; this is what was saved. Start it: agent run")
		}
	}
	if err != nil {
		return err
	}
	return s.print(o.stdout, time.Now())
}

// saved returns what the state directory tells.
func (o *options) saved() (state, error) {
	dir, id, err := o.identity()
	if err != nil {
		return state{}, err
	}
	a, err := agent.New(agent.Config{Identity: id, Dir: dir, Interface: noInterface{}})
	if err != nil {
		return state{}, err
	}
	s := stateOf(id, a.Netmap())
	s.Interface = o.iface
	return s, nil
}

// print writes s for a person, at the time now of this server's clock.
func (s *state) print(w io.Writer, now time.Time) error {
	revision := "no document yet"
	switch {
	case s.Wanted > 0 && s.Applied == s.Wanted:
		revision = fmt.Sprintf("revision %d, applied", s.Wanted)
	case s.Wanted > 0 && s.Kind == "":
		revision = fmt.Sprintf("revision %d, saved", s.Wanted)
	case s.Wanted > 0:
		revision = fmt.Sprintf("revision %d, not applied (last: %d)", s.Wanted, s.Applied)
	}
	fmt.Fprintf(w, "%s: %s\n", s.Server, revision)
	if len(s.Addresses) > 0 {
		fmt.Fprintf(w, "%s: %s", s.Interface, join(s.Addresses))
		if s.Kind != "" {
			fmt.Fprintf(w, ", UDP port %d, %s", s.Port, s.Kind)
		}
		fmt.Fprintf(w, "\nnames: %s\n", strings.Join(s.Names, ", "))
	}
	for _, e := range s.Errors {
		fmt.Fprintf(w, "! %s\n", e)
	}
	theirs := now.Add(-s.ClockOffset) // leases are in the control plane's time

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nPEER\tADDRESS\tENDPOINT\tHANDSHAKE\tRECEIVED\tSENT\n")
	for _, p := range s.Peers {
		shake := "never"
		if !p.Handshake.IsZero() && p.Handshake.Unix() != 0 {
			shake = span(now.Sub(p.Handshake)) + " ago"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, join(p.AllowedIPs), or(p.Endpoint, "-"), shake, size(p.Received), size(p.Sent))
	}
	fmt.Fprintf(t, "\nOPEN TO\tTIME LEFT\n")
	for _, p := range s.Openings.Permanent {
		fmt.Fprintf(t, "%s\tpermanent\n", short(p))
	}
	for _, l := range s.Openings.Leases {
		if left := l.ExpiresAt.Sub(theirs); left > 0 {
			fmt.Fprintf(t, "%s\t%s\n", short(l.Source), span(left))
		}
	}
	return t.Flush()
}

func join(prefixes []netip.Prefix) string {
	const some = 3
	var list []string
	for _, p := range prefixes[:min(len(prefixes), some)] {
		list = append(list, short(p))
	}
	if more := len(prefixes) - some; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// short returns a prefix of one address as an address.
func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// span returns a time in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	switch day := 24 * time.Hour; {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}

func size(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, []string{"", "KiB", "MiB", "GiB", "TiB"}[unit])
}
