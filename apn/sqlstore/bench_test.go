package sqlstore_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
)

// BenchmarkCommit commits rows of 256 bytes, each writer to a space of its own
// and at its revision.
func BenchmarkCommit(b *testing.B) {
	for name, setup := range engines() {
		open := setup(b)
		for _, writers := range []int{1, 16} {
			for _, rows := range []int{1, 5} {
				b.Run(fmt.Sprintf("%s/writers=%d/rows=%d", name, writers, rows), func(b *testing.B) {
					st := open()
					work := make(chan int)
					var wg sync.WaitGroup
					for w := range writers {
						wg.Go(func() {
							space, at := fmt.Sprint(b.Name(), w), store.Rev(0)
							for n := range work {
								batch := store.Batch{At: &at}
								for i := range rows {
									batch.Writes = append(batch.Writes, set(fmt.Sprintf("srv/%d/%d", n%200, i), fmt.Sprintf("%0256d", n)))
								}
								rev, err := st.Commit(b.Context(), space, batch)
								if err != nil {
									b.Error(err)
								}
								at = rev
							}
						})
					}
					n := 0
					for b.Loop() {
						work <- n
						n++
					}
					close(work)
					wg.Wait()
					b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "commits/s")
				})
			}
		}
	}
}

// BenchmarkWait measures from the acknowledgment of a commit until the Wait of
// another handle has ended.
func BenchmarkWait(b *testing.B) {
	for name, setup := range engines() {
		b.Run(name, func(b *testing.B) {
			open := setup(b)
			var took []time.Duration
			follower, leader := open().Store, open().Store
			head := put(b, leader, "acme", store.Batch{})
			for b.Loop() {
				took = append(took, delay(b, leader, follower, &head))
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, "worst-ms")
		})
	}
}

// delay commits through leader, and returns how much later follower knew.
func delay(tb testing.TB, leader, follower *sqlstore.Store, head *store.Rev) time.Duration {
	tb.Helper()
	heard := make(chan time.Time)
	after := *head
	go func() {
		for {
			err := follower.Wait(tb.Context(), "acme", after)
			p, read := follower.Get(tb.Context(), "acme")
			if err != nil || read != nil || p.Rev > after {
				heard <- time.Now()
				return
			}
		}
	}()
	rev, err := leader.Commit(tb.Context(), "acme", store.Batch{At: head})
	acked := time.Now()
	require.NoError(tb, err)
	*head = rev
	return (<-heard).Sub(acked)
}
