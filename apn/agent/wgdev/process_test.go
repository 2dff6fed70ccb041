//go:build linux

package wgdev_test

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

// TestLoggerOfRefusedPackets: a line per packet that the firewall keeps back
// would fill the log.
func TestLoggerOfRefusedPackets(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	l := slog.New(slog.NewTextHandler(&log, nil))
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENETUNREACH} {
		err := &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmmsg", errno)}
		wgdev.Errorf(t.Context(), l, "%v - Failed to send data packets: %v", "peer(x)", err)
	}
	require.NotContains(t, log.String(), "operation not permitted")
	require.Contains(t, log.String(), "level=WARN msg=wireguard text=\"peer(x) - Failed to send data packets: write udp: sendmmsg: network is unreachable\"")
}
