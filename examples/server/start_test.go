package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// refused runs the server, which must end with one sentence and leave the data
// folder as it is.
func refused(t *testing.T, dir, sentence string, args ...string) {
	t.Helper()
	before := files(t, dir)
	var out, errs bytes.Buffer
	status := run(t.Context(), append([]string{"-addr", "127.0.0.1:0", "-data", dir}, args...), &out, &errs)
	require.Equal(t, 1, status, "%s", errs.String())
	require.Empty(t, out.String())
	require.Contains(t, errs.String(), sentence)
	require.True(t, strings.HasPrefix(errs.String(), "server: "))
	require.Equal(t, 1, strings.Count(errs.String(), "\n"), "one line: %s", errs.String())
	require.Equal(t, before, files(t, dir), "the data is as it was")
}

// until ends a server as soon as it has printed a text.
type until struct {
	bytes.Buffer
	text string
	stop context.CancelFunc
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.stop()
	}
	return n, err
}

// brief runs a server until it has printed a text.
func brief(t *testing.T, dir, text string, args ...string) (stdout string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &until{text: text, stop: cancel}
	var errs bytes.Buffer
	require.Equal(t, 0, run(ctx, append([]string{"-addr", "127.0.0.1:0", "-data", dir}, args...), out, &errs), "%s", errs.String())
	return out.String()
}

// files returns the content of a folder, without sockets.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	require.NoError(t, err)
	return all
}

// used returns a data folder in which a server has run.
func used(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := launch(t, dir)
	s.fill(t, 3)
	s.stop(t)
	return dir
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "data")
	s := launch(t, dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	for _, name := range []string{"apn.db", "kek.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}
	// While it runs the folder is its own.
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-addr", "127.0.0.1:0", "-data", dir}, &out, &errs))
	require.Contains(t, errs.String(), "in use by another process")
	require.Equal(t, 1, strings.Count(errs.String(), "\n"))
	require.Empty(t, out.String())
	require.Equal(t, http.StatusNotFound, s.get(t, ""), "it still answers")
	s.stop(t)

	// The second start shows no token, another one comes when it is asked for.
	require.NotContains(t, brief(t, dir, "\n"), "token")
	_, second, found := strings.Cut(brief(t, dir, "token", "-new-token"), "admin token, shown once: ")
	require.True(t, found)
	second = strings.TrimSpace(second)
	require.NotEqual(t, s.token, second)
	for _, token := range []string{s.token, second} {
		s = launch(t, dir, token)
		require.Equal(t, http.StatusNotFound, s.get(t, ""))
		s.stop(t)
	}
}

func TestBadStart(t *testing.T) {
	t.Parallel()
	dir := used(t)
	db, kek := filepath.Join(dir, "apn.db"), filepath.Join(dir, "kek.key")
	other := filepath.Join(used(t), "kek.key")
	copied := func(t *testing.T) string {
		t.Helper()
		to := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
		for _, name := range []string{"apn.db", "kek.key"} {
			require.NoError(t, os.Chmod(filepath.Join(to, name), 0o600))
		}
		return to
	}
	damage := func(t *testing.T, path string, change func([]byte) []byte) {
		t.Helper()
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, change(text), 0o600))
	}

	tests := []struct {
		name, sentence string
		prepare        func(t *testing.T, dir string)
		args           []string
	}{
		{"the KEK is missing", "kek.key is missing", func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "kek.key")))
		}, nil},
		{"another KEK", "does not fit the database", nil, []string{"-kek", "file:" + other}},
		{"a KEK that is nowhere", "none.key is missing", nil, []string{"-kek", "file:" + dir + "/none.key"}},
		{"the KEK is damaged", "is damaged", func(t *testing.T, dir string) {
			t.Helper()
			damage(t, filepath.Join(dir, "kek.key"), func(b []byte) []byte { return b[:len(b)/2] })
		}, nil},
		{"the KEK is open to others", "is open to others", func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Chmod(filepath.Join(dir, "kek.key"), 0o644))
		}, nil},
		{"no passphrase file", "the passphrase of the KEK cannot be read", nil, []string{"-kek", "passphrase-file:" + dir + "/none"}},
		{"the database is cut", "is damaged", func(t *testing.T, dir string) {
			t.Helper()
			damage(t, filepath.Join(dir, "apn.db"), func(b []byte) []byte { return b[:len(b)/2] })
		}, nil},
		{"the database is overwritten", "is damaged", func(t *testing.T, dir string) {
			t.Helper()
			damage(t, filepath.Join(dir, "apn.db"), func(b []byte) []byte {
				copy(b[2*4096:], bytes.Repeat([]byte{0xa5}, len(b)-2*4096))
				return b
			})
		}, nil},
		{"the database is another file", "is not a database of this program", func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "apn.db"), bytes.Repeat([]byte("some other file\n"), 4096), 0o600))
		}, nil},
		{"no address", "cannot be listened on", nil, []string{"-addr", "127.0.0.1:99999"}},
		{"no certificate", "the certificate cannot be used", nil, []string{"-tls-cert", "/none", "-tls-key", "/none"}},
		{"a pool that overlaps itself", "-pool or -suffix cannot be used", nil, []string{"-pool", "10.0.0.0/8,10.1.0.0/16"}},
		{"a suffix that is none", "-pool or -suffix cannot be used", nil, []string{"-suffix", "a..b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := copied(t)
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			refused(t, dir, tt.sentence, tt.args...)
		})
	}
	require.FileExists(t, db)
	require.FileExists(t, kek)
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-nothing"},
		{"argument"},
		{"-kek", "kek.key"},
		{"-kek", "file:"},
		{"-pool", "ten"},
		{"-pool", "10.0.0.1/8"},
		{"-trusted-proxies", "10.0.0.0/8,proxy"},
		{"-tls-cert", "x"},
		{"-tls-key", "x"},
	} {
		var out, errs bytes.Buffer
		dir := filepath.Join(t.TempDir(), "data")
		require.Equal(t, 2, run(t.Context(), append([]string{"-data", dir}, args...), &out, &errs), "%v", args)
		require.Contains(t, errs.String(), "-trusted-proxies", "the usage")
		require.NoDirExists(t, dir)
	}
	var out, errs bytes.Buffer
	require.Equal(t, 0, run(t.Context(), []string{"-h"}, &out, &errs))
}

// TestPassphrase keeps the KEK under a passphrase.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	right, wrong := save(t, "right", []byte("correct horse battery\n")), save(t, "wrong", []byte("correct horse bakery\n"))
	brief(t, dir, "token", "-kek", "passphrase-file:"+right)
	brief(t, dir, "listening", "-kek", "passphrase-file:"+right)
	refused(t, dir, "under another passphrase", "-kek", "passphrase-file:"+wrong)
	refused(t, dir, "under another passphrase")
}

// TestTLS serves HTTPS, and says so.
func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := save(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyFile := save(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))

	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var errs bytes.Buffer
	var wg sync.WaitGroup
	status := -1
	wg.Go(func() {
		status = run(ctx, []string{"-addr", "127.0.0.1:0", "-data", t.TempDir(), "-tls-cert", cert, "-tls-key", keyFile}, in, &errs)
		_ = in.Close()
	})
	line := make([]byte, 200)
	n, err := out.Read(line)
	require.NoError(t, err)
	url := strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "listening on "))
	require.True(t, strings.HasPrefix(url, "https://"), url)
	go func() { _, _ = io.Copy(io.Discard, out) }()

	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots.AddCert(parsed)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/readyz", http.NoBody)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	cancel()
	wg.Wait()
	require.Equal(t, 0, status, errs.String())
}
