package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

// command is work on a data folder. It may be cut off at any moment, and is
// finished by running it again.
type command struct {
	run func(ctx context.Context, d *data, arg string, out io.Writer) error
	// arg makes one text of the words after the command's name, on the client
	// side. Nil: it takes none.
	arg func(args []string) (arg string, rest []string, err error)
	// alone means that no server may be at work.
	alone bool
}

// commands are the words that may stand before the flags.
func commands() map[string]command {
	return map[string]command{
		"kek status":   {run: kekStatus},
		"kek rotate":   {run: kekRotate},
		"kek prune":    {run: kekPrune},
		"keys rotate":  {run: keysRotate},
		"keys verify":  {run: keysVerify},
		"config check": {run: configCheck, arg: checkArg},
		"verify":       {run: verify},
		"backup":       {run: backup, arg: fileArg},
		"restore":      {run: restore, arg: fileArg, alone: true},
		"move":         {run: move, arg: storeArg, alone: true},
	}
}

// findCommand looks for a command at the start of args. name is empty if there
// is none.
func findCommand(args []string) (name string, cmd command, rest []string) {
	for words := min(2, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		if cmd, ok := commands()[name]; ok {
			return name, cmd, args[words:]
		}
	}
	return "", command{}, args
}

// networks yields every network, opened.
func (d *data) networks(ctx context.Context, yield func(*apn.Network) error) error {
	return d.names(ctx, func(name string) error {
		n, err := d.ctl.Network(ctx, name)
		if err != nil {
			return err
		}
		return yield(n)
	})
}

// names yields the name of every network.
func (d *data) names(ctx context.Context, yield func(string) error) error {
	for after, more := "", true; more; {
		var names []string
		var err error
		if names, more, err = d.ctl.Networks(ctx, after, 100); err != nil {
			return err
		}
		for _, name := range names {
			after = name
			if err := yield(name); err != nil {
				return fmt.Errorf("network %s: %w", name, err)
			}
		}
	}
	return nil
}

func kekStatus(ctx context.Context, d *data, _ string, out io.Writer) error {
	ids := d.kek.KeyIDs()
	fmt.Fprintf(out, "KEK %s in %s\n", ids[0], d.options.kek.file)
	for _, id := range ids[1:] {
		fmt.Fprintf(out, "    %s before it, for what was not moved yet and for backups\n", id)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NETWORK\tDATA KEY\tSTATE\tAGE\tSEALED\tKEK")
	now := time.Now()
	err := d.networks(ctx, func(n *apn.Network) error {
		s := n.KeyStatus()
		for _, dek := range s.DEKs {
			if dek.State == keys.DEKDestroyed {
				continue
			}
			note := ""
			if dek.Stale {
				note = " (run kek rotate)"
			} else if dek.Due {
				note = " (run keys rotate)"
			}
			days := int(now.Sub(dek.CreatedAt).Hours() / 24)
			fmt.Fprintf(t, "%s\t%d\t%s\t%d days\t%d\t%s%s\n", s.Network, dek.Version, dek.State, days, dek.Seals, dek.KEKID, note)
		}
		return nil
	})
	return errors.Join(err, t.Flush())
}

// kekRotate makes a new KEK and wraps every data key under it. While a data key
// still needs an older KEK, it goes on with the one it made before.
func kekRotate(ctx context.Context, d *data, _ string, out io.Writer) error {
	inUse, err := apn.KEKIDs(ctx, d.store)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(inUse, func(id string) bool { return id != d.kek.KeyID() }) {
		fmt.Fprintf(out, "going on with KEK %s\n", d.kek.KeyID())
	} else {
		old := d.kek.KeyID()
		if err := d.changeKEK(localkek.RotateFile, nil); err != nil {
			return err
		}
		fmt.Fprintf(out, "new KEK %s in %s; %s stays in it for backups\n", d.kek.KeyID(), d.options.kek.file, old)
	}
	err = d.networks(ctx, func(n *apn.Network) error {
		moved, err := n.RewrapKEK(ctx)
		fmt.Fprintf(out, "%s: %d data keys wrapped anew\n", n.Name(), moved)
		return err
	})
	if err != nil {
		return err
	}
	if inUse, err = apn.KEKIDs(ctx, d.store); err != nil {
		return err
	}
	if slices.ContainsFunc(inUse, func(id string) bool { return id != d.kek.KeyID() }) {
		return fmt.Errorf("data keys still need %s: run it again", strings.Join(inUse, ", "))
	}
	return keysVerify(ctx, d, "", out)
}

// kekPrune forgets the KEKs before the present one.
func kekPrune(ctx context.Context, d *data, _ string, out io.Writer) error {
	inUse, err := apn.KEKIDs(ctx, d.store)
	if err != nil {
		return err
	}
	before := len(d.kek.KeyIDs())
	if err := d.changeKEK(localkek.PruneFile, inUse); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d old KEKs forgotten, %d kept\n", before-len(d.kek.KeyIDs()), len(d.kek.KeyIDs())-1)
	return nil
}

// changeKEK replaces the KEK file in one step and the KEK in use by what is in
// it.
func (d *data) changeKEK(change func(string, *localkek.FileOptions) (*keys.KEKSet, error), inUse []string) error {
	opts, err := d.options.kek.fileOptions()
	if err != nil {
		return err
	}
	defer clear(opts.Passphrase)
	opts.InUse = inUse
	kek, err := change(d.options.kek.file, opts)
	if err != nil {
		return explainKEK(d.options.kek.file, err)
	}
	d.kek = kek
	return d.ctl.SetKEK(kek)
}

// keysRotate gives every network a new data key and moves its sealed keys there.
func keysRotate(ctx context.Context, d *data, _ string, out io.Writer) error {
	err := d.networks(ctx, func(n *apn.Network) error {
		return n.RotateDEK(ctx, func(done, total int) {
			fmt.Fprintf(out, "%s: %d of %d key pairs\n", n.Name(), done, total)
		})
	})
	if err != nil {
		return err
	}
	return keysVerify(ctx, d, "", out)
}

// keysVerify opens every sealed key.
func keysVerify(ctx context.Context, d *data, _ string, out io.Writer) error {
	return d.networks(ctx, func(n *apn.Network) error {
		count, err := n.VerifyKeys(ctx)
		if err == nil {
			fmt.Fprintf(out, "%s: verified, all %d key pairs open\n", n.Name(), count)
		}
		return err
	})
}
