package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	// swap edits the config file.
	swap := func(old, by string) func(*testing.T, *world, string) {
		return func(t *testing.T, _ *world, path string) {
			t.Helper()
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Contains(t, string(text), old)
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), old, by, 1)), 0o600))
		}
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, w *world, path string)
		wrong []string // checks that find something
		do    string
	}{
		{"all is well", nil, nil, ""},
		{"others can read it", func(t *testing.T, _ *world, path string) {
			t.Helper()
			require.NoError(t, os.Chmod(path, 0o640))
		}, []string{"file"}, "chmod 600"},
		{"the local network overlaps", func(_ *testing.T, w *world, _ string) {
			w.local = append(w.local, netip.MustParsePrefix("10.66.0.77/24"))
		}, []string{"routes"}, "another subnet"},
		{"two peers overlap", swap("\n[Peer]", "\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.66.0.0/24\nEndpoint = 192.0.2.1:1\n\n[Peer]"), []string{"routes"}, "narrower"},
		{"the tunnel's own address does not", func(_ *testing.T, w *world, _ string) {
			w.local = append(w.local, netip.MustParsePrefix("10.66.128.2/16"))
		}, nil, ""},
		{"no endpoint", swap("Endpoint = 203.0.113.7:51820\n", ""), []string{"endpoint"}, "servers set"},
		{"an unknown host", swap("203.0.113.7", "nowhere.test"), []string{"endpoint"}, "resolver"},
		{"stale", func(t *testing.T, w *world, _ string) {
			t.Helper()
			w.must(t, "servers", "add", "shop/web-3", "-endpoint", "203.0.113.9:51820")
		}, []string{"config"}, "apnctl up ada/laptop"},
		{"the clock is wrong", func(_ *testing.T, w *world, _ string) { w.ahead = time.Hour }, []string{"clock"}, "set the clock"},
		{"no lease", func(_ *testing.T, w *world, _ string) { w.from = "198.51.100.8" }, []string{"port"}, "apnctl lease shop"},
		{"a rule is enough", func(t *testing.T, w *world, _ string) {
			t.Helper()
			w.from = "198.51.100.8"
			w.must(t, "rules", "add", "shop", "198.51.100.0/24")
		}, nil, ""},
		{"names lead elsewhere", func(_ *testing.T, w *world, _ string) {
			w.resolve = func(context.Context, string, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
		}, []string{"names"}, "hosts file"},
		{"no names", func(_ *testing.T, w *world, _ string) {
			w.resolve = func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		}, []string{"names"}, "zone -hosts"},
		{"not signed in", func(_ *testing.T, w *world, _ string) { w.env = map[string]string{} }, []string{"server"}, "sign in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fill(t)
			w.must(t, "servers", "rm", "shop/web-2", "-yes") // there may be no IPv6 here
			w.must(t, "lease", "shop", "-member", "ada", "-once")
			path := filepath.Join(w.dir, "laptop.conf")
			w.must(t, "config", "ada/laptop", path)
			w.resolve = func(_ context.Context, _, host string) ([]netip.Addr, error) {
				if !strings.HasSuffix(host, ".shop.apn") {
					return nil, errors.New("no such host")
				}
				return []netip.Addr{netip.MustParseAddr("10.66.0.2")}, nil
			}
			if tt.spoil != nil {
				tt.spoil(t, w, path)
			}
			stdout, _, status := w.run(t, "doctor", path, "-json")
			var findings []finding
			require.NoError(t, json.Unmarshal([]byte(stdout), &findings))
			wrong, do := []string{}, ""
			for _, f := range findings {
				if require.NotEmpty(t, f.Text); !f.OK {
					wrong, do = append(wrong, f.Check), do+f.Do+"\n"
					require.NotEmpty(t, f.Do)
				}
			}
			require.Equal(t, append([]string{}, tt.wrong...), sorted(wrong), stdout)
			require.Contains(t, do, tt.do)
			require.Equal(t, min(1, len(wrong)), status)
			text, _, _ := w.run(t, "doctor", path)
			require.Equal(t, len(wrong), strings.Count(text, "WRONG"))
		})
	}
}

func TestDoctorNoConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(w.dir, "x.conf")
	require.NoError(t, os.WriteFile(path, []byte("[Interface]\nPrivateKey = sesame\n"), 0o600))
	_, stderr, status := w.run(t, "doctor", path)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "line 2")
	require.NotContains(t, stderr, "sesame")
}
