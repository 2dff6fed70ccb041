//go:build linux

package e2e_test

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// speed prints what goes through a tunnel, and through the wire that it is in.
func (b *bed) speed(t *testing.T) {
	t.Helper()
	iperf, err := exec.LookPath("iperf3")
	if err != nil {
		missing(t, "iperf3 is not installed")
	}
	web, db := b.servers[0], b.servers[1]
	wire, tunnel := web.throughput(t, iperf, db.host, db.wire), web.throughput(t, iperf, db.host, db.addr)
	t.Logf("TCP between two servers: wire %.0f Mbit/s, tunnel (%s) %.0f Mbit/s", wire, web.status(t).Kind, tunnel)
}

// throughput returns how many Mbit/s the host gets to another one.
func (h *host) throughput(t *testing.T, iperf string, to *host, at netip.Addr) float64 {
	t.Helper()
	to.start(t, "", iperf, "-s", "-1", "-B", at.String(), "--forceflush").says(t, "listening")
	var out struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	require.NoError(t, json.Unmarshal([]byte(h.run(t, iperf, "-c", at.String(), "-n", "64M", "-J")), &out))
	return out.End.Received.BitsPerSecond / 1e6
}
