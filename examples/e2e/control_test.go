//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// control is the control plane: the example server with its database in a file.
type control struct {
	*host
	*process
	dir   string
	url   string
	certs *x509.CertPool
	admin string // token
}

const acme = "/v1/networks/acme"

func newControl(t *testing.T, h *host) *control {
	t.Helper()
	c := &control{host: h, dir: t.TempDir(), url: "https://" + h.wire.String() + ":8066", certs: x509.NewCertPool()}
	c.certificate(t)
	c.begin(t)
	c.admin = c.says(t, "admin token, shown once: (.+)")
	return c
}

// begin starts the server.
func (c *control) begin(t *testing.T) {
	t.Helper()
	c.process = c.start(t, "", program("server"), "-addr", c.wire.String()+":8066", "-url", c.url, "-data", filepath.Join(c.dir, "data"),
		"-tls-cert", filepath.Join(c.dir, "cert.pem"), "-tls-key", filepath.Join(c.dir, "key.pem"))
	c.says(t, "listening on (.+)")
}

// stopped has the network go on without its control plane, and a server start.
func (b *bed) stopped(t *testing.T) {
	t.Helper()
	web, db, blog := b.servers[0], b.servers[1], b.servers[2]
	f := web.steady(t, blog.addr)
	b.control.signal(unix.SIGTERM)
	require.NoError(t, b.control.err)

	db.agent.signal(unix.SIGTERM)
	require.NoError(t, db.agent.err)
	db.begin(t)
	t.Logf("a server that starts reaches others after %v", db.reaches(t, web.addr).Round(time.Millisecond))
	require.Equal(t, web.addr, web.lookup(t, db.addr, "web-1.shop.apn"))
	b.stranger.blocked(t, db.addr)
	b.unharmed(t, f)

	b.control.begin(t)
	began := time.Now()
	b.admin.put(t, acme+"/links/shop/blog", `{"linked":false}`)
	b.parted(t, web, blog)
	b.parted(t, db, blog)
	b.parted(t, blog, web)
	b.admin.put(t, acme+"/links/shop/blog", `{"linked":true}`)
	t.Logf("all follow the control plane %v after its start", time.Since(began).Round(time.Millisecond))
}

// certificate makes one that signs itself: agents know it by the pin in their
// join token.
func (c *control) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "control plane"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{c.wire.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	require.NoError(t, err)
	cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	c.certs.AddCert(cert)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// client is somebody who calls the API from a host.
type client struct {
	base, token string
	http        *http.Client
}

// client returns a client for a token on a host.
func (c *control) client(from *host, token string) *client {
	transport := &http.Transport{DialContext: from.dial, TLSClientConfig: &tls.Config{RootCAs: c.certs, MinVersion: tls.VersionTLS12}}
	from.t.Cleanup(transport.CloseIdleConnections)
	return &client{base: c.url, token: token, http: &http.Client{Transport: transport, Timeout: patience}}
}

type object map[string]any

func (o object) text(name string) string { return o[name].(string) }

func (o object) items() []object {
	var list []object
	for _, v := range o["items"].([]any) {
		list = append(list, v.(map[string]any))
	}
	return list
}

// call sends a request that has to succeed, and returns the body.
func (c *client) call(t *testing.T, method, path, body string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Less(t, resp.StatusCode, 300, "%s %s: %s", method, path, data)
	return data
}

func (c *client) do(t *testing.T, method, path, body string) object {
	t.Helper()
	data := c.call(t, method, path, body)
	var o object
	if len(bytes.TrimSpace(data)) > 0 {
		require.NoError(t, json.Unmarshal(data, &o), "%s", data)
	}
	return o
}

func (c *client) get(t *testing.T, path string) object {
	t.Helper()
	return c.do(t, http.MethodGet, path, "")
}

func (c *client) post(t *testing.T, path, body string) object {
	t.Helper()
	return c.do(t, http.MethodPost, path, body)
}

func (c *client) put(t *testing.T, path, body string) {
	t.Helper()
	c.do(t, http.MethodPut, path, body)
}
