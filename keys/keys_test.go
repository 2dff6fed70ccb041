package keys_test

import (
	"context"
	"encoding/base64"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

var update = flag.Bool("update", false, "rewrite golden files")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func kek(id string) *keystest.FakeKEK { return keystest.NewKEK(id) }

func newDEK(tb testing.TB, k *keys.KEKSet, network string) keys.DEKRecord {
	tb.Helper()
	rec, err := keys.NewDEK(tb.Context(), k, network, 1, now)
	require.NoError(tb, err)
	return rec
}

// newRing returns an opened ring of the network "acme".
func newRing(tb testing.TB) *keys.Ring {
	tb.Helper()
	set := keys.Multi(kek("a"))
	ring, err := keys.OpenRing(tb.Context(), set, now, newDEK(tb, set, "acme"))
	require.NoError(tb, err)
	return ring
}

func owner(id string) keys.Owner {
	return keys.Owner{Network: "acme", ID: id, Purpose: keys.PurposePrivateKey, Gen: 1}
}

// privateKey returns a key that follows from fill.
func privateKey(tb testing.TB, fill byte) keys.PrivateKey {
	tb.Helper()
	b := make([]byte, 32)
	b[1] = fill
	k, err := keys.NewPrivateKey(b)
	require.NoError(tb, err)
	return k
}

func publicKey(tb testing.TB, fill byte) keys.PublicKey {
	tb.Helper()
	return privateKey(tb, fill).PublicKey()
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// load returns what a [keys.Rings] loads the records with.
func load(recs ...keys.DEKRecord) func(context.Context) ([]keys.DEKRecord, error) {
	return func(context.Context) ([]keys.DEKRecord, error) { return recs, nil }
}
