package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// ErrPin says that the control plane has another certificate than the one that
// the join token pinned: it was renewed with another key, or somebody else
// answers.
var ErrPin = errors.New("the control plane's certificate is not the pinned one")

const (
	// answerTime is how long an answer may take, besides the wait for news.
	answerTime = 30 * time.Second
	maxBody    = 8 << 20 // of answers other than documents, in bytes
)

// Options are the optional settings of a [Client].
type Options struct {
	// Wait is how long one request waits for another document. Zero means 55 s,
	// which most proxies between the two bear.
	Wait time.Duration
	// Version of the program, for the control plane's people.
	Version string
	// Plain also takes URLs with http that lead to another machine. Without TLS,
	// who listens can pose as the server. False refuses them.
	Plain bool
	// Proxy is as in [http.Transport]. Nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// Elapsed is a clock that only ever runs forward, also while the machine
	// sleeps. Nil means that of the kernel.
	Elapsed func() time.Duration
}

// Client talks to a control plane. It implements [agent.Source] and is safe for
// concurrent use.
type Client struct {
	base string
	auth string // of all requests but the one to join
	opts Options
	http *http.Client

	mu    sync.Mutex
	clock clock
}

// New returns a Client for a server that has joined, or is about to. opts may be
// nil.
func New(id *agent.Identity, opts *Options) (*Client, error) {
	if opts == nil {
		opts = new(Options)
	}
	c := &Client{base: strings.TrimSuffix(id.URL, "/"), opts: *opts}
	if id.Joined() {
		c.auth = "Bearer " + id.Credential
	}
	if c.opts.Wait == 0 {
		c.opts.Wait = 55 * time.Second
	}
	if c.opts.Elapsed == nil {
		c.opts.Elapsed = elapsed()
	}
	u, err := url.Parse(id.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("source: new: the URL of the control plane is malformed")
	}
	if u.Scheme != "https" && !c.opts.Plain && !local(u.Hostname()) {
		return nil, fmt.Errorf("source: new: %s is not encrypted: an https URL is required", u.Redacted())
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy: c.opts.Proxy, TLSClientConfig: tlsConfig(id.Pin), TLSHandshakeTimeout: answerTime,
			DialContext:         (&net.Dialer{Timeout: answerTime, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second,
		},
		// The credential goes to the pinned control plane, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// local reports whether a URL's host is this machine.
func local(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// tlsConfig trusts the key with the pin, or without one, the system's
// authorities.
func tlsConfig(pin []byte) *tls.Config {
	if len(pin) == 0 {
		return &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the key itself, which says more than any authority
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				sum := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)
				if bytes.Equal(sum[:], pin) {
					return nil
				}
			}
			return ErrPin
		},
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Join makes the server of id a member of its network, with the secret of its
// join token, and fills in who it is. A server that has joined already is left
// as it is. To join again after a lost answer is harmless. opts may be nil.
//
// Save id before and after: with [agent.Dir.SaveIdentity].
func Join(ctx context.Context, id *agent.Identity, opts *Options) error {
	if id.Joined() {
		return nil
	}
	c, err := New(id, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	var joined netmap.Joined
	_, err = c.call(ctx, http.MethodPost, "join", netmap.Join{
		Secret: id.Token, Credential: id.Credential, PublicKey: id.PublicKey(),
		SealKey: id.SealKey.PublicKey().Bytes(), Version: c.opts.Version,
	}, &joined)
	if errors.Is(err, agent.ErrRefused) {
		return fmt.Errorf("source: join: the token is unknown, has ended or was used by another server: make another one: %w", err)
	}
	if err != nil {
		return fmt.Errorf("source: join: %w", err)
	}
	if joined.Network == "" || joined.App == "" || joined.Server == "" {
		return errors.New("source: join: the answer does not say who the server is")
	}
	id.Network, id.App, id.Server, id.Token = joined.Network, joined.App, joined.Server, ""
	return nil
}

// Netmap implements [agent.Source].
func (c *Client) Netmap(ctx context.Context, have *netmap.Signed) (*netmap.Delta, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Wait+answerTime)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, "netmap", nil)
	if err != nil {
		return nil, err
	}
	if have != nil {
		req.Header.Set("If-None-Match", fmt.Sprintf(`"%s-%d"`, have.Epoch(), have.Revision()))
		req.Header.Set("APN-Content", have.Content())
		req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(c.opts.Wait/time.Second)))
	}
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		data, err := io.ReadAll(io.LimitReader(resp.Body, netmap.MaxBytes+1))
		if err != nil {
			return nil, fmt.Errorf("source: read document: %w", err)
		}
		return netmap.ParseDelta(data)
	case http.StatusNotModified:
		return nil, nil
	default:
		return nil, refusal("netmap", resp)
	}
}

// Secrets implements [agent.Source].
func (c *Client) Secrets(ctx context.Context) (*netmap.Sealed, error) {
	var s netmap.Sealed
	status, err := c.call(ctx, http.MethodGet, "secrets", nil, &s)
	if err != nil || status == http.StatusNoContent {
		return nil, err
	}
	return &s, nil
}

// Announce implements [agent.Source].
func (c *Client) Announce(ctx context.Context, key keys.PublicKey) error {
	_, err := c.call(ctx, http.MethodPost, "key", netmap.NewKey{PublicKey: key}, nil)
	return err
}

// Report implements [agent.Source].
func (c *Client) Report(ctx context.Context, s netmap.Status) error {
	_, err := c.call(ctx, http.MethodPost, "status", s, nil)
	return err
}

// Leave makes the credential void. A control plane that does not know it is
// content, too.
func (c *Client) Leave(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "leave", nil, nil)
	if errors.Is(err, agent.ErrRefused) {
		return nil
	}
	return err
}

// call makes a request that is answered at once. in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return 0, fmt.Errorf("source: %s: %w", path, err)
		}
	}
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return 0, err
	}
	resp, err := c.do(req)
	if err != nil {
		return 0, err
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return resp.StatusCode, refusal(path, resp)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return resp.StatusCode, nil
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(out) != nil { // the decoder's own text may quote a secret
		return resp.StatusCode, fmt.Errorf("source: %s: the answer is not what was asked for", path)
	}
	return resp.StatusCode, nil
}

func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/agent/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("source: %s: %w", path, err)
	}
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.opts.Version != "" {
		req.Header.Set("User-Agent", c.opts.Version)
	}
	return req, nil
}

// do makes a request and sets the clock by the answer.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if t, err := time.Parse(time.RFC3339Nano, resp.Header.Get("APN-Time")); err == nil {
		c.mu.Lock()
		c.clock.set(t, c.opts.Elapsed())
		c.mu.Unlock()
	}
	return resp, nil
}

// drain lets the connection be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // what is longer is not worth it
	_ = resp.Body.Close()                                         // all that counts was read
}

// refusal returns an answer that is no success as an error.
func refusal(path string, resp *http.Response) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p) // without a text, the status has to do
	text := strings.TrimSuffix(strings.TrimSpace(p.Title+": "+p.Detail), ":")
	err := fmt.Errorf("source: %s: %s %.200q", path, resp.Status, text)
	switch resp.StatusCode {
	case http.StatusGone:
		err = fmt.Errorf("%w: %w", agent.ErrStartOver, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fmt.Errorf("%w: %w", agent.ErrRefused, err)
	}
	if s, convErr := strconv.Atoi(resp.Header.Get("Retry-After")); convErr == nil && s > 0 {
		return &agent.RetryError{After: min(time.Duration(s)*time.Second, time.Hour), Err: err}
	}
	return err
}

// Now implements [agent.Source].
func (c *Client) Now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.now(c.opts.Elapsed())
}
