package dnszone_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
)

// FuzzReplyNeverPanics: any packet gets a reply within its limits that echoes ID
// and question and that the oracle can read, or none.
func FuzzReplyNeverPanics(f *testing.F) {
	set := richSet(f)
	for _, name := range []string{"web.apn", "WEB.shop.apn", "db.apn", "x.mail.shop.apn", "www.apn", "", "apn", "1.16.1.10.in-addr.arpa"} {
		for _, typ := range []dnszone.Type{1, 2, 5, 6, 12, 16, 28, 33, 41, 251, 252, 255, 65280} {
			f.Add(ask(name, typ, false), false)
			f.Add(ask(name, typ, true), true)
		}
	}
	f.Add(append(ask("apn", dnszone.TypeIXFR, false), 0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0), true)
	f.Add(append(ask("a", 1, false)[:12], "\x08web.shop\x03apn\x00\x00\x01\x00\x01"...), false)
	f.Fuzz(func(t *testing.T, query []byte, tcp bool) {
		via, limit := dnszone.UDP, dnszone.MaxUDP
		if tcp {
			via, limit = dnszone.TCP, 65535
		}
		given := slices.Clone(query)
		prefix := []byte("prefix")
		out, err := set.AppendReply(prefix, query, via)
		require.Equal(t, given, query)
		require.Equal(t, "prefix", string(out[:6]))
		reply := out[6:]
		if err != nil {
			require.ErrorIs(t, err, dnszone.ErrDrop)
			require.Empty(t, reply)
			require.True(t, len(query) < 12 || query[2]&0x80 != 0)
			return
		}
		require.LessOrEqual(t, len(reply), limit)
		require.Equal(t, query[:2], reply[:2])
		require.NotZero(t, reply[2]&0x80)
		if reply[5] == 1 {
			end := 12
			for reply[end] != 0 {
				end += 1 + int(reply[end])
			}
			require.Equal(t, query[12:end+5], reply[12:end+5])
		} else {
			require.Len(t, reply, 12)
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil && !strings.Contains(err.Error(), "invalid dns name") {
			t.Fatalf("%v: %x", err, reply)
		}
	})
}

// FuzzBuildAgainstModel turns bytes into hosts and changes, and compares with
// the naive model.
func FuzzBuildAgainstModel(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, byte(seed), byte(20))
	}
	f.Fuzz(func(t *testing.T, seed uint64, policy, steps byte) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := model{hosts: map[string]dnszone.Host{}, cfg: dnszone.Config{
			Suffixes: []string{"apn"}, Reverse: prefixes("10.1.16.0/22", "fd00::/64"), Collisions: dnszone.CollisionPolicy(policy % 2),
		}}
		dense := 2 + rng.IntN(12)
		set := mustBuild(t, m.cfg)
		for range steps % 32 {
			id := fmt.Sprint(rng.IntN(dense))
			c := dnszone.Change{Host: randomHost(rng, id, dense), Remove: rng.IntN(3) == 0}
			m.hosts[id] = c.Host
			if c.Remove {
				delete(m.hosts, id)
			}
			var err error
			set, _, err = set.Update(set.Serial()+1, c)
			require.NoError(t, err)
		}
		require.Equal(t, m.records(), lines(set))
	})
}

// FuzzConfigNeverPanics: a Config is refused with its field or gives zones that
// read back.
func FuzzConfigNeverPanics(f *testing.F) {
	f.Add("apn", "ns1", "hostmaster@example.com", "x.apn", uint16(16), "\x01a")
	f.Add("a.b.", "ns.example.net.", `a\.b.c`, "*.apn", uint16(5), "\x01a\x00")
	f.Add("apn", "a", "a.b", "m.apn", uint16(15), "AA\x01A\x00")
	f.Add("ü", `\046`, "@", `a\`, uint16(6), "")
	f.Add(strings.Repeat("a.", 120), "a", "a.b", strings.Repeat("b.", 120)+"a", uint16(33), "\x00\x00\x00\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, suffix, ns, mbox, owner string, typ uint16, data string) {
		set, _, err := dnszone.Build(dnszone.Config{
			Suffixes: []string{suffix}, NS: []dnszone.NameServer{{Name: ns, Addrs: addrs("10.0.0.1")}}, Mbox: mbox,
			Extra: []dnszone.Record{{Name: owner, Type: dnszone.Type(typ), Data: data}},
		}, 1, nil)
		if err != nil {
			var bad *dnszone.ConfigError
			require.ErrorAs(t, err, &bad)
			return
		}
		for z := range set.Zones() {
			require.Equal(t, slices.Collect(z.Records()), parseMaster(t, masterFile(t, z)))
		}
	})
}

// TestReplyAllocates pins the hot path to no allocation at all.
func TestReplyAllocates(t *testing.T) {
	set := richSet(t)
	buf := make([]byte, 0, 4096)
	chunk := make([]byte, 2)
	for _, name := range []string{"web.apn", "WEB.shop.apn", "db.apn", "x.mail.shop.apn", "nothing.here.apn", "chain.apn", "apn", "example.com", "1.16.1.10.in-addr.arpa", "4.17.1.10.in-addr.arpa", "4.3.2.1"} {
		for _, typ := range []dnszone.Type{1, 2, 5, 6, 12, 16, 28, 33, 252, 255} {
			for _, opt := range []bool{false, true} {
				q := ask(name, typ, opt)
				if opt {
					binary.BigEndian.PutUint16(chunk, 4096)
					copy(q[len(q)-8:], chunk)
				}
				for _, via := range []dnszone.Transport{dnszone.UDP, dnszone.TCP} {
					n := testing.AllocsPerRun(20, func() { _, _ = set.AppendReply(buf[:0], q, via) })
					require.Zerof(t, n, "%s %s", name, typ)
				}
			}
		}
	}
}
