package render_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

var meshFormats = []render.Format{render.Quick, render.Compact, render.SetConf, render.UAPI}

// TestMeshEqualsEach: a file of a mesh is the file that the server's own config
// gives.
func TestMeshEqualsEach(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 3, 20} {
		servers := mesh(t, n)
		for i := range servers { // another order than that of the files
			servers[i].Peer.AllowedIPs[0] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, 0, byte(100 - 7*i%20)}), 32)
		}
		for _, f := range meshFormats {
			m, err := render.NewMesh(f, servers, nil)
			require.NoError(t, err)
			require.Equal(t, n, m.Len())
			for i := range n {
				want, err := f.Append(nil, alone(servers, i), &render.Options{NoFingerprint: true})
				require.NoError(t, err)
				got, err := m.Append([]byte("before"), i)
				require.NoError(t, err)
				require.Equal(t, "before"+string(want), string(got))
				var buf bytes.Buffer
				size, err := m.WriteTo(&buf, i)
				require.NoError(t, err)
				require.Equal(t, int64(len(want)), size)
				require.Equal(t, string(want), buf.String())
			}
		}
	}
}

// pair derives the key of two servers.
func pair(t *testing.T, a, b keys.PublicKey) keys.PresharedKey {
	t.Helper()
	if a.String() > b.String() {
		a, b = b, a
	}
	return presharedKey(t, a.String()+b.String())
}

func TestMeshPreshared(t *testing.T) {
	t.Parallel()
	servers := mesh(t, 5)
	for _, f := range meshFormats {
		m, err := render.NewMesh(f, servers, &render.MeshOptions{Preshared: func(a, b keys.PublicKey) (keys.PresharedKey, error) {
			return pair(t, a, b), nil
		}})
		require.NoError(t, err)
		for i := range servers {
			c := alone(servers, i)
			for k := range c.Peers {
				c.Peers[k].PresharedKey = pair(t, c.Interface.PublicKey, c.Peers[k].PublicKey)
			}
			want, err := f.Append(nil, c, &render.Options{NoFingerprint: true})
			require.NoError(t, err)
			var buf bytes.Buffer
			_, err = m.WriteTo(&buf, i)
			require.NoError(t, err)
			require.Equal(t, string(want), buf.String())
		}
	}

	sealed := errors.New("sealed")
	calls := 0
	m, err := render.NewMesh(render.Quick, servers, &render.MeshOptions{Preshared: func(a, b keys.PublicKey) (keys.PresharedKey, error) {
		if calls++; calls > 2 {
			return keys.PresharedKey{}, sealed
		}
		return pair(t, a, b), nil
	}})
	require.NoError(t, err)
	dst := append(make([]byte, 0, 1<<14), "before"...)
	got, err := m.Append(dst, 0)
	require.ErrorIs(t, err, sealed)
	require.Equal(t, "before", string(got))
	require.Equal(t, make([]byte, 1<<14-6), dst[6:cap(dst)], "no key stays behind")
}

func TestMeshRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(servers []render.MeshServer)
		want   any
	}{
		{"interface", func(s []render.MeshServer) { s[1].Interface.MTU = 1 }, new(*render.ValueError)},
		{"MTU and a peer's IPv6", func(s []render.MeshServer) {
			s[1].Interface.MTU = 1200
			s[2].Peer.AllowedIPs = append(s[2].Peer.AllowedIPs, netip.MustParsePrefix("fd00::1/128"))
		}, new(*render.ValueError)},
		{"endpoint", func(s []render.MeshServer) { s[1].Peer.Endpoint.Host = "a\nb" }, new(*render.ValueError)},
		{"host name", func(s []render.MeshServer) { s[1].Peer.Endpoint.Host = "example.net" }, new(*render.ValueError)},
		{"preshared", func(s []render.MeshServer) { s[1].Peer.PresharedKey = presharedKey(t, "x") }, new(*render.ValueError)},
		{"no key at all", func(s []render.MeshServer) {
			s[1].Interface.PrivateKey, s[1].Interface.PublicKey = keys.PrivateKey{}, keys.PublicKey{}
		}, new(*render.ValueError)},
		{"shared prefix", func(s []render.MeshServer) { s[1].Peer.AllowedIPs = s[2].Peer.AllowedIPs }, new(*render.ConflictError)},
		{"same key", func(s []render.MeshServer) { s[1].Interface.PublicKey = s[2].Interface.PublicKey }, new(*render.ConflictError)},
		{"hooks", func(s []render.MeshServer) { s[1].Interface.Hooks.PostUp = []string{"true"} }, new(*render.ValueError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			servers := mesh(t, 4)
			tt.change(servers)
			_, err := render.NewMesh(render.UAPI, servers, nil)
			require.ErrorAs(t, err, tt.want)
		})
	}
	_, err := render.NewMesh(render.JSON, nil, nil)
	require.Error(t, err)
}

func TestMeshDigest(t *testing.T) {
	t.Parallel()
	digests := func(servers []render.MeshServer) map[[32]byte]int {
		m, err := render.NewMesh(render.Quick, servers, nil)
		require.NoError(t, err)
		seen := map[[32]byte]int{}
		for i := range m.Len() {
			seen[m.Digest(i)] = i
		}
		require.Len(t, seen, m.Len())
		return seen
	}
	servers := mesh(t, 10)
	before := digests(servers)
	require.Equal(t, before, digests(servers))
	servers[3].Interface.ListenPort = 1 // changes its own file only
	after := digests(servers)
	for d, i := range before {
		_, same := after[d]
		require.Equal(t, i != 3, same)
	}
	servers[3].Peer.Endpoint.Port = 1 // changes all others, and may change its own digest
	after = digests(servers)
	for d := range before {
		require.NotContains(t, after, d)
	}
}

func TestMeshIsASnapshot(t *testing.T) {
	t.Parallel()
	servers := mesh(t, 3)
	m, err := render.NewMesh(render.Quick, servers, nil)
	require.NoError(t, err)
	before, err := m.Append(nil, 0)
	require.NoError(t, err)
	servers[0].Interface.Addresses[0] = netip.MustParsePrefix("192.0.2.1/32")
	servers[1].Peer.AllowedIPs[0] = netip.MustParsePrefix("192.0.2.2/32")
	after, err := m.Append(nil, 0)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}
