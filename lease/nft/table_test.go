//go:build linux

package nft_test

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/lease/nft"
)

var (
	ada  = netip.MustParseAddr("198.51.100.7")
	bob  = netip.MustParseAddr("198.51.100.8")
	eve  = netip.MustParseAddr("192.0.2.66")
	ada6 = netip.MustParseAddr("2001:db8:0:1::7")
)

// let opens the port to addresses for a while.
func let(d time.Duration, list ...netip.Addr) lease.Openings {
	var o lease.Openings
	for _, a := range list {
		bits := 64
		if a.Is4() {
			bits = 32
		}
		o.Leases = append(o.Leases, lease.Opening{Source: netip.PrefixFrom(a, bits).Masked(), ExpiresAt: time.Now().Add(d)})
	}
	return o
}

func (s *street) apply(tb testing.TB, o lease.Openings) {
	tb.Helper()
	require.NoError(tb, s.table.Apply(tb.Context(), o))
}

// in wants a datagram to arrive; a busy host loses some.
func (s *street) in(tb testing.TB, from netip.Addr) {
	tb.Helper()
	require.Eventually(tb, func() bool { return s.knock(tb, from) }, 5*time.Second, time.Millisecond, "%v does not get in", from)
}

// out wants none of several to arrive.
func (s *street) out(tb testing.TB, from netip.Addr) {
	tb.Helper()
	for range 4 {
		require.False(tb, s.knock(tb, from), "%v gets in", from)
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opts nft.Options
	}{
		{"no port", nft.Options{}},
		{"table name with a space", nft.Options{Port: 1, Name: "a b"}},
		{"table name with a quote", nft.Options{Port: 1, Name: `a"`}},
		{"table name that is a number", nft.Options{Port: 1, Name: "1"}},
		{"interface name too long", nft.Options{Port: 1, Interface: "sixteen-letters-"}},
		{"interface name with a line break", nft.Options{Port: 1, Interface: "a\nb"}},
		{"inside everywhere", nft.Options{Port: 1, Inside: []string{"*"}}},
		{"inside nowhere", nft.Options{Port: 1, Inside: []string{""}}},
		{"host bits", nft.Options{Port: 1, Protected: prefixes("10.0.0.1/8")}},
		{"mapped prefix", nft.Options{Port: 1, Protected: prefixes("::ffff:10.0.0.0/104")}},
		{"no prefix", nft.Options{Port: 1, Protected: make([]netip.Prefix, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := nft.Open(t.Context(), tt.opts)
			require.ErrorIs(t, err, nft.ErrInvalid)
			_, err = nft.BootFile(tt.opts)
			require.ErrorIs(t, err, nft.ErrInvalid)
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	opening := func(source string, at time.Time) lease.Openings {
		return lease.Openings{Leases: []lease.Opening{{Source: netip.MustParsePrefix(source), ExpiresAt: at}}}
	}
	now := time.Now()
	tests := []struct {
		name string
		o    lease.Openings
		want error
	}{
		{"no end", opening("198.51.100.7/32", time.Time{}), nft.ErrNoTimeout},
		{"too late an end", opening("198.51.100.7/32", now.Add(nft.MaxTimeout+time.Hour)), nft.ErrTimeout},
		{"subnet", opening("198.51.100.0/24", now.Add(time.Hour)), nft.ErrInvalid},
		{"host bits", opening("2001:db8::1/64", now.Add(time.Hour)), nft.ErrInvalid},
		{"permanent with host bits", lease.Openings{Permanent: prefixes("198.51.100.7/24")}, nft.ErrInvalid},
	}
	s.apply(t, let(time.Hour, bob))
	for _, tt := range tests {
		err := s.table.Apply(t.Context(), tt.o)
		require.ErrorIs(t, err, tt.want, tt.name)
		var o *nft.OpeningError
		require.ErrorAs(t, err, &o, tt.name)
	}
	require.EqualError(t, s.table.Apply(t.Context(), tests[0].o), "nft: apply: source 198.51.100.7/32: lease has no end")
	s.in(t, bob)
	require.NoError(t, s.table.Apply(t.Context(), opening("198.51.100.7/32", now.Add(nft.MaxTimeout))), "the longest")
	s.in(t, ada)
}

// TestTakeOver: whoever opens the table anew, with what it holds, shuts nobody
// out for a moment.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	o := nft.Options{Openings: let(time.Hour, ada)}
	o.Openings.Permanent = prefixes("192.0.2.0/24")
	s := newStreet(t, o)
	s.in(t, ada)
	require.False(t, s.knock(t, bob))
	o.Port, o.Namespace = port, s.fd
	var opening sync.WaitGroup
	stop := make(chan struct{})
	opening.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			again, err := nft.Open(t.Context(), o)
			if err == nil {
				err = again.Close()
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range 200 {
		if !s.knock(t, ada) {
			t.Errorf("packet %d is lost", n)
			break
		}
	}
	close(stop)
	opening.Wait()
}

func TestNothingChangedWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	o := let(time.Hour, ada, bob, ada6)
	o.Permanent = prefixes("192.0.2.0/25", "192.0.2.128/25")
	s.apply(t, o)
	before, err := s.table.Generation(t.Context())
	require.NoError(t, err)
	for range 10 {
		s.apply(t, o)
	}
	require.NoError(t, s.table.Guard(t.Context(), port, nil))
	after, err := s.table.Generation(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
	s.apply(t, let(time.Hour, ada))
	after, err = s.table.Generation(t.Context())
	require.NoError(t, err)
	require.Equal(t, before+1, after, "a change is one transaction")
}

// TestEndLeavesNoTrace: that the kernel drops what has ended is no change of
// somebody else.
func TestEndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	s.apply(t, let(300*time.Millisecond, ada))
	before, err := s.table.Generation(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !s.knock(t, ada) }, 5*time.Second, time.Millisecond)
	s.apply(t, lease.Openings{})
	after, err := s.table.Generation(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestReplacementsLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{Interface: "apn0"})
	o := let(time.Hour, ada)
	s.apply(t, o)
	var sent atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-s.pace.C:
				if _, err := s.neighbours[ada].WriteToUDPAddrPort([]byte("x"), local(s.host[true])); err == nil {
					sent.Add(1)
				}
			}
		}
	}()
	var got int64
	received := make(chan struct{})
	go func() {
		defer close(received)
		for buf := make([]byte, 9); ; got++ {
			if _, err := s.host[true].Read(buf); err != nil {
				return
			}
		}
	}()
	for i := range 100 { // whole tables, whole sets, and single leases
		require.NoError(t, s.table.Guard(t.Context(), port, prefixes(fmt.Sprintf("10.66.%d.0/24", i))))
		more := let(time.Hour, ada, bob)
		more.Permanent = prefixes(fmt.Sprintf("10.%d.0.0/16", i))
		s.apply(t, more)
		s.apply(t, let(time.Hour, ada))
	}
	close(stop)
	<-stopped
	require.NoError(t, s.host[true].SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	<-received
	require.Equal(t, sent.Load(), got)
	require.Positive(t, got)
}

func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	changes, err := s.table.Changes(t.Context())
	require.NoError(t, err)
	told := func(why string) {
		t.Helper()
		select {
		case _, ok := <-changes:
			require.True(t, ok, why)
		case <-time.After(5 * time.Second):
			require.Fail(t, "not told", why)
		}
	}
	o := let(time.Hour, ada)
	s.apply(t, o)
	told("our own")

	other, err := nft.Open(t.Context(), nft.Options{Port: port, Name: "other", Namespace: s.fd})
	require.NoError(t, err)
	require.NoError(t, other.Remove(t.Context()))
	select {
	case <-changes:
		require.Fail(t, "told of another table")
	default:
	}

	// A second Table of the same name stands for "nft delete table".
	stranger, err := nft.Open(t.Context(), nft.Options{Port: 1, Namespace: s.fd})
	require.NoError(t, err)
	told("replaced")
	require.NoError(t, stranger.Remove(t.Context()))
	told("removed")
	state, err := s.table.State(t.Context())
	require.NoError(t, err)
	require.False(t, state.Installed)
	s.in(t, eve)

	s.apply(t, o)
	told("restored")
	s.out(t, eve)
	s.in(t, ada)
	require.NoError(t, s.table.Remove(t.Context()))
	require.NoError(t, s.table.Remove(t.Context()), "again")
	require.NoError(t, s.table.Close())
	require.NoError(t, s.table.Close(), "again")
	s.in(t, eve)
	s.apply(t, o)
	s.out(t, eve)
}

// TestClock sets the clock while leases run. The kernel's timeouts follow with
// the next Apply, though nothing else has changed.
func TestClock(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	s := newStreet(t, nft.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	o := let(time.Hour, ada)
	o.Leases[0].ExpiresAt = o.Leases[0].ExpiresAt.Round(0)
	s.apply(t, o)
	left := func() time.Duration {
		got, err := s.table.Openings(t.Context())
		require.NoError(t, err)
		require.Len(t, got.Leases, 1)
		require.Equal(t, o.Leases[0].Source, got.Leases[0].Source)
		return got.Leases[0].ExpiresAt.Sub(time.Now().Add(time.Duration(ahead.Load())))
	}
	require.InDelta(t, time.Hour, left(), float64(10*time.Second))
	ahead.Store(int64(50 * time.Minute)) // as after a sleep
	require.InDelta(t, time.Hour, left(), float64(10*time.Second), "the kernel knows nothing yet")
	s.apply(t, o)
	require.InDelta(t, 10*time.Minute, left(), float64(10*time.Second))
	ahead.Store(int64(-time.Hour))
	s.apply(t, o)
	require.InDelta(t, 2*time.Hour, left(), float64(10*time.Second))
	ahead.Store(int64(2 * time.Hour))
	s.apply(t, o)
	s.out(t, ada)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	s.apply(t, let(time.Hour, ada))
	elsewhere := s.listen(t, "203.0.113.1:4711")
	reach := func(from netip.Addr) bool {
		for i := range 5 {
			if hears(t, s.neighbours[from], elsewhere, fmt.Sprint("elsewhere ", i)) {
				return true
			}
		}
		return false
	}
	require.True(t, reach(eve), "not our port yet")
	require.NoError(t, s.table.Guard(t.Context(), 4711, prefixes("10.66.0.0/24")))
	require.True(t, reach(ada), "openings move along")
	require.False(t, reach(eve))
	s.in(t, eve)
	require.ErrorIs(t, s.table.Guard(t.Context(), 0, nil), nft.ErrInvalid)
	require.False(t, reach(eve))
}

func TestState(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	s.apply(t, let(time.Hour, ada))
	s.in(t, ada)
	s.out(t, eve)
	require.False(t, s.answer(t, ada6))
	got, err := s.table.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, nft.State{Installed: true, Knocks: 4, Answers: 1}, got)
}

func TestHundredThousand(t *testing.T) {
	t.Parallel()
	s := newStreet(t, nft.Options{})
	o := leases(100_000, time.Now().Add(time.Hour))
	s.apply(t, o)
	s.out(t, ada)
	o.Leases = append(o.Leases, let(time.Hour, ada).Leases...)
	s.apply(t, o)
	s.in(t, ada)
	s.apply(t, lease.Openings{})
	s.out(t, ada)
}

func TestNoPrivilege(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var err error
	b.do(func() { // its thread ends with the test
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&head, &none[0]); err == nil {
			_, err = nft.Open(t.Context(), nft.Options{Port: port})
		}
	})
	require.ErrorIs(t, err, nft.ErrPrivilege)
	require.ErrorIs(t, err, os.ErrPermission)
}
