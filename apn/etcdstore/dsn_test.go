package etcdstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/etcdstore"
	"github.com/apnkit/apnkit/apn/store"
)

// TestOpenWrong gives URLs that lead nowhere. No error shows the password.
func TestOpenWrong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	const form = "etcdstore: open: want a URL etcd://host:port,host:port/prefix"
	tests := []struct{ name, url, want string }{
		{"empty", "", form},
		{"other scheme", "postgres://u:secret@127.0.0.1/", form},
		{"no host", "etcd:///prefix", form},
		{"no URL", "etcd://u:secret@[", form},
		{"bad escape", "etcd://u:secret%zz@127.0.0.1:2379", form},
		{"bad port", "etcd://127.0.0.1:secret", form},
		{"misspelt parameter", "etcd://u:secret@127.0.0.1:2379/?cafile=/ca.pem", "etcdstore: open: unknown parameter cafile"},
		{"tls switched off", "etcd://u:secret@127.0.0.1:2379/?tls=no", "etcdstore: open: unknown parameter tls"},
		{"no file", "etcd://u:secret@127.0.0.1:2379/?ca=", "etcdstore: open: unknown parameter ca"},
		{"certificate without key", "etcd://127.0.0.1:2379/?cert=" + file, "etcdstore: open: KeyFile and CertFile must both be present[key: , cert: " + file + "]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := etcdstore.Open(t.Context(), tt.url)
			require.EqualError(t, err, tt.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err := etcdstore.Open(t.Context(), "etcd://127.0.0.1:2379/?ca="+file+"x")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestOpenDown wants an answer although nobody listens.
func TestOpenDown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"etcd://" + freePort(t) + "/p", "etcd://u:secret@" + freePort(t) + "/p"} {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		_, err := etcdstore.Open(ctx, url)
		stop()
		require.ErrorContains(t, err, "etcdstore: open ")
		require.NotContains(t, err.Error(), "secret")
	}
}

// authority writes PEM files for a CA, and for a server and a client of it.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca")
	a.issue(t, "server")
	a.issue(t, "client")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) issue(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{name}}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// TestOpenSecure uses a cluster with TLS, client certificates, and users, of
// whom ours has rights to one prefix.
func TestOpenSecure(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(a.file("ca.pem"))
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(ca))
	pair, err := tls.LoadX509KeyPair(a.file("client.pem"), a.file("client.key"))
	require.NoError(t, err)
	c := startCluster(t, 1, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
		"--cert-file", a.file("server.pem"), "--key-file", a.file("server.key"), "--client-cert-auth", "--bcrypt-cost", "4", "--trusted-ca-file", a.file("ca.pem"))
	for _, do := range []func() error{
		func() error { _, err := c.client.UserAdd(t.Context(), "root", "r"); return err },
		func() error { _, err := c.client.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := c.client.RoleAdd(t.Context(), "ours"); return err },
		func() error {
			_, err := c.client.RoleGrantPermission(t.Context(), "ours", "ours\x00", "ours\x01", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.client.UserAdd(t.Context(), "apn", "secret@/"); return err },
		func() error { _, err := c.client.UserGrantRole(t.Context(), "apn", "ours"); return err },
		func() error { _, err := c.client.AuthEnable(t.Context()); return err },
	} {
		require.NoError(t, do())
	}
	files := "?ca=" + a.file("ca.pem") + "&cert=" + a.file("client.pem") + "&key=" + a.file("client.key")
	good := "etcd://apn:secret%40%2F@" + c.endpoints + "/ours" + files
	st, err := etcdstore.Open(t.Context(), good)
	require.NoError(t, err)
	for i := range 3 {
		rev, err := st.Commit(t.Context(), "s", store.Batch{Writes: []store.Write{set("a", "1"), {Key: "b"}}})
		require.NoError(t, err)
		require.NoError(t, st.Wait(t.Context(), "s", rev-1))
		_, err = st.List(t.Context(), "s", "", []string{"", "a", "zz"}[i], 1)
		require.NoError(t, err)
		p, err := st.Since(t.Context(), "s", rev-1, 0)
		require.NoError(t, err)
		require.Len(t, p.Entries, 2)
		require.NoError(t, st.Compact(t.Context(), "s", rev))
	}
	require.NoError(t, st.Ping(t.Context()))
	require.NoError(t, st.Close())
	require.NoError(t, st.Close())
	require.Error(t, st.Ping(t.Context()))
	_, err = st.Commit(t.Context(), "s", store.Batch{})
	require.Error(t, err)
	require.Error(t, st.Wait(t.Context(), "s", 1<<40))

	for _, tt := range []struct {
		name, url string
		want      error
	}{
		{"wrong password", "etcd://apn:secret@" + c.endpoints + "/ours" + files, rpctypes.ErrAuthFailed},
		{"no user", "etcd://" + c.endpoints + "/ours" + files, nil},
		{"no rights", "etcd://apn:secret%40%2F@" + c.endpoints + "/theirs" + files, rpctypes.ErrPermissionDenied},
		{"no TLS", "etcd://apn:secret%40%2F@" + c.endpoints + "/ours", nil},
		{"unknown CA", "etcd://apn:secret%40%2F@" + c.endpoints + "/ours?tls=true", nil},
		{"no certificate", "etcd://apn:secret%40%2F@" + c.endpoints + "/ours?ca=" + a.file("ca.pem"), nil},
	} {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		_, err := etcdstore.Open(ctx, tt.url)
		stop()
		require.Error(t, err, tt.name)
		require.NotContains(t, err.Error(), "secret", tt.name)
		if tt.want != nil {
			require.ErrorIs(t, err, tt.want, tt.name)
		}
	}
}
