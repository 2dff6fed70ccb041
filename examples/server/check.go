package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// checkArg reads the config file that args begin with, and returns what is sent
// of it: its public key and its fingerprint.
func checkArg(args []string) (arg string, rest []string, err error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", nil, errors.New("config check needs the path of a config file")
	}
	file, err := os.ReadFile(args[0])
	if err != nil {
		return "", nil, err
	}
	defer clear(file)
	cfg, err := render.Parse(file, nil)
	if err != nil {
		return "", nil, fmt.Errorf("%s is not a config file: %w", args[0], err)
	}
	if cfg.Interface.PrivateKey.IsZero() {
		return "", nil, fmt.Errorf("%s has no private key, so it is nobody's", args[0])
	}
	pub := cfg.Interface.PrivateKey.PublicKey()
	return pub.String() + " " + cfg.Fingerprint().String(), args[1:], nil
}

// configCheck looks for the config in every network. It is an error if the file
// is not current.
func configCheck(ctx context.Context, d *data, arg string, out io.Writer) error {
	key, fingerprint, _ := strings.Cut(arg, " ")
	pub, err := keys.ParsePublicKey(key)
	if err != nil {
		return err
	}
	fp, err := render.ParseFingerprint(fingerprint)
	if err != nil {
		return err
	}
	state, device, network := apn.ConfigUnknown, apn.Device{}, ""
	err = d.networks(ctx, func(n *apn.Network) error {
		if s, found := n.CheckConfig(pub, fp); s != apn.ConfigUnknown {
			state, device, network = s, found, n.Name()
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch state {
	case apn.ConfigCurrent:
		fmt.Fprintf(out, "current: %s of %s in network %s\n", device.Name, device.Member, network)
		return nil
	case apn.ConfigStale:
		for _, r := range device.Stale {
			fmt.Fprintf(out, "%s %s\n", r.Kind, r.Object)
		}
		return fmt.Errorf("stale: %s of %s in network %s needs a new file", device.Name, device.Member, network)
	case apn.ConfigSuperseded:
		return fmt.Errorf("superseded: %s of %s in network %s got a newer file, or this one was edited", device.Name, device.Member, network)
	default:
		return errors.New("unknown: its key belongs to no device")
	}
}
