package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/sqlstore"
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

// run starts the program with every engine, whatever tags the test has.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	all := builtin()
	all["etcd"] = func(ctx context.Context, dsn string) (database, error) { return etcdstore.Open(ctx, dsn) }
	all["sqlite"] = func(ctx context.Context, spec string) (database, error) {
		return sqlstore.OpenSQLite(ctx, "sqlite", strings.TrimPrefix(spec, "sqlite:"), nil)
	}
	return start(ctx, args, stdout, stderr, all)
}

// binary is the path of the server.
func binary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}
