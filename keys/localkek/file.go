package localkek

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/apnkit/apnkit/keys"
)

// FileOptions are the optional settings of a KEK file.
type FileOptions struct {
	// Passphrase protects the keys in the file, 8 to 1,024 bytes. Nil means that
	// they are in clear.
	Passphrase []byte

	// KDF makes a key of the passphrase when a line is written. Zero means
	// Argon2id with 3 passes over 64 MiB.
	KDF KDF

	// InUse lists the key ids that stored data keys name. CreateFile refuses if
	// there are any; PruneFile keeps them. Empty means none.
	InUse []string

	// GroupRead accepts a file that its group may read. False refuses it, save
	// for a systemd credential: a file right in $CREDENTIALS_DIRECTORY. A service
	// with User= is granted those by an ACL, which shows as a group bit.
	GroupRead bool
}

const maxFile = 16 << 10

// CreateFile writes a new random KEK to path with mode 0600 and returns it. The
// file and its folder are on disk when it returns; a crash leaves the whole
// file or none.
//
// It never replaces a file: if there is one, the error wraps fs.ErrExist. While
// data keys exist ([FileOptions.InUse]) the error wraps [ErrInUse]: a new KEK
// would not unwrap them. opts may be nil.
func CreateFile(path string, opts *FileOptions) (*keys.KEKSet, error) {
	return rewrite("create", path, opts, func(o FileOptions) ([]entry, error) {
		if len(o.InUse) > 0 {
			return nil, fmt.Errorf("%w: data keys are wrapped by %q, find that key instead of making one", ErrInUse, o.InUse)
		}
		if _, err := os.Lstat(path); err == nil {
			return nil, fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		e, err := generate(o)
		return []entry{e}, err
	})
}

// OpenFile returns the KEKs in path, current one first. It never creates a
// file. opts may be nil.
//
// If others could read or replace the file, the error wraps [ErrInsecureFile];
// if the passphrase does not fit, [ErrPassphrase]; if the file is damaged,
// keys.ErrFormat.
func OpenFile(path string, opts *FileOptions) (*keys.KEKSet, error) {
	var o FileOptions
	if opts != nil {
		o = *opts
	}
	entries, err := read(path, o)
	if err == nil {
		var set *keys.KEKSet
		if set, err = keySet(entries); err == nil {
			return set, nil
		}
	}
	return nil, fmt.Errorf("localkek: open %q: %w", path, err)
}

// RotateFile adds a new current KEK to path; the ones before it still unwrap.
// The file is replaced in one step, so at any moment it holds every key that a
// data key may need. opts may be nil.
func RotateFile(path string, opts *FileOptions) (*keys.KEKSet, error) {
	return rewrite("rotate", path, opts, func(o FileOptions) ([]entry, error) {
		entries, err := read(path, o)
		if err != nil {
			return nil, err
		}
		if len(entries) == maxLines {
			return nil, fmt.Errorf("%w: %d keys already, prune the file first", keys.ErrFormat, maxLines)
		}
		e, err := generate(o)
		return slices.Insert(entries, 0, e), err
	})
}

// PruneFile drops the previous KEKs from path, save those in
// [FileOptions.InUse]. What only a dropped key can unwrap is lost, also in
// backups of the database. opts may be nil.
func PruneFile(path string, opts *FileOptions) (*keys.KEKSet, error) {
	return rewrite("prune", path, opts, func(o FileOptions) ([]entry, error) {
		entries, err := read(path, o)
		if err != nil {
			return nil, err
		}
		kept := entries[:1]
		for _, e := range entries[1:] {
			if slices.Contains(o.InUse, e.id) {
				kept = append(kept, e)
			}
		}
		return kept, nil
	})
}

// ChangePassphrase puts the keys in path under another passphrase; opts has the
// present one, if any. The keys stay, so no data key is touched.
func ChangePassphrase(path string, passphrase []byte, opts *FileOptions) error {
	_, err := rewrite("change passphrase of", path, opts, func(o FileOptions) ([]entry, error) {
		if err := checkPassphrase(passphrase); err != nil {
			return nil, err
		}
		entries, err := read(path, o)
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			if entries[i], err = newEntry(e.key(), passphrase, o.KDF); err != nil {
				return nil, err
			}
		}
		return entries, nil
	})
	return err
}

func generate(o FileOptions) (entry, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return entry{}, err
	}
	return newEntry(key, o.Passphrase, o.KDF)
}

func read(path string, o FileOptions) ([]entry, error) {
	data, err := readSecure(path, o.GroupRead)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return parseLines(data, o.Passphrase)
}

// keySet makes KEKs of the entries, which are cleared: nobody else keeps their
// keys.
func keySet(entries []entry) (*keys.KEKSet, error) {
	var keks []keys.KEK
	for _, e := range entries {
		k, err := New(e.key())
		clear(e.key())
		if err != nil {
			return nil, err
		}
		keks = append(keks, k)
	}
	return keys.Multi(keks[0], keks[1:]...), nil
}

// rewrite replaces the file by what edit returns, while the folder is locked:
// of two rotations at once neither loses the other's key.
func rewrite(verb, path string, opts *FileOptions, edit func(FileOptions) ([]entry, error)) (*keys.KEKSet, error) {
	var o FileOptions
	if opts != nil {
		o = *opts
	}
	set, err := func() (set *keys.KEKSet, err error) {
		dir, err := lockDir(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
		entries, err := edit(o)
		if err != nil {
			return nil, err
		}
		if err := replace(dir, path, formatLines(entries)); err != nil {
			return nil, err
		}
		return keySet(entries)
	}()
	if err != nil {
		return nil, fmt.Errorf("localkek: %s %q: %w", verb, path, err)
	}
	return set, nil
}

// replace writes a new file beside path and renames it over path. A file that a
// crash left behind is overwritten by the next try.
func replace(dir *os.File, path string, data []byte) error {
	defer clear(data)
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // G304: the caller names the file
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(dir)
}

// isCredential reports whether path is in the folder of this service's credentials,
// in which systemd alone writes (systemd.exec(5), CREDENTIALS_DIRECTORY).
func isCredential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	abs, err := filepath.Abs(path)
	return err == nil && filepath.IsAbs(dir) && filepath.Dir(abs) == filepath.Clean(dir)
}

// readSecure reads a small file that nobody else could have read or replaced.
func readSecure(path string, groupRead bool) (data []byte, err error) {
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	f, err := openSecure(path, groupRead || isCredential(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%w: larger than %d bytes", keys.ErrFormat, maxFile)
	}
	return data, err
}
