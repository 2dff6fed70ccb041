package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

var errCrash = errors.New("crash")

// crashStore stops working at its n-th call: before the call takes effect, or
// just after. It stays dead, as a killed process does.
type crashStore struct {
	keys.Store
	after bool

	mu   sync.Mutex
	left int
}

func (s *crashStore) call(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left > 0 {
		return do()
	}
	if s.left == 0 && s.after {
		return errors.Join(errCrash, do())
	}
	return errCrash
}

func (s *crashStore) Networks(ctx context.Context, after string, limit int) (names []string, err error) {
	err = s.call(func() error { names, err = s.Store.Networks(ctx, after, limit); return err })
	return names, err
}

func (s *crashStore) Get(ctx context.Context, network string, names ...string) (rows []keys.Row, err error) {
	err = s.call(func() error { rows, err = s.Store.Get(ctx, network, names...); return err })
	return rows, err
}

func (s *crashStore) List(ctx context.Context, network, prefix, after string, limit int) (rows []keys.Row, err error) {
	err = s.call(func() error { rows, err = s.Store.List(ctx, network, prefix, after, limit); return err })
	return rows, err
}

func (s *crashStore) Swap(ctx context.Context, network string, checks, writes []keys.Row) error {
	return s.call(func() error { return s.Store.Swap(ctx, network, checks, writes) })
}

// populate stores three owners in each network and returns what they hold.
func populate(tb testing.TB, v *keys.Vault, networks ...string) map[string]keys.PublicKey {
	tb.Helper()
	want := map[string]keys.PublicKey{}
	for _, n := range networks {
		require.NoError(tb, v.Create(tb.Context(), call, n))
		for i := range 3 {
			id := fmt.Sprint("web-", i)
			key, _, err := v.Generate(tb.Context(), call, n, id, keys.Managed)
			require.NoError(tb, err)
			want[n+" "+id] = key.Public
		}
	}
	return want
}

// readable wants every key to be revealed by a process that just started.
func readable(tb testing.TB, k *keys.KEKSet, s keys.Store, want map[string]keys.PublicKey, when string) {
	tb.Helper()
	v := keys.NewVault(k, s, nil)
	for at, pub := range want {
		network, id, _ := strings.Cut(at, " ")
		priv, err := v.Reveal(tb.Context(), call, network, id, 0)
		require.NoErrorf(tb, err, "%s: %s", when, at)
		require.Equalf(tb, pub, priv.PublicKey(), "%s: %s", when, at)
		_, err = v.Find(tb.Context(), call, network, pub)
		require.NoErrorf(tb, err, "%s: %s", when, at)
	}
}

// TestCrashes kills a rotation at each call of the store, before and after the
// call took effect. Nothing is unreadable at any moment, and running it again
// finishes it.
func TestCrashes(t *testing.T) {
	t.Parallel()
	both := keys.Multi(kek("b"), kek("a"))
	operations := map[string]func(ctx context.Context, m *keys.Manager) error{
		"RotateDEK and Reseal": func(ctx context.Context, m *keys.Manager) error {
			if _, err := m.RotateDEK(ctx, call, "acme"); err != nil {
				return err
			}
			_, err := m.Reseal(ctx, call, "acme")
			return err
		},
		"RewrapKEK": func(ctx context.Context, m *keys.Manager) error {
			_, err := m.RewrapKEK(ctx, call)
			return err
		},
	}
	for name, run := range operations {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", after=", after), func(t *testing.T) {
				t.Parallel()
				finished := false
				for n := 1; !finished; n++ {
					require.Less(t, n, 200)
					s := &keys.MemStore{}
					want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "acme", "other")
					when := fmt.Sprint("crash at call ", n)

					crashing := &crashStore{Store: s, after: after, left: n}
					err := run(t.Context(), keys.NewManager(keys.NewVault(both, crashing, nil), nil))
					if finished = err == nil; !finished {
						require.ErrorIs(t, err, errCrash)
					}
					readable(t, both, s, want, when)

					m := keys.NewManager(keys.NewVault(both, s, nil), nil)
					require.NoError(t, run(t.Context(), m), when)
					readable(t, both, s, want, "finished after "+when)
					report, err := m.Verify(t.Context(), call, "acme")
					require.NoError(t, err)
					require.Empty(t, report.Damaged)
					require.Zero(t, report.StaleDEK)
					require.Equal(t, 1, report.DEKs)
					if name == "RewrapKEK" {
						require.True(t, report.Clean())
						readable(t, keys.Multi(kek("b")), s, want, "without the old KEK")
					}
				}
			})
		}
	}
}

func TestRotateAndReseal(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	set := keys.Multi(kek("a"))
	v := keys.NewVault(set, s, nil)
	want := populate(t, v, "acme")
	var seen []keys.Progress
	m := keys.NewManager(v, &keys.ManagerOptions{Progress: func(p keys.Progress) { seen = append(seen, p) }})

	version, err := m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, uint32(2), version)
	again, err := m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, version, again, "a rotation that is under way goes on")
	key, _, err := v.Generate(ctx, call, "acme", "new", keys.Managed)
	require.NoError(t, err)
	want["acme new"] = key.Public
	report, err := m.Verify(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, keys.Report{Network: "acme", DEKs: 2, Owners: 4, StaleDEK: 3}, report)
	require.False(t, report.Clean())

	p, err := m.Reseal(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, keys.Progress{Network: "acme", Seen: 4, Changed: 3}, p)
	require.Contains(t, seen, p)
	report, err = m.Verify(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, keys.Report{Network: "acme", DEKs: 1, Owners: 4}, report)
	require.True(t, report.Clean())
	readable(t, set, s, want, "after it")

	p, err = m.Reseal(ctx, call, "acme")
	require.NoError(t, err)
	require.Zero(t, p.Changed, "nothing to do")
	version, err = m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, uint32(3), version)
}

// TestOldProcessAfterRotation writes through a vault that still holds the old
// data key: it notices, and nothing is sealed under a key that is destroyed.
func TestOldProcessAfterRotation(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	set := keys.Multi(kek("a"))
	old := keys.NewVault(set, s, nil)
	want := populate(t, old, "acme")

	m := keys.NewManager(keys.NewVault(set, s, nil), nil)
	_, err := m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	_, err = m.Reseal(ctx, call, "acme")
	require.NoError(t, err)

	for _, do := range []func(){
		func() {
			_, err := old.Reveal(ctx, call, "acme", "web-0", 0)
			require.NoError(t, err, "reading")
		},
		func() {
			key, _, err := old.Generate(ctx, call, "acme", "new", keys.Managed)
			require.NoError(t, err, "writing")
			want["acme new"] = key.Public
		},
	} {
		do()
		readable(t, set, s, want, "after the old process")
		_, err = m.RotateDEK(ctx, call, "acme")
		require.NoError(t, err)
		_, err = m.Reseal(ctx, call, "acme")
		require.NoError(t, err)
	}
}

func TestRewrapTouchesNoRecord(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "acme", "other", "third")
	rows := func() []keys.Row {
		var all []keys.Row
		for _, n := range []string{"acme", "other", "third"} {
			for _, prefix := range []string{"key/", "idx/"} {
				list, err := s.List(ctx, n, prefix, "", 100)
				require.NoError(t, err)
				all = append(all, list...)
			}
		}
		return all
	}
	before := rows()
	b := kek("b")
	m := keys.NewManager(keys.NewVault(keys.Multi(b, kek("a")), s, nil), nil)
	p, err := m.RewrapKEK(ctx, call)
	require.NoError(t, err)
	require.Equal(t, 3, p.Changed)
	require.Equal(t, before, rows())
	require.Equal(t, 4, b.Wraps(), "one each, and one to try the new KEK")
	readable(t, keys.Multi(kek("b")), s, want, "the old KEK is gone")
	p, err = m.RewrapKEK(ctx, call)
	require.NoError(t, err)
	require.Zero(t, p.Changed)
}

// TestRewrapRefusesABrokenKEK tries the new KEK before it trusts it with data
// keys.
func TestRewrapRefusesABrokenKEK(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "acme")
	for _, bad := range []keys.KEK{otherKey{kek("b")}, shortKey{kek("b")}} {
		m := keys.NewManager(keys.NewVault(keys.Multi(bad, kek("a")), s, nil), nil)
		_, err := m.RewrapKEK(ctx, call)
		require.ErrorIs(t, err, keys.ErrWrongKEK)
		readable(t, keys.Multi(kek("a")), s, want, "untouched")
	}
}

func TestRewrapGoesOnPastAFailure(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "m", "z")
	populate(t, keys.NewVault(keys.Multi(kek("lost")), s, nil), "a", "n")
	m := keys.NewManager(keys.NewVault(keys.Multi(kek("b"), kek("a")), s, nil), nil)
	p, err := m.RewrapKEK(ctx, call)
	require.ErrorIs(t, err, keys.ErrWrongKEK)
	require.ErrorContains(t, err, `DEK 1 of "a"`)
	require.ErrorContains(t, err, `DEK 1 of "n"`)
	require.Equal(t, 2, p.Changed)
	readable(t, keys.Multi(kek("b")), s, want, "the others are done")

	down := kek("a")
	down.Fail(errors.New("down"))
	populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "o", "p")
	_, err = keys.NewManager(keys.NewVault(keys.Multi(kek("b"), kek("lost"), down), s, nil), nil).RewrapKEK(ctx, call)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable)
	require.Equal(t, 1, down.Unwraps(), "an outage is not asked for each network")
}

func TestResealGoesOnPastADamagedRecord(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	v := keys.NewVault(keys.Multi(kek("a")), s, nil)
	want := populate(t, v, "acme")
	rows, err := s.Get(ctx, "acme", "key/web-0", "key/web-1")
	require.NoError(t, err)
	rows[0].Value = rows[1].Value
	require.NoError(t, s.Swap(ctx, "acme", nil, rows[:1]))
	delete(want, "acme web-0")

	m := keys.NewManager(v, nil)
	_, err = m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	p, err := m.Reseal(ctx, call, "acme")
	require.ErrorIs(t, err, keys.ErrWrongOwner)
	require.Equal(t, keys.Progress{Network: "acme", Seen: 3, Changed: 2}, p)
	report, err := m.Verify(ctx, call, "acme")
	require.NoError(t, err)
	require.Equal(t, 2, report.DEKs, "no key is destroyed while a record may need it")
	require.Equal(t, 1, report.StaleDEK, "the others are moved")
	require.Len(t, report.Damaged, 1)
	readable(t, keys.Multi(kek("a")), s, want, "after it")
}

func TestShred(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	a := kek("a")
	v := keys.NewVault(keys.Multi(a), s, nil)
	populate(t, v, "acme")
	want := populate(t, v, "other")
	backup, err := s.List(ctx, "acme", "key/", "", 100)
	require.NoError(t, err)

	m := keys.NewManager(v, nil)
	_, err = m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	require.NoError(t, m.Shred(ctx, call, "acme"))
	require.NoError(t, m.Shred(ctx, call, "acme"), "idempotent")
	_, err = v.Reveal(ctx, call, "acme", "web-0", 0)
	require.ErrorIs(t, err, keys.ErrShredded, "at once, in this process")
	_, _, err = v.Generate(ctx, call, "acme", "new", keys.Managed)
	require.ErrorIs(t, err, keys.ErrShredded)
	_, err = m.RotateDEK(ctx, call, "acme")
	require.ErrorIs(t, err, keys.ErrShredded)
	_, err = m.RewrapKEK(ctx, call)
	require.NoError(t, err)
	require.NoError(t, v.Create(ctx, call, "acme"))
	_, err = v.Ring(ctx, "acme", now)
	require.ErrorIs(t, err, keys.ErrShredded, "a new data key is not made for old records")

	after, err := s.List(ctx, "acme", "key/", "", 100)
	require.NoError(t, err)
	require.Equal(t, backup, after, "records are not touched, whatever their number")
	rows, err := s.List(ctx, "acme", "dek/", "", 100)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, r := range rows {
		var rec keys.DEKRecord
		require.NoError(t, json.Unmarshal(r.Value, &rec))
		require.Equal(t, keys.DEKDestroyed, rec.State)
		require.Empty(t, rec.Wrapped)
	}
	readable(t, keys.Multi(a), s, want, "other networks")
	require.ErrorIs(t, m.Shred(ctx, call, "nowhere"), keys.ErrNotFound)
}

func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	damage := map[string]func(s *keys.MemStore) error{
		"index row gone": func(s *keys.MemStore) error {
			rows, err := s.List(ctx, "acme", "idx/", "", 1)
			return errors.Join(err, s.Swap(ctx, "acme", nil, []keys.Row{{Key: rows[0].Key, Rev: rows[0].Rev}}))
		},
		"index row of another owner": func(s *keys.MemStore) error {
			rows, err := s.List(ctx, "acme", "idx/", "", 1)
			rows[0].Value = []byte(`{"owner":"nobody","gen":1}`)
			return errors.Join(err, s.Swap(ctx, "acme", nil, rows))
		},
		"an older row": func(s *keys.MemStore) error {
			rows, err := s.Get(ctx, "acme", "key/web-1")
			old := strings.Replace(string(rows[0].Value), `"gen":1`, `"gen":2`, 1)
			rows[0].Value = []byte(old)
			return errors.Join(err, s.Swap(ctx, "acme", nil, rows))
		},
	}
	for name, do := range damage {
		s := &keys.MemStore{}
		v := keys.NewVault(keys.Multi(kek("a")), s, nil)
		populate(t, v, "acme")
		m := keys.NewManager(v, nil)
		report, err := m.Verify(ctx, call, "acme")
		require.NoError(t, err)
		require.True(t, report.Clean(), name)
		require.NoError(t, do(s), name)
		report, err = m.Verify(ctx, call, "acme")
		require.NoError(t, err, name)
		require.Len(t, report.Damaged, 1, name)
		require.False(t, report.Clean(), name)
	}
}

// TestRotationsBesideWriters runs every rotation while two processes write: in
// the end every key is there and nothing is stale.
func TestRotationsBesideWriters(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	both := keys.Multi(kek("b"), kek("a"))
	want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "acme")

	var mu sync.Mutex
	var writers, rotations sync.WaitGroup
	done := make(chan struct{})
	for p := range 2 {
		v := keys.NewVault(both, s, nil)
		for w := range 2 {
			writers.Go(func() {
				for i := range 25 {
					id := fmt.Sprintf("w%d-%d-%d", p, w, i)
					first, _, err := v.Generate(ctx, call, "acme", id, keys.Managed)
					if err != nil {
						t.Error(err)
						return
					}
					if i%3 == 0 {
						second, _, err := v.Generate(ctx, call, "acme", id, keys.Managed)
						err = errors.Join(err, v.Activate(ctx, call, "acme", id, 2), v.Revoke(ctx, call, "acme", id, 1))
						if err != nil {
							t.Error(err)
							return
						}
						first = second
					}
					if _, err := v.Reveal(ctx, call, "acme", id, 0); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					want["acme "+id] = first.Public
					mu.Unlock()
				}
			})
		}
	}
	rotate := func(do func(m *keys.Manager) error) {
		m := keys.NewManager(keys.NewVault(both, s, nil), nil)
		rotations.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		rotate(func(m *keys.Manager) error {
			_, err := m.RotateDEK(ctx, call, "acme")
			return err
		})
		rotate(func(m *keys.Manager) error {
			_, err := m.Reseal(ctx, call, "acme")
			return err
		})
	}
	rotate(func(m *keys.Manager) error {
		_, err := m.RewrapKEK(ctx, call)
		return err
	})
	writers.Wait()
	close(done)
	rotations.Wait()

	m := keys.NewManager(keys.NewVault(both, s, nil), nil)
	_, err := m.Reseal(ctx, call, "acme")
	require.NoError(t, err)
	_, err = m.RewrapKEK(ctx, call)
	require.NoError(t, err)
	readable(t, keys.Multi(kek("b")), s, want, "in the end")
	report, err := m.Verify(ctx, call, "acme")
	require.NoError(t, err)
	require.True(t, report.Clean(), "%+v", report)
	require.Equal(t, len(want), report.Owners)
}

// raceStore lets another process act once, just before a call that matches.
type raceStore struct {
	keys.Store
	match func(op, key string) bool
	skip  int // matching calls before that one
	other func()
}

func (s *raceStore) before(op, key string) {
	if s.other == nil || !s.match(op, key) {
		return
	}
	if s.skip--; s.skip < 0 {
		other := s.other
		s.other = nil
		other()
	}
}

func (s *raceStore) Get(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
	s.before("Get", names[0])
	return s.Store.Get(ctx, network, names...)
}

func (s *raceStore) List(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
	s.before("List", prefix)
	return s.Store.List(ctx, network, prefix, after, limit)
}

func (s *raceStore) Swap(ctx context.Context, network string, checks, writes []keys.Row) error {
	s.before("Swap", writes[0].Key)
	return s.Store.Swap(ctx, network, checks, writes)
}

// TestOthersActInBetween gives another process the worst moment of each
// operation.
func TestOthersActInBetween(t *testing.T) {
	t.Parallel()
	both := keys.Multi(kek("b"), kek("a"))
	rotate := func(t *testing.T, s keys.Store) {
		t.Helper()
		m := keys.NewManager(keys.NewVault(both, s, nil), nil)
		for range 2 { // the first may only finish what is under way
			_, err := m.RotateDEK(t.Context(), call, "acme")
			require.NoError(t, err)
			_, err = m.Reseal(t.Context(), call, "acme")
			require.NoError(t, err)
		}
	}
	tests := []struct {
		name  string
		match func(op, key string) bool
		skip  int
		other func(t *testing.T, s keys.Store)
		do    func(t *testing.T, v *keys.Vault) error
	}{
		{
			name:  "the data key is replaced and destroyed while a key is sealed under it",
			match: func(op, key string) bool { return op == "Swap" && strings.HasPrefix(key, "idx/") },
			skip:  1,
			other: rotate,
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				// The first one reserves seals and so writes the data key's row;
				// the second one only checks it.
				_, _, err := v.Generate(t.Context(), call, "acme", "warm", keys.Managed)
				require.NoError(t, err)
				_, _, err = v.Generate(t.Context(), call, "acme", "new", keys.Managed)
				return err
			},
		},
		{
			name:  "records move on while they are resealed",
			match: func(op, key string) bool { return op == "Get" && strings.HasPrefix(key, "key/") },
			other: rotate,
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				m := keys.NewManager(v, nil)
				if _, err := m.RotateDEK(t.Context(), call, "acme"); err != nil {
					return err
				}
				_, err := m.Reseal(t.Context(), call, "acme")
				return err
			},
		},
		{
			name:  "records move on while one is read",
			match: func(op, key string) bool { return op == "Get" && strings.HasPrefix(key, "key/") },
			other: rotate,
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				_, err := v.Reveal(t.Context(), call, "acme", "web-0", 0)
				return err
			},
		},
		{
			name:  "records move on while they are verified",
			match: func(op, key string) bool { return op == "List" && key == "key/" },
			other: rotate,
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				report, err := keys.NewManager(v, nil).Verify(t.Context(), call, "acme")
				require.Empty(t, report.Damaged)
				return err
			},
		},
		{
			name:  "seals are counted while the data key is wrapped again",
			match: func(op, key string) bool { return op == "Swap" && strings.HasPrefix(key, "dek/") },
			other: func(t *testing.T, s keys.Store) {
				t.Helper()
				_, _, err := keys.NewVault(both, s, nil).Generate(t.Context(), call, "acme", "other", keys.Managed)
				require.NoError(t, err)
			},
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				m := keys.NewManager(v, nil)
				_, err := m.RewrapKEK(t.Context(), call)
				require.NoError(t, err)
				report, err := m.Verify(t.Context(), call, "acme")
				require.Empty(t, report.StaleKEK)
				return err
			},
		},
		{
			name:  "a data key is made while the network is shredded",
			match: func(op, key string) bool { return op == "Swap" && strings.HasPrefix(key, "dek/") },
			other: rotate,
			do: func(t *testing.T, v *keys.Vault) error {
				t.Helper()
				require.NoError(t, keys.NewManager(v, nil).Shred(t.Context(), call, "acme"))
				_, err := v.Ring(t.Context(), "acme", now)
				require.ErrorIs(t, err, keys.ErrShredded)
				return nil
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &keys.MemStore{}
			want := populate(t, keys.NewVault(keys.Multi(kek("a")), s, nil), "acme")
			racing := &raceStore{Store: s, match: tt.match, skip: tt.skip, other: func() { tt.other(t, s) }}
			require.NoError(t, tt.do(t, keys.NewVault(both, racing, nil)))
			require.Nil(t, racing.other, "the other process had its turn")

			m := keys.NewManager(keys.NewVault(both, s, nil), nil)
			report, err := m.Verify(t.Context(), call, "acme")
			if errors.Is(err, keys.ErrShredded) {
				return
			}
			require.NoError(t, err)
			require.Empty(t, report.Damaged)
			readable(t, both, s, want, tt.name)
		})
	}
}
