// Command server runs application private networks as a program of its own: the
// API of apn/apnhttp over a bbolt database and a KEK file in one folder.
//
//	go run ./examples/server
//
// Commands stand before the flags:
//
//	kek status        the keys that wrap keys
//	kek rotate        a new KEK; every data key is wrapped under it
//	kek prune         forget the KEKs before the present one
//	keys rotate       new data keys; every sealed key moves to them
//	keys verify       open every sealed key
//	config check FILE is this config file current?
//	verify            read everything, and check that it fits together
//	backup FILE       all networks as of now
//	restore FILE      a backup into an empty store
//	move STORE        everything into an empty store, as -store names it
//
// They work on a running server, by the data folder, and on a stopped one; restore
// and move only on a stopped one.
//
//	go run ./examples/server kek rotate -data ./apn-data
//	go run ./examples/server move postgres://apn@db/apn -data ./apn-data
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
	os.Exit(start(ctx, os.Args[1:], os.Stdout, os.Stderr, builtin()))
}

// start is main without the process around it. It returns the exit status.
func start(ctx context.Context, args []string, stdout, stderr io.Writer, stores engines) int {
	name, cmd, args := findCommand(args)
	var arg string
	var err error
	if cmd.arg != nil {
		if arg, args, err = cmd.arg(args); err != nil {
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
	o.engines = stores
	if name != "" {
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
