package netmap_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestFrozenBytes: agents in the field read these documents.
func TestFrozenBytes(t *testing.T) {
	t.Parallel()
	m := small()
	first := sign(t, m, nil)
	m = next(m)
	m.Peers = slices.Delete(m.Peers, 1, 2)
	m.Peers[1].Endpoint = ""
	m.Openings.Leases[0].ExpiresAt = start.Add(48 * time.Hour)
	m.Preshared = 7
	second := sign(t, m, first)

	for name, got := range map[string][]byte{
		"whole.json": first.Append(nil),
		"delta.json": netmap.Diff(first, second).Append(nil),
	} {
		if *update {
			require.NoError(t, os.WriteFile("testdata/"+name, got, 0o600))
		}
		want, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
		require.True(t, json.Valid(got))
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	_, pub := signer(1)
	m := small()
	s, err := netmap.Parse(sign(t, m, nil).Append(nil))
	require.NoError(t, err)
	got, err := s.Open(pub)
	require.NoError(t, err)
	require.Equal(t, m, got)
	require.Equal(t, []any{"acme", "shop", "e1", uint64(1)}, []any{s.Network(), s.App(), s.Epoch(), s.Revision()})
}

// TestSameBytes: neither the way to a revision nor the clock shows in it.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	m := small()
	local := next(m)
	local.Revision = m.Revision
	for i := range local.Openings.Leases {
		l := &local.Openings.Leases[i]
		l.IssuedAt, l.ExpiresAt = l.IssuedAt.In(time.FixedZone("", 3600)), l.ExpiresAt.In(time.FixedZone("", -7200))
	}
	require.Equal(t, sign(t, m, nil).Append(nil), sign(t, local, nil).Append(nil))
}

// TestRandomSteps changes a map at random: signing from the revision before
// gives the same bytes as signing anew, and deltas between any two revisions
// lead to the same document.
func TestRandomSteps(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	_, pub := signer(1)
	m := small()
	history := []*netmap.Signed{sign(t, m, nil)}
	var steps []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, steps:\n%s", seed, strings.Join(steps, "\n"))
		}
	}()
	for i := range 150 {
		m = next(m)
		steps = append(steps, step(rnd, m, 1000+i))
		s := sign(t, m, history[len(history)-1])
		require.Equal(t, string(sign(t, m, nil).Append(nil)), string(s.Append(nil)))

		from := history[rnd.IntN(len(history))]
		d, err := netmap.ParseDelta(netmap.Diff(from, s).Append(nil))
		require.NoError(t, err)
		reached, err := from.Apply(d)
		require.NoError(t, err)
		got, err := reached.Open(pub)
		require.NoError(t, err)
		require.Equal(t, m, got)
		require.Equal(t, s.Content(), reached.Content())
		require.NoError(t, reached.Newer(from))
		require.ErrorIs(t, from.Newer(reached), netmap.ErrOlder)
		history = append(history, s)
	}
}

// step changes one thing of m and says what.
func step(rnd *rand.Rand, m *netmap.Map, n int) string {
	byID := func(a, b netmap.Peer) int { return strings.Compare(a.ID, b.ID) }
	switch rnd.IntN(7) {
	case 0, 1:
		p := server(n)
		m.Peers = append(m.Peers, p)
		slices.SortFunc(m.Peers, byID)
		return "add " + p.ID
	case 2:
		i := rnd.IntN(len(m.Peers))
		p := m.Peers[i]
		if slices.ContainsFunc(m.Peers, func(q netmap.Peer) bool { return q.Via == p.ID }) {
			return "keep the gateway"
		}
		m.Peers = slices.Delete(m.Peers, i, i+1)
		if len(m.Peers) == 0 {
			m.Peers = nil
		}
		return "remove " + p.ID
	case 3:
		p := &m.Peers[rnd.IntN(len(m.Peers))]
		p.PublicKey, p.KeyGen = pubOf(n), p.KeyGen+1
		return "rotate " + p.ID
	case 4:
		l := netmap.Opening{Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 114, byte(n)}), 32), IssuedAt: start, ExpiresAt: start.Add(time.Duration(1+n) * time.Minute)}
		m.Openings.Leases = slices.DeleteFunc(m.Openings.Leases, func(o netmap.Opening) bool { return o.Source == l.Source })
		m.Openings.Leases = append(m.Openings.Leases, l)
		slices.SortFunc(m.Openings.Leases, func(a, b netmap.Opening) int { return a.Source.Compare(b.Source) })
		return "lease " + l.Source.String()
	case 5:
		if len(m.Openings.Leases) < 2 {
			return "keep the leases"
		}
		i := rnd.IntN(len(m.Openings.Leases))
		m.Openings.Leases = slices.Delete(m.Openings.Leases, i, i+1)
		return fmt.Sprint("revoke ", i)
	default:
		return "nothing"
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	m := small()
	one := sign(t, m, nil)
	m = next(m)
	two := sign(t, m, one)
	m = next(m)
	m.Peers[0].Name = "laptop-2.ada"
	three := sign(t, m, two)
	m = next(m)
	m.Epoch = "e2"
	restored := sign(t, m, nil)

	require.Equal(t, one.Content(), two.Content(), "only the revision changed")
	require.NotEqual(t, two.Content(), three.Content())

	_, err := one.Apply(netmap.Diff(two, three))
	require.ErrorIs(t, err, netmap.ErrBase)
	_, err = (*netmap.Signed)(nil).Apply(netmap.Diff(one, two))
	require.ErrorIs(t, err, netmap.ErrBase)
	require.Zero(t, netmap.Diff(three, restored).From(), "another epoch starts over")
	got, err := three.Apply(netmap.Diff(three, restored))
	require.NoError(t, err)
	require.NoError(t, got.Newer(three))

	// A reader at revision 1 takes what leads from 2 to 3, as nothing had changed.
	require.ErrorIs(t, func() error { _, err := restored.Apply(netmap.Diff(two, three)); return err }(), netmap.ErrBase)
	got, err = one.Apply(netmap.Diff(two, three).At(1))
	require.NoError(t, err)
	require.Equal(t, three.Append(nil), got.Append(nil))
	require.Nil(t, netmap.Diff(nil, three).At(1))
	// Nothing changed but the revision, which the control plane does not know.
	d, err := netmap.ParseDelta(netmap.Diff(two, two).At(1).Append(nil))
	require.NoError(t, err)
	set, removed := d.Changes()
	require.Zero(t, set+removed)
	got, err = one.Apply(d)
	require.NoError(t, err)
	require.Equal(t, two.Append(nil), got.Append(nil))
	require.Nil(t, netmap.Diff(two, three).At(3))
	_, pub := signer(1)
	wrong, err := two.Apply(netmap.Diff(one, three).At(2))
	require.NoError(t, err)
	_, err = wrong.Open(pub)
	require.NoError(t, err)
}

func TestNewer(t *testing.T) {
	t.Parallel()
	m := small()
	one := sign(t, m, nil)
	require.NoError(t, one.Newer(nil))
	require.NoError(t, one.Newer(sign(t, m, nil)), "the same again")

	other := next(m)
	other.Revision = m.Revision
	other.Peers[0].Name = "x"
	require.ErrorIs(t, sign(t, other, nil).Newer(one), netmap.ErrOlder, "two documents of one revision")
	other.Network = "evil"
	require.ErrorIs(t, sign(t, other, nil).Newer(one), netmap.ErrForeign)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, pub := signer(1)
	evil, _ := signer(2)
	good := string(sign(t, small(), nil).Append(nil))
	forged, err := netmap.Sign(evil, small(), nil)
	require.NoError(t, err)

	edit := func(old, is string) []byte {
		require.Contains(t, good, old)
		return []byte(strings.Replace(good, old, is, 1))
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, netmap.ErrFormat},
		{"truncated", []byte(good[:len(good)/2]), netmap.ErrFormat},
		{"more behind it", []byte(good + "{}"), netmap.ErrFormat},
		{"newer format", edit(`"format":1`, `"format":2`), netmap.ErrFormat},
		{"no head", []byte(`{"from":0,"set":{},"signature":""}`), netmap.ErrFormat},
		{"unsigned", []byte(good[:strings.Index(good, `,"signature"`)] + "}"), netmap.ErrSignature},
		{"signed by somebody else", forged.Append(nil), netmap.ErrSignature},
		{"changed head", edit(`"revision":1`, `"revision":9`), netmap.ErrSignature},
		{"changed item", edit(`"name":"phone.ada"`, `"name":"phony.ada"`), netmap.ErrSignature},
		{"item under another key", edit(`"peer/dev/ada/phone"`, `"peer/dev/bob/phone"`), netmap.ErrSignature},
		{"item of an unknown kind", edit(`"set":{`, `"set":{"what/ever":1,`), netmap.ErrSignature},
		{"weak public key", edit(pubOf(100).String(), keys.PublicKey{1}.String()), netmap.ErrFormat},
		{"lease of a name", edit(`"lease/203.0.113.200/32"`, `"lease/example.org"`), netmap.ErrFormat},
		{"a delta that is not whole", edit(`"from":0`, `"from":1`), netmap.ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := netmap.Parse(tt.data)
			if err == nil {
				_, err = s.Open(pub)
			}
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "203.0.113", "no input in errors")
		})
	}
	s, err := netmap.Parse([]byte(good))
	require.NoError(t, err)
	_, err = s.Open(nil)
	require.ErrorIs(t, err, netmap.ErrSignature)
}

// TestUnknownIsIgnored: a newer writer may say more within a format.
func TestUnknownIsIgnored(t *testing.T) {
	t.Parallel()
	d, err := netmap.ParseDelta([]byte(`{"from":0,"head":{"format":1,"revision":1,"new":2},"set":{"new/thing":{"a":1}},"more":1}`))
	require.NoError(t, err)
	set, removed := d.Changes()
	require.Equal(t, []int{1, 0}, []int{set, removed})
	s, err := (*netmap.Signed)(nil).Apply(d)
	require.NoError(t, err)
	require.Contains(t, string(s.Append(nil)), `"new/thing":{"a":1}`, "what is signed is kept")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	pfx := netip.MustParsePrefix
	tests := map[string]func(m *netmap.Map){
		"format 0":                  func(m *netmap.Map) { m.Format = 0 },
		"no network":                func(m *netmap.Map) { m.Network = "" },
		"no epoch":                  func(m *netmap.Map) { m.Epoch = "" },
		"revision 0":                func(m *netmap.Map) { m.Revision = 0 },
		"no port":                   func(m *netmap.Map) { m.ListenPort = 0 },
		"suffix with a space":       func(m *netmap.Map) { m.Suffix = "a b" },
		"routes overlap":            func(m *netmap.Map) { m.Routes = []netip.Prefix{pfx("10.0.0.0/8"), pfx("10.66.0.0/16")} },
		"routes out of order":       func(m *netmap.Map) { m.Routes = []netip.Prefix{pfx("10.67.0.0/16"), pfx("10.66.0.0/16")} },
		"route with host bits":      func(m *netmap.Map) { m.Routes = []netip.Prefix{pfx("10.66.0.1/16")} },
		"peers out of order":        func(m *netmap.Map) { m.Peers[0], m.Peers[1] = m.Peers[1], m.Peers[0] },
		"peer twice":                func(m *netmap.Map) { m.Peers[1] = m.Peers[0] },
		"key twice":                 func(m *netmap.Map) { m.Peers[1].PublicKey = m.Peers[0].PublicKey },
		"no key":                    func(m *netmap.Map) { m.Peers[0].PublicKey = keys.PublicKey{} },
		"ID without owner":          func(m *netmap.Map) { m.Peers[0].ID = "dev/laptop" },
		"ID of another kind":        func(m *netmap.Map) { m.Peers[0].ID = "app/ada/laptop" },
		"ID with a quote":           func(m *netmap.Map) { m.Peers[0].ID = `dev/ada/"` },
		"no address":                func(m *netmap.Map) { m.Peers[0].AllowedIPs = nil },
		"address twice":             func(m *netmap.Map) { m.Peers[1].AllowedIPs = m.Peers[0].AllowedIPs },
		"prefix over an address":    func(m *netmap.Map) { m.Peers[1].AllowedIPs = []netip.Prefix{pfx("10.66.0.0/24")} },
		"everything":                func(m *netmap.Map) { m.Peers[1].AllowedIPs = []netip.Prefix{pfx("0.0.0.0/0")} },
		"mapped address":            func(m *netmap.Map) { m.Peers[1].AllowedIPs = []netip.Prefix{pfx("::ffff:10.0.0.1/128")} },
		"endpoint without port":     func(m *netmap.Map) { m.Peers[2].Endpoint = "203.0.113.1" },
		"endpoint port 0":           func(m *netmap.Map) { m.Peers[2].Endpoint = "203.0.113.1:0" },
		"endpoint of a bare IPv6":   func(m *netmap.Map) { m.Peers[2].Endpoint = "2001:db8::1:51820" },
		"keepalive negative":        func(m *netmap.Map) { m.Peers[2].Keepalive = -time.Second },
		"keepalive of a fraction":   func(m *netmap.Map) { m.Peers[2].Keepalive = time.Millisecond },
		"keepalive too long":        func(m *netmap.Map) { m.Peers[2].Keepalive = 24 * time.Hour },
		"name outside the suffix":   func(m *netmap.Map) { m.Peers[2].Names = []string{"example.org"} },
		"gateway is not there":      func(m *netmap.Map) { m.Peers[0].Via = "srv/shop/gone" },
		"gateway is a device":       func(m *netmap.Map) { m.Peers[0].Via = m.Peers[1].ID },
		"gateway behind a gateway":  func(m *netmap.Map) { m.Peers[4].Via = m.Peers[3].ID },
		"gateway of its own":        func(m *netmap.Map) { m.Peers[4].Via = m.Peers[4].ID },
		"rules overlap":             func(m *netmap.Map) { m.Openings.Permanent = []netip.Prefix{pfx("192.0.2.0/24"), pfx("192.0.2.7/32")} },
		"lease for a whole network": func(m *netmap.Map) { m.Openings.Leases[0].Source = pfx("203.0.113.0/24") },
		"lease for one IPv6":        func(m *netmap.Map) { m.Openings.Leases[1].Source = pfx("2001:db8::1/128") },
		"lease of no source":        func(m *netmap.Map) { m.Openings.Leases[0].Source = netip.Prefix{} },
		"lease twice":               func(m *netmap.Map) { m.Openings.Leases[1] = m.Openings.Leases[0] },
		"lease of no time":          func(m *netmap.Map) { m.Openings.Leases[0].ExpiresAt = m.Openings.Leases[0].IssuedAt },
		"lease of negative time":    func(m *netmap.Map) { m.Openings.Leases[0].ExpiresAt = start.Add(-time.Second) },
		"too many leases": func(m *netmap.Map) {
			m.Openings.Leases = make([]netmap.Opening, netmap.MaxOpenings+1)
		},
		"too many peers": func(m *netmap.Map) { m.Peers = make([]netmap.Peer, netmap.MaxPeers+1) },
	}
	require.NoError(t, small().Check())
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := small()
			spoil(m)
			require.ErrorIs(t, m.Check(), netmap.ErrInvalid)
		})
	}
	newer := small()
	newer.Format++
	require.ErrorIs(t, newer.Check(), netmap.ErrFormat)
	for _, ok := range []string{"[2001:db8::1]:51820", "vpn.example.org:1", "203.0.113.1:65535"} {
		m := small()
		m.Peers[2].Endpoint = ok
		require.NoError(t, m.Check(), ok)
	}
}

// TestManyOpenings: the largest document that is taken.
func TestManyOpenings(t *testing.T) {
	t.Parallel()
	_, pub := signer(1)
	m := mesh(1)
	for i := range netmap.MaxOpenings {
		a := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
		m.Openings.Leases = append(m.Openings.Leases, netmap.Opening{Source: netip.PrefixFrom(a, 32), IssuedAt: start, ExpiresAt: start.Add(time.Hour)})
	}
	data := sign(t, m, nil).Append(nil)
	s, err := netmap.Parse(data)
	require.NoError(t, err)
	got, err := s.Open(pub)
	require.NoError(t, err)
	require.Len(t, got.Openings.Leases, netmap.MaxOpenings)
	_, err = netmap.ParseDelta(make([]byte, netmap.MaxBytes+1))
	require.ErrorIs(t, err, netmap.ErrFormat)
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key, _ := signer(1)
	m := small()
	m.Peers[1] = m.Peers[0]
	_, err := netmap.Sign(key, m, nil)
	require.ErrorIs(t, err, netmap.ErrInvalid)
	m = small()
	m.Peers[0].ID = `dev/ada/"x`
	_, err = netmap.Sign(key, m, nil)
	require.ErrorIs(t, err, netmap.ErrInvalid)
}

func TestFor(t *testing.T) {
	t.Parallel()
	m := small()
	// web-00003 is the gateway of the laptop.
	peers := func(c *netmap.Config) (list []string) {
		for _, p := range c.Peers {
			require.Empty(t, p.Via)
			list = append(list, fmt.Sprint(p.ID[len("srv/"):], " ", p.AllowedIPs))
		}
		return list
	}
	c, err := m.For("srv/shop/web-00001")
	require.NoError(t, err)
	require.Equal(t, []string{
		"ada/phone [10.66.0.101/32 fd00::65/128]", "shop/web-00002 [10.66.0.2/32]", "shop/web-00003 [10.66.0.3/32 10.66.0.100/32]",
	}, peers(c))
	require.False(t, c.Forward)
	require.Equal(t, []netip.Prefix{addr(1)}, c.Addresses)
	require.Equal(t, pubOf(1), c.PublicKey)
	require.Len(t, c.Names, 3)
	require.Equal(t, netmap.Named{ID: "srv/shop/web-00001", Names: []string{"web-00001.apn", "web-00001.shop.apn"}, Addrs: []netip.Addr{addr(1).Addr()}}, c.Names[0])

	c, err = m.For("srv/shop/web-00003")
	require.NoError(t, err)
	require.Equal(t, []string{
		"ada/laptop [10.66.0.100/32]", "ada/phone [10.66.0.101/32 fd00::65/128]", "shop/web-00001 [10.66.0.1/32]", "shop/web-00002 [10.66.0.2/32]",
	}, peers(c))
	require.True(t, c.Forward)

	// A server behind NAT reaches all through its gateway, and is reached so.
	m.Peers[2].Via = m.Peers[4].ID
	require.NoError(t, m.Check())
	c, err = m.For("srv/shop/web-00001")
	require.NoError(t, err)
	require.Equal(t, []string{"shop/web-00003 [10.66.0.3/32 10.66.0.100/32 10.66.0.101/32 fd00::65/128 10.66.0.2/32]"}, peers(c))
	c, err = m.For("srv/shop/web-00002")
	require.NoError(t, err)
	require.Contains(t, peers(c), "shop/web-00003 [10.66.0.3/32 10.66.0.100/32 10.66.0.1/32]")
	require.Equal(t, []netip.Prefix{addr(3)}, m.Peers[4].AllowedIPs, "the map is not changed")

	for _, id := range []string{"srv/shop/gone", "dev/ada/phone", "srv/blog/web-1", ""} {
		_, err = m.For(id)
		require.ErrorIs(t, err, netmap.ErrForeign, id)
	}
	m.App = "blog"
	_, err = m.For("srv/shop/web-00001")
	require.ErrorIs(t, err, netmap.ErrForeign, "the openings are those of another app")
}

func FuzzParseDelta(f *testing.F) {
	m := small()
	one := sign(f, m, nil)
	m = next(m)
	m.Peers = m.Peers[1:]
	two := sign(f, m, one)
	f.Add(one.Append(nil))
	f.Add(netmap.Diff(one, two).Append(nil))
	f.Add([]byte(`{"from":0,"head":{"format":1,"revision":1},"set":{"peer/":null,"lease/":{},"route/::/0":[],"rule/x":1}}`))
	_, pub := signer(1)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := netmap.ParseDelta(data)
		if err != nil {
			require.ErrorIs(t, err, netmap.ErrFormat)
			return
		}
		again, err := netmap.ParseDelta(d.Append(nil))
		require.NoError(t, err)
		require.Equal(t, d.Append(nil), again.Append(nil))
		base := one
		if d.From() == 0 {
			base = nil
		}
		s, err := base.Apply(d)
		if err != nil {
			return
		}
		if m, err := s.Open(pub); err == nil {
			require.True(t, bytes.Equal(s.Append(nil), one.Append(nil)) || bytes.Equal(s.Append(nil), two.Append(nil)), "nobody else signed: %v", m)
		}
	})
}
