//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long something that has to happen may take on a machine that
// has much else to do.
const patience = 30 * time.Second

// process is a program that runs on a host.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser // ends with the process
	out  output
	done chan struct{}
	err  error // of Wait, once done
}

// output is what a process prints.
type output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// start starts a program on the host, which ends with the whole test.
func (h *host) start(t *testing.T, env, path string, args ...string) *process {
	t.Helper()
	p := &process{name: h.name, cmd: exec.CommandContext(h.t.Context(), path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.in = in
	p.cmd.Env = append(os.Environ(), env)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	h.threads <- func() { started <- p.cmd.Start() } // from a thread that lives on
	require.NoError(t, <-started)
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	h.t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		if h.t.Failed() {
			h.t.Logf("%s: %s\n%s", p.name, args[0], p.out.String())
		}
		if strings.Contains(p.out.String(), "DATA RACE") {
			h.t.Errorf("%s:\n%s", p.name, p.out.String())
		}
	})
	return p
}

// signal sends a signal that ends the process, and waits until it has.
func (p *process) signal(s os.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended
	<-p.done
}

// says waits until the process has printed what matches, and returns the first
// group.
func (p *process) says(t *testing.T, pattern string) string {
	t.Helper()
	want := regexp.MustCompile(pattern)
	var found []string
	eventually(t, p.name+" says "+pattern, func() bool {
		found = want.FindStringSubmatch(p.out.String())
		select {
		case <-p.done:
			require.NotEmpty(t, found, "%s ended: %v\n%s", p.name, p.err, p.out.String())
		default:
		}
		return found != nil
	})
	return found[len(found)-1]
}

// run runs a program on the host to its end, and returns what it prints.
func (h *host) run(t *testing.T, path string, args ...string) string {
	t.Helper()
	p := h.start(t, "", path, args...)
	select {
	case <-p.done:
	case <-time.After(patience):
		require.Fail(t, "hangs", "%s: %v\n%s", h.name, args, p.out.String())
	}
	require.NoError(t, p.err, "%s: %v\n%s", h.name, args, p.out.String())
	return p.out.String()
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		require.Less(t, time.Now(), deadline, "never: %s", what)
	}
}

// loaded returns how long what takes at most d may take on a machine that has
// more to do than it has processors.
func loaded(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	var load float64
	_, err = fmt.Sscan(string(data), &load)
	require.NoError(t, err)
	return time.Duration(float64(d) * max(1, load/float64(runtime.NumCPU())))
}
