package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/store"
)

func set(key, value string) store.Write { return store.Write{Key: key, Value: []byte(value)} }

// many returns a batch of so many writes and checks, that holds in an empty
// space.
func many(writes, checks, bytes int) store.Batch {
	b := store.Batch{Checks: map[string]store.Rev{}}
	for i := range writes {
		b.Writes = append(b.Writes, set(fmt.Sprintf("%03d", i), strings.Repeat("v", bytes/writes-6)))
	}
	for i := range checks {
		b.Checks[fmt.Sprintf("c%03d", i)] = 0
	}
	return b
}

// TestNode is what one member is enough for.
func TestNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	fresh := func(t *testing.T) *etcdstore.Store {
		t.Helper()
		st, err := etcdstore.New(t.Context(), c.client, &etcdstore.Options{Prefix: t.Name()})
		require.NoError(t, err)
		return st
	}

	t.Run("limits", func(t *testing.T) {
		t.Parallel()
		st := fresh(t)
		require.Equal(t, 126, st.MaxWrites())
		for _, tt := range []struct {
			name  string
			batch store.Batch
			want  error
		}{
			{name: "all at once", batch: many(126, 125, 126*1000)},
			{name: "bytes that fit", batch: many(126, 0, 1_550_000)},
			{"writes", many(127, 0, 1270), etcdstore.ErrTooLarge},
			{"checks", many(1, 126, 10), etcdstore.ErrTooLarge},
			{"bytes by our count", many(2, 0, 2_000_000), etcdstore.ErrTooLarge},
			{"bytes by that of etcd", many(126, 0, 126*12483), etcdstore.ErrTooLarge},
		} {
			rev, err := st.Commit(t.Context(), tt.name, tt.batch)
			require.ErrorIs(t, err, tt.want, tt.name)
			rows := 0
			if tt.want == nil {
				rows = len(tt.batch.Writes)
			}
			p, err := st.Since(t.Context(), tt.name, 0, 0)
			require.NoError(t, err)
			require.Len(t, p.Entries, rows, tt.name)
			require.Equal(t, rev, p.Rev, tt.name)
		}
		keys := make([]string, 300)
		for i := range keys {
			keys[i] = fmt.Sprintf("%03d", i)
		}
		p, err := st.Get(t.Context(), "all at once", keys...)
		require.NoError(t, err)
		require.Len(t, p.Entries, 126)
	})

	t.Run("lost answer", func(t *testing.T) {
		t.Parallel()
		for name, between := range map[string]func(*etcdstore.Store, store.Rev) error{
			"silence": func(*etcdstore.Store, store.Rev) error { return nil },
			"another commit": func(st *etcdstore.Store, _ store.Rev) error {
				_, err := st.Commit(t.Context(), "s", store.Batch{Writes: []store.Write{set("a", "later")}})
				return err
			},
			"compaction": func(st *etcdstore.Store, rev store.Rev) error { return st.Compact(t.Context(), "s", rev) },
		} {
			other, err := etcdstore.New(t.Context(), c.client, &etcdstore.Options{Prefix: t.Name() + name})
			require.NoError(t, err)
			var lose atomic.Bool
			lossy := grpc.WithChainUnaryInterceptor(func(
				ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
			) error {
				err := call(ctx, method, req, reply, conn, opts...)
				if err == nil && lose.CompareAndSwap(true, false) {
					p, _ := other.Get(ctx, "s")
					err = errors.Join(between(other, p.Rev), status.Error(codes.Unavailable, "lost"))
				}
				return err
			})
			client := connect(t, clientv3.Config{Endpoints: []string{c.endpoints}, DialOptions: []grpc.DialOption{lossy}})
			st, err := etcdstore.New(t.Context(), client, &etcdstore.Options{Prefix: t.Name() + name})
			require.NoError(t, err)
			lose.Store(true)
			rev, err := st.Commit(t.Context(), "s", store.Batch{At: new(store.Rev(0)), Writes: []store.Write{set("a", "ours"), set("b", "ours")}})
			if name == "compaction" {
				require.ErrorContains(t, err, "outcome unknown")
				require.NotErrorIs(t, err, store.ErrConflict)
				continue
			}
			require.NoError(t, err, name)
			p, err := st.Get(t.Context(), "s", "b")
			require.NoError(t, err)
			require.Equal(t, []store.Entry{{Key: "b", Value: []byte("ours"), Rev: rev}}, p.Entries, name)
			require.Equal(t, name == "silence", rev == p.Rev, name)
		}
	})

	t.Run("newer format", func(t *testing.T) {
		t.Parallel()
		st := fresh(t)
		_, err := st.Commit(t.Context(), "s", store.Batch{Writes: []store.Write{set("a", "1")}})
		require.NoError(t, err)
		require.NoError(t, st.Ping(t.Context()))
		_, err = c.client.Put(t.Context(), t.Name()+"\x00format", "2")
		require.NoError(t, err)
		_, err = etcdstore.New(t.Context(), c.client, &etcdstore.Options{Prefix: t.Name()})
		require.ErrorIs(t, err, etcdstore.ErrFormat)
		require.EqualError(t, err, `etcdstore: open "`+t.Name()+`": format is unknown to this program: format "2", know "1"`)
		// A process that was running already writes nothing more.
		for _, b := range []store.Batch{{}, {At: new(store.Rev(0))}} {
			_, err = st.Commit(t.Context(), "s", b)
			require.ErrorIs(t, err, etcdstore.ErrFormat)
		}
		require.ErrorIs(t, st.Ping(t.Context()), etcdstore.ErrFormat)
		_, err = c.client.Delete(t.Context(), t.Name()+"\x00format")
		require.NoError(t, err)
		require.ErrorIs(t, st.Ping(t.Context()), etcdstore.ErrDamaged)
	})

	t.Run("keys changed by others", func(t *testing.T) {
		t.Parallel()
		st := fresh(t)
		for i, tt := range []struct{ key, value string }{ // no value deletes
			{key: "l%[3]s"},
			{key: "l%[5]s"},
			{"r", "put again"},
			{"f", "many"},
		} {
			space := fmt.Sprint(i)
			names := []any{fmt.Sprintf("%016x", 0)}
			for range 5 {
				rev, err := st.Commit(t.Context(), space, store.Batch{Writes: []store.Write{set("a", "1")}})
				require.NoError(t, err)
				names = append(names, fmt.Sprintf("%016x", rev))
			}
			key, op := t.Name()+"\x00/"+space+"\x00"+tt.key, clientv3.OpDelete
			if strings.Contains(key, "%") {
				key = fmt.Sprintf(key, names...)
			}
			if tt.value != "" {
				op = func(key string, _ ...clientv3.OpOption) clientv3.Op { return clientv3.OpPut(key, tt.value) }
			}
			_, err := c.client.Do(t.Context(), op(key))
			require.NoError(t, err)
			_, err = st.Since(t.Context(), space, 0, 0)
			require.ErrorIs(t, err, etcdstore.ErrDamaged, "%q", key)
		}
	})

	t.Run("prefixes", func(t *testing.T) {
		t.Parallel()
		var all []*etcdstore.Store
		for _, prefix := range []string{"", "apnkit/", "apnkit//s", "apnki", "apnkit/s"} {
			st, err := etcdstore.New(t.Context(), c.client, &etcdstore.Options{Prefix: prefix})
			require.NoError(t, err)
			all = append(all, st)
			_, err = st.Commit(t.Context(), "s", store.Batch{At: new(store.Rev(0)), Writes: []store.Write{set("a", prefix)}})
			require.NoError(t, err)
		}
		st, err := etcdstore.New(t.Context(), c.client, nil)
		require.NoError(t, err)
		p, err := st.List(t.Context(), "s", "", "", 0)
		require.NoError(t, err)
		require.Equal(t, []byte{}, p.Entries[0].Value, "nil options are the default prefix")
		for _, st := range all {
			p, err := st.Since(t.Context(), "s", 0, 0)
			require.NoError(t, err)
			require.Len(t, p.Entries, 1)
		}
		_, err = etcdstore.New(t.Context(), c.client, &etcdstore.Options{Prefix: "a\x00b"})
		require.EqualError(t, err, `etcdstore: prefix "a\x00b": want printable ASCII`)
	})

	t.Run("compaction", func(t *testing.T) {
		t.Parallel()
		st := fresh(t)
		revs := []store.Rev{0}
		for i := range 1200 { // more than one step of Compact
			rev, err := st.Commit(t.Context(), "s", store.Batch{At: &revs[i], Writes: []store.Write{{Key: fmt.Sprint(i)}}})
			require.NoError(t, err)
			_, err = c.client.Put(t.Context(), t.Name(), "moves the revision of the cluster")
			require.NoError(t, err)
			revs = append(revs, rev)
		}
		var floor store.Rev
		for _, tt := range []struct {
			before store.Rev
			left   int // deletions that are still known
		}{
			{0, 1200},
			{revs[1] - 1, 1200},
			{revs[1], 1199},
			{revs[7] + 1, 1193},
			{revs[7], 1193},
			{revs[1100] + 1, 100},
			{revs[1200] - 1, 1},
			{revs[1200] + 1, 0},
		} {
			require.NoError(t, st.Compact(t.Context(), "s", tt.before))
			floor = max(floor, min(tt.before, revs[1200]))
			p, err := st.Since(t.Context(), "s", floor, 0)
			require.NoError(t, err)
			require.Len(t, p.Entries, tt.left)
			require.Equal(t, revs[1200], p.Rev)
			if floor > 0 {
				_, err = st.Since(t.Context(), "s", floor-1, 0)
				require.ErrorIs(t, err, store.ErrCompacted)
			}
			keys, err := c.client.Get(t.Context(), t.Name()+"\x00/s\x00l", clientv3.WithPrefix(), clientv3.WithCountOnly())
			require.NoError(t, err)
			require.EqualValues(t, tt.left, keys.Count)
		}
	})

	// etcd forgets old revisions of its own; this package needs none of them.
	t.Run("compaction of etcd", func(t *testing.T) {
		t.Parallel()
		st := fresh(t)
		var rev store.Rev
		for i := range 150 {
			var err error
			rev, err = st.Commit(t.Context(), "s", store.Batch{Writes: []store.Write{set(fmt.Sprintf("%03d", i), "v")}})
			require.NoError(t, err)
			if i%50 == 49 {
				_, err = c.client.Compact(t.Context(), int64(rev))
				require.NoError(t, err)
			}
		}
		require.NoError(t, st.Wait(t.Context(), "s", 1))
		// Since takes three transactions at one revision, which etcd forgets
		// meanwhile.
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			var err error
			for err == nil {
				var put *clientv3.PutResponse
				if put, err = c.client.Put(ctx, t.Name(), "v"); err == nil {
					_, err = c.client.Compact(ctx, put.Header.Revision)
				}
			}
			done <- err
		}()
		for range 20 {
			p, err := st.Since(t.Context(), "s", 0, 0)
			require.NoError(t, err)
			require.Len(t, p.Entries, 150)
			require.Equal(t, rev, p.Rev)
		}
		stop()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func ExampleOpen() {
	ctx := context.Background()
	st, err := etcdstore.Open(ctx, "etcd://apn:password@10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/apnkit?ca=/etc/ssl/etcd.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	rev, err := st.Commit(ctx, "acme", store.Batch{At: new(store.Rev(0)), Writes: []store.Write{set("net", "{}")}})
	fmt.Println(rev, errors.Is(err, store.ErrConflict), st.Close())
}
