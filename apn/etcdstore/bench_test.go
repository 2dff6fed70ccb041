package etcdstore_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/store"
)

// BenchmarkCommit commits a row of 256 bytes on three members: each caller to a
// space of its own under At, or all to one without.
func BenchmarkCommit(b *testing.B) {
	c := startCluster(b, 3, nil)
	value := make([]byte, 256)
	for _, callers := range []int{1, 16} {
		for _, own := range []bool{true, false} {
			b.Run(fmt.Sprintf("callers=%d/own=%t", callers, own), func(b *testing.B) {
				st, err := etcdstore.New(b.Context(), c.client, &etcdstore.Options{Prefix: b.Name() + fmt.Sprint(b.N)})
				require.NoError(b, err)
				var caller atomic.Int64
				b.SetParallelism((callers + 1) / 2)
				run := func(next func() bool) {
					space, rev := "one", store.Rev(0)
					if own {
						space = fmt.Sprint(caller.Add(1))
					}
					for n := 0; next(); n++ {
						batch := store.Batch{Writes: []store.Write{{Key: fmt.Sprintf("srv/%d", n%200), Value: value}}}
						if own {
							batch.At = new(rev)
						}
						var err error
						if rev, err = st.Commit(b.Context(), space, batch); err != nil {
							b.Error(err)
							return
						}
					}
				}
				if callers == 1 {
					run(b.Loop)
				} else {
					b.RunParallel(func(pb *testing.PB) { run(pb.Next) })
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

// BenchmarkVisible measures the time from the acknowledgement of a commit until
// a handle at another member has heard of it by Wait.
func BenchmarkVisible(b *testing.B) {
	c := startCluster(b, 3, nil)
	writer, err := etcdstore.New(b.Context(), connect(b, clientv3.Config{Endpoints: []string{c.members[0].address}}), nil)
	require.NoError(b, err)
	reader, err := etcdstore.New(b.Context(), connect(b, clientv3.Config{Endpoints: []string{c.members[1].address}}), nil)
	require.NoError(b, err)
	type heard struct {
		at  time.Time
		err error
	}
	waits := make(chan heard)
	var delays []time.Duration
	rev, err := writer.Commit(b.Context(), "s", store.Batch{})
	require.NoError(b, err)
	for b.Loop() {
		go func() {
			err := reader.Wait(b.Context(), "s", rev)
			waits <- heard{time.Now(), err}
		}()
		next, err := writer.Commit(b.Context(), "s", store.Batch{Writes: []store.Write{set("a", "1")}})
		require.NoError(b, err)
		acked := time.Now()
		h := <-waits
		require.NoError(b, h.err)
		delays, rev = append(delays, max(0, h.at.Sub(acked))), next
	}
	slices.Sort(delays)
	for name, i := range map[string]int{"p50-ms": len(delays) / 2, "p99-ms": len(delays) * 99 / 100, "max-ms": len(delays) - 1} {
		b.ReportMetric(float64(delays[i].Microseconds())/1000, name)
	}
}
