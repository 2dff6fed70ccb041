package main

import (
	"context"
	"os"
	"os/signal"
	"testing"

	"github.com/stretchr/testify/require"
)

// asServer in the environment makes the test binary the server itself, so that
// tests have a real process to signal and to kill.
const asServer = "APN_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "" {
		// Children inherit it: whoever starts binary gets the server.
		if err := os.Setenv(asServer, "1"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// binary is the path of the server.
func binary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}
