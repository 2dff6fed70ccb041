package apnhttp_test

import (
	"bufio"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

var loadAgents = flag.Int("agents", 300, "how many agents TestManyAgents has")

const (
	loadRounds  = 5
	loadClients = "APN_TEST_AGENTS" // the process is the agents, and this is where they find their parent
)

// agentsIn is what the process with the agents is told.
type agentsIn struct {
	Addr        string
	Tag         string // of the document that all have
	Credentials []string
}

// TestManyAgents measures how soon all agents of an app learn of a change, over
// TCP, with the agents in a process of their own:
//
//	go test ./apn/apnhttp -run TestManyAgents -v -agents 10000
func TestManyAgents(t *testing.T) { //nolint:paralleltest // it measures time
	if os.Getenv(loadClients) != "" {
		require.NoError(t, runAgents(os.Stdin, os.Stdout))
		return
	}
	if testing.Short() {
		t.Skip("a load test")
	}
	agents := *loadAgents
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "apn.db"), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	kek, err := localkek.New(make([]byte, 32))
	require.NoError(t, err)
	ctl, err := apn.Open(apn.Config{Store: st, KEK: keys.Multi(kek)})
	require.NoError(t, err)
	defer func() { require.NoError(t, ctl.Close()) }()
	a := newAPI(t, func(c *apnhttp.Config) { c.Control, c.Authenticate, c.Logger = ctl, apnhttp.TokenAuth(ctl), nil })
	a.ctl = ctl
	a.token, _, err = ctl.AddToken(t.Context(), "root", nil)
	require.NoError(t, err)
	in := a.crowd(agents)
	require.NotEmpty(t, in.Tag)

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: a.h, ReadHeaderTimeout: time.Minute, WriteTimeout: 3 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	defer func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	}()
	in.Addr = listener.Addr().String()

	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestManyAgents$")
	child.Env = append(os.Environ(), loadClients+"=1")
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	child.Stderr = os.Stderr
	require.NoError(t, child.Start())
	defer func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, child.Wait())
	}()
	require.NoError(t, json.NewEncoder(stdin).Encode(in))
	results := json.NewDecoder(stdout)

	before := a.ctl.AgentStats()
	var took []time.Duration
	size, memory := 0, []int64{}
	for round := range loadRounds {
		require.Eventually(t, func() bool { return a.ctl.AgentStats().Waiting == int64(agents) }, time.Minute, 10*time.Millisecond)
		began := time.Now()
		a.post("/v1/networks/acme/apps/shop/servers", fmt.Sprintf(`{"name":"new-%d","endpoint":"203.0.113.9"}`, round)).is(201)
		var out agentsOut
		require.NoError(t, results.Decode(&out))
		require.Len(t, out.At, agents)
		size = out.Bytes
		memory = append(memory, residentMemory()>>20)
		for _, at := range out.At {
			took = append(took, time.Unix(0, at).Sub(began))
		}
	}
	now := a.ctl.AgentStats()
	require.EqualValues(t, loadRounds, now.Encoded-before.Encoded, "one encoding serves all")
	require.EqualValues(t, loadRounds, now.Signed-before.Signed)
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d agents of one app, %d changes: p50 %v, p99 %v, last %v; %d bytes each; MB resident after each: %v",
		agents, loadRounds, took[len(took)/2].Round(time.Millisecond), p99.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
		size, memory)
}

// crowd makes an app with that many servers, whose agents have all joined and
// have the same document.
func (a *api) crowd(agents int) agentsIn {
	a.t.Helper()
	a.post("/v1/networks", `{"name":"acme","prefixes":["10.0.0.0/8"],"subnet_bits":16}`).is(201)
	ctx := a.t.Context()
	n, err := a.ctl.Network(ctx, "acme")
	require.NoError(a.t, err)
	app := apn.InventoryApp{Name: "shop"}
	for i := range agents {
		app.Servers = append(app.Servers, apn.InventoryServer{Name: fmt.Sprintf("s%05d", i), Endpoint: fmt.Sprintf("203.0.113.%d:51820", i%250)})
	}
	_, err = n.Import(ctx, apn.Inventory{Apps: []apn.InventoryApp{app}}, nil)
	require.NoError(a.t, err)

	seal, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(a.t, err)
	in := agentsIn{Credentials: make([]string, agents)}
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			for i := worker; i < agents; i += 64 {
				in.Credentials[i] = rand.Text() + rand.Text()
				token, _, err := n.AddJoinToken(ctx, "shop", app.Servers[i].Name, "http://127.0.0.1", nil)
				if err == nil {
					_, err = a.ctl.Join(ctx, netmap.Join{
						Secret: token.Secret, Credential: in.Credentials[i], SealKey: seal.PublicKey().Bytes(), PublicKey: keys.PublicKey{},
					})
				}
				if err != nil {
					a.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	first, err := a.ctl.Agent(ctx, in.Credentials[0])
	require.NoError(a.t, err)
	whole, err := first.Netmap(ctx, apn.Held{}, 0)
	require.NoError(a.t, err)
	in.Tag = fmt.Sprintf(`"%s-%d"`, whole.Epoch, whole.Revision)
	debug.FreeOSMemory()
	return in
}

// agentsOut tells when each agent had its answer.
type agentsOut struct {
	At    []int64
	Bytes int // of one answer
}

// runAgents is the process with the agents. Each polls over a connection of its
// own, again as soon as it has an answer.
func runAgents(stdin io.Reader, stdout io.Writer) error {
	var in agentsIn
	if err := json.NewDecoder(stdin).Decode(&in); err != nil {
		return err
	}
	type result struct {
		at    int64
		bytes int
		err   error
	}
	results := make(chan result, len(in.Credentials))
	for _, credential := range in.Credentials {
		go func() {
			conn, err := net.Dial("tcp", in.Addr)
			tag := in.Tag
			var r *bufio.Reader
			if err == nil {
				r = bufio.NewReaderSize(conn, 1<<10)
			}
			for err == nil {
				var size int
				tag, size, err = pollOnce(conn, r, credential, tag)
				results <- result{time.Now().UnixNano(), size, err}
			}
			results <- result{err: err}
		}()
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		close(ended)
	}()
	for {
		var out agentsOut
		for range in.Credentials {
			select {
			case r := <-results:
				if r.err != nil {
					return r.err
				}
				out.At, out.Bytes = append(out.At, r.at), r.bytes
			case <-ended:
				return nil
			}
		}
		if err := json.NewEncoder(stdout).Encode(out); err != nil {
			return err
		}
	}
}

func pollOnce(conn net.Conn, r *bufio.Reader, credential, tag string) (next string, size int, err error) {
	_, err = fmt.Fprintf(conn, "GET /v1/agent/netmap HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nIf-None-Match: %s\r\nPrefer: wait=55\r\n\r\n", credential, tag)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // it is read to its end
	if err != nil {
		return "", 0, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s", resp.Status)
	}
	return resp.Header.Get("ETag"), int(n), err
}

// residentMemory returns the resident memory of this process in bytes, without
// the files that it has mapped; 0 where it cannot be told.
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var kb int64
	_, _ = fmt.Sscan(rest, &kb)
	return kb << 10
}
