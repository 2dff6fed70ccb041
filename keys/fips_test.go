package keys_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

// TestFIPS runs the envelope's tests in a process that refuses everything that
// FIPS 140-3 does not approve.
func TestFIPS(t *testing.T) {
	t.Parallel()
	if fips140.Enforced() {
		t.Skip("this is that process")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	// On a busy machine the module's own entropy source may fail its health tests
	// at start, which says nothing about this package: such a start is repeated.
	var out []byte
	for range 10 {
		out, err = enforced(t, exe)
		if err == nil || !strings.Contains(string(out), "failed to obtain initial entropy") {
			break
		}
	}
	require.NoErrorf(t, err, "%s", regexp.MustCompile(`(?m)^=== .*\n`).ReplaceAll(out, nil))
	require.Contains(t, string(out), "--- PASS: TestEnforced")
	require.Contains(t, string(out), "--- PASS: TestEveryBit")
}

// enforced runs the tests of the envelope where only approved algorithms work.
func enforced(t *testing.T, exe string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run",
		"^(TestEnforced|TestSeal|TestEvery|TestHeader|TestTyped|TestOpenRing|TestRewrap$|TestNextDEK|TestReserve|TestIndex|TestRings|TestAdapters|TestVault|TestRotate|TestShred|TestCrashes)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	return cmd.CombinedOutput()
}

// TestEnforced shows that the other process does refuse, and that WireGuard
// keys, which no FIPS mode knows, work there all the same.
func TestEnforced(t *testing.T) {
	t.Parallel()
	if !fips140.Enforced() {
		t.Skip("run by TestFIPS")
	}
	block, err := aes.NewCipher(make([]byte, 32))
	require.NoError(t, err)
	_, err = cipher.NewGCM(block)
	require.Error(t, err, "a nonce that the caller picks is not allowed")
	require.Equal(t, "B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU=", privateKey(t, 1).PublicKey().String())
	k, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	require.False(t, k.PublicKey().IsZero())
}
