package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDNS asks the server's own resolver for names, as a program would.
func TestDNS(t *testing.T) {
	t.Parallel()
	s := launch(t, t.TempDir(), "-dns", "127.0.0.1:0")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.dns)
	}}
	s.fill(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lookup := func(name string) (addrs []string) {
		for ctx.Err() == nil {
			var err error
			// Its two queries may meet the zone before and after a change.
			if addrs, err = resolver.LookupHost(ctx, name); err == nil && len(addrs) == 2 {
				return addrs
			}
		}
		t.Fatalf("%s is not found", name)
		return nil
	}
	addrs := lookup("s0001.apn.")
	require.Equal(t, addrs, lookup("s0001.app.apn."))
	names, err := resolver.LookupAddr(ctx, addrs[0])
	require.NoError(t, err)
	require.Equal(t, []string{"s0001.app.apn."}, names)

	require.Equal(t, http.StatusCreated, s.do(t, http.MethodPost, "/acme/apps/app/servers", `{"name":"late"}`))
	require.NotEmpty(t, lookup("late.apn."), "the zone follows")
	_, err = resolver.LookupHost(ctx, "example.com.")
	require.Error(t, err, "nobody else's names")
	s.stop(t)

	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-data", t.TempDir(), "-addr", "127.0.0.1:0", "-dns", "nowhere"}, &out, &errs))
	require.Contains(t, errs.String(), "-dns nowhere")
}
