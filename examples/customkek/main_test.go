package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

const token = "s.test"

// newTransit starts a transit engine: the parts of its API that the adapter
// uses, with AES-256-GCM and a key per name and version.
func newTransit(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/transit/{op}/{key}", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Plaintext  []byte `json:"plaintext"`
			Ciphertext string `json:"ciphertext"`
			AAD        []byte `json:"associated_data"`
			Version    int    `json:"key_version"`
		}
		var out answer
		status := http.StatusOK
		switch {
		case r.Header.Get("X-Vault-Token") != token:
			status = http.StatusForbidden
		case json.NewDecoder(r.Body).Decode(&in) != nil:
			status = http.StatusBadRequest
		case r.PathValue("op") == "encrypt":
			sealed := aead(t, r.PathValue("key"), in.Version).Seal(nil, nil, in.Plaintext, in.AAD)
			out.Data.Ciphertext = fmt.Sprintf("vault:v%d:%s", in.Version, base64.StdEncoding.EncodeToString(sealed))
		default:
			var b64 string
			_, err := fmt.Sscanf(in.Ciphertext, "vault:v%d:%s", &in.Version, &b64)
			sealed, derr := base64.StdEncoding.DecodeString(b64)
			if err == nil && derr == nil {
				out.Data.Plaintext, err = aead(t, r.PathValue("key"), in.Version).Open(nil, nil, sealed, in.AAD)
			}
			if err != nil || derr != nil {
				status = http.StatusBadRequest
			}
		}
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

func aead(t *testing.T, key string, version int) cipher.AEAD {
	t.Helper()
	sum := sha256.Sum256(fmt.Append(nil, key, version))
	block, err := aes.NewCipher(sum[:])
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return a
		}
	}
	t.Error(err)
	return nil
}

func TestTransitKEK(t *testing.T) {
	t.Parallel()
	url := newTransit(t)
	open := func(url, key string) func(*testing.T) keys.KEK {
		return func(*testing.T) keys.KEK { return &transit{url: url, token: token, key: key, version: 1} }
	}
	keystest.RunKEK(t, open(url, "apn"), &keystest.KEKOptions{
		Other:  open(url, "other"),
		Outage: open("http://127.0.0.1:1", "apn"),
	})
}

// TestRotation rotates the key inside the service: the new version is another
// KEK, the old one still unwraps.
func TestRotation(t *testing.T) {
	t.Parallel()
	url := newTransit(t)
	v1 := &transit{url: url, token: token, key: "apn", version: 1}
	v2 := &transit{url: url, token: token, key: "apn", version: 2}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dek, err := keys.NewDEK(t.Context(), keys.Multi(v1), "acme", 1, now)
	require.NoError(t, err)
	both := keys.Multi(v2, v1)
	require.True(t, both.Stale(dek))
	dek, err = keys.Rewrap(t.Context(), both, dek)
	require.NoError(t, err)
	require.Equal(t, "transit/apn:v2", dek.KEKID)
	_, err = keys.OpenRing(t.Context(), keys.Multi(v2), now, dek)
	require.NoError(t, err)
}

func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	url := newTransit(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	good := &transit{url: url, token: token, key: "apn", version: 1}
	dek, err := keys.NewDEK(t.Context(), keys.Multi(good), "acme", 1, now)
	require.NoError(t, err)

	forbidden := &transit{url: url, token: "s.wrong", key: "apn", version: 1}
	_, err = keys.OpenRing(t.Context(), keys.Multi(forbidden), now, dek)
	require.ErrorIs(t, err, keys.ErrKEKUnavailable)
	require.ErrorContains(t, err, "403")
	require.NotContains(t, err.Error(), forbidden.token)

	dek.Network = "other"
	_, err = keys.OpenRing(t.Context(), keys.Multi(good), now, dek)
	require.ErrorIs(t, err, keys.ErrTampered)
}

func TestRun(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-url", newTransit(t), "-token-file", file}, &out))
	require.Equal(t, "data key wrapped by transit/apn:v1; \"hello\" sealed in 43 bytes\n", out.String())
	require.Error(t, run(t.Context(), []string{"-token-file", file + ".gone"}, &out))
}

// TestAdapterStaysSmall counts the code of transit.go, without imports, blank
// lines and comments: an adapter is at most 40 lines.
func TestAdapterStaysSmall(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("transit.go")
	require.NoError(t, err)
	_, code, ok := strings.Cut(string(src), "\n)\n")
	require.True(t, ok)
	lines := 0
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	require.NotZero(t, lines)
	require.LessOrEqual(t, lines, 40)
}
