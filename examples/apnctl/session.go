package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// session is what a login leaves behind.
type session struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	Plain bool   `json:"plain,omitempty"`
}

func (p *program) sessionFile() (string, error) {
	dir, err := p.dir()
	return filepath.Join(dir, "apnctl", "session.json"), err
}

// login checks a token and keeps it with the URL.
func login(ctx context.Context, c *call) error {
	c.session = session{URL: strings.TrimSuffix(c.words[0], "/"), Token: c.getenv("APN_TOKEN"), Plain: c.plain}
	if err := c.checkURL(); err != nil {
		return err // before a token is asked for
	}
	if c.Token == "" {
		var err error
		if c.Token, err = c.readToken(ctx); err != nil {
			return err
		}
	}
	c.dial()
	me, err := c.client.Whoami(ctx)
	if err != nil {
		return err
	}
	path, err := c.sessionFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(c.session)
	if err != nil {
		return err
	}
	if err := replaceFile(path, append(text, '\n')); err != nil {
		return err
	}
	if c.json {
		return c.encode(me)
	}
	fmt.Fprintf(c.stdout, "signed in at %s as %s\n", c.URL, me.Name)
	return nil
}

// readToken reads a line of stdin; at a terminal it asks for it and shows none of
// it.
func (c *call) readToken(ctx context.Context) (string, error) {
	if f, ok := c.stdin.(*os.File); ok && isTerminal(f) {
		fmt.Fprint(c.stderr, "API token: ")
		echo := func(ctx context.Context, how string) {
			stty := exec.CommandContext(ctx, "stty", how) //nolint:gosec // one of two constants
			stty.Stdin = f
			_ = stty.Run() // without stty the token is seen, by its owner
		}
		echo(ctx, "-echo")
		defer func() {
			echo(context.WithoutCancel(ctx), "echo")
			fmt.Fprintln(c.stderr)
		}()
	}
	line, err := c.readLine(ctx)
	if err != nil {
		return "", err
	}
	if line == "" {
		return "", errors.New("no token: give it in APN_TOKEN or on stdin")
	}
	return line, nil
}

// connect takes up the session, or what the environment says instead.
func (c *call) connect() error {
	path, err := c.sessionFile()
	if err != nil {
		return err
	}
	text, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			return errors.Join(fmt.Errorf("%s holds a token and is open to others: chmod 600 it, or sign in anew", path), err)
		}
		if json.Unmarshal(text, &c.session) != nil {
			return fmt.Errorf("%s is damaged: sign in anew", path)
		}
	}
	if at := c.getenv("APN_URL"); at != "" && at != c.URL {
		c.session = session{URL: at} // the token is for where it was given
	}
	if token := c.getenv("APN_TOKEN"); token != "" {
		c.Token = token
	}
	if c.URL == "" || c.Token == "" {
		return errNoSession
	}
	if err := c.checkURL(); err != nil {
		return err
	}
	c.dial()
	return nil
}

var errNoSession = errors.New("not signed in: apnctl login URL, or set APN_URL and APN_TOKEN")

// checkURL refuses to send a token over a network in clear.
func (c *call) checkURL() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError{"the URL must look like https://apn.example.com"}
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && !c.Plain && u.Hostname() != "localhost" && !addr.IsLoopback() {
		return usageError{"the token would cross the network in clear: use https, or login -plain"}
	}
	return nil
}

func (c *call) dial() {
	c.clock.base = c.transport
	if c.clock.base == nil {
		c.clock.base = http.DefaultTransport
	}
	c.client = &apnclient.Client{URL: c.URL, Token: c.Token, HTTP: &http.Client{
		Transport: &c.clock, Timeout: time.Minute,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("the server is at %s://%s now: sign in there", r.URL.Scheme, r.URL.Host)
		},
	}}
}

// clock notes how far the server's clock is ahead of ours.
type clock struct {
	base  http.RoundTripper
	ahead atomic.Pointer[time.Duration] // nil: not known
}

func (t *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := t.base.RoundTrip(r)
	if err == nil {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			// Date has whole seconds: half a second is the best guess of the rest.
			middle := sent.Add(time.Since(sent) / 2)
			ahead := date.Add(time.Second / 2).Sub(middle)
			t.ahead.Store(&ahead)
		}
	}
	return resp, err
}

// findNetwork settles which network a command is about.
func (c *call) findNetwork(ctx context.Context) error {
	if c.network == "" {
		c.network = c.getenv("APN_NETWORK")
	}
	if c.network != "" {
		return nil
	}
	me, err := c.client.Whoami(ctx)
	if err != nil {
		return err
	}
	if c.network = me.Network; c.network != "" {
		return nil
	}
	var names []string
	for n, err := range c.client.Networks(ctx) {
		if err != nil {
			return err
		}
		if names = append(names, n.Name); len(names) > 1 {
			return usageError{"there are several networks: name one with -n, or in APN_NETWORK"}
		}
	}
	if len(names) == 0 {
		return errors.New("there is no network yet: apnctl networks add NAME")
	}
	c.network = names[0]
	return nil
}

// target reads a name in two parts: "shop/web-1", "ada/laptop", "laptop" of the
// caller, or two words.
func (c *call) target(ctx context.Context) error {
	var ok bool
	switch {
	case strings.HasPrefix(c.cmd.args, "APP/"):
		if c.of, c.name, ok = strings.Cut(c.words[0], "/"); !ok {
			return usageError{"a server is named as APP/SERVER"}
		}
	case strings.HasPrefix(c.cmd.args, "[MEMBER/]"):
		if c.of, c.name, ok = strings.Cut(c.words[0], "/"); ok {
			return nil
		}
		me, err := c.client.Whoami(ctx)
		if err != nil {
			return err
		}
		if c.of, c.name = me.Member, c.words[0]; c.of == "" {
			return usageError{"the token is no member's: name the device as MEMBER/DEVICE"}
		}
	case len(c.words) == 2:
		c.of, c.name = c.words[0], c.words[1]
	}
	return nil
}

// localPrefixes are the networks that the computer is in.
func localPrefixes() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	var list []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p)
		}
	}
	return list, err
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
