package sqlstore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// countEnv tells a process that TestProcesses starts which database to open.
const countEnv = "SQLSTORE_TEST_COUNT"

const counts = 60 // of each process

// TestProcesses has three processes count up one row of one database.
func TestProcesses(t *testing.T) {
	t.Parallel()
	if address := os.Getenv(countEnv); address != "" {
		st := openAddress(t, address)
		require.NoError(t, count(t.Context(), st))
		return
	}
	c := postgres(t)
	for name, address := range map[string]string{
		"postgres": c.dsn(c.schema(t)),
		"sqlite":   "file:" + filepath.Join(t.TempDir(), "rows.db"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := openAddress(t, address)
			const others = 2
			ended := make(chan error)
			for range others {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcesses$")
				cmd.Env = append(os.Environ(), countEnv+"="+address)
				cmd.Stderr = os.Stderr
				go func() { ended <- cmd.Run() }()
			}
			require.NoError(t, count(t.Context(), st))
			for seen := 0; seen < (1+others)*counts; { // and hears of all that they do
				p, err := st.Get(t.Context(), "acme", "count")
				require.NoError(t, err)
				seen, err = strconv.Atoi(string(p.Entries[0].Value))
				require.NoError(t, err)
				if seen < (1+others)*counts {
					require.NoError(t, st.Wait(t.Context(), "acme", p.Rev))
				}
			}
			for range others {
				require.NoError(t, <-ended)
			}
			require.EqualValues(t, (1+others)*counts, listed(t, st, "acme").Rev)
		})
	}
}

func openAddress(t *testing.T, address string) *sqlstore.Store {
	t.Helper()
	if path, ok := strings.CutPrefix(address, "file:"); ok {
		return openSQLite(t, path)
	}
	st, err := sqlstore.OpenPostgres(t.Context(), address, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func count(ctx context.Context, st store.Store) error {
	for n := 0; n < counts; {
		p, err := st.Get(ctx, "acme", "count")
		if err != nil {
			return err
		}
		have, at := 0, store.Rev(0)
		if len(p.Entries) > 0 {
			have, _ = strconv.Atoi(string(p.Entries[0].Value))
			at = p.Entries[0].Rev
		}
		b := store.Batch{At: &p.Rev, Writes: []store.Write{set("count", strconv.Itoa(have+1))}}
		if n%2 == 0 {
			b.At, b.Checks = nil, map[string]store.Rev{"count": at}
		}
		_, err = st.Commit(ctx, "acme", b)
		if err == nil {
			n++
		} else if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}
