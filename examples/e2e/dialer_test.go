//go:build linux

package e2e_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dialer has a program fetch a page by name, on a host without TUN.
func (b *bed) dialer(t *testing.T) {
	t.Helper()
	web := b.servers[0]
	var l net.Listener
	web.must(t, func() (err error) {
		l, err = new(net.ListenConfig).Listen(t.Context(), "tcp4", ":8080")
		return err
	})
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.RemoteAddr) }))
	}()
	t.Cleanup(func() { _ = l.Close() })

	ci := newHost(t, "ci").plug(t, "203.0.113.61/24")
	ci.must(t, func() error { return unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "") })
	b.ada.post(t, acme+"/members/ada/devices", `{"name":"ci"}`)
	file := filepath.Join(t.TempDir(), "apn.conf")
	require.NoError(t, os.WriteFile(file, b.ada.call(t, http.MethodGet, acme+"/members/ada/devices/ci/config", ""), 0o600))
	b.ada.post(t, acme+"/apps/shop/leases", `{"sources":["203.0.113.61"],"duration":"1h"}`)
	for _, s := range b.servers {
		if s.app == "shop" {
			s.opens(t, ci.wire)
		}
	}
	require.Regexp(t, `^hello 10\.66\.`, ci.run(t, program("dial"), file, "http://web-1.shop.apn:8080/"))
}
