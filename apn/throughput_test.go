package apn_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// BenchmarkDurable adds servers to one network on one file, from one caller and
// from many. Each addition is on the disk when it returns. With custody=self the
// servers bring their public keys: deriving one for a private key (X25519) costs
// more than all the rest.
func BenchmarkDurable(b *testing.B) {
	for _, kind := range []string{"mem", "bolt"} {
		for _, callers := range []int{1, 64} {
			for _, custody := range []keys.Custody{keys.Managed, keys.Self} {
				b.Run(fmt.Sprintf("store=%s/callers=%d/custody=%v", kind, callers, custody), func(b *testing.B) {
					n, err := open(b, benchStore(b, kind)).CreateNetwork(b.Context(), "acme", wideApps())
					require.NoError(b, err)
					_, err = n.AddApp(b.Context(), "shop", nil)
					require.NoError(b, err)
					b.ReportAllocs()
					b.ResetTimer()
					report(b, addByMany(b, []*apn.Network{n}, callers, custody))
				})
			}
		}
	}
}

// BenchmarkReplicas adds servers to one network from four replicas with 64
// callers each, on a store that answers after a millisecond. All share the
// cores of this machine.
func BenchmarkReplicas(b *testing.B) {
	for _, custody := range []keys.Custody{keys.Managed, keys.Self} {
		b.Run(fmt.Sprintf("custody=%v", custody), func(b *testing.B) {
			st := &slowStore{store.NewMem(), time.Millisecond}
			_, err := open(b, st).CreateNetwork(b.Context(), "acme", wideApps())
			require.NoError(b, err)
			var replicas []*apn.Network
			for range 4 {
				n, err := open(b, st).Network(b.Context(), "acme")
				require.NoError(b, err)
				replicas = append(replicas, n)
			}
			_, err = replicas[0].AddApp(b.Context(), "shop", nil)
			require.NoError(b, err)
			b.ResetTimer()
			report(b, addByMany(b, replicas, 64, custody))
			v, err := open(b, st).Verify(b.Context(), "acme")
			require.NoError(b, err)
			require.Empty(b, v.Problems)
			require.Equal(b, b.N, v.Servers, "one address, key and name each")
		})
	}
}

// wideApps are settings with room for a great many servers in one app.
func wideApps() *apn.NetworkOptions {
	o := testPool()
	o.Prefixes[0] = netip.MustParsePrefix("10.0.0.0/8")
	o.SubnetBits = 14
	return o
}

// addByMany adds b.N servers in all and returns how long each caller's calls
// took.
func addByMany(b *testing.B, replicas []*apn.Network, callers int, custody keys.Custody) [][]time.Duration {
	b.Helper()
	took := make([][]time.Duration, len(replicas)*callers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for c := range took {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				var o apn.ServerOptions
				if custody == keys.Self {
					_, _ = rand.Read(o.PublicKey[:31]) // the last byte's top bit is never set
				}
				began := time.Now()
				if _, err := replicas[c%len(replicas)].AddServer(b.Context(), "shop", fmt.Sprintf("s%d", i), &o); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	return took
}

// report prints the rate, and the 99th percentile of the caller that fared
// worst.
func report(b *testing.B, took [][]time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "adds/s")
	var worst time.Duration
	for _, t := range took {
		if len(t) > 0 {
			slices.Sort(t)
			worst = max(worst, t[(len(t)-1)*99/100])
		}
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-p99-worst")
}

// slowStore answers after a while, as one over a network does.
type slowStore struct {
	*store.Mem
	after time.Duration
}

func (s *slowStore) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	time.Sleep(s.after)
	return s.Mem.Get(ctx, space, keys...)
}

func (s *slowStore) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	time.Sleep(s.after)
	return s.Mem.Since(ctx, space, after, limit)
}

func (s *slowStore) Commit(ctx context.Context, space string, batch store.Batch) (store.Rev, error) {
	time.Sleep(s.after)
	return s.Mem.Commit(ctx, space, batch)
}

// BenchmarkOpen reads a network from a file into memory.
func BenchmarkOpen(b *testing.B) {
	for _, servers := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			st, err := boltstore.Open(filepath.Join(b.TempDir(), "apn.db"), nil)
			require.NoError(b, err)
			defer func() { require.NoError(b, st.Close()) }()
			n, err := open(b, st).CreateNetwork(b.Context(), "acme", testPool())
			require.NoError(b, err)
			for at := 0; at < servers; at += 500 {
				addServers(b, n, fmt.Sprintf("app-%d", at/500), at, at+500)
			}
			_, err = n.VerifyAudit(b.Context())
			require.NoError(b, err)
			_, err = n.AddApp(b.Context(), "last", nil) // drops the events' rows
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := open(b, st).Network(b.Context(), "acme"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
