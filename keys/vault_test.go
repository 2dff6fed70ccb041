package keys_test

import (
	"testing"

	"github.com/apnkit/apnkit/keys"
)

var call = keys.Call{Actor: "ada", Now: now}

func newVault(tb testing.TB, k *keys.KEKSet, s keys.Store, opts *keys.VaultOptions) *keys.Vault {
	tb.Helper()
	return keys.NewVault(k, s, opts)
}
