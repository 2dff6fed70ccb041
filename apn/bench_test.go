package apn_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/render"
)

// benchStore opens a store of the given kind in a fresh place.
func benchStore(b *testing.B, kind string) store.Store {
	b.Helper()
	if kind == "mem" {
		return store.NewMem()
	}
	st, err := boltstore.Open(filepath.Join(b.TempDir(), "apn.db"), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	return st
}

// BenchmarkAddServer adds one server to a network that has some. The removal
// that keeps the number equal is not timed.
func BenchmarkAddServer(b *testing.B) {
	for _, kind := range []string{"mem", "bolt"} {
		for _, servers := range []int{50, 1000, 10000} {
			b.Run(fmt.Sprintf("store=%s/servers=%d", kind, servers), func(b *testing.B) {
				n, err := open(b, benchStore(b, kind)).CreateNetwork(b.Context(), "acme", testPool())
				require.NoError(b, err)
				for at := 0; at < servers; at += 500 {
					addServers(b, n, fmt.Sprintf("app-%d", at/500), at, min(at+500, servers))
				}
				_, err = n.AddApp(b.Context(), "shop", nil)
				require.NoError(b, err)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := n.AddServer(b.Context(), "shop", "new", &apn.ServerOptions{Endpoint: "203.0.113.7:51820"}); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := n.RemoveServer(b.Context(), "shop", "new", nil); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkDeviceConfig hands out and renders a device's config.
func BenchmarkDeviceConfig(b *testing.B) {
	for _, servers := range []int{10, 1000} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			n := network(b)
			addServers(b, n, "shop", 0, servers)
			_, err := n.AddMember(b.Context(), "ada", nil)
			require.NoError(b, err)
			require.NoError(b, n.SetRole(b.Context(), "ada", "shop", apn.Developer, nil))
			_, err = n.AddDevice(b.Context(), "ada", "laptop", nil)
			require.NoError(b, err)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				err := n.HandOut(b.Context(), "ada", "laptop", func(cfg *render.Config, fp render.Fingerprint) error {
					buf, err = render.Quick.Append(buf[:0], cfg, &render.Options{Fingerprint: fp})
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
