package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// place is what a command needs before it can start.
type place int

const (
	inNetwork place = iota
	signedIn
	offline
)

// command is one line of the table. Words of args in brackets may be left out;
// with "yes" among its flags it asks first.
type command struct {
	name, args, about string
	flags             string
	where             place
	run               func(ctx context.Context, c *call) error
}

// commands is the table, in the order of the help.
func commands() []command {
	return slices.Concat([]command{
		{"login", "URL", "sign in; the token comes from APN_TOKEN or stdin", "plain", offline, login},
		{"whoami", "", "who the token is, and the address it comes from", "", signedIn, read(func(ctx context.Context, c *call) (apnclient.Identity, error) { return c.client.Whoami(ctx) })},
		{"lease", "APP", "open the port for this computer, and renew", "for source member once end", inNetwork, leaseNow},
		{"config", "[MEMBER/]DEVICE [FILE]", "write a device's config file; - for stdout", "format key force", inNetwork, config},
		{"qr", "[MEMBER/]DEVICE", "show a device's config as a QR code", "", inNetwork, qr},
		{"up", "[MEMBER/]DEVICE [FILE]", "keep a config file current", "every exec key once", inNetwork, up},
		{"check", "FILE", "is this config file current?", "", inNetwork, check},
		{"doctor", "FILE", "what is wrong with it, and what to do", "", offline, doctor},
	}, objects(), []command{
		{"audit", "", "who did what; JSON has a line per event", "f last since actor action object refused verify", inNetwork, audit},
		{"zone", "", "the names, as a master file", "zone hosts report", inNetwork, zone},
		{"completion", "SHELL", "a script for bash, zsh or fish", "", offline, completion},
		{"complete", "WORD...", "what may follow, for completion", "", offline, complete},
		{"version", "", "the version of apnctl", "", offline, version},
	})
}

// findCommand looks for a command at the start of args.
func findCommand(args []string) (cmd *command, rest []string) {
	if len(args) > 1 && args[0] == "help" {
		cmd, _ = findCommand(args[1:])
		return cmd, []string{"-h"}
	}
	if len(args) > 1 && args[1] == "list" {
		args = slices.Delete(slices.Clone(args), 1, 2)
	}
	for words := min(2, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		for _, cmd := range commands() {
			if cmd.name == name {
				return &cmd, args[words:]
			}
		}
	}
	return nil, args
}

// help prints one command, or all.
func (p *program) help(out io.Writer, cmd *command) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer func() { _ = t.Flush() }()
	if cmd == nil {
		fmt.Fprint(t, "usage: apnctl COMMAND [flags]\n\n")
		for _, cmd := range commands() {
			fmt.Fprintf(t, "  %s\t%s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.about)
		}
		fmt.Fprint(t, "\napnctl help COMMAND tells its flags. Exit status: 0 done, 1 refused or wrong,\n2 not a command line.\n")
		return
	}
	fmt.Fprintf(t, "usage: apnctl %s [flags]\n\n  %s\n\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.about)
	f := flag.NewFlagSet("", flag.ContinueOnError)
	new(options).define(f, cmd.flags+" "+always)
	f.SetOutput(t)
	f.PrintDefaults()
}
