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

// download returns a device's config. mine, which may be nil, is the file that is
// replaced: what its owner added stays. Where the server has no private key, the
// one of -key or mine goes in, if it is the device's.
func (c *call) download(ctx context.Context, format render.Format, mine *file) ([]byte, error) {
	if c.keyFile == "" && mine == nil {
		return c.client.DeviceConfig(ctx, c.network, c.of, c.name, format.String())
	}
	var own keys.PrivateKey
	if mine != nil {
		own = mine.Interface.PrivateKey
	}
	if c.keyFile != "" {
		var err error
		if own, err = readKey(c.keyFile); err != nil {
			return nil, err
		}
	}
	text, err := c.client.DeviceConfig(ctx, c.network, c.of, c.name, render.Quick.String())
	if err != nil {
		return nil, err
	}
	defer clear(text)
	cfg, err := render.Parse(text, nil)
	if err != nil {
		return nil, fmt.Errorf("the server's answer is no config file: %w", err)
	}
	in := &cfg.Interface
	switch {
	case !in.PrivateKey.IsZero(): // the server's word counts
	case !own.IsZero() && in.PublicKey == own.PublicKey():
		in.PrivateKey = own
	default:
		return nil, fmt.Errorf("the private key of %s/%s is not here: give it with -key", c.of, c.name)
	}
	if mine != nil {
		old := mine.Interface
		in.ListenPort, in.FwMark, in.MTU = cmp.Or(in.ListenPort, old.ListenPort), cmp.Or(in.FwMark, old.FwMark), cmp.Or(in.MTU, old.MTU)
		in.Table, in.Hooks = cmp.Or(in.Table, old.Table), old.Hooks
		if len(in.DNS)+len(in.Search) == 0 {
			in.DNS, in.Search = old.DNS, old.Search
		}
	}
	made, _ := render.ReadFingerprint(text)
	return format.Append(nil, cfg, &render.Options{Secrets: true, Hooks: true, Fingerprint: made})
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

// file is a config file of this computer.
type file struct {
	*render.Config
	made render.Fingerprint // as it was handed out; its owner may have added to it
}

func readConfig(path string) (*file, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	cfg, err := render.Parse(text, &render.ParseOptions{Hooks: true})
	if err != nil {
		return nil, fmt.Errorf("%s is not a config file: %w", path, err)
	}
	made, ok := render.ReadFingerprint(text)
	if !ok {
		made = cfg.Fingerprint()
	}
	return &file{cfg, made}, nil
}

// freshness asks what a file is worth. Only its public key and fingerprint leave
// this computer.
func (c *call) freshness(ctx context.Context, f *file) (apnclient.ConfigState, error) {
	pub := f.Interface.PublicKey
	if !f.Interface.PrivateKey.IsZero() {
		pub = f.Interface.PrivateKey.PublicKey()
	}
	return c.client.CheckConfig(ctx, c.network, pub.String(), f.made.String())
}

// stateText says what the config in a file is worth, and what to do.
func stateText(s apnclient.ConfigState, f *file, path string) (text, do string) {
	name := "DEVICE"
	if s.Device != nil {
		name = s.Device.Member + "/" + s.Device.Name
	}
	again := "apnctl up " + name + " " + path + " -once"
	switch s.State {
	case "current":
		if f.Fingerprint() != f.made {
			name += ", with changes made here"
		}
		return "current, the config of " + name, ""
	case "stale":
		return "stale, the config of " + name + ": " + reasons(s.Device), again
	case "superseded":
		return name + " was given a newer file", again
	default:
		return "its key is no device's of yours: replaced or removed", "apnctl devices, to see which there are; then " + again
	}
}

// check tells whether a file is current.
func check(ctx context.Context, c *call) error {
	f, err := readConfig(c.words[0])
	if err != nil {
		return err
	}
	state, err := c.freshness(ctx, f)
	if err != nil {
		return err
	}
	text, do := stateText(state, f, c.words[0])
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
