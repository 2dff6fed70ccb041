package keys_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

var call = keys.Call{Actor: "ada", Now: now}

// newVault returns a vault with the network "acme".
func newVault(tb testing.TB, k *keys.KEKSet, s keys.Store, opts *keys.VaultOptions) *keys.Vault {
	tb.Helper()
	v := keys.NewVault(k, s, opts)
	require.NoError(tb, v.Create(tb.Context(), call, "acme"))
	return v
}

func TestVaultCreate(t *testing.T) {
	t.Parallel()
	a, s := kek("a"), &keys.MemStore{}
	v := keys.NewVault(keys.Multi(a), s, nil)
	_, err := v.Ring(t.Context(), "acme", now)
	require.ErrorIs(t, err, keys.ErrNotFound)
	_, _, err = v.Generate(t.Context(), call, "acme", "web-1", keys.Managed)
	require.ErrorIs(t, err, keys.ErrNotFound, "nothing is made on the way")
	require.Zero(t, a.Wraps())

	require.NoError(t, v.Create(t.Context(), call, "acme"))
	require.NoError(t, v.Create(t.Context(), call, "acme"))
	require.Equal(t, 1, a.Wraps(), "idempotent")
	_, _, err = v.Generate(t.Context(), call, "acme", "web-1", keys.Managed)
	require.NoError(t, err)

	rows, err := s.List(t.Context(), "acme", "dek/", "", 10)
	require.NoError(t, err)
	require.NoError(t, s.Swap(t.Context(), "acme", nil, []keys.Row{{Key: rows[0].Key, Rev: rows[0].Rev}}))
	err = keys.NewVault(keys.Multi(a), s, nil).Create(t.Context(), call, "acme")
	require.ErrorIs(t, err, keys.ErrUnknownDEK, "a lost data key is not replaced while keys are sealed under it")
}

func TestVaultNames(t *testing.T) {
	t.Parallel()
	v := newVault(t, keys.Multi(kek("a")), &keys.MemStore{}, nil)
	for _, bad := range []string{"", " ", "a b", "a\nb", "ä", "a\x00", strings.Repeat("x", 201)} {
		require.ErrorIs(t, v.Create(t.Context(), call, bad), keys.ErrFormat)
		_, _, err := v.Generate(t.Context(), call, "acme", bad, keys.Managed)
		require.ErrorIs(t, err, keys.ErrFormat)
		_, err = v.Keys(t.Context(), call, "acme", bad)
		require.ErrorIs(t, err, keys.ErrFormat)
		_, err = v.Keys(t.Context(), call, bad, "web-1")
		require.ErrorIs(t, err, keys.ErrFormat)
	}
	long := strings.Repeat("x", 200)
	_, _, err := v.Generate(t.Context(), call, "acme", long, keys.Managed)
	require.NoError(t, err)
}

func TestVaultCustody(t *testing.T) {
	t.Parallel()
	v := newVault(t, keys.Multi(kek("a")), &keys.MemStore{}, nil)
	ctx := t.Context()

	managed, none, err := v.Generate(ctx, call, "acme", "web-1", keys.Managed)
	require.NoError(t, err)
	require.True(t, none.IsZero())
	priv, err := v.Reveal(ctx, call, "acme", "web-1", 0)
	require.NoError(t, err)
	require.Equal(t, managed.Public, priv.PublicKey())

	once, shown, err := v.Generate(ctx, call, "acme", "web-2", keys.Once)
	require.NoError(t, err)
	require.Equal(t, once.Public, shown.PublicKey())
	_, err = v.Reveal(ctx, call, "acme", "web-2", 0)
	require.ErrorIs(t, err, keys.ErrSelfCustody)

	self, err := v.Enrol(ctx, call, "acme", "web-3", publicKey(t, 1))
	require.NoError(t, err)
	require.Equal(t, keys.Self, self.Custody)
	_, err = v.Reveal(ctx, call, "acme", "web-3", 1)
	require.ErrorIs(t, err, keys.ErrSelfCustody)

	_, err = v.Reveal(ctx, call, "acme", "nobody", 0)
	require.ErrorIs(t, err, keys.ErrNotFound)
	_, err = v.Reveal(ctx, call, "acme", "web-1", 7)
	require.ErrorIs(t, err, keys.ErrNotFound)
	_, _, err = v.Generate(ctx, call, "acme", "web-4", keys.Self)
	require.ErrorIs(t, err, keys.ErrFormat)
	_, _, err = v.Generate(ctx, call, "acme", "web-4", "")
	require.ErrorIs(t, err, keys.ErrFormat)
	weak := publicKey(t, 1)
	weak[31] |= 0x80
	_, err = v.Enrol(ctx, call, "acme", "web-4", weak)
	require.ErrorIs(t, err, keys.ErrWeakPublicKey)
	_, err = v.Enrol(ctx, call, "acme", "web-4", keys.PublicKey{})
	require.ErrorIs(t, err, keys.ErrWeakPublicKey)
	_, err = v.Keys(ctx, call, "acme", "web-4")
	require.ErrorIs(t, err, keys.ErrNotFound, "nothing was stored")
}

func TestVaultRotation(t *testing.T) {
	t.Parallel()
	v := newVault(t, keys.Multi(kek("a")), &keys.MemStore{}, nil)
	ctx := t.Context()
	later := keys.Call{Actor: "ada", Now: now.Add(time.Minute)}
	first, _, err := v.Generate(ctx, call, "acme", "web-1", keys.Managed)
	require.NoError(t, err)
	require.Equal(t, keys.KeyActive, first.State)
	second, _, err := v.Generate(ctx, later, "acme", "web-1", keys.Managed)
	require.NoError(t, err)
	require.Equal(t, uint64(2), second.Gen)
	require.Equal(t, keys.KeyPending, second.State)
	_, _, err = v.Generate(ctx, later, "acme", "web-1", keys.Managed)
	require.ErrorIs(t, err, keys.ErrConflict)

	priv, err := v.Reveal(ctx, later, "acme", "web-1", 0)
	require.NoError(t, err)
	require.Equal(t, first.Public, priv.PublicKey(), "the active one")
	priv, err = v.Reveal(ctx, later, "acme", "web-1", 2)
	require.NoError(t, err)
	require.Equal(t, second.Public, priv.PublicKey(), "the pending one, for its owner to apply")

	require.NoError(t, v.Activate(ctx, later, "acme", "web-1", 2))
	require.NoError(t, v.Activate(ctx, later, "acme", "web-1", 2), "idempotent")
	require.ErrorIs(t, v.Activate(ctx, later, "acme", "web-1", 1), keys.ErrConflict)
	require.NoError(t, v.Revoke(ctx, later, "acme", "web-1", 1))
	require.ErrorIs(t, v.Revoke(ctx, later, "acme", "web-1", 9), keys.ErrNotFound)

	list, err := v.Keys(ctx, later, "acme", "web-1")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, keys.KeyRevoked, list[0].State)
	require.True(t, list[0].Public.IsZero())
	require.Equal(t, later.Now, list[0].Changed)
	require.Equal(t, now, list[0].Created)
	require.Equal(t, second.Public, list[1].Public)
	_, err = v.Reveal(ctx, later, "acme", "web-1", 1)
	require.ErrorIs(t, err, keys.ErrNotFound)

	found, err := v.Find(ctx, later, "acme", second.Public)
	require.NoError(t, err)
	require.Equal(t, "web-1", found.Owner)
	require.Equal(t, keys.KeyActive, found.State)
	found, err = v.Find(ctx, later, "acme", first.Public)
	require.NoError(t, err)
	require.Equal(t, keys.KeyRevoked, found.State, "a revoked key is known as such")
	_, err = v.Find(ctx, later, "acme", publicKey(t, 99))
	require.ErrorIs(t, err, keys.ErrNotFound)
}

func TestVaultDuplicates(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	v := newVault(t, keys.Multi(kek("a")), s, nil)
	_, err := v.Enrol(ctx, call, "acme", "web-1", publicKey(t, 1))
	require.NoError(t, err)
	_, err = v.Enrol(ctx, call, "acme", "web-2", publicKey(t, 1))
	require.ErrorIs(t, err, keys.ErrDuplicateKey)
	require.NotContains(t, err.Error(), publicKey(t, 1).String()[:8])
	_, err = v.Enrol(ctx, call, "acme", "web-1", publicKey(t, 1))
	require.ErrorIs(t, err, keys.ErrDuplicateKey)
	require.NoError(t, v.Revoke(ctx, call, "acme", "web-1", 1))
	_, err = v.Enrol(ctx, call, "acme", "web-1", publicKey(t, 1))
	require.ErrorIs(t, err, keys.ErrDuplicateKey, "a revoked key never comes back")
	require.NoError(t, v.Create(ctx, call, "other"))
	_, err = v.Enrol(ctx, call, "other", "web-1", publicKey(t, 1))
	require.NoError(t, err, "networks know nothing of each other")

	// Many at once, from several processes.
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for i := range errs {
		v := keys.NewVault(keys.Multi(kek("a")), s, nil)
		wg.Go(func() { _, errs[i] = v.Enrol(ctx, call, "acme", fmt.Sprint("race-", i), publicKey(t, 2)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, keys.ErrDuplicateKey)
		}
	}
	require.Equal(t, 1, won)
}

// TestVaultStoresNothingInClear looks for keys in everything that is stored.
func TestVaultStoresNothingInClear(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	v := newVault(t, keys.Multi(kek("a")), s, nil)
	var secrets [][]byte
	for _, id := range []string{"web-1", "web-2"} {
		key, _, err := v.Generate(ctx, call, "acme", id, keys.Managed)
		require.NoError(t, err)
		priv, err := v.Reveal(ctx, call, "acme", id, 0)
		require.NoError(t, err)
		secrets = append(secrets, key.Public[:], priv.Reveal()[:])
	}
	rows, err := s.List(ctx, "acme", "", "", 100)
	require.NoError(t, err)
	require.Len(t, rows, 5, "a data key, two owners, two index rows")
	for _, r := range rows {
		text := []byte(r.Key + string(r.Value))
		for _, b64 := range bytes.FieldsFunc(r.Value, func(c rune) bool { return c == '"' }) {
			if raw, err := base64.StdEncoding.DecodeString(string(b64)); err == nil {
				text = append(text, raw...)
			}
		}
		for _, k := range secrets {
			for _, needle := range [][]byte{k[4:12], []byte(base64.StdEncoding.EncodeToString(k)[4:12]), []byte(hex.EncodeToString(k[4:10]))} {
				require.NotContains(t, string(text), string(needle))
			}
		}
	}
}

func TestVaultSwappedRows(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	v := newVault(t, keys.Multi(kek("a")), s, nil)
	for _, id := range []string{"web-1", "web-2"} {
		_, _, err := v.Generate(ctx, call, "acme", id, keys.Managed)
		require.NoError(t, err)
	}
	rows, err := s.Get(ctx, "acme", "key/web-1", "key/web-2")
	require.NoError(t, err)
	rows[0].Value, rows[1].Value = rows[1].Value, rows[0].Value
	require.NoError(t, s.Swap(ctx, "acme", nil, rows))
	_, err = v.Reveal(ctx, call, "acme", "web-1", 0)
	require.ErrorIs(t, err, keys.ErrWrongOwner)
	report, err := keys.NewManager(v, nil).Verify(ctx, call, "acme")
	require.NoError(t, err)
	require.Len(t, report.Damaged, 2)
	require.False(t, report.Clean())
}

func TestVaultAudit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var events []string
	var broken error
	v := newVault(t, keys.Multi(kek("a")), &keys.MemStore{}, &keys.VaultOptions{Audit: func(ctx context.Context, e keys.Event) error {
		require.NoError(t, ctx.Err())
		require.Equal(t, "ada", e.Actor)
		require.Equal(t, now, e.Time)
		events = append(events, fmt.Sprintf("%s %s %s %d %v", e.Op, e.Network, e.Owner, e.Gen, e.Err != nil))
		if e.Op == "Reveal" || e.Op == "Enrol" {
			require.Regexp(t, "^([0-9a-f]{16}|\\(none\\))$", e.Fingerprint)
		}
		return broken
	}})
	_, _, err := v.Generate(ctx, call, "acme", "web-1", keys.Managed)
	require.NoError(t, err)
	_, err = v.Enrol(ctx, call, "acme", "web-2", publicKey(t, 1))
	require.NoError(t, err)
	_, err = v.Reveal(ctx, call, "acme", "web-1", 0)
	require.NoError(t, err)
	_, err = v.Reveal(ctx, call, "acme", "web-2", 0)
	require.Error(t, err)
	_, err = v.Keys(ctx, call, "acme", "web-1")
	require.NoError(t, err)
	_, err = v.Find(ctx, call, "acme", publicKey(t, 1))
	require.NoError(t, err)
	require.NoError(t, v.Activate(ctx, call, "acme", "web-1", 1))
	require.NoError(t, v.Revoke(ctx, call, "acme", "web-2", 1))
	m := keys.NewManager(v, nil)
	_, err = m.RotateDEK(ctx, call, "acme")
	require.NoError(t, err)
	_, err = m.Reseal(ctx, call, "acme")
	require.NoError(t, err)
	_, err = m.RewrapKEK(ctx, call)
	require.NoError(t, err)
	_, err = m.Verify(ctx, call, "acme")
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = v.Reveal(cancelled, call, "acme", "web-1", 0)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, m.Shred(ctx, call, "acme"))
	require.Equal(t, []string{
		"Create acme  0 false", "Generate acme web-1 1 false", "Enrol acme web-2 1 false", "Reveal acme web-1 1 false",
		"Reveal acme web-2 1 true", "Keys acme web-1 0 false", "Find acme web-2 1 false", "Activate acme web-1 1 false",
		"Revoke acme web-2 1 false", "RotateDEK acme  0 false", "Reseal acme  0 false", "RewrapKEK   0 false",
		"Verify acme  0 false", "Reveal acme web-1 0 true", "Shred acme  0 false",
	}, events)
}

// TestVaultAuditFailsClosed breaks the audit log: nothing is handed out.
func TestVaultAuditFailsClosed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var broken error
	v := newVault(t, keys.Multi(kek("a")), &keys.MemStore{}, &keys.VaultOptions{Audit: func(context.Context, keys.Event) error { return broken }})
	_, _, err := v.Generate(ctx, call, "acme", "web-1", keys.Managed)
	require.NoError(t, err)

	broken = errors.New("disk full")
	priv, err := v.Reveal(ctx, call, "acme", "web-1", 0)
	require.ErrorIs(t, err, keys.ErrAudit)
	require.ErrorIs(t, err, broken)
	require.True(t, priv.IsZero())
	key, priv, err := v.Generate(ctx, call, "acme", "web-2", keys.Once)
	require.ErrorIs(t, err, keys.ErrAudit)
	require.True(t, priv.IsZero())
	require.Equal(t, uint64(1), key.Gen, "what was stored is named, so that it can be revoked")
	list, err := v.Keys(ctx, call, "acme", "web-1")
	require.ErrorIs(t, err, keys.ErrAudit)
	require.Empty(t, list)
	_, err = v.Find(ctx, call, "acme", key.Public)
	require.ErrorIs(t, err, keys.ErrAudit)

	broken = nil
	_, err = v.Reveal(ctx, call, "acme", "web-1", 0)
	require.NoError(t, err)
}

// TestVaultCountsSeals wants a reservation for a block of seals, not for each.
func TestVaultCountsSeals(t *testing.T) {
	t.Parallel()
	s, ctx := &keys.MemStore{}, t.Context()
	v := newVault(t, keys.Multi(kek("a")), s, nil)
	rev := func() uint64 {
		rows, err := s.Get(ctx, "acme", "dek/1")
		require.NoError(t, err)
		return rows[0].Rev
	}
	made := rev()
	_, _, err := v.Generate(ctx, call, "acme", "web-0", keys.Managed)
	require.NoError(t, err)
	reserved := rev()
	require.NotEqual(t, made, reserved, "the first seal reserves a block")
	for i := range 20 {
		_, _, err := v.Generate(ctx, call, "acme", fmt.Sprint("web-1", i), keys.Managed)
		require.NoError(t, err)
	}
	require.Equal(t, reserved, rev())
	_, _, err = keys.NewVault(keys.Multi(kek("a")), s, nil).Generate(ctx, call, "acme", "web-2", keys.Managed)
	require.NoError(t, err)
	require.NotEqual(t, reserved, rev(), "another process reserves its own")
}
