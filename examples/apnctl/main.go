// Command apnctl works with application private networks over the HTTP API.
//
//	apnctl login https://apn.example.com
//	apnctl config laptop
//	apnctl lease shop
//
// It exits with 0, with 1 if it was refused or something is wrong, and with 2 if
// the command line is. README.md shows it at work, "apnctl help" every command.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

func main() {
	// The first signal asks to finish what is under way, the second is final.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, tty: isTerminal(os.Stdout), getenv: os.Getenv,
		dir: os.UserConfigDir, resolve: net.DefaultResolver.LookupNetIP, local: localPrefixes,
	}
	os.Exit(p.start(ctx, os.Args[1:]))
}

// program is what a command needs of the world.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	tty            bool // stdout is a terminal
	getenv         func(string) string
	dir            func() (string, error) // the user's configuration
	transport      http.RoundTripper      // nil: the default

	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
	local   func() ([]netip.Prefix, error) // networks that the computer is in
}

// call is a command under way.
type call struct {
	*program
	options
	session
	client *apnclient.Client
	clock  clock // of the server
	cmd    *command
	words  []string
	of     string // the app or member that name belongs to
	name   string // of a server, device, lease, …
	pub    string // the public key of -key, in mutations
}

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// start is main without the process around it. It returns the exit status.
func (p *program) start(ctx context.Context, args []string) int {
	cmd, args := findCommand(args)
	c := &call{program: p, cmd: cmd}
	err := c.run(ctx, args)
	_, usage := errors.AsType[usageError](err)
	problem, refused := errors.AsType[*apnclient.Problem](err)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		p.help(p.stdout, cmd)
		return 0
	case usage:
		if fmt.Fprintf(p.stderr, "apnctl: %v\n", err); cmd != nil {
			fmt.Fprintf(p.stderr, "usage: apnctl %s [flags]\n", strings.TrimSpace(cmd.name+" "+cmd.args))
		}
		fmt.Fprintln(p.stderr, "apnctl help tells more.")
		return 2
	case c.json && refused:
		_ = json.NewEncoder(p.stderr).Encode(problem) // stderr has nowhere to complain
	default:
		fmt.Fprintf(p.stderr, "apnctl: %s\n", explain(err))
	}
	return 1
}

func (c *call) run(ctx context.Context, args []string) error {
	cmd := c.cmd
	if cmd == nil {
		if len(args) > 0 && args[0] != "help" && args[0] != "-h" && args[0] != "-help" && args[0] != "--help" {
			return usageError{fmt.Sprintf("there is no command %q", args[0])}
		}
		return flag.ErrHelp
	}
	if err := c.parse(args); err != nil {
		return err
	}
	if cmd.where == offline {
		return cmd.run(ctx, c)
	}
	if err := c.connect(); err != nil {
		return err
	}
	if cmd.where == inNetwork {
		if err := c.findNetwork(ctx); err != nil {
			return err
		}
	}
	if err := c.target(ctx); err != nil {
		return err
	}
	return cmd.run(ctx, c)
}

// explain says an error in words for people, with the field that is at fault.
func explain(err error) string {
	p, ok := errors.AsType[*apnclient.Problem](err)
	if !ok {
		return strings.TrimPrefix(err.Error(), "apnclient: ")
	}
	text := clean(p.Title)
	if p.Detail != "" {
		text += ": " + clean(p.Detail)
	}
	if p.Field != "" && !strings.Contains(p.Detail, p.Field) {
		text += " (" + clean(p.Field) + ")"
	}
	switch {
	case p.Status == http.StatusUnauthorized:
		text += "\nSign in again: apnctl login URL"
	case p.Config != "":
		text += "\nDownload it: apnctl config DEVICE"
	case p.Status >= http.StatusInternalServerError && p.RequestID != "":
		text += "\nRequest " + p.RequestID
	}
	return text
}

// options are the flags. A command takes those that it names.
type options struct {
	json, wide, yes, dryRun          bool
	network                          string
	format, keyFile, exec            string
	endpoint, suffix, links, note    string
	custody, member                  string
	address                          netip.Addr
	subnet                           []netip.Prefix
	every, duration, ttl             time.Duration
	sources                          []netip.Addr
	once, end, servers, plain, force bool
	follow, verify, hosts, report    bool
	stale, refused                   bool
	actor, action, object            string
	last                             int
	since                            uint64
	zone                             string
}

// always are the flags that every command takes.
const always = "json wide n"

// define registers the flags that are named.
func (o *options) define(f *flag.FlagSet, names string) {
	all := flag.NewFlagSet("", flag.ContinueOnError)
	all.BoolVar(&o.json, "json", false, "answer as JSON")
	all.BoolVar(&o.wide, "wide", false, "do not shorten tables to 80 columns")
	all.StringVar(&o.network, "n", "", "`network`; else APN_NETWORK, or the one that the token is for")
	all.BoolVar(&o.yes, "yes", false, "do not ask")
	all.BoolVar(&o.dryRun, "dry-run", false, "say what would change, and change nothing")
	all.StringVar(&o.format, "format", "", "`format`: wg-quick, compact, setconf, uapi, networkd-netdev, networkd-network, networkmanager or json")
	all.StringVar(&o.keyFile, "key", "", "`file` with a private key that stays on this computer")
	all.StringVar(&o.exec, "exec", "", "shell `command` to run after each new file; APN_CONFIG is its path")
	all.StringVar(&o.endpoint, "endpoint", "", "`host:port` where the server listens; empty for none")
	all.TextVar(&o.address, "address", netip.Addr{}, "private `address`, instead of the next free one")
	all.Func("subnet", "`prefix`, instead of a free one; may be repeated", func(s string) error {
		p, err := netip.ParsePrefix(s)
		o.subnet = append(o.subnet, p)
		return err
	})
	all.StringVar(&o.suffix, "suffix", "", "DNS `suffix` of the names")
	all.StringVar(&o.links, "links", "", "`policy`: all apps linked, or none")
	all.StringVar(&o.note, "note", "", "`text` that says why")
	all.StringVar(&o.custody, "custody", "", "what happens to the private key: `managed` or once")
	all.StringVar(&o.member, "member", "", "`member` instead of yourself")
	all.DurationVar(&o.every, "every", 0, "`time` between looks")
	all.DurationVar(&o.duration, "for", 0, "`time` that the port stays open (default 24h)")
	all.DurationVar(&o.ttl, "ttl", 0, "`time` until it ends")
	all.Func("source", "`address` to open the port for, instead of this computer's; may be repeated", func(s string) error {
		a, err := netip.ParseAddr(s)
		o.sources = append(o.sources, a)
		return err
	})
	all.BoolVar(&o.once, "once", false, "do it once, and end")
	all.BoolVar(&o.end, "end", false, "end the lease with the command")
	all.BoolVar(&o.servers, "servers", false, "with its servers")
	all.BoolVar(&o.force, "force", false, "replace a file that is there")
	all.BoolVar(&o.plain, "plain", false, "also send the token without TLS; for laboratories")
	all.BoolVar(&o.follow, "f", false, "wait for more")
	all.BoolVar(&o.verify, "verify", false, "have the server check the hash chain")
	all.BoolVar(&o.hosts, "hosts", false, "as a hosts file")
	all.BoolVar(&o.report, "report", false, "names that are withheld, and why")
	all.BoolVar(&o.refused, "refused", false, "only what was refused")
	all.StringVar(&o.actor, "actor", "", "only what this `name` did")
	all.StringVar(&o.action, "action", "", "only this `action`: server, or server.add")
	all.StringVar(&o.object, "object", "", "only about this `object`: shop, or shop/web-1")
	all.BoolVar(&o.stale, "stale", false, "only those whose config is out of date, of all members")
	all.IntVar(&o.last, "last", 50, "at most this `number` of events, the newest; 0 for all")
	all.Uint64Var(&o.since, "since", 0, "only after the event of this `number`")
	all.StringVar(&o.zone, "zone", "", "`name` of the zone, if not the forward one")
	for name := range strings.FieldsSeq(names) {
		d := all.Lookup(name)
		f.Var(d.Value, name, d.Usage)
	}
}

// parse reads flags and words in any order.
func (c *call) parse(args []string) error {
	cmd := c.cmd
	f := flag.NewFlagSet("apnctl", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.define(f, always+" "+cmd.flags)
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return usageError{err.Error()}
		}
		ended := len(args) > f.NArg() && args[len(args)-f.NArg()-1] == "--"
		if args = f.Args(); ended {
			c.words, args = append(c.words, args...), nil
		} else if len(args) > 0 {
			c.words, args = append(c.words, args[0]), args[1:]
		}
	}
	most := len(strings.Fields(cmd.args))
	if strings.HasSuffix(cmd.args, "...") {
		return nil
	}
	if least := most - strings.Count(cmd.args+" ", "] "); len(c.words) < least || len(c.words) > most {
		return usageError{"too many or too few words"}
	}
	return nil
}
