package agent_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/netmap"
)

var sizes = []int{1000, 10_000}

func BenchmarkPlanNothing(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i, d := agenttest.NewInterface(), desired(n)
			c, err := agent.Plan(device(b, i), d, nil)
			require.NoError(b, err)
			require.NoError(b, i.Configure(b.Context(), c))
			have := device(b, i)
			for b.Loop() {
				if c, _ := agent.Plan(have, d, nil); !agent.Empty(c) {
					b.Fatal("not empty")
				}
			}
		})
	}
}

func BenchmarkPlanAll(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			have, d := device(b, agenttest.NewInterface()), desired(n)
			for b.Loop() {
				_, _ = agent.Plan(have, d, nil)
			}
		})
	}
}

// BenchmarkSync syncs against fakes: with nothing to do, and with one peer whose
// endpoint moves.
func BenchmarkSync(b *testing.B) {
	for _, n := range sizes {
		for _, one := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/changed=%t", n, one), func(b *testing.B) {
				s := newServer(b, n)
				s.cfg.Dir, s.cfg.Names = nil, nil
				s.start()
				want := 0
				change := func(rev int) {
					s.change(func(m *netmap.Map) { m.Peers[n/2].Endpoint = endpointOf(rev % 1000).String() })
					require.NoError(b, s.a.Poll(b.Context()))
				}
				change(0)
				_, err := s.a.Sync(b.Context())
				require.NoError(b, err)
				for rev := 1; b.Loop(); rev++ {
					if one {
						b.StopTimer()
						change(rev)
						want = 1
						b.StartTimer()
					}
					r, err := s.a.Sync(b.Context())
					if err != nil || r.Writes() != want {
						b.Fatal(r, err)
					}
				}
			})
		}
	}
}

// BenchmarkApply reads a fake interface of which one peer differs, and writes it.
func BenchmarkApply(b *testing.B) {
	for _, n := range sizes {
		i, d := agenttest.NewInterface(), desired(n)
		all, err := agent.Plan(device(b, i), d, nil)
		require.NoError(b, err)
		require.NoError(b, i.Configure(b.Context(), all))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for rev := 0; b.Loop(); rev++ {
				d.Peers[n/2].AllowedIPs = []netip.Prefix{addrOf(20_000 + rev%2)}
				c, _ := agent.Plan(device(b, i), d, nil)
				_ = i.Configure(b.Context(), c)
			}
		})
	}
}
