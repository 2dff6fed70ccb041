package apnhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// listener reads a stream of events.
type listener struct {
	t     *testing.T
	lines chan string
	id    string // the last one
}

// sse is one event of a stream.
type sse struct {
	id, name string
	data     object
}

// listen opens the stream of acme with a's token.
func (a *api) listen(url, lastID string) (*listener, int) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/networks/acme/events", nil)
	require.NoError(a.t, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // where it is read
	require.NoError(a.t, err)
	l := &listener{t: a.t.(*testing.T), lines: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(l.lines)
		defer answer.Body.Close() //nolint:errcheck // the test is over
		for scan := bufio.NewScanner(answer.Body); scan.Scan(); {
			l.lines <- scan.Text()
		}
	}()
	a.t.Cleanup(func() {
		cancel()
		for range l.lines {
		}
		<-done
	})
	return l, answer.StatusCode
}

// next returns the next event; ok is false at the stream's end.
func (l *listener) next() (e sse, ok bool) {
	l.t.Helper()
	for {
		select {
		case line, open := <-l.lines:
			name, value, _ := strings.Cut(line, ": ")
			switch {
			case !open:
				return e, false
			case name == "id":
				e.id, l.id = value, value
			case name == "event":
				e.name = value
			case name == "data":
				require.NoError(l.t, json.Unmarshal([]byte(value), &e.data))
			case line == "" && e.data != nil:
				return e, true
			case line == "":
				e = sse{}
			}
		case <-time.After(20 * time.Second):
			require.Fail(l.t, "nothing comes")
		}
	}
}

// told requires changes of these objects next.
func (l *listener) told(want ...string) {
	l.t.Helper()
	for _, w := range want {
		e, ok := l.next()
		require.True(l.t, ok, w)
		require.Equal(l.t, "change", e.name)
		require.Equal(l.t, w, fmt.Sprint(e.data["action"], " ", e.data["object"]))
	}
}

func (l *listener) begins(name string) {
	l.t.Helper()
	e, ok := l.next()
	require.True(l.t, ok)
	require.Equal(l.t, name, e.name)
	require.Regexp(l.t, `^[A-Z2-7]+-[0-9]+$`, e.id)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	web := httptest.NewServer(a.h)
	t.Cleanup(web.Close)
	apnhttp.SetHeartbeat(a.h.(*apnhttp.Handler), 50*time.Millisecond)
	ada := a.as("acme", "ada")
	all, status := a.listen(web.URL, "")
	require.Equal(t, 200, status)
	mine, status := ada.listen(web.URL, "")
	require.Equal(t, 200, status)
	all.begins("ready")
	mine.begins("ready")

	a.post("/v1/networks/acme/apps/shop/servers", `{"name":"web-2"}`).is(201)
	a.post("/v1/networks/acme/apps/blog/servers", `{"name":"web-2"}`).is(201)
	a.post("/v1/networks/acme/members", `{"name":"bob"}`).is(201)
	a.post("/v1/networks/acme/members/bob/devices", `{"name":"phone"}`).is(201)
	ada.get("/v1/networks/acme/members/ada/devices/laptop/config").is(200)
	a.call("DELETE", "/v1/networks/acme/apps/shop?servers=true", nil).is(204)
	all.told("server.add shop/web-2", "server.add blog/web-2", "member.add bob", "device.add bob/phone", "device.config ada/laptop")
	mine.told("server.add shop/web-2", "device.config ada/laptop")
	for _, l := range []*listener{all, mine} {
		e, ok := l.next()
		for ok && e.data["action"] != "app.remove" {
			e, ok = l.next()
		}
		require.True(t, ok)
		require.Equal(t, "shop", e.data["object"])
		require.Equal(t, l == all, e.data["actor"] != nil, "who did it is for operators")
	}

	// It goes on where it was, and starts anew where it cannot.
	a.post("/v1/networks/acme/members", `{"name":"eve"}`).is(201)
	all.told("member.add eve")
	last := all.id
	a.post("/v1/networks/acme/members", `{"name":"kim"}`).is(201)
	again, _ := a.listen(web.URL, last)
	again.begins("ready")
	again.told("member.add kim")
	epoch, _, _ := strings.Cut(last, "-")
	for _, id := range []string{"OTHER-3", epoch + "-99999", epoch, "?"} {
		anew, _ := a.listen(web.URL, id)
		anew.begins("reset")
	}
	for range 2 {
		_, status = a.listen(web.URL, "")
		require.Equal(t, 200, status)
	}
	r := a.get("/v1/networks/acme/events")
	r.problem(429, "too-many-requests", "")
	require.Equal(t, "5", r.header.Get("Retry-After"))

	// It ends with the listener's access, and with the process.
	for line := range mine.lines {
		if line == ":" { // it lives
			break
		}
	}
	a.call("DELETE", "/v1/networks/acme/members/ada", nil).is(204)
	_, ok := mine.next()
	require.False(t, ok)
	a.h.(*apnhttp.Handler).EndWaits()
	all.told("member.add kim")
	for ok {
		_, ok = again.next()
	}
}
