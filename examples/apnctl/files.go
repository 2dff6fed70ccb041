package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// config writes the config file of a device.
func config(ctx context.Context, c *call) error {
	format, err := render.ParseFormat(cmp.Or(c.format, render.Quick.String()))
	if err != nil {
		return usageError{"-format: " + err.Error()}
	}
	path, err := c.path(format)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil && path != "-" && !c.force {
		return fmt.Errorf("%s is there; -force replaces it", path)
	}
	text, err := c.download(ctx, format, nil)
	defer func() { clear(text) }()
	if err != nil {
		return err
	}
	if path == "-" {
		_, err := c.stdout.Write(text)
		return err
	}
	if err := replaceFile(path, text); err != nil {
		return err
	}
	if bytes.Contains(text, []byte(render.Placeholder)) {
		fmt.Fprintf(c.stderr, "put the device's private key into %s, or use -key\n", path)
	}
	if c.json {
		return c.encode(map[string]string{"file": path})
	}
	fmt.Fprintf(c.stdout, "wrote %s\n", path)
	return nil
}

// path is the file that is named, or the name that clients expect.
func (c *call) path(format render.Format) (string, error) {
	if len(c.words) > 1 {
		return c.words[1], nil
	}
	return format.Filename(&render.Config{Name: c.network + "-" + c.name})
}

// download returns a device's config. Where the server has no private key, the
// one of -key or mine goes in, if it is the device's.
func (c *call) download(ctx context.Context, format render.Format, mine *render.Config) ([]byte, error) {
	var own keys.PrivateKey
	switch {
	case c.keyFile != "":
		var err error
		if own, err = readKey(c.keyFile); err != nil {
			return nil, err
		}
	case mine != nil:
		own = mine.Interface.PrivateKey
	}
	if own.IsZero() {
		return c.client.DeviceConfig(ctx, c.network, c.of, c.name, format.String())
	}
	text, err := c.client.DeviceConfig(ctx, c.network, c.of, c.name, render.Quick.String())
	if err != nil {
		return nil, err
	}
	cfg, err := render.Parse(text, nil)
	if err != nil {
		return nil, fmt.Errorf("the server's answer is no config file: %w", err)
	}
	switch {
	case !cfg.Interface.PrivateKey.IsZero(): // the server's word counts
	case cfg.Interface.PublicKey == own.PublicKey():
		cfg.Interface.PrivateKey = own
	default:
		return nil, fmt.Errorf("the private key here is not that of %s/%s", c.of, c.name)
	}
	defer clear(text)
	return format.Append(nil, cfg, &render.Options{Secrets: true})
}

// readKey reads a private key as wg genkey writes it.
func readKey(path string) (keys.PrivateKey, error) {
	text, err := readFile(path)
	if err != nil {
		return keys.PrivateKey{}, err
	}
	defer clear(text)
	k, err := keys.ParsePrivateKey(string(bytes.TrimSpace(text)))
	if err != nil {
		return keys.PrivateKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// publicKey is that of the private key in -key, which is made if it is missing.
func (c *call) publicKey() (string, error) {
	if c.keyFile == "" {
		return "", nil
	}
	k, err := readKey(c.keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if k, err = keys.GeneratePrivateKey(); err == nil && !c.dryRun {
			err = replaceFile(c.keyFile, []byte(base64.StdEncoding.EncodeToString(k.Reveal()[:])+"\n"))
		}
	}
	if err != nil {
		return "", err
	}
	return k.PublicKey().String(), nil
}

func readFile(path string) ([]byte, error) {
	return os.ReadFile(path) //nolint:gosec // the user's own word
}

// replaceFile puts a file in place in one step, readable by its owner alone.
func replaceFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// qr shows a device's config in the terminal.
func qr(ctx context.Context, c *call) error {
	kind := "plain"
	if c.tty {
		kind = "txt" // black on white by itself, so that it scans in any theme
	}
	text, err := c.client.QR(ctx, c.network, c.of, c.name, kind)
	defer func() { clear(text) }()
	return c.text("qr", text, err)
}

// readConfig reads a config file.
func readConfig(path string) (*render.Config, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	cfg, err := render.Parse(text, &render.ParseOptions{Hooks: true})
	if err != nil {
		return nil, fmt.Errorf("%s is not a config file: %w", path, err)
	}
	return cfg, nil
}

// freshness asks what a config is worth. Only its public key and fingerprint
// leave this computer.
func (c *call) freshness(ctx context.Context, cfg *render.Config) (apnclient.ConfigState, error) {
	pub := cfg.Interface.PublicKey
	if !cfg.Interface.PrivateKey.IsZero() {
		pub = cfg.Interface.PrivateKey.PublicKey()
	}
	return c.client.CheckConfig(ctx, c.network, pub.String(), cfg.Fingerprint().String())
}

// stateText says what the config in a file is worth, and what to do.
func stateText(s apnclient.ConfigState, path string) (text, do string) {
	name := "DEVICE"
	if s.Device != nil {
		name = s.Device.Member + "/" + s.Device.Name
	}
	again := "apnctl up " + name + " " + path + " -once"
	switch s.State {
	case "current":
		return "current, the config of " + name, ""
	case "stale":
		return "stale, the config of " + name + ": " + reasons(s.Device), again
	case "superseded":
		return name + " was given a newer file, or this one was edited", again
	default:
		return "its key is no device's of yours: replaced or removed", "apnctl devices, to see which there are; then " + again
	}
}

// check tells whether a file is current.
func check(ctx context.Context, c *call) error {
	cfg, err := readConfig(c.words[0])
	if err != nil {
		return err
	}
	state, err := c.freshness(ctx, cfg)
	if err != nil {
		return err
	}
	text, do := stateText(state, c.words[0])
	if c.json {
		err = c.encode(state)
	} else {
		fmt.Fprintln(c.stdout, text)
	}
	if do != "" {
		return errors.Join(err, errors.New("not current: "+do))
	}
	return err
}
