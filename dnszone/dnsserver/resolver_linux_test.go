package dnsserver_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// inside tells this test binary that it runs in namespaces of its own.
const inside = "APN_DNSSERVER_INSIDE"

// TestResolvers asks through what programs really use: glibc, busybox and Go
// with a resolv.conf that points to us and has the search list of a server. It
// runs again in a network and a mount namespace, where port 53 and
// /etc/resolv.conf are free.
func TestResolvers(t *testing.T) {
	if os.Getenv(inside) != "" {
		testResolversInside(t)
		return
	}
	t.Parallel()
	skip := func(reason string) {
		if os.Getenv("APN_REQUIRE") == "all" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	ip := tool(t, "ip")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestResolvers$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+ip)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		skip("namespaces need privileges: " + err.Error())
	}
	require.NoError(t, err, string(out))
	if strings.Contains(string(out), "--- SKIP") {
		skip(string(out))
	}
}

func testResolversInside(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), os.Getenv(inside), "link", "set", "lo", "up").CombinedOutput()
	require.NoError(t, err, string(out))
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte("nameserver 127.0.0.1\nsearch shop.apn apn\noptions timeout:2 attempts:1\n"), 0o600))
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""))
	if err := syscall.Mount(file, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Skip("resolv.conf: " + err.Error())
	}
	serveAt(t, source(testSet(t)), nil, "127.0.0.1:53")

	tests := []struct {
		name string
		want []string // addresses; nil if there is no such name
	}{
		{"web", []string{"10.1.16.1", "10.1.16.11", "fd00::1"}}, // the short name, found below the own application first
		{"web.shop", []string{"10.1.16.1", "10.1.16.11", "fd00::1"}},
		{"web.shop.apn", []string{"10.1.16.1", "10.1.16.11", "fd00::1"}},
		{"db", []string{"10.1.17.3"}}, // ambiguous in the network, clear in the application
		{"db.blog", []string{"10.1.17.4"}},
		{"mail.apn", []string{"fd00::2"}}, // IPv6 only: NODATA for A is not "no such name"
		{"x.mail", []string{"fd00::2"}},   // below a wildcard
		{"db.apn.", nil},
		{"nothing.apn.", nil},
		{"nothing.shop.apn.", nil},
	}
	resolve := map[string]func(name string) []string{
		"go": func(name string) []string {
			list, err := (&net.Resolver{PreferGo: true}).LookupHost(t.Context(), name)
			if err != nil {
				var missing *net.DNSError
				require.ErrorAs(t, err, &missing)
				require.True(t, missing.IsNotFound, "%v", err)
			}
			return list
		},
		"glibc": func(name string) []string {
			out, err := exec.CommandContext(t.Context(), "getent", "ahosts", name).Output()
			if err != nil {
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit)
				require.Equal(t, 2, exit.ExitCode(), "no such name")
			}
			var list []string
			for line := range strings.Lines(string(out)) {
				if f := strings.Fields(line); len(f) > 1 && f[1] == "STREAM" {
					list = append(list, f[0])
				}
			}
			return list
		},
	}
	resolve["busybox"] = func(name string) []string {
		out, _ := exec.CommandContext(t.Context(), "busybox", "nslookup", name).Output()
		var list []string
		for line := range strings.Lines(string(out)) {
			if a, ok := strings.CutPrefix(line, "Address: "); ok {
				list = append(list, strings.TrimSpace(a))
			}
		}
		return list
	}
	// Without a Forwarder, other names are refused, which is no answer to a
	// resolver: the reason why not all queries should come here.
	_, err = (&net.Resolver{PreferGo: true}).LookupHost(t.Context(), "www.example.com.")
	var failed *net.DNSError
	require.ErrorAs(t, err, &failed)
	require.False(t, failed.IsNotFound)

	for client, ask := range resolve {
		t.Run(client, func(t *testing.T) {
			if client != "go" {
				tool(t, map[string]string{"glibc": "getent", "busybox": "busybox"}[client])
			}
			for _, tt := range tests {
				if client == "busybox" && !strings.HasSuffix(tt.name, ".apn") {
					continue // its nslookup knows no search list
				}
				got := ask(tt.name)
				for i, s := range got {
					a, err := netip.ParseAddr(s)
					require.NoError(t, err)
					got[i] = a.String()
				}
				require.ElementsMatch(t, tt.want, got, tt.name)
			}
		})
	}
}
