package ipam_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

// replicas are several processes that decide on Pools of their own and commit to
// one log at its head, as apn does.
type replicas struct {
	t    testing.TB
	n    func(int) int
	cfg  ipam.Config
	now  time.Time
	log  []map[string]*ipam.Record // the rows of each commit; nil: deleted
	rows map[string]ipam.Record
	all  []*replica
}

type replica struct {
	p       *ipam.Pool
	rev     int
	pending []ipam.Change // applied, not yet committed
}

func newReplicas(tb testing.TB, n func(int) int) *replicas {
	tb.Helper()
	s := &replicas{t: tb, n: n, now: start, rows: map[string]ipam.Record{}}
	s.cfg = ipam.Config{
		Prefixes: pfx("10.0.0.0/24", "fd12:3456:789a::/48"),
		Subnet4:  ipam.Bits{Default: 28, Max: 30}, CoolDown: time.Hour,
	}
	for range 3 {
		s.all = append(s.all, &replica{p: load(tb, s.cfg, nil)})
	}
	return s
}

func (s *replicas) step() {
	r := s.all[s.n(len(s.all))]
	app, owner := fmt.Sprint("app-", s.n(3)), fmt.Sprint("srv-", s.n(12))
	var c ipam.Change
	var err error
	switch op := s.n(20); {
	case op < 6:
		_, c, err = r.p.Acquire(s.now, app, owner, &ipam.AcquireOptions{AutoGrow: true})
	case op < 9:
		c, err = r.p.Release(s.now, app, owner, 0)
	case op < 11:
		_, c, err = r.p.Move(s.now, app, owner, netip.Addr{})
	case op < 13:
		_, c, err = r.p.Subnet(s.now, app, nil)
	case op < 14:
		c, err = r.p.ReleaseSubnet(s.now, app)
	case op < 15:
		s.now = s.now.Add(time.Duration(s.n(60)) * time.Minute)
	case op < 19:
		s.commit(r)
	default: // a crash
		*r = replica{p: load(s.t, s.cfg, slices.Collect(maps.Values(s.rows))), rev: len(s.log)}
	}
	if err == nil && !c.Empty() {
		require.NoError(s.t, r.p.Apply(c))
		r.pending = append(r.pending, c)
	}
}

// commit writes what r has pending, if nobody else was faster, as one batch.
func (s *replicas) commit(r *replica) {
	bulk := ipam.Join(r.pending...)
	if r.rev < len(s.log) {
		for _, c := range slices.Backward(r.pending) {
			require.NoError(s.t, r.p.Apply(c.Inverse()))
		}
		r.pending = nil
		s.refresh(r)
		return
	}
	if bulk.Empty() {
		r.pending = nil
		return
	}
	batch := map[string]*ipam.Record{}
	for _, st := range bulk.Steps {
		if st.After == nil {
			batch[st.Before.Key()] = nil
			delete(s.rows, st.Before.Key())
		} else {
			batch[st.After.Key()] = st.After
			s.rows[st.After.Key()] = *st.After
		}
	}
	s.log = append(s.log, batch)
	r.pending = nil
	if s.n(4) == 0 {
		// The acknowledgement is lost: r undoes, and reads what happened.
		require.NoError(s.t, r.p.Apply(bulk.Inverse()))
		s.refresh(r)
		return
	}
	r.rev = len(s.log)
}

// refresh applies the rows that others have committed, the newest of each key.
func (s *replicas) refresh(r *replica) {
	rows := map[string]*ipam.Record{}
	for _, batch := range s.log[r.rev:] {
		maps.Copy(rows, batch)
	}
	var c ipam.Change
	for key, after := range rows {
		st := ipam.Step{After: after}
		if before, ok := r.p.Record(key); ok {
			st.Before = &before
		}
		if st.Before != nil || st.After != nil {
			c.Steps = append(c.Steps, st)
		}
	}
	require.NoError(s.t, r.p.Apply(c))
	r.rev = len(s.log)
}

// settle brings all replicas to the head and compares them.
func (s *replicas) settle() {
	want := slices.Collect(maps.Values(s.rows))
	sound(s.t, want)
	loaded := load(s.t, s.cfg, want)
	require.Empty(s.t, loaded.Audit())
	for _, r := range s.all {
		for _, c := range slices.Backward(r.pending) {
			require.NoError(s.t, r.p.Apply(c.Inverse()))
		}
		r.pending = nil
		s.refresh(r)
		require.Equal(s.t, state(loaded), state(r.p))
		require.Equal(s.t, loaded.Usage(""), r.p.Usage(""))
		require.NoError(s.t, ipam.Check(r.p))
	}

	// Nothing has leaked: when all is released and rested, one app can have it all.
	p := s.all[0].p
	for _, sub := range slices.Collect(p.Subnets()) {
		for _, a := range slices.Collect(p.Assignments(sub.App)) {
			c, err := p.Release(s.now, a.App, a.Owner, a.Gen)
			require.NoError(s.t, err)
			require.NoError(s.t, p.Apply(c))
		}
		c, err := p.ReleaseSubnet(s.now, sub.App)
		require.NoError(s.t, err)
		require.NoError(s.t, p.Apply(c))
	}
	_, c, err := p.Subnet(s.now.Add(2*time.Hour), "heir", &ipam.SubnetOptions{At: s.cfg.Prefixes[:1]})
	require.NoError(s.t, err)
	require.NoError(s.t, p.Apply(c))
	require.Len(s.t, state(p), 1)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			s := newReplicas(t, rand.New(rand.NewPCG(seed, 3)).IntN)
			for range 1500 {
				s.step()
			}
			s.settle()
		})
	}
}
