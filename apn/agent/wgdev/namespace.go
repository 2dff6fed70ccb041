//go:build linux

package wgdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inside calls f in the network namespace at path, or right here if path is
// empty. What f opens belongs to that namespace.
//
// Nothing holds the namespace beyond the call: an interface goes with it.
func inside(path string, f func() error) error {
	if path == "" {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		file, err := openNamespace(path)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			_ = file.Close()
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

func openNamespace(path string) (*os.File, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the namespace
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", path, ErrNamespace)
	}
	return file, err
}
