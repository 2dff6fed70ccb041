package localkek_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
	"github.com/apnkit/apnkit/keys/localkek"
)

func TestKit(t *testing.T) {
	t.Parallel()
	open := func(fill byte) func(t *testing.T) keys.KEK {
		return func(t *testing.T) keys.KEK {
			t.Helper()
			k, err := localkek.New(bytes.Repeat([]byte{fill}, 32))
			require.NoError(t, err)
			return k
		}
	}
	keystest.RunKEK(t, open(1), &keystest.KEKOptions{Other: open(2), Outage: func(t *testing.T) keys.KEK {
		t.Helper()
		k := keystest.NewKEK("local-outage") // a local key has no outage of its own
		k.Fail(os.ErrDeadlineExceeded)
		return k
	}})
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := localkek.New(make([]byte, 31))
	require.ErrorIs(t, err, keys.ErrFormat)
	key := bytes.Repeat([]byte{1}, 32)
	k, err := localkek.New(key)
	require.NoError(t, err)
	wrapped, err := k.Wrap(t.Context(), []byte("x"), nil)
	require.NoError(t, err)
	clear(key)
	_, err = k.Unwrap(t.Context(), wrapped, nil)
	require.NoError(t, err, "the key was copied")
	_, err = k.Unwrap(t.Context(), append([]byte{2}, wrapped[1:]...), nil)
	require.ErrorIs(t, err, keys.ErrUnknownVersion)
}

func TestNothingPrintsTheKey(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{0xa7}, 32)
	k, err := localkek.New(key)
	require.NoError(t, err)
	needles := []string{"a7a7", "A7A7", "167 167", "167,167", base64.StdEncoding.EncodeToString(key)[:8]}
	js, err := json.Marshal(k)
	require.NoError(t, err)
	nested := struct{ k keys.KEK }{k}
	for _, s := range []string{
		fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%x", k), fmt.Sprintf("%d", k),
		fmt.Sprintf("%+v", nested), fmt.Sprintf("%#v", nested), string(js),
	} {
		for _, n := range needles {
			require.NotContains(t, s, n)
		}
	}
}

// TestFrozenFiles opens files that an earlier version wrote.
func TestFrozenFiles(t *testing.T) {
	rec := keys.DEKRecord{}
	golden := func(name string, data func() []byte) []byte {
		t.Helper()
		path := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(path, data(), 0o600))
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return b
	}
	dir := t.TempDir()
	place := func(data []byte) string {
		t.Helper()
		path := filepath.Join(dir, "kek")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	create := func(opts *localkek.FileOptions) func() []byte {
		return func() []byte {
			path := filepath.Join(t.TempDir(), "new")
			_, err := localkek.CreateFile(path, opts)
			require.NoError(t, err)
			_, err = localkek.RotateFile(path, opts)
			require.NoError(t, err)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			return b
		}
	}
	cryptotest.SetGlobalRandom(t, 1)
	files := []struct {
		name string
		opts *localkek.FileOptions
	}{
		{"key.txt", nil},
		{"argon2id.txt", &localkek.FileOptions{Passphrase: passphrase, KDF: fast}},
		{"pbkdf2.txt", &localkek.FileOptions{Passphrase: passphrase, KDF: localkek.KDF{Name: localkek.PBKDF2, Time: 100_000}}},
	}
	for _, f := range files {
		path := place(golden(f.name, create(f.opts)))
		set, err := localkek.OpenFile(path, f.opts)
		require.NoError(t, err, f.name)
		require.Len(t, set.KeyIDs(), 2)
		js := golden(strings.TrimSuffix(f.name, ".txt")+".dek.json", func() []byte {
			b, err := json.Marshal(newDEK(t, set))
			require.NoError(t, err)
			return append(b, '\n')
		})
		require.NoError(t, json.Unmarshal(js, &rec))
		opens(t, set, rec)
	}
}

// TestDamagedFile changes a file in every way that a fuzzy editor, a full disk
// or an attacker might.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{1}, 32)
	k, err := localkek.New(key)
	require.NoError(t, err)
	b64 := base64.StdEncoding.EncodeToString(key)
	line := "apn-kek-v1:" + k.KeyID() + ":" + b64
	tests := []struct {
		name, content string
		ok            bool
	}{
		{name: "good", content: line + "\n", ok: true},
		{name: "empty"},
		{name: "line feed only", content: "\n"},
		{name: "no line feed", content: line},
		{name: "CRLF", content: line + "\r\n"},
		{name: "blank line after", content: line + "\n\n"},
		{name: "blank line before", content: "\n" + line + "\n"},
		{name: "space before", content: " " + line + "\n"},
		{name: "byte order mark", content: "\ufeff" + line + "\n"},
		{name: "unknown tag", content: strings.Replace(line, "v1", "v2", 1) + "\n"},
		{name: "another id", content: strings.Replace(line, k.KeyID(), "local-0123456789abcdef", 1) + "\n"},
		{name: "no id", content: "apn-kek-v1::" + b64 + "\n"},
		{name: "short key", content: line[:len(line)-4] + "\n"},
		{name: "stray bits", content: line[:len(line)-2] + "F=\n"},
		{name: "line break in the key", content: line[:len(line)-4] + "\r" + line[len(line)-4:] + "\n"},
		{name: "one field more", content: line + ":\n"},
		{name: "NUL", content: line + "\x00\n"},
		{name: "17 lines", content: strings.Repeat(line+"\n", 17)},
		{name: "huge", content: strings.Repeat(line+"\n", 1<<12)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek")
			require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
			_, err := localkek.OpenFile(path, nil)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, keys.ErrFormat)
			require.NotContains(t, err.Error(), b64[:8], "the error shows the key")
		})
	}
}

// TestPassphraseLine changes every character of a passphrase line.
func TestPassphraseLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	opts := &localkek.FileOptions{Passphrase: passphrase, KDF: fast}
	_, err := localkek.CreateFile(path, opts)
	require.NoError(t, err)
	line, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range len(line) - 1 {
		changed := bytes.Clone(line)
		if changed[i]++; changed[i] == '\n' {
			changed[i]++
		}
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		_, err := localkek.OpenFile(path, opts)
		require.Errorf(t, err, "character %d of %q", i, line)
	}
}

func TestKDFBounds(t *testing.T) {
	t.Parallel()
	salt := base64.StdEncoding.EncodeToString(make([]byte, 16))
	body := base64.StdEncoding.EncodeToString(make([]byte, 60))
	for _, kdf := range []string{
		"argon2id:t=0,m=65536,p=4", "argon2id:t=17,m=65536,p=4", "argon2id:t=3,m=8191,p=4", "argon2id:t=3,m=1048577,p=4",
		"argon2id:t=3,m=4294967295,p=4", "argon2id:t=3,m=65536,p=0", "argon2id:t=3,m=65536,p=17", "argon2id:t=3,m=65536,p=256",
		"argon2id:t=03,m=65536,p=4", "argon2id:t=3,m=65536", "argon2id:t=-3,m=65536,p=4", "argon2id:", "argon2id:i=600000",
		"pbkdf2-sha256:i=99999", "pbkdf2-sha256:i=10000001", "pbkdf2-sha256:i=99999999999999999999", "pbkdf2-sha256:i=0600000",
		"scrypt:t=3,m=65536,p=4", ":t=3,m=65536,p=4",
	} {
		path := filepath.Join(t.TempDir(), "kek")
		line := "apn-kek-pass-v1:local-0123456789abcdef:" + kdf + ":" + salt + ":" + body + "\n"
		require.NoError(t, os.WriteFile(path, []byte(line), 0o600))
		_, err := localkek.OpenFile(path, &localkek.FileOptions{Passphrase: passphrase})
		require.ErrorIsf(t, err, keys.ErrFormat, "%q", kdf)
	}
	for _, kdf := range []localkek.KDF{
		{Name: "scrypt"},
		{Name: localkek.Argon2id, Time: 17},
		{Name: localkek.Argon2id, Memory: 1},
		{Name: localkek.Argon2id, Threads: 17},
		{Name: localkek.PBKDF2, Time: 1000},
	} {
		_, err := localkek.CreateFile(filepath.Join(t.TempDir(), "kek"), &localkek.FileOptions{Passphrase: passphrase, KDF: kdf})
		require.ErrorIsf(t, err, keys.ErrFormat, "%+v", kdf)
	}
}

// FuzzOpenFileNeverPanics opens arbitrary files. What opens was written by this
// package: the ids tell.
func FuzzOpenFileNeverPanics(f *testing.F) {
	key := bytes.Repeat([]byte{1}, 32)
	k, err := localkek.New(key)
	require.NoError(f, err)
	line := "apn-kek-v1:" + k.KeyID() + ":" + base64.StdEncoding.EncodeToString(key) + "\n"
	f.Add([]byte(line))
	f.Add([]byte(line + line))
	f.Add([]byte("apn-kek-pass-v1:local-0123456789abcdef:pbkdf2-sha256:i=100000:AAAAAAAAAAAAAAAAAAAAAA==:\n"))
	f.Add([]byte(hex.EncodeToString(key)))
	path := filepath.Join(f.TempDir(), "kek")
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("-pass-")) {
			data = bytes.ReplaceAll(data, []byte("argon2id"), []byte("argon")) // slow, and fuzzes x/crypto
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
		for _, p := range [][]byte{nil, passphrase} {
			set, err := localkek.OpenFile(path, &localkek.FileOptions{Passphrase: p})
			if err == nil {
				require.Equal(t, len(set.KeyIDs()), bytes.Count(data, []byte("\n")))
			}
		}
	})
}
