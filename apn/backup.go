package apn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/apnkit/apnkit/apn/store"
)

// ErrNoBackup says that what is to be restored is no backup, or was cut off or changed.
var ErrNoBackup = errors.New("not a whole backup")

const backupFormat = 1

// backupLine is a line of a backup, a JSON document each: the first has Format,
// then for each space a line with Space and one per row, and at last End with
// the SHA-256 of all before it. Keys stay sealed, as they are in the store.
type backupLine struct {
	Format int    `json:"apnkit_backup,omitempty"`
	Space  string `json:"space,omitempty"`
	Key    string `json:"k,omitempty"`
	Value  []byte `json:"v,omitempty"`
	End    string `json:"end,omitempty"`
}

// Backup writes all that a store holds to w, while programs use it: each
// network as of one revision, with the audit log up to it. No key becomes
// readable: back up the KEK apart. opts may be nil.
func Backup(ctx context.Context, w io.Writer, st store.Store, opts *CopyOptions) (Copied, error) {
	var done Copied
	sum := sha256.New()
	out := json.NewEncoder(io.MultiWriter(w, sum))
	err := out.Encode(backupLine{Format: backupFormat})
	if err == nil {
		err = readAll(ctx, st, func(space string, rows []store.Entry) error {
			if err := out.Encode(backupLine{Space: space}); err != nil {
				return err
			}
			for _, e := range rows {
				if err := out.Encode(backupLine{Key: e.Key, Value: e.Value}); err != nil {
					return err
				}
			}
			done.add(space, rows)
			opts.tell(done)
			return nil
		})
	}
	if err == nil {
		err = out.Encode(backupLine{End: hex.EncodeToString(sum.Sum(nil))})
	}
	if err != nil {
		return done, &Error{Op: "back up", Err: storeError(err)}
	}
	return done, nil
}

// Restore fills a store that holds no networks from a backup, and reads it back
// to compare. The backup is read twice: nothing is written unless all of it is
// sound, else the error wraps [ErrNoBackup]. As with [Copy], the networks get a
// new epoch, and a restore that was cut off is run again. opts may be nil.
func Restore(ctx context.Context, st store.Store, r io.ReadSeeker, opts *CopyOptions) (Copied, error) {
	f, err := newFiller(ctx, st, opts)
	if err == nil {
		err = readBackup(r, func(string, []store.Entry) error { return ctx.Err() })
	}
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = readBackup(r, func(space string, rows []store.Entry) error { return f.fill(ctx, space, rows) })
	}
	if err != nil {
		return f.Copied, &Error{Op: "restore", Err: storeError(err)}
	}
	return f.Copied, nil
}

// readBackup yields the spaces of a backup.
func readBackup(r io.Reader, yield func(space string, rows []store.Entry) error) error {
	in := bufio.NewReader(r)
	sum := sha256.New()
	if first, err := readLine(in, sum); err != nil || first.Format == 0 {
		return fmt.Errorf("line 1: %w", ErrNoBackup)
	} else if first.Format > backupFormat {
		return fmt.Errorf("line 1: %w", errNewer)
	}
	space, rows := "", []store.Entry(nil)
	flush := func() error {
		if space == "" {
			return nil
		}
		return yield(space, rows)
	}
	for number := 2; ; number++ {
		before := sum.Sum(nil)
		line, err := readLine(in, sum)
		switch {
		case err != nil:
			return fmt.Errorf("line %d: %w", number, ErrNoBackup)
		case line.End != "":
			if _, err := in.ReadByte(); err == nil || line.End != hex.EncodeToString(before) {
				return fmt.Errorf("line %d: %w", number, ErrNoBackup)
			}
			return flush()
		case line.Space != "":
			if err := flush(); err != nil {
				return err
			}
			space, rows = line.Space, nil
		case line.Key != "" && space != "":
			if line.Value == nil {
				line.Value = []byte{}
			}
			rows = append(rows, store.Entry{Key: line.Key, Value: line.Value})
		default:
			return fmt.Errorf("line %d: %w", number, ErrNoBackup)
		}
	}
}

func readLine(in *bufio.Reader, sum hash.Hash) (backupLine, error) {
	var line backupLine
	text, err := in.ReadBytes('\n')
	if err != nil {
		return line, err
	}
	sum.Write(text)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return line, d.Decode(&line)
}
