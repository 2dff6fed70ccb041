package apn_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

// requireWhole verifies a network of a store.
func requireWhole(tb testing.TB, st store.Store, servers int) {
	tb.Helper()
	v, err := open(tb, st).Verify(tb.Context(), "acme")
	require.NoError(tb, err)
	require.Empty(tb, v.Problems)
	require.Equal(tb, servers, v.Servers)
}

// underLoad runs f while servers come and go, and returns how many are left for
// sure: those that stood before f began and were not touched.
func underLoad(tb testing.TB, st store.Store, f func()) {
	tb.Helper()
	n, err := open(tb, st).Network(tb.Context(), "acme")
	require.NoError(tb, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("busy-%d-%d", w, i)
				if _, err := n.AddServer(tb.Context(), "shop", name, nil); err != nil {
					tb.Error(err)
					return
				}
				if i%2 == 0 {
					if err := n.RemoveServer(tb.Context(), "shop", name, nil); err != nil {
						tb.Error(err)
						return
					}
				}
			}
		})
	}
	f()
	close(stop)
	wg.Wait()
}

func filled(tb testing.TB) *store.Mem {
	tb.Helper()
	st := store.NewMem()
	ctl := open(tb, st)
	n, err := ctl.CreateNetwork(tb.Context(), "acme", testPool())
	require.NoError(tb, err)
	shop(tb, n)
	addServers(tb, n, "many", 0, 300)
	_, _, err = ctl.AddToken(tb.Context(), "ci", nil)
	require.NoError(tb, err)
	return st
}

func TestBackup(t *testing.T) {
	t.Parallel()
	src := filled(t)
	var file bytes.Buffer
	underLoad(t, src, func() {
		for range 20 {
			file.Reset()
			_, err := apn.Backup(t.Context(), &file, src, nil)
			require.NoError(t, err)
		}
	})
	dst := store.NewMem()
	var told []apn.Copied
	done, err := apn.Restore(t.Context(), dst, bytes.NewReader(file.Bytes()), &apn.CopyOptions{
		Progress: func(c apn.Copied) { told = append(told, c) },
	})
	require.NoError(t, err)
	require.Equal(t, 1, done.Networks)
	require.Len(t, told, 4, "settings, audit log, that of no network, directory")
	require.Equal(t, done, told[3])

	v, err := open(t, dst).Verify(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, v.Problems)
	require.GreaterOrEqual(t, v.Servers, 304)

	old, err := open(t, src).Network(t.Context(), "acme")
	require.NoError(t, err)
	restored, err := open(t, dst).Network(t.Context(), "acme")
	require.NoError(t, err)
	require.NotEqual(t, old.Info().Epoch, restored.Info().Epoch)
	_, err = restored.AddServer(t.Context(), "shop", "after", nil)
	require.NoError(t, err)
	_, err = restored.VerifyAudit(t.Context())
	require.NoError(t, err)

	_, err = apn.Restore(t.Context(), dst, bytes.NewReader(file.Bytes()), nil)
	require.ErrorIs(t, err, apn.ErrNotEmpty)
}

func TestRestoreRefusesBrokenBackups(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	_, err := apn.Backup(t.Context(), &file, filled(t), nil)
	require.NoError(t, err)
	text := file.String()
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	flipped := []byte(text)
	flipped[len(flipped)/2] ^= 4
	for name, bad := range map[string]string{
		"empty":      "",
		"other file": "{\"some\": \"json\"}\n",
		"cut off":    text[:len(text)/2],
		"no end":     strings.Join(lines[:len(lines)-1], ""),
		"line gone":  strings.Join(append(append([]string{}, lines[:9]...), lines[10:]...), ""),
		"bit flip":   string(flipped),
		"more after": text + lines[3],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := store.NewMem()
			_, err := apn.Restore(t.Context(), dst, strings.NewReader(bad), nil)
			require.ErrorIs(t, err, apn.ErrNoBackup)
			page, err := dst.List(t.Context(), "net/acme", "", "", 0)
			require.NoError(t, err)
			require.Empty(t, page.Entries, "nothing is written")
		})
	}
	_, err = apn.Restore(t.Context(), store.NewMem(), strings.NewReader(strings.Replace(text, `"apnkit_backup":1`, `"apnkit_backup":2`, 1)), nil)
	require.ErrorContains(t, err, "newer version")
}

// TestCopyIsFinishedByRunningItAgain stops a copy after each commit.
func TestCopyIsFinishedByRunningItAgain(t *testing.T) {
	t.Parallel()
	src := filled(t)
	for stop := 1; ; stop++ {
		dst := &stoppingStore{Mem: store.NewMem(), left: stop}
		_, err := apn.Copy(t.Context(), dst, src, nil)
		if err == nil {
			require.Greater(t, stop, 2)
			break
		}
		require.ErrorIs(t, err, errTest)
		names, _, err := open(t, dst.Mem).Networks(t.Context(), "", 0)
		require.NoError(t, err)
		require.Empty(t, names, "not yet visible")
		// What a cut-off copy left and the source has no more goes away.
		_, err = dst.Mem.Commit(t.Context(), "net/acme", store.Batch{Writes: []store.Write{{Key: "app/gone", Value: []byte(`{"v":1}`)}}})
		require.NoError(t, err)
		done, err := apn.Copy(t.Context(), dst.Mem, src, nil)
		require.NoError(t, err)
		require.Equal(t, 1, done.Networks)
		requireWhole(t, dst.Mem, 304)
	}
}

// stoppingStore fails for good after some commits.
type stoppingStore struct {
	*store.Mem
	left int
}

func (s *stoppingStore) MaxWrites() int { return 400 }

func (s *stoppingStore) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if s.left--; s.left < 0 {
		return 0, errTest
	}
	return s.Mem.Commit(ctx, space, b)
}

func TestCompact(t *testing.T) {
	t.Parallel()
	clk := newClock()
	st := store.NewMem()
	n, err := open(t, st, withClock(clk)).CreateNetwork(t.Context(), "acme", testPool())
	require.NoError(t, err)
	shop(t, n)
	require.NoError(t, n.RemoveServer(t.Context(), "shop", "web-2", nil))
	before, _, err := n.Audit(t.Context(), 0, 1000)
	require.NoError(t, err)
	mid := n.Rev()
	clk.advance(10 * 24 * time.Hour)
	addServers(t, n, "many", 0, 250)
	require.NoError(t, n.RemoveServer(t.Context(), "shop", "web-1", nil))
	last, err := n.VerifyAudit(t.Context())
	require.NoError(t, err)

	count, err := n.Compact(t.Context(), apn.Retention{})
	require.NoError(t, err)
	require.Zero(t, count)
	_, err = st.Since(t.Context(), "net/acme", 1, 0)
	require.NoError(t, err)

	keep := apn.Retention{Audit: 5 * 24 * time.Hour, Deletions: 5 * 24 * time.Hour}
	count, err = n.Compact(t.Context(), keep)
	require.NoError(t, err)
	require.Equal(t, len(before), count)
	_, err = st.Since(t.Context(), "net/acme", 1, 0)
	require.ErrorIs(t, err, store.ErrCompacted)
	_, err = st.Since(t.Context(), "net/acme", mid, 0)
	require.NoError(t, err, "younger deletions are known")

	again, err := n.VerifyAudit(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, again)
	rest, _, err := n.Audit(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Equal(t, before[len(before)-1].N+1, rest[0].N)
	count, err = n.Compact(t.Context(), keep)
	require.NoError(t, err)
	require.Zero(t, count)

	// All may go, and the chain goes on.
	clk.advance(10 * 24 * time.Hour)
	_, err = n.Compact(t.Context(), keep)
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "late", nil)
	require.NoError(t, err)
	again, err = n.VerifyAudit(t.Context())
	require.NoError(t, err)
	require.Equal(t, last+1, again)
	var file bytes.Buffer
	_, err = apn.Backup(t.Context(), &file, st, nil)
	require.NoError(t, err)
	dst := store.NewMem()
	_, err = apn.Restore(t.Context(), dst, bytes.NewReader(file.Bytes()), nil)
	require.NoError(t, err)
	requireWhole(t, dst, 252)

	// A removed event is still found out.
	page, err := st.List(t.Context(), "audit/acme", "event/", "", 0)
	require.NoError(t, err)
	_, err = st.Commit(t.Context(), "audit/acme", store.Batch{Writes: []store.Write{{Key: page.Entries[0].Key}}})
	require.NoError(t, err)
	_, err = n.VerifyAudit(t.Context())
	require.ErrorIs(t, err, apn.ErrDamaged)
}
