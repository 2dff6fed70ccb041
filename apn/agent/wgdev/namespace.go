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
		runtime.LockOSThread()
		back, err := enter(path, f)
		if back { // otherwise the thread ends with this goroutine
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// enter reports whether the thread is where it was.
func enter(path string, f func() error) (back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer func() { _ = home.Close() }()
	file, err := openNamespace(path)
	if err != nil {
		return true, err
	}
	err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	_ = file.Close()
	if err == nil {
		err = f()
	}
	return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
}

func openNamespace(path string) (*os.File, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the namespace
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", path, ErrNamespace)
	}
	return file, err
}
