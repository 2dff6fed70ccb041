package etcdstore_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

// open opens a store of its own connections, with a prefix of its own for dir.
func open(tb testing.TB, dir string) store.Store {
	tb.Helper()
	st, err := etcdstore.Open(tb.Context(), "etcd://"+os.Getenv(endpointsEnv)+"/"+strings.Trim(dir, "/"))
	require.NoError(tb, err)
	return st
}

// TestStore runs the kit on a cluster, each time with another accident in the
// middle of the history.
func TestStore(t *testing.T) {
	var c *cluster
	if os.Getenv(endpointsEnv) == "" { // else this is the child that the kit kills
		c = startCluster(t)
	}
	for _, tt := range []struct {
		name  string
		fault func(*cluster) error
	}{
		{"leader killed", (*cluster).killLeader},
		{"leader isolated", (*cluster).isolateLeader},
		{"leader frozen", (*cluster).freezeLeader},
		{"leader moved", (*cluster).moveLeader},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storetest.Run(t, open, &storetest.Options{Remote: true, MaxBatch: 126, Disturb: func(t testing.TB) {
				t.Helper()
				if err := tt.fault(c); err != nil {
					t.Error(err)
				}
			}})
		})
	}
}
