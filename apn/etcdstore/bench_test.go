package etcdstore_test

import (
	"fmt"
	"runtime"
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
// space of its own under At, or all to one space without. What etcd itself does
// with a put of that size stands beside it.
func BenchmarkCommit(b *testing.B) {
	c := startCluster(b, 3, nil)
	st, err := etcdstore.New(b.Context(), c.client, nil)
	require.NoError(b, err)
	value := make([]byte, 256)
	var caller atomic.Int64
	for _, bench := range []struct {
		name   string
		client func() func(key string) error // one for each caller
	}{
		{"put", func() func(string) error {
			return func(key string) error {
				_, err := c.client.Put(b.Context(), key, string(value))
				return err
			}
		}},
		{"own space", func() func(string) error {
			space, rev := fmt.Sprint(caller.Add(1)), store.Rev(0)
			return func(key string) (err error) {
				rev, err = st.Commit(b.Context(), space, store.Batch{At: new(rev), Writes: []store.Write{{Key: key, Value: value}}})
				return err
			}
		}},
		{"one space", func() func(string) error {
			return func(key string) error {
				_, err := st.Commit(b.Context(), "one", store.Batch{Writes: []store.Write{{Key: key, Value: value}}})
				return err
			}
		}},
	} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/callers=%d", bench.name, callers), func(b *testing.B) {
				run := func(next func() bool) {
					call := bench.client()
					for n := 0; next(); n++ {
						if err := call(fmt.Sprintf("srv/%d", n%200)); err != nil {
							b.Error(err)
							return
						}
					}
				}
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
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
