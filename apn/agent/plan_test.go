package agent_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/keys"
)

// apply makes i what d says and fails if it needed more than one write.
func apply(t *testing.T, i *agenttest.Interface, d *agent.Desired, wrote agent.Endpoints) wgtypes.Config {
	t.Helper()
	c, err := agent.Plan(device(t, i), d, wrote)
	require.NoError(t, err)
	if !agent.Empty(c) {
		require.NoError(t, i.Configure(t.Context(), c))
	}
	return c
}

// requireMatches fails if i is not what d says.
func requireMatches(t *testing.T, d *agent.Desired, i *agenttest.Interface) {
	t.Helper()
	dev := device(t, i)
	require.Equal(t, d.PrivateKey.PublicKey(), keys.PublicKey(dev.PublicKey))
	require.Equal(t, int(d.ListenPort), dev.ListenPort)
	peerText := func(key keys.PublicKey, psk []byte, keepalive time.Duration, ips []netip.Prefix) string {
		slices.SortFunc(ips, netip.Prefix.Compare)
		return fmt.Sprintf("%v %x %v %v", key, psk, keepalive, ips)
	}
	want, got := []string{}, []string{}
	for _, p := range d.Peers {
		psk := make([]byte, 32)
		if !p.PresharedKey.IsZero() {
			copy(psk, p.PresharedKey.Reveal()[:])
		}
		want = append(want, peerText(p.PublicKey, psk, p.Keepalive, slices.Clone(p.AllowedIPs)))
	}
	for _, p := range dev.Peers {
		var ips []netip.Prefix
		for _, n := range p.AllowedIPs {
			ips = append(ips, netip.MustParsePrefix(n.String()))
		}
		got = append(got, peerText(keys.PublicKey(p.PublicKey), p.PresharedKey[:], p.PersistentKeepaliveInterval, ips))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}

func TestPlanFromNothing(t *testing.T) {
	t.Parallel()
	i, d := agenttest.NewInterface(), desired(5)
	d.Peers[2].Endpoint = netip.AddrPort{}
	d.Peers[3].PresharedKey = pskOf(3)
	d.Peers[4].Keepalive = 0
	c := apply(t, i, d, nil)
	require.NotNil(t, c.PrivateKey)
	require.NotNil(t, c.ListenPort)
	require.False(t, c.ReplacePeers, "a replacement interrupts all traffic")
	require.Len(t, c.Peers, 5)
	requireMatches(t, d, i)
	require.True(t, agent.Empty(apply(t, i, d, nil)))
}

// plan is what a test of TestPlanRules works on.
type plan struct {
	*testing.T
	i     *agenttest.Interface
	d     *agent.Desired
	wrote agent.Endpoints
	c     wgtypes.Config // the plan from i to d
}

// TestPlanRules: one rule each.
func TestPlanRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		// before changes what a first plan of desired(4) led to, and what is wanted.
		before func(p *plan)
		want   func(p *plan)
	}{
		{
			"no change writes nothing", nil,
			func(p *plan) { require.True(p, agent.Empty(p.c)) },
		},
		{
			"a roamed endpoint is left alone",
			func(p *plan) {
				p.wrote[pubOf(1)] = endpointOf(1)
				require.NoError(p, p.i.Handshake(pubOf(1), netip.MustParseAddrPort("198.51.100.1:4242"), start, 1, 1))
			},
			func(p *plan) { require.True(p, agent.Empty(p.c)) },
		},
		{
			"an endpoint is compared with what was written last",
			func(p *plan) {
				p.wrote[pubOf(1)] = endpointOf(1)
				p.d.Peers[0].Endpoint = netip.MustParseAddrPort("198.51.100.1:51820")
				require.NoError(p, p.i.Handshake(pubOf(1), p.d.Peers[0].Endpoint, start, 1, 1))
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.Equal(p, "198.51.100.1:51820", p.c.Peers[0].Endpoint.String())
				require.Nil(p, p.c.Peers[0].AllowedIPs)
				require.True(p, p.c.Peers[0].UpdateOnly)
			},
		},
		{
			"a peer that calls us keeps the endpoint it has",
			func(p *plan) {
				p.d.Peers[0].Endpoint = netip.AddrPort{}
			},
			func(p *plan) { require.True(p, agent.Empty(p.c)) },
		},
		{
			"another port alone",
			func(p *plan) { p.d.ListenPort = 51821 },
			func(p *plan) {
				require.Equal(p, 51821, *p.c.ListenPort)
				require.Nil(p, p.c.PrivateKey)
				require.Empty(p, p.c.Peers)
			},
		},
		{
			"another own key alone",
			func(p *plan) {
				p.d.PrivateKey = privOf(9)
			},
			func(p *plan) {
				require.Equal(p, privOf(9).Reveal()[:], p.c.PrivateKey[:])
				require.Nil(p, p.c.ListenPort)
				require.Empty(p, p.c.Peers)
			},
		},
		{
			"removals come first",
			func(p *plan) {
				p.d.Peers[0].AllowedIPs = append(p.d.Peers[0].AllowedIPs, addrOf(4)) // of the peer that goes
				p.d.Peers = append(p.d.Peers[:3], peer(9))
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 3)
				require.True(p, p.c.Peers[0].Remove)
				require.Equal(p, pubOf(4), keys.PublicKey(p.c.Peers[0].PublicKey))
			},
		},
		{
			"an added peer is one write of one peer",
			func(p *plan) {
				p.d.Peers = append(p.d.Peers, peer(9))
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.False(p, p.c.Peers[0].UpdateOnly)
				require.Nil(p, p.c.PrivateKey)
			},
		},
		{
			"a preshared key comes",
			func(p *plan) {
				p.d.Peers[0].PresharedKey = pskOf(1)
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.Equal(p, pskOf(1).Reveal()[:], p.c.Peers[0].PresharedKey[:])
				require.Nil(p, p.c.Peers[0].Endpoint)
			},
		},
		{
			"a preshared key goes: zero is none",
			func(p *plan) {
				keyed := *p.d
				keyed.Peers = slices.Clone(p.d.Peers)
				keyed.Peers[0].PresharedKey = pskOf(1)
				apply(p.T, p.i, &keyed, nil)
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.Equal(p, wgtypes.Key{}, *p.c.Peers[0].PresharedKey)
			},
		},
		{
			"a pending preshared key: who is there keeps it, who is new waits",
			func(p *plan) {
				p.d.Peers[0].Pending = true
				waits := peer(9)
				waits.Pending = true
				p.d.Peers = append(p.d.Peers, waits)
			},
			func(p *plan) { require.True(p, agent.Empty(p.c)) },
		},
		{
			"allowed IPs in another order are the same",
			func(p *plan) {
				p.d.Peers[0].AllowedIPs = []netip.Prefix{addrOf(101), addrOf(100), netip.MustParsePrefix("fd00::/64"), addrOf(1)}
				apply(p.T, p.i, p.d, nil)
				p.d.Peers[0].AllowedIPs = []netip.Prefix{addrOf(1), netip.MustParsePrefix("fd00::/64"), addrOf(100), addrOf(101)}
			},
			func(p *plan) { require.True(p, agent.Empty(p.c)) },
		},
		{
			"an allowed IP more does not touch the others",
			func(p *plan) {
				p.d.Peers[0].AllowedIPs = append(p.d.Peers[0].AllowedIPs, addrOf(100))
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.False(p, p.c.Peers[0].ReplaceAllowedIPs)
				require.Equal(p, []net.IPNet{{IP: net.IP{10, 66, 0, 100}, Mask: net.CIDRMask(32, 32)}}, p.c.Peers[0].AllowedIPs)
			},
		},
		{
			"an allowed IP less replaces the list",
			func(p *plan) {
				more := *p.d
				more.Peers = slices.Clone(p.d.Peers)
				more.Peers[0].AllowedIPs = []netip.Prefix{addrOf(1), addrOf(100)}
				apply(p.T, p.i, &more, nil)
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.True(p, p.c.Peers[0].ReplaceAllowedIPs)
				require.Len(p, p.c.Peers[0].AllowedIPs, 1)
			},
		},
		{
			"a rotated key is one step",
			func(p *plan) {
				p.d.Peers[1].PublicKey = pubOf(99)
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 2)
				require.True(p, p.c.Peers[0].Remove)
				require.Equal(p, pubOf(99), keys.PublicKey(p.c.Peers[1].PublicKey))
				require.Len(p, p.c.Peers[1].AllowedIPs, 1)
			},
		},
		{
			"a keepalive goes",
			func(p *plan) {
				p.d.Peers[0].Keepalive = 0
			},
			func(p *plan) {
				require.Len(p, p.c.Peers, 1)
				require.Zero(p, *p.c.Peers[0].PersistentKeepaliveInterval)
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &plan{T: t, i: agenttest.NewInterface(), d: desired(4), wrote: agent.Endpoints{}}
			apply(t, p.i, p.d, nil)
			if tt.before != nil {
				tt.before(p)
			}
			var err error
			p.c, err = agent.Plan(device(t, p.i), p.d, p.wrote)
			require.NoError(t, err)
			tt.want(p)
			if !slices.ContainsFunc(p.d.Peers, func(p agent.Peer) bool { return p.Pending }) {
				require.NoError(t, p.i.Configure(t.Context(), p.c))
				requireMatches(t, p.d, p.i)
			}
		})
	}
}

func TestPlanRefusesOwnKey(t *testing.T) {
	t.Parallel()
	d := desired(2)
	d.Peers[1].PublicKey = d.PrivateKey.PublicKey()
	_, err := agent.Plan(device(t, agenttest.NewInterface()), d, nil)
	require.ErrorIs(t, err, agent.ErrOwnKey)
	require.ErrorContains(t, err, d.Peers[1].ID)
}

// TestPlanRandomSteps: whatever the interface is like, one plan makes it match,
// and the next is empty.
func TestPlanRandomSteps(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	var steps []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, steps:\n%s", seed, strings.Join(steps, "\n"))
		}
	}()
	i, wrote := agenttest.NewInterface(), agent.Endpoints{}
	for n := range 500 {
		d := randomDesired(func(n int) int { return rnd.IntN(n) })
		steps = append(steps, fmt.Sprintf("%d: %d peers", n, len(d.Peers)))
		c := apply(t, i, d, wrote)
		for _, p := range c.Peers {
			if p.Remove {
				delete(wrote, keys.PublicKey(p.PublicKey))
			} else if p.Endpoint != nil {
				wrote[keys.PublicKey(p.PublicKey)] = p.Endpoint.AddrPort()
			}
		}
		requireMatches(t, d, i)
		require.True(t, agent.Empty(apply(t, i, d, wrote)))
	}
}

// randomDesired draws a wanted state of up to 8 peers that share 12 addresses.
func randomDesired(draw func(n int) int) *agent.Desired {
	d := &agent.Desired{PrivateKey: privOf(draw(2)), ListenPort: uint16(51820 + draw(2))}
	owner := map[int]int{}
	for a := range 12 {
		owner[a] = draw(8)
	}
	for n := range 8 {
		if draw(3) == 0 {
			continue
		}
		p := agent.Peer{ID: fmt.Sprint(n), PublicKey: pubOf(n), Keepalive: time.Duration(draw(2)) * time.Second}
		if k := draw(3); k > 0 {
			p.PresharedKey = pskOf(k)
		}
		if e := draw(3); e > 0 {
			p.Endpoint = endpointOf(e)
		}
		for a := range 12 {
			if owner[a] == n {
				p.AllowedIPs = append(p.AllowedIPs, addrOf(a))
			}
		}
		d.Peers = append(d.Peers, p)
	}
	return d
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte("some peers"), []byte("and others"))
	f.Add([]byte{}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25})
	f.Fuzz(func(t *testing.T, before, after []byte) {
		from := func(data []byte) *agent.Desired {
			n := 0
			return randomDesired(func(limit int) int {
				if n++; n > len(data) {
					return 0
				}
				return int(data[n-1]) % limit
			})
		}
		i := agenttest.NewInterface()
		apply(t, i, from(before), nil)
		d := from(after)
		apply(t, i, d, nil)
		requireMatches(t, d, i)
		require.True(t, agent.Empty(apply(t, i, d, nil)))
	})
}
