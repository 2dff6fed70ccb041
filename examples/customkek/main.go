// Command customkek shows how a KMS becomes a keys.KEK: the adapter for a
// transit engine is transit.go, and its test runs the suite of keys/keystest
// against a local server.
//
// The program tries a real one:
//
//	go run ./examples/customkek -url https://vault.example:8200 -key apn -token-file token
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/apnkit/apnkit/keys"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes a data key, opens it and seals one value under it.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("customkek", flag.ContinueOnError)
	url := flags.String("url", "http://127.0.0.1:8200", "address of the service")
	key := flags.String("key", "apn", "name of the transit key")
	version := flags.Int("version", 1, "version of the transit key")
	tokenFile := flags.String("token-file", "token", "file that holds the client's token")
	if err := flags.Parse(args); err != nil {
		return err
	}
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return err
	}
	set := keys.Multi(&transit{url: *url, token: strings.TrimSpace(string(token)), key: *key, version: *version})

	dek, err := keys.NewDEK(ctx, set, "acme", 1, time.Now())
	if err != nil {
		return err
	}
	ring, err := keys.OpenRing(ctx, set, time.Now(), dek)
	if err != nil {
		return err
	}
	owner := keys.Owner{Network: "acme", ID: "shop/web-1", Purpose: keys.PurposeSecret}
	sealed, err := ring.Seal(nil, owner, []byte("hello"))
	if err != nil {
		return err
	}
	plain, err := ring.Open(nil, owner, sealed)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "data key wrapped by %s; %q sealed in %d bytes\n", dek.KEKID, plain, len(sealed))
	return err
}
