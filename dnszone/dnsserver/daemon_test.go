package dnsserver_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

// tool finds a program of the machine or skips the test.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("APN_REQUIRE") == "all" {
		tb.Fatalf("%s is not installed", name)
	}
	tb.Skipf("%s is not installed", name)
	return ""
}

// daemons are the name servers that others wrote.
var daemons = []string{"knotd", "nsd"}

// zoneConf is one zone of a daemon: loaded from a file, or fetched from primary.
type zoneConf struct {
	name    string
	file    string
	primary netip.AddrPort
}

func knotConf(dir string, at netip.AddrPort, zones []zoneConf) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    rundir: %[1]q
    listen: %[2]s@%[3]d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: %[1]q
`, dir, at.Addr(), at.Port())
	for _, z := range zones {
		if z.file == "" {
			fmt.Fprintf(&b, "remote:\n  - id: primary\n    address: %s@%d\nacl:\n  - id: notify\n    address: %s\n    action: notify\n", z.primary.Addr(), z.primary.Port(), z.primary.Addr())
			break
		}
	}
	b.WriteString("zone:\n")
	for _, z := range zones {
		fmt.Fprintf(&b, "  - domain: %s\n    storage: %q\n", z.name, dir)
		if z.file != "" {
			fmt.Fprintf(&b, "    file: %q\n", z.file)
		} else {
			b.WriteString("    master: primary\n    acl: notify\n    zonefile-sync: -1\n")
		}
	}
	return b.String()
}

func nsdConf(dir string, at netip.AddrPort, zones []zoneConf) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    ip-address: %[2]s@%[3]d
    username: ""
    zonesdir: %[1]q
    database: ""
    pidfile: "%[1]s/nsd.pid"
    xfrdfile: "%[1]s/xfrd.state"
    xfrdir: %[1]q
    zonelistfile: "%[1]s/zone.list"
    server-count: 1
    verbosity: 2
    rrl-ratelimit: 0
    minimal-responses: yes
    refuse-any: yes
remote-control:
    control-enable: no
`, dir, at.Addr(), at.Port())
	for _, z := range zones {
		fmt.Fprintf(&b, "zone:\n    name: %q\n", z.name)
		if z.file != "" {
			fmt.Fprintf(&b, "    zonefile: %q\n", z.file)
		} else {
			fmt.Fprintf(&b, "    zonefile: %q\n    request-xfr: %s@%d NOKEY\n    allow-notify: %s NOKEY\n",
				strings.TrimSuffix(z.name, ".")+".zone", z.primary.Addr(), z.primary.Port(), z.primary.Addr())
		}
	}
	return b.String()
}

// start runs a daemon at an address until the test ends.
func start(t *testing.T, daemon string, at netip.AddrPort, zones ...zoneConf) {
	t.Helper()
	path := tool(t, daemon)
	dir := t.TempDir()
	args, conf := []string{"-c", filepath.Join(dir, "conf")}, ""
	switch daemon {
	case "knotd":
		conf = knotConf(dir, at, zones)
	case "nsd":
		conf = nsdConf(dir, at, zones)
		args = append(args, "-d")
	}
	require.NoError(t, os.WriteFile(args[1], []byte(conf), 0o600))
	var out logBuffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", daemon, out.String())
		}
	})
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// freePort returns a loopback port that nobody listens on.
func freePort(tb testing.TB) netip.AddrPort {
	tb.Helper()
	packets, stream := listen(tb, "127.0.0.1:0")
	defer closed(packets)
	defer closed(stream)
	return netip.MustParseAddrPort(stream.Addr().String())
}

// serialAt returns the serial of zone at server, if that answers for it.
func serialAt(tb testing.TB, server netip.AddrPort, zone string) (serial uint32, ok bool) {
	tb.Helper()
	msg, err := tryExchange(tb, "udp", server, ask(zone, dnszone.TypeSOA), 200*time.Millisecond)
	if err != nil || rcode(msg) != dnszone.NoError || msg[2]&4 == 0 || msg[7] != 1 {
		return 0, false
	}
	tail := msg[len(msg)-20:]
	return uint32(tail[0])<<24 | uint32(tail[1])<<16 | uint32(tail[2])<<8 | uint32(tail[3]), true
}

// await waits until server has zone at serial.
func await(tb testing.TB, server netip.AddrPort, zone string, serial uint32) {
	tb.Helper()
	require.Eventually(tb, func() bool {
		got, ok := serialAt(tb, server, zone)
		return ok && got == serial
	}, 30*time.Second, 20*time.Millisecond, "%s at %v", zone, server)
}

// zoneFiles writes the zones of set and returns the configuration that serves
// them.
func zoneFiles(t *testing.T, set *dnszone.Set) (list []zoneConf) {
	t.Helper()
	dir := t.TempDir()
	for z := range set.Zones() {
		file := filepath.Join(dir, z.Name()+"zone")
		f, err := os.Create(file)
		require.NoError(t, err)
		_, err = z.WriteTo(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		list = append(list, zoneConf{name: z.Name(), file: file})
	}
	return list
}
