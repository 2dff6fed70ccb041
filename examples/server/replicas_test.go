package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// replica is one of several servers on one store. It is killed and started
// again while it is called.
type replica struct {
	dir     string
	url     atomic.Pointer[string]
	process *launched
}

// TestReplicasKilled has many clients change one network through three servers
// on one store, which are killed all the time. In the end nothing acknowledged is
// missing, all fits together, and each server shows the same. APN_LOAD sets how
// long it takes, 10 seconds if it is not set.
func TestReplicasKilled(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"postgres": startPostgres, "etcd": startEtcd} {
		t.Run(name, func(t *testing.T) { killReplicas(t, start(t)) })
	}
}

func killReplicas(t *testing.T, dsn string) {
	t.Helper()
	long := 10 * time.Second
	if s := os.Getenv("APN_LOAD"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %v", seed, long)
	kek := filepath.Join(t.TempDir(), "kek.key")
	flags := []string{"-store", dsn, "-kek", "file:" + kek}
	replicas := make([]*replica, 3)
	token := ""
	for i := range replicas {
		replicas[i] = &replica{dir: t.TempDir()}
		words := flags
		if token != "" {
			words = append([]string{token}, flags...)
		}
		replicas[i].start(t, words)
		token = replicas[i].process.token
	}
	flags = append([]string{token}, flags...)
	first := replicas[0].process
	first.fill(t, 0)
	for i := range 4 {
		require.Equal(t, http.StatusCreated, first.do(t, http.MethodPost, "/acme/members", fmt.Sprintf(`{"name":"m%d"}`, i)))
		require.Less(t, first.do(t, http.MethodPut, fmt.Sprintf("/acme/members/m%d/roles/app", i), `{"role":"developer"}`), 300)
	}

	load, end := context.WithTimeout(t.Context(), long)
	defer end()
	var acked, conflicts, unknown atomic.Int64
	var mu sync.Mutex
	added := map[string]bool{} // true: acknowledged and not removed since
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			client := &http.Client{Timeout: 15 * time.Second}
			for i := 0; load.Err() == nil; i++ {
				url := *replicas[rnd.IntN(3)].url.Load() + "/v1/networks/acme"
				name := fmt.Sprintf("s-%d-%d", w, i)
				member := fmt.Sprintf("m%d", rnd.IntN(4))
				var status int
				switch rnd.IntN(8) {
				case 0:
					source := fmt.Sprintf("203.0.113.%d", 1+rnd.IntN(200))
					status = send(client, token, http.MethodPost, url+"/apps/app/leases", fmt.Sprintf(`{"member":%q,"sources":[%q]}`, member, source))
				case 1:
					role := []string{"viewer", "developer", "owner"}[rnd.IntN(3)]
					status = send(client, token, http.MethodPut, url+"/members/"+member+"/roles/app", fmt.Sprintf(`{"role":%q}`, role))
				default:
					status = send(client, token, http.MethodPost, url+"/apps/app/servers", fmt.Sprintf(`{"name":%q}`, name))
					mu.Lock()
					if status == http.StatusCreated {
						added[name] = true
					} else if status == 0 || status >= 500 {
						added[name] = false
					}
					mu.Unlock()
					if status == http.StatusCreated && rnd.IntN(4) == 0 {
						mu.Lock()
						added[name] = false
						mu.Unlock()
						status = send(client, token, http.MethodDelete, url+"/apps/app/servers/"+name, "")
					}
				}
				switch {
				case status == 0 || status >= 500:
					unknown.Add(1)
				case status >= 400:
					conflicts.Add(1) // a lease without the role
				default:
					acked.Add(1)
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(seed, 1<<32))
	kills := 0
	for load.Err() == nil {
		select {
		case <-time.After(time.Duration(500+rnd.IntN(1000)) * time.Millisecond):
		case <-load.Done():
			continue
		}
		r := replicas[rnd.IntN(3)]
		r.process.kill(t)
		r.start(t, flags)
		kills++
	}
	wg.Wait()
	t.Logf("%d changes acknowledged, %d refused, %d unknown, %d servers killed", acked.Load(), conflicts.Load(), unknown.Load(), kills)
	require.Positive(t, kills)
	require.Greater(t, acked.Load(), int64(50))

	lists := make([]string, 3)
	eventually(t, func() bool {
		for i, r := range replicas {
			lists[i] = r.everything(t, token)
		}
		return lists[0] == lists[1] && lists[1] == lists[2]
	})
	var shown []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(lists[0][:strings.IndexByte(lists[0], '\n')]), &shown))
	for _, s := range shown {
		_, sent := added[s.Name]
		require.True(t, sent, "%s was refused, seed %d", s.Name, seed)
		delete(added, s.Name)
	}
	for name, sure := range added {
		require.False(t, sure, "%s was acknowledged and is missing, seed %d", name, seed)
	}
	out := replicas[0].process.command(t, append([]string{"verify"}, flags[1:]...)...)
	require.Contains(t, out, fmt.Sprintf("acme: %d servers", len(shown)))
	for _, r := range replicas {
		r.process.stop(t)
	}
}

func (r *replica) start(t *testing.T, words []string) {
	t.Helper()
	r.process = launch(t, r.dir, words...)
	r.url.Store(&r.process.url)
}

// send returns the status, or 0 if nobody answered.
func send(c *http.Client, token, method, url, body string) int {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if errors.Join(err, resp.Body.Close()) != nil {
		return 0
	}
	return resp.StatusCode
}

// everything is what a replica shows of the network: the servers on one line,
// then leases and members.
func (r *replica) everything(t *testing.T, token string) string {
	t.Helper()
	var all strings.Builder
	for _, list := range []string{"/apps/app/servers", "/apps/app/leases", "/members"} {
		var items []json.RawMessage
		for cursor := ""; ; {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.process.url+"/v1/networks/acme"+list+"?limit=1000"+cursor, http.NoBody)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			var page struct {
				Items []json.RawMessage
				Next  string
			}
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&page))
			require.NoError(t, resp.Body.Close())
			items = append(items, page.Items...)
			if page.Next == "" {
				break
			}
			cursor = "&cursor=" + page.Next
		}
		slices.SortFunc(items, func(a, b json.RawMessage) int { return strings.Compare(string(a), string(b)) })
		text, err := json.Marshal(items)
		require.NoError(t, err)
		all.Write(text)
		all.WriteByte('\n')
	}
	return all.String()
}
