//go:build linux

package e2e_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/keys"
)

// closed has a laptop that is a peer of the servers and has no lease: its
// packets come, and nobody hears them.
func (b *bed) closed(t *testing.T) {
	t.Helper()
	key := b.config.Interface.PrivateKey.PublicKey()
	for _, s := range b.servers {
		require.True(t, has(s.wireguard(t), key), "%s does not know the laptop", s.name)
		f := b.laptop.flow(t, s.addr, 10*time.Millisecond)
		defer f.stop()
		defer func() {
			_, n := f.lastBack()
			require.Zero(t, n, "laptop reaches %s", s.name)
		}()
	}
	time.Sleep(silence) // that nothing comes takes its time
	for _, s := range b.servers {
		require.NotZero(t, s.status(t).Table.Knocks, "nothing came to %s", s.name)
	}
}

// lease opens both apps for the laptop, from the laptop: each server answers
// under its name, which a server tells.
func (b *bed) lease(t *testing.T) {
	t.Helper()
	for _, app := range []string{"shop", "blog"} {
		b.leaseNow(t, app, time.Hour)
	}
	for _, s := range b.servers {
		s.opens(t, b.nat.wire)
	}
	b.laptop.fresh(t)
	dns := b.servers[0].addr
	b.laptop.reaches(t, dns)
	for _, s := range b.servers {
		for _, n := range b.names(t, s) {
			require.Equal(t, s.addr, b.laptop.lookup(t, dns, n), n)
		}
		name := s.label + "." + s.app + ".apn"
		t.Logf("%s answers after %v", name, b.laptop.reaches(t, b.laptop.lookup(t, dns, name)))
	}
}

// leaseNow is "Lease Now", for the address that the laptop's request comes from.
func (b *bed) leaseNow(t *testing.T, app string, d time.Duration) (id string, ends time.Time) {
	t.Helper()
	l := b.ada.post(t, acme+"/apps/"+app+"/leases", `{"duration":"`+d.String()+`"}`).items()[0]
	require.Equal(t, b.nat.wire.String()+"/32", l.text("source"))
	ends, err := time.Parse(time.RFC3339Nano, l.text("expires_at"))
	require.NoError(t, err)
	return l.text("id"), ends
}

// others has a stranger, who is a peer without a lease, and a neighbour, who
// sends to the servers' addresses by the wire.
func (b *bed) others(t *testing.T) {
	t.Helper()
	web := b.servers[0]
	before := web.status(t).Table.Knocks
	b.stranger.fresh(t)
	b.stranger.blocked(t, web.addr)
	require.Greater(t, web.status(t).Table.Knocks, before, "nothing came")

	b.neighbour.route(t, netip.MustParsePrefix("10.66.0.0/16"), web.wire)
	before = web.status(t).Table.Spoofed
	b.neighbour.blocked(t, web.addr)
	require.Greater(t, web.status(t).Table.Spoofed, before, "nothing came")
	b.neighbour.reaches(t, web.wire) // the way itself is open
}

// revoked has a flow end with its lease.
func (b *bed) revoked(t *testing.T) {
	t.Helper()
	web := b.servers[0]
	f := b.laptop.flow(t, web.addr, 2*time.Millisecond)
	f.flows(t)
	id, _ := b.leaseNow(t, "shop", time.Hour)
	b.ada.call(t, http.MethodDelete, acme+"/apps/shop/leases/"+id, "")
	done := time.Now()
	time.Sleep(silence)
	last, _ := f.lastBack()
	t.Logf("silent %v after the answer", last.Sub(done).Round(100*time.Microsecond))
	require.Less(t, last.Sub(done), loaded(t, 100*time.Millisecond))
}

// ends has a lease end on a server that works and on one whose agent was
// killed, while packets go both ways.
func (b *bed) ends(t *testing.T) {
	t.Helper()
	web, db := b.servers[0], b.servers[1]
	wire := b.nat.tap(t)
	_, ends := b.leaseNow(t, "shop", 3*time.Second)
	web.opens(t, b.nat.wire)
	db.opens(t, b.nat.wire)
	db.agent.signal(unix.SIGKILL)
	kernel := db.start(t, role+"=keep", "/proc/self/exe", "/var/lib/apn-agent")
	defer func() {
		kernel.signal(unix.SIGKILL)
		db.begin(t)
	}()
	kernel.says(t, "up")
	b.laptop.fresh(t)
	laptop := b.config.Interface.Addresses[0].Addr()
	for _, s := range []*server{web, db} {
		to, from := b.laptop.flow(t, s.addr, 2*time.Millisecond), s.flow(t, laptop, 2*time.Millisecond)
		to.flows(t)
		from.flows(t)
		defer func() {
			last, _ := to.lastBack()
			sent := wire.last(s.wire)
			t.Logf("%s: last answer %v, last datagram to the laptop %v after the end", s.name,
				last.Sub(ends).Round(100*time.Microsecond), sent.Sub(ends).Round(100*time.Microsecond))
			for _, at := range []time.Time{last, sent} {
				require.WithinRange(t, at, ends.Add(-time.Second), ends.Add(200*time.Millisecond))
			}
		}()
	}
	time.Sleep(time.Until(ends) + silence)
}

// renewed has a flow go on soon after a new lease.
func (b *bed) renewed(t *testing.T) {
	t.Helper()
	f := b.laptop.flow(t, b.servers[0].addr, 2*time.Millisecond)
	began := time.Now()
	b.leaseNow(t, "shop", time.Hour)
	f.flows(t)
	took := time.Since(began)
	t.Logf("back after %v", took.Round(100*time.Microsecond))
	require.Less(t, took, loaded(t, time.Second))
}

// lostRole takes a role from ada and gives it back, with her lease running.
func (b *bed) lostRole(t *testing.T) {
	t.Helper()
	key := b.config.Interface.PrivateKey.PublicKey()
	web := b.servers[0]
	f := b.laptop.flow(t, web.addr, 2*time.Millisecond)
	f.flows(t)
	began := time.Now()
	b.admin.put(t, acme+"/members/ada/roles/shop", `{"role":"viewer"}`)
	for _, s := range b.servers {
		if s.app == "shop" {
			s.drops(t, key)
		} else {
			require.True(t, has(s.wireguard(t), key), "%s is of another app", s.name)
		}
	}
	t.Logf("peer gone from all servers after %v", time.Since(began).Round(time.Millisecond))
	time.Sleep(silence)
	last, _ := f.lastBack()
	t.Logf("silent after %v", last.Sub(began).Round(time.Millisecond))
	require.Less(t, last.Sub(began), silence)
	b.admin.put(t, acme+"/members/ada/roles/shop", `{"role":"developer"}`)
}

func (b *bed) publicKey(t *testing.T, path string) keys.PublicKey {
	t.Helper()
	key, err := keys.ParsePublicKey(b.admin.get(t, path).text("public_key"))
	require.NoError(t, err)
	return key
}

// names returns the names of a server.
func (b *bed) names(t *testing.T, s *server) []string {
	t.Helper()
	var names []string
	for _, n := range b.admin.get(t, s.path())["names"].([]any) {
		names = append(names, n.(string))
	}
	return names
}
