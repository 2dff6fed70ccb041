package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/apnkit/apnkit/apn"
)

// fileArg reads the path of a backup, which the server may see from another
// folder.
func fileArg(args []string) (arg string, rest []string, err error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", nil, errors.New("backup and restore need the path of a file")
	}
	path, err := filepath.Abs(args[0])
	return path, args[1:], err
}

func storeArg(args []string) (arg string, rest []string, err error) {
	if len(args) == 0 {
		return "", nil, errors.New("move needs the store to move to")
	}
	to, err := parseStore(args[0])
	if err != nil {
		return "", nil, fmt.Errorf("the store to move to %w", err)
	}
	return string(to), args[1:], nil
}

// backup writes a file that is whole or not there.
func backup(ctx context.Context, d *data, path string, out io.Writer) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".apn-backup-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // once renamed it is gone
	w := bufio.NewWriterSize(file, 1<<20)
	done, err := apn.Backup(ctx, w, d.store, progress(out))
	err = errors.Join(err, w.Flush(), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s holds %d networks in %d rows; it cannot be read without the KEK in %s, which is to be kept elsewhere\n",
		path, done.Networks, done.Rows, d.options.kek.file)
	return nil
}

func restore(ctx context.Context, d *data, path string, out io.Writer) error {
	file, err := os.Open(path) //nolint:gosec // whoever runs the command names it
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	done, err := apn.Restore(ctx, d.store, file, progress(out))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "restored %d networks in %d rows\n", done.Networks, done.Rows)
	needed, err := apn.KEKIDs(ctx, d.store)
	if err != nil {
		return err
	}
	if err := d.options.fits(needed, d.kek); err != nil {
		return err
	}
	return verify(ctx, d, "", out)
}

// move copies everything and verifies the copy. The old store stays as it is.
func move(ctx context.Context, d *data, to string, out io.Writer) (err error) {
	spec := storeSpec(to)
	dst, err := d.options.engines.open(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	done, err := apn.Copy(ctx, dst, d.store, progress(out))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "copied %d networks in %d rows, and read them back\n", done.Networks, done.Rows)
	ctl, err := apn.Open(apn.Config{Store: dst, KEK: d.kek})
	if err != nil {
		return err
	}
	moved := *d
	moved.store, moved.ctl = dst, ctl
	if err := errors.Join(verify(ctx, &moved, "", out), ctl.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "start the server with -store to use %s; %s stays as it is\n", spec, d.options.store)
	return nil
}

// verify reads every network anew and checks that all of it fits together.
func verify(ctx context.Context, d *data, _ string, out io.Writer) error {
	problems := 0
	err := d.names(ctx, func(name string) error {
		v, err := d.ctl.Verify(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range v.Problems {
			fmt.Fprintf(out, "%s: %s %s\n", name, p.Row, p.Reason)
		}
		problems += len(v.Problems)
		fmt.Fprintf(out, "%s: %d servers, %d devices, %d key pairs, %d audit events verified\n", name, v.Servers, v.Devices, v.Keys, v.Events)
		return nil
	})
	if err == nil && problems > 0 {
		err = fmt.Errorf("%d rows do not fit the others", problems)
	}
	return err
}

func progress(out io.Writer) *apn.CopyOptions {
	return &apn.CopyOptions{Progress: func(c apn.Copied) { fmt.Fprintf(out, "%d networks, %d rows\n", c.Networks, c.Rows) }}
}
