package render_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// tunnel is what a WireGuard implementation remembers, and its set operation
// (https://www.wireguard.com/xplatform/).
type tunnel struct {
	private, port, mark string
	peers               map[string]*remote
}

type remote struct {
	preshared, endpoint, keepalive string
	allowed                        map[string]bool
}

func newTunnel() *tunnel {
	return &tunnel{port: "0", mark: "0", peers: map[string]*remote{}}
}

func (n *tunnel) set(t *testing.T, text string) {
	t.Helper()
	var p *remote
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		require.True(t, ok)
		switch key {
		case "private_key":
			n.private = value
		case "listen_port":
			n.port = value
		case "fwmark":
			n.mark = value
		case "replace_peers":
			n.peers = map[string]*remote{}
		case "public_key":
			require.Len(t, value, 64)
			if p = n.peers[value]; p == nil {
				p = &remote{keepalive: "0", allowed: map[string]bool{}}
				n.peers[value] = p
			}
		case "update_only":
			require.Contains(t, n.peers, keyOf(n, p))
		case "remove":
			delete(n.peers, keyOf(n, p))
		case "preshared_key":
			if p.preshared = value; value == strings.Repeat("0", 64) {
				p.preshared = ""
			}
		case "endpoint":
			_, err := netip.ParseAddrPort(value)
			require.NoError(t, err)
			p.endpoint = value
		case "persistent_keepalive_interval":
			_, err := strconv.ParseUint(value, 10, 16)
			require.NoError(t, err)
			p.keepalive = value
		case "replace_allowed_ips":
			clear(p.allowed)
		case "allowed_ip":
			require.Equal(t, netip.MustParsePrefix(value).Masked().String(), value)
			for _, other := range n.peers {
				delete(other.allowed, value) // a prefix has one owner
			}
			p.allowed[value] = true
		default:
			t.Fatalf("unknown key %q", key)
		}
	}
}

func keyOf(n *tunnel, p *remote) string {
	for k, other := range n.peers {
		if other == p {
			return k
		}
	}
	return ""
}

// TestDiffModel walks from config to config and compares a tunnel that gets only
// the changes with one that gets the whole of each.
func TestDiffModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		running := newTunnel()
		var from *render.Config
		var steps []string
		for range 12 {
			to := randomConfig(t, r, from)
			d := render.Diff(from, to)
			text, err := d.AppendUAPI([]byte("before"))
			require.NoError(t, err)
			text = text[len("before"):]
			steps = append(steps, string(text))
			running.set(t, string(text))

			whole, err := render.UAPI.Append(nil, to, nil)
			require.NoError(t, err)
			want := newTunnel()
			want.set(t, string(whole))
			require.Equalf(t, want, running, "seed %d, changes:\n%s", seed, strings.Join(steps, "--\n"))
			require.True(t, render.Diff(to, to.Clone()).IsZero())
			from = to
		}
	}
}

// randomConfig changes a few things of a config. Endpoints may change and do not
// go.
func randomConfig(t *testing.T, r *rand.Rand, from *render.Config) *render.Config {
	t.Helper()
	if from == nil {
		from = &render.Config{}
		from.Interface.PrivateKey = privateKey(t, "0")
	}
	c := from.Clone()
	if r.IntN(4) == 0 {
		c.Interface.PrivateKey = privateKey(t, fmt.Sprint(r.IntN(3)))
		c.Interface.ListenPort = uint16(r.IntN(3))
		c.Interface.FwMark = r.Uint32N(3)
		c.Interface.MTU = uint16(1400 + r.IntN(2))
	}
	for k := len(c.Peers) - 1; k >= 0; k-- {
		p := &c.Peers[k]
		switch r.IntN(6) {
		case 0:
			c.Peers = slices.Delete(c.Peers, k, k+1)
		case 1:
			p.Keepalive = time.Duration(r.IntN(2)) * 25 * time.Second
		case 2:
			p.Endpoint = render.EndpointFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.Uint32())}), 1))
		case 3:
			p.PresharedKey = keys.PresharedKey{}
			if r.IntN(2) == 0 {
				p.PresharedKey = presharedKey(t, fmt.Sprint(r.IntN(3)))
			}
		}
	}
	for range r.IntN(4) {
		c.Peers = append(c.Peers, render.Peer{PublicKey: publicKey(fmt.Sprint(r.IntN(1000)))})
	}
	slices.SortFunc(c.Peers, func(a, b render.Peer) int { return strings.Compare(a.PublicKey.String(), b.PublicKey.String()) })
	c.Peers = slices.CompactFunc(c.Peers, func(a, b render.Peer) bool { return a.PublicKey == b.PublicKey })
	if r.IntN(2) == 0 { // prefixes wander between peers
		for k := range c.Peers {
			c.Peers[k].AllowedIPs = nil
		}
		for i := range len(c.Peers) {
			p := &c.Peers[r.IntN(len(c.Peers))]
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
		}
	}
	c.Normalize()
	return c
}

func TestDiff(t *testing.T) {
	t.Parallel()
	from := device(t, shapes[7], 4)
	to := from.Clone()
	to.Interface.MTU = 1300
	to.Peers[0].Keepalive = 0
	to.Peers[1].PresharedKey = keys.PresharedKey{}
	to.Peers[2].Endpoint = render.Endpoint{}
	to.Peers = to.Peers[:3]
	off := time.Duration(0)
	d := render.Diff(from, to)
	require.True(t, d.Settings)
	require.True(t, d.PrivateKey.IsZero())
	require.Nil(t, d.ListenPort)
	require.Equal(t, []render.PeerChange{
		{PublicKey: from.Peers[3].PublicKey, Remove: true},
		{PublicKey: from.Peers[0].PublicKey, UpdateOnly: true, Keepalive: &off},
		{PublicKey: from.Peers[1].PublicKey, UpdateOnly: true, PresharedKey: &keys.PresharedKey{}},
	}, d.Peers)
}

func TestDiffRefusesHostNames(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"example.net", "203.0.113.7\nremove=true", "1.2.3"} {
		to := device(t, shapes[0], 2)
		to.Peers[1].Endpoint.Host = host
		dst := append(make([]byte, 0, 1<<14), "before"...)
		got, err := render.Diff(nil, to).AppendUAPI(dst)
		var value *render.ValueError
		require.ErrorAs(t, err, &value)
		require.Equal(t, "before", string(got))
		require.Equal(t, make([]byte, 1<<14-6), dst[6:cap(dst)], "no key stays behind")
	}
}

// TestDiffSize: adding one server to a thousand takes a few hundred bytes.
func TestDiffSize(t *testing.T) {
	t.Parallel()
	from, to := device(t, shapes[2], 1000), device(t, shapes[2], 1001)
	text, err := render.Diff(from, to).AppendUAPI(nil)
	require.NoError(t, err)
	require.Less(t, len(text), 300)
	require.Equal(t, 1, strings.Count(string(text), "public_key="))
}
