//go:build linux

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// role makes the test binary something else than the test: see roles.
	role = "APN_E2E_ROLE"
	// programs is the folder with the programs under test.
	programs = "APN_E2E_PROGRAMS"
	// reason says why nothing can run here.
	reason = "APN_E2E_REASON"
)

// roles are what children of the test are, besides the programs under test.
var roles = map[string]func(ctx context.Context, args []string) error{
	"peer": runPeer,
	"keep": runKeep,
}

// TestMain builds the programs under test and runs the tests again in a network
// and a mount namespace of their own, where nothing of the host can be touched
// and nothing is left when the process ends, however it does.
func TestMain(m *testing.M) {
	// Children end with the thread that started them.
	runtime.LockOSThread()
	switch r := os.Getenv(role); {
	case r == "test":
		if err := enter(); err != nil {
			_ = os.Setenv(reason, err.Error())
		}
		os.Exit(m.Run())
	case r != "":
		if err := roles[r](context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, r+":", err)
			os.Exit(1)
		}
	default:
		os.Exit(outside(m))
	}
}

// outside runs this binary again in its namespaces.
func outside(m *testing.M) int {
	dir, err := os.MkdirTemp("", "apn-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the system's own temporary folder
	if out, err := build(dir); errors.Is(err, exec.ErrNotFound) {
		return excused(m, err)
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), role+"=test", programs+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		root := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = root(os.Getuid()), root(os.Getgid())
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	default:
		return excused(m, fmt.Errorf("cannot make namespaces: %w", err))
	}
}

// excused runs the tests where they cannot: they say why.
func excused(m *testing.M, err error) int {
	_ = os.Setenv(reason, err.Error())
	return m.Run()
}

// build makes the programs under test, and returns what the compiler says.
func build(dir string) ([]byte, error) {
	args := []string{"build", "-o", dir + "/"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	return exec.CommandContext(context.Background(), "go", append(args, "../agent", "../dial", "../server")...).CombinedOutput()
}

func program(name string) string { return filepath.Join(os.Getenv(programs), name) }

// enter finishes the namespaces, and looks for what the tests need.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := tun.Close(); err != nil {
		return err
	}
	return up("lo")
}

func up(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// need skips the test, or fails it, where it cannot run.
func need(t *testing.T) {
	t.Helper()
	if why := os.Getenv(reason); why != "" {
		missing(t, why)
	}
}

// missing skips the test, or fails it if nothing may be missing.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("APN_REQUIRE") == "all" {
		t.Fatal(why)
	}
	t.Skip(why)
}
