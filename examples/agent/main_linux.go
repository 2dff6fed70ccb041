// Command agent runs on a server and makes it a part of its application private
// network: the WireGuard interface, who may send to its port, and names.
//
//	agent join TOKEN    become the server that the token is for; "-" reads it from stdin
//	agent run           follow the control plane, until a signal
//	agent status        peers, leases with their time left, revision
//	agent rotate        go over to a new WireGuard key
//	agent doctor        what is wrong, and what to do about it
//	agent leave         remove everything that the agent made on this server
//
// It needs root, or CAP_NET_ADMIN and a state directory of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/apnkit/apnkit/apn/agent/source"
)

const version = "apn-agent/1"

// options are the command line.
type options struct {
	state      string
	iface      string
	mtu        int
	netns      string
	hosts      string
	inProcess  bool
	managed    bool
	plain      bool
	noFirewall bool
	noDNS      bool
	noHost     bool
	verbose    bool
	timeout    time.Duration

	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	// The first signal asks to stop, the second is final.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	o := &options{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(o.start(ctx, os.Args[1:]))
}

// start is main without the process around it. It returns the exit status.
func (o *options) start(ctx context.Context, args []string) int {
	name, args, err := o.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // the reason was printed
	}
	switch name {
	case "join":
		err = o.join(ctx, args)
	case "run":
		err = o.run(ctx)
	case "status":
		err = o.status(ctx)
	case "rotate":
		err = o.ask(ctx, "/rotate", nil)
	case "doctor":
		err = o.doctor(ctx)
	case "leave":
		err = o.leave(ctx)
	}
	if err != nil {
		fmt.Fprintf(o.stderr, "agent: %s\n", strings.TrimPrefix(err.Error(), "agent: "))
		return 1
	}
	return 0
}

const usage = `usage: agent COMMAND [flags]

  join TOKEN   become the server that the token is for; "-" reads it from stdin
  run          follow the control plane, until a signal
  status       peers, leases with their time left, revision
  rotate       go over to a new WireGuard key
  doctor       what is wrong, and what to do about it
  leave        remove everything that the agent made on this server

`

// parse reads the command line: a command, its argument, flags.
func (o *options) parse(args []string) (name string, rest []string, err error) {
	f := flag.NewFlagSet("agent", flag.ContinueOnError)
	f.SetOutput(o.stderr)
	f.Usage = func() {
		fmt.Fprint(o.stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.state, "state", "/var/lib/apn-agent", "`directory` for what the agent has to remember")
	f.StringVar(&o.iface, "interface", "apn0", "`name` of the WireGuard interface, and of the nftables table")
	f.IntVar(&o.mtu, "mtu", 0, "MTU of the interface in `bytes` (default 1420)")
	f.StringVar(&o.netns, "netns", "", "network `namespace` for the interface: a name below /run/netns or a path")
	f.StringVar(&o.hosts, "hosts", "", "hosts `file` for the names where systemd-resolved does not run (default /etc/hosts)")
	f.BoolVar(&o.inProcess, "in-process", false, "use WireGuard in this process even if the kernel has it")
	f.BoolVar(&o.managed, "managed", false, "join: leave the WireGuard key with the control plane")
	f.BoolVar(&o.plain, "plain", false, "also talk to a control plane elsewhere without TLS; for laboratories")
	f.BoolVar(&o.noFirewall, "no-firewall", false, "leave the port to somebody else")
	f.BoolVar(&o.noDNS, "no-dns", false, "answer no names")
	f.BoolVar(&o.noHost, "no-resolver", false, "leave this server's own resolver alone")
	f.BoolVar(&o.verbose, "v", false, "log more")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long join, doctor and leave wait for the control plane")
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	want := 0
	if name == "join" {
		want = 1
	}
	// The argument stands before or after the flags.
	if len(args) > 0 && want == 1 && (args[0] == "-" || args[0] != "" && args[0][0] != '-') {
		rest, args = args[:1], args[1:]
	}
	if err := f.Parse(args); err != nil {
		return "", nil, err
	}
	rest = append(rest, f.Args()...)
	switch name {
	case "join", "run", "status", "rotate", "doctor", "leave":
	case "":
		err = errors.New("a command is missing")
	default:
		err = fmt.Errorf("unknown command %q", name)
	}
	if err == nil && len(rest) != want {
		err = fmt.Errorf("%s takes %d arguments, not %d", name, want, len(rest))
	}
	if err != nil {
		fmt.Fprintf(o.stderr, "agent: %v\n", err)
		f.Usage()
	}
	return name, rest, err
}

// channel are the options of the way to the control plane.
func (o *options) channel() *source.Options {
	return &source.Options{Version: version, Plain: o.plain, Proxy: http.ProxyFromEnvironment}
}
