package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
	"github.com/apnkit/apnkit/lease"
)

// data is the open data folder.
type data struct {
	options *options
	store   database
	ctl     *apn.Control
	kek     *keys.KEKSet // what ctl wraps with; a key command replaces it
	dnsAddr net.Addr     // where DNS is answered; nil: nowhere
}

// openData opens database and KEK. On the first start it makes both; afterwards
// a missing one is an error, because a new one in its place would hide that the
// old one is gone.
func (o *options) openData(ctx context.Context, sources lease.SourceOptions, log *slog.Logger) (d *data, err error) {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made: %w", err)
	}
	st, err := o.engines.open(ctx, o.store)
	if err != nil {
		return nil, err
	}
	kek, err := o.openKEK(ctx, st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	ctl, err := apn.Open(apn.Config{Store: st, KEK: kek, Sources: sources, Logger: log})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &data{options: o, store: st, ctl: ctl, kek: kek}, nil
}

// Close waits for what is under way.
func (d *data) Close() error { return errors.Join(d.ctl.Close(), d.store.Close()) }

// openKEK opens the KEK that the database needs, or makes one if nothing in the
// database needs any.
func (o *options) openKEK(ctx context.Context, st store.Store) (*keys.KEKSet, error) {
	needed, err := apn.KEKIDs(ctx, st)
	if err != nil {
		return nil, fmt.Errorf("the database cannot be read: %w", err)
	}
	opts, err := o.kek.fileOptions()
	if err != nil {
		return nil, err
	}
	defer clear(opts.Passphrase)
	kek, err := localkek.OpenFile(o.kek.file, opts)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		if err != nil {
			return nil, explainKEK(o.kek.file, err)
		}
	case len(needed) > 0:
		return nil, fmt.Errorf("the KEK file %s is missing, and nothing in %s can be read without it: put it back from its backup or name it with -kek", o.kek.file, o.store)
	default:
		kek, err = localkek.CreateFile(o.kek.file, opts)
		return kek, explainKEK(o.kek.file, err)
	}
	return kek, o.fits(needed, kek)
}

// fits looks whether the KEK opens what the database needs, now rather than at
// the first request.
func (o *options) fits(needed []string, kek *keys.KEKSet) error {
	for _, id := range needed {
		if !slices.Contains(kek.KeyIDs(), id) {
			return fmt.Errorf("the KEK in %s does not fit the database: it is %q and the database needs %q", o.kek.file, kek.KeyID(), id)
		}
	}
	return nil
}

// fileOptions reads the passphrase, if there is one. The caller clears it.
func (k *kekSource) fileOptions() (*localkek.FileOptions, error) {
	opts := new(localkek.FileOptions)
	if k.passphrase == "" {
		return opts, nil
	}
	var err error
	if opts.Passphrase, err = localkek.ReadPassphrase(k.passphrase, nil); err != nil {
		return nil, fmt.Errorf("the passphrase of the KEK cannot be read: %w", err)
	}
	return opts, nil
}

func explainKEK(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, localkek.ErrPassphrase):
		return fmt.Errorf("the KEK file %s is under another passphrase, which -kek passphrase-file:PATH names", path)
	case errors.Is(err, keys.ErrFormat):
		return fmt.Errorf("the KEK file %s is damaged: put it back from its backup (%w)", path, err)
	case errors.Is(err, localkek.ErrInsecureFile):
		return fmt.Errorf("the KEK file %s is open to others, so it is not used: %w", path, err)
	default:
		return fmt.Errorf("the KEK cannot be opened: %w", err)
	}
}

// firstStart reports whether nobody has ever used the database.
func (d *data) firstStart(ctx context.Context) (bool, error) {
	networks, _, err := d.ctl.Networks(ctx, "", 1)
	if err != nil || len(networks) > 0 {
		return false, err
	}
	tokens, err := d.ctl.Tokens(ctx)
	return len(tokens) == 0, err
}
