package main

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

var update = flag.Bool("update", false, "write golden files")

// asProgram in the environment makes the test binary apnctl itself.
const asProgram = "APN_TEST_AS_APNCTL"

func TestMain(m *testing.M) {
	time.Local = time.UTC
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, dir: os.UserConfigDir,
	}
	os.Exit(p.start(ctx, os.Args[1:]))
}

// plainKEK stands for a KMS.
type plainKEK struct{}

func (plainKEK) KeyID() string { return "test" }

func (plainKEK) Wrap(_ context.Context, key, _ []byte) ([]byte, error) {
	return append([]byte{1}, key...), nil
}

func (plainKEK) Unwrap(_ context.Context, wrapped, _ []byte) ([]byte, error) {
	return append([]byte{}, wrapped[1:]...), nil
}

// world is a control plane in this process, and a computer of somebody.
type world struct {
	ctl   *apn.Control
	api   http.Handler
	token string
	dir   string // of the user's configuration and files

	mu     sync.Mutex
	from   string                               // address of the computer
	ahead  time.Duration                        // the server's clock
	before func(r *http.Request) *http.Response // nil: to the handler

	tty     bool
	stdin   string
	env     map[string]string
	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
	local   []netip.Prefix
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(plainKEK{}), Sources: lease.SourceOptions{}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctl.Close()) })
	api, err := apnhttp.New(apnhttp.Config{Control: ctl, Authenticate: apnhttp.TokenAuth(ctl)})
	require.NoError(t, err)
	secret, _, err := ctl.AddToken(t.Context(), "root", nil)
	require.NoError(t, err)
	w := &world{ctl: ctl, api: api, token: secret, dir: t.TempDir(), from: "198.51.100.7"}
	w.env = map[string]string{"APN_URL": "https://apn.test", "APN_TOKEN": secret}
	return w
}

// RoundTrip makes the world an [http.RoundTripper]: no socket is in between, so
// that tests may own the time.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	from, ahead, before := w.from, w.ahead, w.before
	w.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if before != nil {
		if resp := before(r); resp != nil {
			return resp, nil
		}
	}
	in := r.Clone(r.Context())
	in.RemoteAddr, in.RequestURI, in.Host = netip.AddrPortFrom(netip.MustParseAddr(from), 1234).String(), r.URL.RequestURI(), r.URL.Host
	answer := httptest.NewRecorder()
	w.api.ServeHTTP(answer, in)
	answer.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	resp := answer.Result()
	resp.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	return resp, nil
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// buffer may be read while a command writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take returns what was written since the last time.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.b.Reset()
	return b.b.String()
}

// begin starts a command. done gives its exit status.
func (w *world) begin(ctx context.Context, args ...string) (out, errs *buffer, done chan int) {
	out, errs, done = new(buffer), new(buffer), make(chan int, 1)
	p := &program{
		stdin: strings.NewReader(w.stdin), stdout: out, stderr: errs, tty: w.tty, transport: w,
		getenv: func(name string) string { return w.env[name] }, dir: func() (string, error) { return w.dir, nil },
		resolve: w.resolve, local: func() ([]netip.Prefix, error) { return w.local, nil },
	}
	go func() { done <- p.start(ctx, args) }()
	return out, errs, done
}

// run carries out a command that ends. No output has the caller's token.
func (w *world) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	out, errs, done := w.begin(t.Context(), args...)
	status = <-done
	stdout, stderr = out.take(), errs.take()
	require.NotContains(t, stdout+stderr, w.token)
	return stdout, stderr, status
}

// must carries out a command that succeeds.
func (w *world) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, status := w.run(t, args...)
	require.Zero(t, status, "apnctl %s: %s", strings.Join(args, " "), stderr)
	return stdout
}

// fill makes a network with an app, two servers, a member and a device.
func (w *world) fill(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		"networks add acme -subnet 10.66.0.0/16",
		"apps add shop",
		"servers add shop/web-1 -endpoint 203.0.113.7:51820",
		"servers add shop/web-2 -endpoint [2001:db8::7]:51820",
		"members add ada",
		"roles add ada shop developer",
		"devices add ada/laptop",
	} {
		w.must(t, strings.Fields(line)...)
	}
}

// as makes the world's caller a member.
func (w *world) as(t *testing.T, member string) {
	t.Helper()
	secret, _, err := w.ctl.AddToken(t.Context(), member, &apn.TokenOptions{Network: "acme", Member: member})
	require.NoError(t, err)
	w.token, w.env["APN_TOKEN"] = secret, secret
}

// TestSession compares what a person sees who goes through the commands.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		text, err := os.ReadFile(filepath.Join("testdata", "session.txt"))
		require.NoError(t, err)
		var b strings.Builder
		commands := 0
		for line := range strings.Lines(string(text)) {
			args, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			commands++
			args, w.stdin, _ = strings.Cut(strings.TrimSpace(args), " < ")
			words := strings.Fields(strings.ReplaceAll(args, "DIR", w.dir))
			stdout, stderr, status := w.run(t, words...)
			b.WriteString(line + mask(stdout))
			if stderr != "" {
				b.WriteString("! " + strings.TrimSuffix(strings.ReplaceAll(mask(stderr), "\n", "\n! "), "! "))
			}
			if status != 0 {
				b.WriteString("\n= " + string(rune('0'+status)))
			}
			b.WriteString("\n")
			for shown := range strings.Lines(strings.ReplaceAll(stdout, w.dir, "DIR")) {
				if strings.Contains(args, "-wide") || strings.Contains(args, "zone") {
					break
				}
				require.LessOrEqual(t, utf8.RuneCountInString(shown), columns+1, shown)
			}
			time.Sleep(time.Second)
		}
		require.Greater(t, commands, 40)
		got := strings.ReplaceAll(b.String(), w.dir, "DIR")
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join("testdata", "session.txt"), []byte(got), 0o600))
			text = []byte(got)
		}
		require.Equal(t, string(text), got)
	})
}

// mask hides what is random.
func mask(s string) string {
	s = regexp.MustCompile(`apn_\w+|apnjoin_\w+|apl_[\w.]+`).ReplaceAllString(s, "SECRET")
	s = regexp.MustCompile(`(revision +)\d+`).ReplaceAllString(s, "${1}N")
	s = regexp.MustCompile(`v1\.[\w-]{43}`).ReplaceAllString(s, "FINGERPRINT")
	s = regexp.MustCompile(`[A-Za-z0-9+/]{43}=`).ReplaceAllString(s, "KEY")
	return regexp.MustCompile(`\b[a-z2-7]{12}\b( +root| +ci| +ada|\n)`).ReplaceAllString(s, "TOKENID12345$1")
}
