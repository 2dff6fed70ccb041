// Command server runs application private networks as a program of its own: the
// API of apn/apnhttp over a bbolt database and a KEK file in one folder.
//
//	go run ./examples/server
//
// Key commands work on a running server, and on a stopped one, by its data
// folder: kek status, kek rotate, kek prune, keys rotate, keys verify. So does
// config check, which tells whether a config file is current.
//
//	go run ./examples/server kek rotate -data ./apn-data
//	go run ./examples/server config check acme-laptop.conf -data ./apn-data
//
// It prints its address, and on its first start an admin token that it never
// shows again. Everything else is in the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// The first signal asks to finish what is under way, the second is final.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name, rest := "", args
	if len(args) >= 2 {
		name, rest = args[0]+" "+args[1], args[2:]
	}
	_, isCommand := commands()[name]
	if isCommand {
		args = rest
	}
	var arg string
	var err error
	if name == checkName {
		if arg, args, err = checkArg(args); err != nil {
			fmt.Fprintf(stderr, "server: %v\n", err)
			return 2
		}
	}
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // package flag has said why
	}
	if isCommand {
		err = o.command(ctx, name, arg, stdout)
	} else {
		err = o.serve(ctx, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "server: %v\n", err)
		return 1
	}
	return 0
}
