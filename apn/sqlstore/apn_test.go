package sqlstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/sqlstore"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// xorKEK stands for a KMS.
type xorKEK struct{}

func (xorKEK) KeyID() string { return "test" }

func (xorKEK) Wrap(_ context.Context, key, _ []byte) ([]byte, error) { return flip(key), nil }

func (xorKEK) Unwrap(_ context.Context, wrapped, _ []byte) ([]byte, error) { return flip(wrapped), nil }

func flip(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ 0xa5
	}
	return out
}

func network(t *testing.T, st store.Store) *apn.Network {
	t.Helper()
	ctl, err := apn.Open(apn.Config{Store: st, KEK: keys.Multi(xorKEK{})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctl.Close()) })
	name := "net-" + rand.Text()
	n, err := ctl.CreateNetwork(t.Context(), name, nil)
	require.NoError(t, err)
	_, err = n.AddApp(t.Context(), "shop", nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		v, err := ctl.Verify(context.WithoutCancel(t.Context()), name)
		require.NoError(t, err)
		require.Empty(t, v.Problems)
	})
	return n
}

// TestJoin adds a server, a member and the caller's own row in one transaction.
func TestJoin(t *testing.T) {
	t.Parallel()
	for name, engine := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := engine(t)()
			_, err := c.db.ExecContext(t.Context(), `CREATE TABLE orders (item text)`)
			require.NoError(t, err)
			n := network(t, c.Store)

			join := func(server string, end func(*sql.Tx) error) {
				tx, st := c.begin(t)
				order(t, tx)
				in := apn.CommitOptions{In: st}
				s, err := n.AddServer(t.Context(), "shop", server, &apn.ServerOptions{CommitOptions: in})
				require.NoError(t, err)
				require.Zero(t, s.Rev)
				require.NotEmpty(t, s.Addresses)
				_, err = n.AddServer(t.Context(), "shop", server, &apn.ServerOptions{CommitOptions: in})
				require.ErrorIs(t, err, apn.ErrExists, "a refusal leaves the transaction as it was")
				_, err = n.AddMember(t.Context(), "of-"+server, &in)
				require.NoError(t, err)
				_, err = n.Server("shop", server)
				require.ErrorIs(t, err, apn.ErrNotFound, "nobody sees it yet")
				require.NoError(t, end(tx))
			}

			join("web-1", func(tx *sql.Tx) error { return tx.Rollback() })
			require.Zero(t, c.orders(t))
			second, err := n.AddServer(t.Context(), "shop", "web-2", nil)
			require.NoError(t, err)
			_, err = n.Server("shop", "web-1")
			require.ErrorIs(t, err, apn.ErrNotFound)

			join("web-1", func(tx *sql.Tx) error { return tx.Commit() })
			require.Equal(t, 1, c.orders(t))
			for _, err := range n.Watch(t.Context(), second.Rev) {
				require.NoError(t, err)
				if s, err := n.Server("shop", "web-1"); err == nil {
					require.NotZero(t, s.Rev)
					require.NotEqual(t, second.Addresses, s.Addresses)
					break
				}
			}
			_, err = n.Member("of-web-1")
			require.NoError(t, err)
			last, err := n.VerifyAudit(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 5, last, "network, app, server, server, member")
		})
	}
}

// TestJoinAfterOthers decides on what others commit between two commands of a
// transaction that does not hold the network yet.
func TestJoinAfterOthers(t *testing.T) {
	t.Parallel()
	c := engines()["postgres"](t)()
	n := network(t, c.Store)
	tx, st := c.begin(t)
	for i := range 3 {
		_, err := n.AddServer(t.Context(), "shop", fmt.Sprintf("other-%d", i), nil)
		require.NoError(t, err)
	}
	s, err := n.AddServer(t.Context(), "shop", "mine", &apn.ServerOptions{CommitOptions: apn.CommitOptions{In: st}})
	require.NoError(t, err)
	for i := range 3 {
		other, err := n.Server("shop", fmt.Sprintf("other-%d", i))
		require.NoError(t, err)
		require.NotEqual(t, other.Addresses, s.Addresses)
	}
	require.NoError(t, tx.Commit())
}

// TestCreateNetworkInTransaction makes an account and its network, or neither.
func TestCreateNetworkInTransaction(t *testing.T) {
	t.Parallel()
	for name, engine := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := engine(t)()
			ctl, err := apn.Open(apn.Config{Store: c.Store, KEK: keys.Multi(xorKEK{})})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, ctl.Close()) })
			for _, commit := range []bool{false, true} {
				tx, err := c.db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				n, err := ctl.CreateNetwork(t.Context(), "acme", &apn.NetworkOptions{CommitOptions: apn.CommitOptions{In: sqlstore.In(tx)}})
				require.NoError(t, err)
				require.Nil(t, n)
				if !commit {
					require.NoError(t, tx.Rollback())
					_, err = ctl.Network(t.Context(), "acme")
					require.ErrorIs(t, err, apn.ErrNotFound)
					continue
				}
				require.NoError(t, tx.Commit())
				_, err = ctl.Network(t.Context(), "acme")
				require.NoError(t, err)
			}
		})
	}
}
