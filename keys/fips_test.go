package keys_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"os"
	"os/exec"
	"regexp"
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
	cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run",
		"^(TestEnforced|TestSeal|TestEvery|TestHeader|TestTyped|TestOpenRing|TestRewrap$|TestNextDEK|TestReserve|TestIndex|TestRings|TestAdapters|TestVault|TestRotate|TestShred|TestCrashes)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "%s", regexp.MustCompile(`(?m)^=== .*\n`).ReplaceAll(out, nil))
	require.Contains(t, string(out), "--- PASS: TestEnforced")
	require.Contains(t, string(out), "--- PASS: TestEveryBit")
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
