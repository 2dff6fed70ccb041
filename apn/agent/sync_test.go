package agent_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/agenttest"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

var errDown = errors.New("down for the test")

// run runs the agent until the test ends, in a bubble.
func (s *server) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.a.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

func TestRunFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		stop := s.run(t)
		require.Zero(t, s.writes(), "no document yet")

		s.change(nil)
		synctest.Wait()
		require.Len(t, device(t, s.iface).Peers, 3)
		require.Equal(t, privOf(0).PublicKey(), keys.PublicKey(device(t, s.iface).PublicKey))
		require.Equal(t, agent.Links{Addresses: []netip.Prefix{addrOf(0)}, Routes: s.m.Routes}, s.iface.Links())
		require.Equal(t, []netip.Addr{addrOf(2).Addr()}, s.names.Lookup("web-00002.apn"))
		port, prefixes := s.fw.Guarded()
		require.Equal(t, uint16(51820), port)
		require.Equal(t, s.m.Routes, prefixes)
		require.True(t, s.fw.Open(endpointOf(1).Addr()), "peers reach the port from where they listen")
		require.False(t, s.fw.Open(endpointOf(9).Addr()))

		// One peer more is one write of one peer.
		writes, peers := s.iface.Writes()
		s.change(func(m *netmap.Map) { m.Peers = append(m.Peers, mapPeer(4)) })
		synctest.Wait()
		writes2, peers2 := s.iface.Writes()
		require.Equal(t, []int{1, 1}, []int{writes2 - writes, peers2 - peers})
		require.Len(t, device(t, s.iface).Peers, 4)

		// A peer that goes, goes at once.
		s.change(func(m *netmap.Map) { m.Peers = slices.Delete(m.Peers, 1, 2) })
		synctest.Wait()
		require.Len(t, device(t, s.iface).Peers, 3)
		require.False(t, s.fw.Open(endpointOf(1).Addr()))
		require.True(t, s.fw.Open(endpointOf(2).Addr()))

		// An hour of nothing writes nothing.
		time.Sleep(afterLooks)
		before := s.writes()
		time.Sleep(time.Hour)
		require.Equal(t, before, s.writes())
		require.Less(t, s.source.Polls(), 100, "each poll waits")
		stop()
	})
}

// TestRunWithoutControlPlane: what was there stays, leases end, and a restart
// brings it all back before anybody answers.
func TestRunWithoutControlPlane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		source := netip.MustParseAddr("198.51.100.7")
		s.change(func(m *netmap.Map) {
			m.Openings.Leases = []netmap.Opening{{Source: netip.PrefixFrom(source, 32), IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}}
		})
		stop := s.run(t)
		require.True(t, s.fw.Open(source))

		time.Sleep(afterLooks)
		s.source.Fail(errDown)
		before, polls := s.writes(), s.source.Polls()
		time.Sleep(30 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 3)
		require.Equal(t, before, s.writes())
		require.Less(t, s.source.Polls()-polls, 100, "the pauses grow")
		stop()

		// The server restarts: nothing is left but what is on disk.
		s.iface, s.names, s.fw = agenttest.NewInterface(), new(agenttest.Names), &agenttest.Firewall{Now: time.Now}
		s.cfg.Interface, s.cfg.Names, s.cfg.Firewall = s.iface, s.names, s.fw
		s.start()
		stop = s.run(t)
		require.Len(t, device(t, s.iface).Peers, 3)
		require.True(t, s.fw.Open(source))
		require.NotEmpty(t, s.names.Lookup("web-00001.apn"))
		time.Sleep(30*time.Minute - afterLooks - 2*time.Nanosecond)
		require.True(t, s.fw.Open(source))
		time.Sleep(2 * time.Nanosecond)
		require.False(t, s.fw.Open(source), "the lease ends on time")
		require.Len(t, device(t, s.iface).Peers, 3)

		// And it comes back by itself.
		s.source.Fail(nil)
		s.change(func(m *netmap.Map) { m.Peers = append(m.Peers, mapPeer(9)) })
		time.Sleep(2 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 4)
		stop()
	})
}

// TestClockSkew: a server whose clock is wrong, or set meanwhile, ends leases
// when the control plane means it.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour, -400 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, 1)
				var shift atomic.Int64
				shift.Store(int64(skew))
				clock := func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
				s.fw.Now, s.cfg.Now = clock, clock
				s.start()
				source := netip.MustParseAddr("198.51.100.7")
				s.change(func(m *netmap.Map) {
					m.Openings.Leases = []netmap.Opening{{Source: netip.PrefixFrom(source, 32), IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}}
				})
				stop := s.run(t)
				time.Sleep(20 * time.Minute)
				require.True(t, s.fw.Open(source))

				// Somebody sets the clock.
				shift.Add(int64(7 * time.Hour))
				time.Sleep(2 * time.Minute)
				require.True(t, s.fw.Open(source))

				// The agent restarts, and the control plane does not answer.
				stop()
				s.source = &agenttest.Source{Key: s.source.Key, Clock: time.Now}
				s.source.Fail(errDown)
				s.cfg.Source = s.source
				s.start()
				stop = s.run(t)
				time.Sleep(37 * time.Minute)
				require.True(t, s.fw.Open(source))
				time.Sleep(time.Minute)
				require.False(t, s.fw.Open(source))
				stop()
			})
		})
	}
}

// TestRefused: what is not to be taken leaves the server as it was, and the
// agent asks for everything.
func TestRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		bad  func(s *server) *netmap.Signed
		want string
	}{
		"older": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 1; m.Peers = m.Peers[:1] })
		}, "not newer"},
		"signed by somebody else": {func(s *server) *netmap.Signed {
			return s.signed(ed25519.NewKeyFromSeed(slices.Repeat([]byte{9}, 32)), func(m *netmap.Map) { m.Revision = 99; m.Peers = m.Peers[:1] })
		}, "signature"},
		"of another network": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 99; m.Network = "evil" })
		}, "somebody else"},
		"of another app": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 99; m.App = "blog" })
		}, "somebody else"},
		"without this server": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 99; m.Peers = m.Peers[1:] })
		}, "somebody else"},
		"overlapping allowed IPs": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 99; m.Peers[1].AllowedIPs = m.Peers[2].AllowedIPs })
		}, "overlaps"},
		"a lease of no time": {func(s *server) *netmap.Signed {
			return s.signed(s.source.Key, func(m *netmap.Map) {
				m.Revision = 99
				m.Openings.Leases = []netmap.Opening{{Source: netip.MustParsePrefix("198.51.100.7/32"), IssuedAt: start, ExpiresAt: start}}
			})
		}, "ends before it begins"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, 3)
				s.change(nil)
				stop := s.run(t)
				time.Sleep(afterLooks)
				before := s.writes()
				s.source.Show(tt.bad(s))
				time.Sleep(5 * time.Minute)
				require.Equal(t, before, s.writes())
				require.Len(t, device(t, s.iface).Peers, 3)
				st, err := s.a.Status(t.Context())
				require.NoError(t, err)
				require.Contains(t, strings.Join(st.Errors, "\n"), tt.want)
				require.Equal(t, s.m.Revision, st.Revision)
				// The right one is taken.
				s.source.Show(s.signed(s.source.Key, func(m *netmap.Map) { m.Revision = 100; m.Peers = m.Peers[:2] }))
				time.Sleep(5 * time.Minute)
				require.Len(t, device(t, s.iface).Peers, 1)
				stop()
			})
		})
	}
}

// signed returns an edited map that nobody has published.
func (s *server) signed(key ed25519.PrivateKey, edit func(m *netmap.Map)) *netmap.Signed {
	s.tb.Helper()
	c := *s.m
	c.Peers = slices.Clone(s.m.Peers)
	edit(&c)
	signed, err := netmap.Sign(key, &c, nil)
	require.NoError(s.tb, err)
	return signed
}

// TestEpochs: after a restore the control plane starts over, and an epoch that
// was left does not come back.
func TestEpochs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		first := s.change(nil)
		stop := s.run(t)
		s.change(func(m *netmap.Map) { m.Epoch, m.Revision, m.Peers = "e2", 1, m.Peers[:2] })
		time.Sleep(time.Minute)
		require.Len(t, device(t, s.iface).Peers, 1)
		stop()

		s.start() // it is remembered on disk
		stop = s.run(t)
		s.source.Show(first)
		time.Sleep(5 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 1)
		require.Equal(t, "e2", s.a.Netmap().Epoch)
		stop()
	})
}

func TestSyncFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 4)
		_, err := s.a.Sync(t.Context())
		require.ErrorIs(t, err, agent.ErrNoMap)

		// Without a firewall nothing is opened, and nothing half-done.
		s.fw.Fail(errDown)
		s.change(nil)
		stop := s.run(t)
		_, err = s.a.Sync(t.Context())
		require.ErrorIs(t, err, errDown)
		require.Empty(t, device(t, s.iface).Peers)
		require.Empty(t, s.iface.Links())
		s.fw.Fail(nil)

		// A write that fails half-way is made good by the next sync.
		s.iface.Fail(errDown)
		_, err = s.a.Sync(t.Context())
		require.ErrorIs(t, err, errDown)
		require.NotEmpty(t, s.names.Lookup("web-00001.apn"), "the rest is done")
		s.iface.Fail(nil)
		r, err := s.a.Sync(t.Context())
		require.NoError(t, err)
		require.Positive(t, r.Added)
		require.Len(t, device(t, s.iface).Peers, 4)
		r, err = s.a.Sync(t.Context())
		require.NoError(t, err)
		require.Zero(t, r.Writes())
		require.Equal(t, agent.Report{Epoch: "e1", Revision: 2, Peers: 4}, r)

		// Somebody else's hand on the interface is undone.
		require.NoError(t, s.iface.Configure(t.Context(), onePeerGone(t, s)))
		time.Sleep(2 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 4)

		s.names.Fail(errDown)
		_, err = s.a.Sync(t.Context())
		require.ErrorIs(t, err, errDown)
		st, err := s.a.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{errDown.Error()}, st.Errors)
		require.Equal(t, uint64(2), st.Revision, "peers and port are as they should be")
		stop()
	})
}

// TestRoaming: the endpoint of a peer that roamed stays, until the document
// gives it another one.
func TestRoaming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 2)
		s.change(nil)
		stop := s.run(t)
		time.Sleep(afterLooks)
		elsewhere := netip.MustParseAddrPort("198.51.100.99:4242")
		require.NoError(t, s.iface.Handshake(pubOf(1), elsewhere, time.Now(), 10, 20))
		before := s.writes()
		time.Sleep(10 * time.Minute)
		require.Equal(t, before, s.writes())
		s.change(func(m *netmap.Map) { m.Peers[1].Endpoint = "203.0.115.1:51820" })
		synctest.Wait()
		require.True(t, slices.ContainsFunc(device(t, s.iface).Peers, func(p wgtypes.Peer) bool {
			return p.Endpoint.String() == "203.0.115.1:51820" && keys.PublicKey(p.PublicKey) == pubOf(1)
		}))
		require.Equal(t, before+2, s.writes(), "the peer, and from where it may send")
		stop()
	})
}

// TestNamedEndpoints: host names are looked up, again and again, and the last
// answer serves as long as there is no other.
func TestNamedEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1)
		var answer atomic.Pointer[[]netip.Addr]
		s.cfg.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			require.Equal(t, "vpn.example.org", host)
			if a := answer.Load(); a != nil && *a != nil {
				return slices.Clone(*a), nil
			}
			return nil, errDown
		}
		s.start()
		s.change(func(m *netmap.Map) { m.Peers[1].Endpoint = "vpn.example.org:4500" })
		stop := s.run(t)
		require.Nil(t, device(t, s.iface).Peers[0].Endpoint)

		six, four, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.0")
		steps := []struct {
			answer []netip.Addr
			want   string
		}{
			{[]netip.Addr{six, four}, "192.0.2.1:4500"},
			{[]netip.Addr{six, other, four}, "192.0.2.1:4500"}, // still an answer
			{nil, "192.0.2.1:4500"},
			{[]netip.Addr{six}, "[2001:db8::1]:4500"},
		}
		for _, step := range steps {
			answer.Store(&step.answer)
			time.Sleep(2 * time.Minute)
			require.Equal(t, step.want, device(t, s.iface).Peers[0].Endpoint.String())
			require.True(t, s.fw.Open(netip.MustParseAddrPort(step.want).Addr()))
		}
		stop()

		// The server restarts where nobody answers.
		answer.Store(nil)
		s.iface, s.fw = agenttest.NewInterface(), &agenttest.Firewall{Now: time.Now}
		s.cfg.Interface, s.cfg.Firewall = s.iface, s.fw
		s.start()
		_, err := s.a.Sync(t.Context())
		require.ErrorIs(t, err, errDown)
		require.Equal(t, "[2001:db8::1]:4500", device(t, s.iface).Peers[0].Endpoint.String())
		require.True(t, s.fw.Open(six))

		// A peer that goes is forgotten.
		s.change(func(m *netmap.Map) { m.Peers = m.Peers[:1] })
		s.run(t)()
		saved, err := os.ReadFile(filepath.Join(s.cfg.Dir.Path(), "memory.json"))
		require.NoError(t, err)
		require.NotContains(t, string(saved), "vpn.example.org")
	})
}

func TestManagedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 2)
		s.id.PrivateKeys = nil
		s.start()
		secrets := func(gen uint64, key keys.PrivateKey) {
			sealed, err := (&netmap.Secrets{PrivateKey: key}).Seal(seal(t).PublicKey().Bytes(), netmap.Sealing{
				Network: "acme", Server: "srv/shop/web-00000", Epoch: "e1", KeyGen: gen,
			})
			require.NoError(t, err)
			s.source.SetSecrets(sealed)
		}
		s.change(nil)
		stop := s.run(t)
		require.Empty(t, device(t, s.iface).Peers, "no key yet")
		secrets(7, privOf(0)) // for another generation
		time.Sleep(3 * time.Minute)
		require.Empty(t, device(t, s.iface).Peers)
		secrets(1, privOf(0))
		time.Sleep(3 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 2)

		// The control plane rotates the key: peers and key in one step.
		secrets(2, privOf(50))
		writes, _ := s.iface.Writes()
		s.change(func(m *netmap.Map) { m.Peers[0].PublicKey, m.Peers[0].KeyGen = privOf(50).PublicKey(), 2 })
		synctest.Wait()
		require.Equal(t, privOf(50).PublicKey(), keys.PublicKey(device(t, s.iface).PublicKey))
		after, _ := s.iface.Writes()
		require.Equal(t, writes+1, after)
		stop()

		// A boot without the control plane has the key.
		s.source.Fail(errDown)
		s.iface = agenttest.NewInterface()
		s.cfg.Interface = s.iface
		s.start()
		_, err := s.a.Sync(t.Context())
		require.NoError(t, err)
		require.Equal(t, privOf(50).PublicKey(), keys.PublicKey(device(t, s.iface).PublicKey))
		require.ErrorIs(t, s.a.Rotate(t.Context()), agent.ErrManaged, "it is not the server's to change")
	})
}

func TestPresharedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 2)
		secrets := func(preshared uint64, psks map[keys.PublicKey]keys.PresharedKey) {
			sealed, err := (&netmap.Secrets{Preshared: preshared, PSKs: psks}).Seal(seal(t).PublicKey().Bytes(), netmap.Sealing{
				Network: "acme", Server: "srv/shop/web-00000", Epoch: "e1", KeyGen: 1,
			})
			require.NoError(t, err)
			s.source.SetSecrets(sealed)
		}
		psk := func(n int) []byte {
			for _, p := range device(t, s.iface).Peers {
				if keys.PublicKey(p.PublicKey) == pubOf(n) {
					return p.PresharedKey[:]
				}
			}
			return nil
		}
		s.change(func(m *netmap.Map) { m.Preshared = 1 })
		stop := s.run(t)
		require.Empty(t, device(t, s.iface).Peers, "not without the preshared keys")
		secrets(1, map[keys.PublicKey]keys.PresharedKey{pubOf(1): pskOf(1), pubOf(2): pskOf(2)})
		time.Sleep(3 * time.Minute)
		require.Equal(t, pskOf(1).Reveal()[:], psk(1))

		// A peer more waits for its key, the others do not notice.
		s.change(func(m *netmap.Map) { m.Peers = append(m.Peers, mapPeer(3)) })
		synctest.Wait()
		require.Len(t, device(t, s.iface).Peers, 2)
		secrets(1, map[keys.PublicKey]keys.PresharedKey{pubOf(1): pskOf(1), pubOf(2): pskOf(2), pubOf(3): pskOf(3)})
		time.Sleep(3 * time.Minute)
		require.Equal(t, pskOf(3).Reveal()[:], psk(3))

		// All keys change: the old ones stay until the new ones are here.
		s.change(func(m *netmap.Map) { m.Preshared = 2 })
		synctest.Wait()
		require.Equal(t, pskOf(3).Reveal()[:], psk(3))
		secrets(2, map[keys.PublicKey]keys.PresharedKey{pubOf(1): pskOf(11), pubOf(2): pskOf(12), pubOf(3): pskOf(13)})
		time.Sleep(3 * time.Minute)
		require.Equal(t, pskOf(13).Reveal()[:], psk(3))

		// Documents go on coming while the control plane has no secrets to give.
		s.source.SetSecrets(nil)
		s.change(func(m *netmap.Map) { m.Peers = append(m.Peers, mapPeer(4)) })
		time.Sleep(10 * time.Minute)
		require.Len(t, device(t, s.iface).Peers, 3)
		s.change(func(m *netmap.Map) { m.Peers = slices.Delete(m.Peers, 3, 4) })
		synctest.Wait()
		require.Nil(t, psk(3), "who goes, goes at once")
		st, err := s.a.Status(t.Context())
		require.NoError(t, err)
		require.Contains(t, strings.Join(st.Errors, "\n"), "fetch secrets: there are none")
		stop()
	})
}

// TestRotation: the server makes its next key, and goes over to it when a
// document shows it, even if it slept meanwhile.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 2)
		s.change(nil)
		stop := s.run(t)
		s.change(func(m *netmap.Map) { m.Peers[0].RotateTo = 2 })
		synctest.Wait()
		require.Len(t, s.source.Announced(), 1)
		next := s.source.Announced()[0]
		require.NotEqual(t, privOf(0).PublicKey(), next)
		require.Equal(t, privOf(0).PublicKey(), keys.PublicKey(device(t, s.iface).PublicKey), "not before the document says so")
		require.NoError(t, s.a.Rotate(t.Context()))
		require.Equal(t, next, s.source.Announced()[1], "no further key while one is announced")
		stop()

		// The document comes while the agent sleeps.
		s.change(func(m *netmap.Map) { m.Peers[0].PublicKey, m.Peers[0].KeyGen = next, 2 })
		id, err := s.cfg.Dir.Identity()
		require.NoError(t, err)
		require.Len(t, id.PrivateKeys, 2)
		s.cfg.Identity = id
		s.start()
		writes, _ := s.iface.Writes()
		stop = s.run(t)
		require.Equal(t, next, keys.PublicKey(device(t, s.iface).PublicKey))
		after, _ := s.iface.Writes()
		require.Equal(t, writes+1, after)
		require.Len(t, device(t, s.iface).Peers, 2)
		id, err = s.cfg.Dir.Identity()
		require.NoError(t, err)
		require.Len(t, id.PrivateKeys, 1, "the old key is forgotten")
		require.Equal(t, next, id.PublicKey())

		// A key that is not the server's is not applied, but leases are.
		source := netip.MustParseAddr("198.51.100.7")
		s.change(func(m *netmap.Map) {
			m.Peers[0].PublicKey, m.Peers[0].KeyGen = pubOf(77), 3
			m.Openings.Leases = []netmap.Opening{{Source: netip.PrefixFrom(source, 32), IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}}
		})
		synctest.Wait()
		require.Equal(t, next, keys.PublicKey(device(t, s.iface).PublicKey))
		require.True(t, s.fw.Open(source))
		_, err = s.a.Sync(t.Context())
		require.ErrorIs(t, err, agent.ErrNoKey)
		stop()
	})
}

func TestReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		s.cfg.Now = func() time.Time { return time.Now().Add(time.Minute) }
		s.start()
		s.change(nil)
		stop := s.run(t)
		require.NoError(t, s.iface.Handshake(pubOf(2), endpointOf(2), time.Now().Add(time.Minute), 10, 20))
		time.Sleep(15 * time.Second)
		require.Len(t, s.source.Statuses(), 1)
		st := s.source.Statuses()[0]
		require.Equal(t, []any{"test", "e1", uint64(2), time.Minute, 1}, []any{st.Version, st.Epoch, st.Revision, st.ClockOffset, st.PeersUp})
		require.Len(t, st.Peers, 1)
		require.Equal(t, "srv/shop/web-00002", st.Peers[0].ID)
		require.Equal(t, []uint64{10, 20}, []uint64{st.Peers[0].Received, st.Peers[0].Sent})
		require.Empty(t, st.Errors)

		time.Sleep(10 * time.Minute)
		all := s.source.Statuses()
		require.InDelta(t, 11, len(all), 1, "once a minute")
		last := all[len(all)-1]
		require.Empty(t, last.Peers, "nobody shook hands since the last report")
		require.Zero(t, last.PeersUp)
		stop()
	})
}

// TestStartOver: however long the control plane was away, the agent asks for
// everything soon after it answers that it starts over.
func TestStartOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 3)
		s.change(nil)
		stop := s.run(t)
		s.source.Fail(errDown)
		time.Sleep(time.Hour)
		s.source.Fail(agent.ErrStartOver)
		for polls := s.source.Polls(); s.source.Polls() == polls; {
			time.Sleep(time.Millisecond)
		}
		s.source.Fail(nil)
		s.change(func(m *netmap.Map) { m.Epoch, m.Revision, m.Peers = "e2", 1, m.Peers[:2] })
		time.Sleep(1200 * time.Millisecond)
		require.Len(t, device(t, s.iface).Peers, 1)
		stop()
	})
}

func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1)
		s.source.Fail(&agent.RetryError{After: 20 * time.Minute, Err: errDown})
		stop := s.run(t)
		time.Sleep(19 * time.Minute)
		require.Equal(t, 1, s.source.Polls())
		stop()
		s.start()
		s.source.Fail(agent.ErrRefused)
		before := s.source.Polls()
		stop = s.run(t)
		time.Sleep(time.Hour)
		require.Less(t, s.source.Polls()-before, 60)
		st, err := s.a.Status(t.Context())
		require.NoError(t, err)
		require.Contains(t, strings.Join(st.Errors, ""), agent.ErrRefused.Error())
		stop()
	})
}

// TestPausesSpread: servers that lost their control plane at one moment do not
// come back at one moment.
func TestPausesSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var servers []*server
		var stops []func()
		for range 20 {
			s := newServer(t, 0)
			s.source.Fail(errDown)
			servers = append(servers, s)
			stops = append(stops, s.run(t))
		}
		time.Sleep(10 * time.Second)
		polls := map[int]bool{}
		for _, s := range servers {
			polls[s.source.Polls()] = true
		}
		require.Greater(t, len(polls), 1)
		for _, stop := range stops {
			stop()
		}
	})
}

func TestDir(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1)
		s.change(nil)
		s.run(t)()
		path := s.cfg.Dir.Path()
		files, err := os.ReadDir(path)
		require.NoError(t, err)
		var names []string
		for _, f := range files {
			info, err := f.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f.Name())
			names = append(names, f.Name())
		}
		require.Equal(t, []string{"identity.json", "netmap.json"}, names)

		// What is damaged or forged counts as missing.
		document := filepath.Join(path, "netmap.json")
		good, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, bad := range [][]byte{nil, good[:len(good)/2], []byte(strings.Replace(string(good), "203.0.113", "203.0.96", 1)), []byte(strings.Replace(string(good), `"revision":2`, `"revision":3`, 1))} {
			require.NoError(t, os.WriteFile(document, bad, 0o600))
			s.start()
			_, err = s.a.Sync(t.Context())
			require.ErrorIs(t, err, agent.ErrNoMap)
		}
		s.run(t)() // the control plane has it all
		require.NotNil(t, s.a.Netmap())
		now, err := os.ReadFile(document)
		require.NoError(t, err)
		require.Equal(t, string(good), string(now))

		require.NoError(t, os.WriteFile(document+".1234", nil, 0o600), "left by a crash")
		require.NoError(t, s.cfg.Dir.Clear())
		files, err = os.ReadDir(path)
		require.NoError(t, err)
		require.Empty(t, files)
		_, err = s.cfg.Dir.Identity()
		require.ErrorIs(t, err, agent.ErrNotJoined)

		require.NoError(t, os.WriteFile(filepath.Join(path, "identity.json"), []byte(`{"format":1,"private_keys":["secret"]}`), 0o600))
		_, err = s.cfg.Dir.Identity()
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
		require.NoError(t, os.Chmod(path, 0o755))
		_, err = agent.OpenDir(path)
		require.ErrorContains(t, err, "chmod 700")
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	_, err := agent.New(agent.Config{Interface: s.iface})
	require.ErrorIs(t, err, agent.ErrNotJoined)
	_, err = agent.New(agent.Config{Identity: s.id})
	require.Error(t, err)
	a, err := agent.New(agent.Config{Identity: s.id, Interface: s.iface})
	require.NoError(t, err)
	_, err = a.Sync(t.Context())
	require.ErrorIs(t, err, agent.ErrNoMap)
	require.Error(t, a.Rotate(t.Context()))
}
