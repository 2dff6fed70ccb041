package agent_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// afterLooks is when nobody waits for a first handshake any more.
const afterLooks = 3 * time.Second

// around returns a peer whose key is below that of the server, and one whose key
// is above.
func around() (below, above int) {
	own := privOf(0).PublicKey()
	for n := 1; below == 0 || above == 0; n++ {
		if key := pubOf(n); bytes.Compare(key[:], own[:]) < 0 {
			below = n
		} else {
			above = n
		}
	}
	return below, above
}

// TestFirstHandshake: with a peer that was added and does not answer, the
// handshake begins anew, once, and not at the same time on both sides.
func TestFirstHandshake(t *testing.T) {
	t.Parallel()
	below, above := around()
	tests := []struct {
		name   string
		peer   int
		edit   func(m *netmap.Map)
		during func(s *server) // right after the peer was added
		want   []time.Duration // after which it is removed and added
	}{
		{"our key is the lower one", above, nil, nil, []time.Duration{500 * time.Millisecond}},
		{"theirs is", below, nil, nil, []time.Duration{2 * time.Second}},
		{"it answers", above, nil, func(s *server) {
			require.NoError(s.tb, s.iface.Handshake(pubOf(above), endpointOf(above), time.Now(), 1, 1))
		}, nil},
		{"it has to call us", above, func(m *netmap.Map) { m.Peers[1].Endpoint = "" }, nil, nil},
		{"it is removed", above, nil, func(s *server) {
			s.change(func(m *netmap.Map) { m.Peers = m.Peers[:1] })
		}, nil},
		{"other documents come meanwhile", above, nil, func(s *server) {
			for range 10 {
				time.Sleep(80 * time.Millisecond)
				s.change(func(m *netmap.Map) { m.Openings.Permanent = []netip.Prefix{addrOf(int(m.Revision))} })
			}
		}, []time.Duration{500 * time.Millisecond}},
		{"its name is looked up", above, func(m *netmap.Map) { m.Peers[1].Endpoint = "vpn.example.org:4500" }, nil, []time.Duration{500 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, 0)
				s.cfg.Resolve = func(context.Context, string) ([]netip.Addr, error) {
					time.Sleep(100 * time.Millisecond)
					return []netip.Addr{endpointOf(above).Addr()}, nil
				}
				s.start()
				s.change(nil)
				stop := s.run(t)
				began := time.Now()
				s.change(func(m *netmap.Map) {
					m.Peers = append(m.Peers[:1:1], mapPeer(tt.peer))
					if tt.edit != nil {
						tt.edit(m)
					}
				})
				synctest.Wait()
				if tt.during != nil {
					go tt.during(s)
				}
				var got []time.Duration
				seen := len(s.iface.Configs())
				for time.Since(began) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					all := s.iface.Configs()
					for _, c := range all[seen:] {
						if len(c.Peers) < 2 {
							continue
						}
						require.Len(t, c.Peers, 2)
						require.True(t, c.Peers[0].Remove)
						require.Equal(t, pubOf(tt.peer), keys.PublicKey(c.Peers[0].PublicKey))
						require.False(t, c.Peers[1].Remove)
						require.NotNil(t, c.Peers[1].Endpoint)
						require.Len(t, c.Peers[1].AllowedIPs, 1)
						got = append(got, time.Since(began))
					}
					seen = len(all)
				}
				require.Equal(t, tt.want, got)
				r, err := s.a.Sync(t.Context())
				require.NoError(t, err)
				require.Zero(t, r.Writes())
				stop()
			})
		})
	}
}

// TestHandshakesAfterRotation: who changes its own key waits for everybody, and
// who sees another's for that one.
func TestHandshakesAfterRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 6)
		s.change(nil)
		stop := s.run(t)
		for n := range 6 {
			require.NoError(t, s.iface.Handshake(pubOf(n+1), endpointOf(n+1), time.Now(), 1, 1))
		}
		time.Sleep(time.Minute)
		require.Len(t, s.iface.Configs(), 1)

		require.NoError(t, s.a.Rotate(t.Context()))
		next := s.source.Announced()[0]
		s.change(func(m *netmap.Map) { m.Peers[0].PublicKey, m.Peers[0].KeyGen = next, 2 })
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, s.iface.Handshake(pubOf(3), endpointOf(3), time.Now(), 1, 1))
		time.Sleep(time.Minute)
		var anew []keys.PublicKey
		for _, c := range s.iface.Configs()[2:] {
			for _, p := range c.Peers {
				if !p.Remove {
					anew = append(anew, keys.PublicKey(p.PublicKey))
				}
			}
		}
		require.ElementsMatch(t, []keys.PublicKey{pubOf(1), pubOf(2), pubOf(4), pubOf(5), pubOf(6)}, anew, "not who has answered")

		writes := len(s.iface.Configs())
		s.change(func(m *netmap.Map) { m.Peers[3].PublicKey, m.Peers[3].KeyGen = pubOf(33), 2 })
		time.Sleep(time.Minute)
		require.Len(t, s.iface.Configs(), writes+2)
		stop()
	})
}

// TestHandshakeFails: what fails half-way is made good.
func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 4)
		s.change(nil)
		stop := s.run(t)
		s.iface.Fail(errDown)
		time.Sleep(afterLooks)
		require.Less(t, len(device(t, s.iface).Peers), 4)
		s.iface.Fail(nil)
		time.Sleep(time.Minute)
		require.Len(t, device(t, s.iface).Peers, 4)
		require.Less(t, len(s.iface.Configs()), 20)
		stop()
	})
}

// watched is an interface that tells whether the firewall was there in time.
type watched struct {
	agent.Interface
	s *server
}

func (w watched) SetLinks(ctx context.Context, l agent.Links) error {
	require.True(w.s.tb, w.s.fw.Confined() || !l.Forward && !w.s.iface.Links().Forward, "packets could have gone elsewhere")
	return w.Interface.SetLinks(ctx, l)
}

// TestGateway: a gateway leads into the private network and nowhere else, at no
// moment.
func TestGateway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		s.cfg.Interface = watched{s.iface, s}
		s.start()
		s.change(nil)
		stop := s.run(t)
		for _, via := range []string{s.id.PeerID(), "", s.id.PeerID()} {
			s.change(func(m *netmap.Map) { m.Peers[1].Via = via })
			synctest.Wait()
			require.Equal(t, via != "", s.iface.Links().Forward)
			require.Equal(t, via != "", s.fw.Confined())
		}
		stop()

		// As from the first moment after a restart.
		s.iface, s.fw = agenttest.NewInterface(), &agenttest.Firewall{Now: time.Now}
		s.cfg.Interface, s.cfg.Firewall = watched{s.iface, s}, s.fw
		s.start()
		_, err := s.a.Sync(t.Context())
		require.NoError(t, err)
		require.True(t, s.iface.Links().Forward)
	})
}
