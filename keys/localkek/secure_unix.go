//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package localkek

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openSecure opens a regular file that belongs to this user or root and that
// others cannot read. The checks look at the open file, so it cannot change in
// between.
func openSecure(path string, groupRead bool) (*os.File, error) {
	// O_NONBLOCK: a named pipe must not hang the program.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // G304: the caller names the file
	if err != nil {
		if fi, lerr := os.Lstat(path); lerr == nil && fi.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%w: a symbolic link", ErrInsecureFile)
		}
		return nil, err
	}
	if err := checkOpen(f, groupRead); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkOpen(f *os.File, groupRead bool) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrInsecureFile)
	}
	forbidden := fs.FileMode(0o077)
	if groupRead {
		forbidden = 0o037
	}
	if fi.Mode().Perm()&forbidden != 0 {
		return fmt.Errorf("%w: mode %#o, want 0600 or 0400", ErrInsecureFile, fi.Mode().Perm())
	}
	return checkUID(fi)
}

// checkDir refuses a folder in which others could replace the file.
func checkDir(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: others may write to its folder, mode %#o", ErrInsecureFile, fi.Mode().Perm())
	}
	return checkUID(fi)
}

func checkUID(fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if uid := os.Geteuid(); !ok || st.Uid != 0 && int64(st.Uid) != int64(uid) {
		return fmt.Errorf("%w: %q belongs to another user", ErrInsecureFile, fi.Name())
	}
	return nil
}

// lockDir checks and locks a folder until it is closed or the process ends.
func lockDir(path string) (*os.File, error) {
	if err := checkDir(path); err != nil {
		return nil, err
	}
	d, err := os.Open(path) //nolint:gosec // G304: the caller names the folder
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, d.Close())
		}
	}
}

func syncDir(d *os.File) error { return d.Sync() }
