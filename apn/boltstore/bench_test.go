package boltstore_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
)

// BenchmarkCommit commits rows of 256 bytes, each caller to a space of its own.
func BenchmarkCommit(b *testing.B) {
	value := make([]byte, 256)
	for _, callers := range []int{1, 16, 64} {
		for _, rows := range []int{1, 5, 320} {
			if callers > 1 && rows == 320 {
				continue
			}
			b.Run(fmt.Sprintf("callers=%d/rows=%d", callers, rows), func(b *testing.B) {
				st, err := boltstore.Open(filepath.Join(b.TempDir(), "rows.db"), nil)
				require.NoError(b, err)
				var caller atomic.Int64
				b.SetParallelism((callers + 1) / 2)
				run := func(next func() bool) {
					c := caller.Add(1)
					for n := 0; next(); n++ {
						var batch store.Batch
						for i := range rows {
							batch.Writes = append(batch.Writes, store.Write{Key: fmt.Sprintf("srv/%d/%d", n%200, i), Value: value})
						}
						if _, err := st.Commit(b.Context(), fmt.Sprint(c), batch); err != nil {
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
				b.ReportMetric(float64(st.Stats().Commits)/float64(st.Stats().Groups), "commits/group")
				require.NoError(b, st.Close())
			})
		}
	}
}
