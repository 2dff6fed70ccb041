package apnhttp_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

func TestWebhooks(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.fill()
	type message struct {
		head http.Header
		body []byte
	}
	got := make(chan message, 100)
	answers := make(chan int, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- message{r.Header, body}
		status := 204
		select {
		case status = <-answers:
		default:
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	made := a.post("/v1/networks/acme/webhooks", `{"url":"`+receiver.URL+`","actions":["member","devices.stale"]}`).is(201).json()
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(made["secret"].(string), "whsec_"))
	require.NoError(t, err)
	require.NotContains(t, a.get("/v1/networks/acme/webhooks").is(200).json().items()[0], "secret")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.h.(*apnhttp.Handler).DeliverWebhooks(ctx, nil) }()
	next := func() (id string, body object) {
		t.Helper()
		select {
		case m := <-got:
			h := m.head
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "." + string(m.body)))
			require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), h.Get("webhook-signature"))
			require.Equal(t, "1767323045", h.Get("webhook-timestamp"))
			require.Equal(t, "application/json", h.Get("Content-Type"))
			require.NoError(t, json.Unmarshal(m.body, &body))
			return h.Get("webhook-id"), body
		case <-time.After(20 * time.Second):
			require.Fail(t, "nothing comes")
			return "", nil
		}
	}
	a.post("/v1/networks/acme/members", `{"name":"bob"}`).is(201)
	id, body := next()
	require.Regexp(t, `^acme_[a-z0-9]{12}_[0-9]+$`, id)
	require.Equal(t, "member.add", body["type"])
	data := object(body["data"].(map[string]any))
	require.Equal(t, []any{"acme", "bob", "root"}, []any{data["network"], data["object"], data["actor"]})

	a.get("/v1/networks/acme/members/ada/devices/laptop/config").is(200)
	a.post("/v1/networks/acme/apps/shop/servers", `{"name":"new"}`).is(201)
	_, body = next()
	require.Equal(t, "devices.stale", body["type"])
	data = body["data"].(map[string]any)
	require.EqualValues(t, 1, data["count"])
	require.Equal(t, []any{map[string]any{"kind": "server_added", "object": "shop/new"}}, data["devices"].([]any)[0].(map[string]any)["reasons"])

	// A redirect is no answer, and goes nowhere.
	answers <- http.StatusTemporaryRedirect
	a.post("/v1/networks/acme/members", `{"name":"eve"}`).is(201)
	_, body = next()
	require.Equal(t, "eve", body["data"].(map[string]any)["object"])
	require.Eventually(t, func() bool {
		w := a.get("/v1/networks/acme/webhooks").is(200).json().items()[0]
		return w["failed"] == 1.0 && w["last_error"] == "the answer has status 307" && w["next_try"] != nil
	}, 20*time.Second, 10*time.Millisecond)
	require.Empty(t, got)
	a.now.Add(int64(time.Minute)) // the next try comes by this clock
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NotContains(t, a.log.String(), made["secret"])

	a.call("DELETE", "/v1/networks/acme/webhooks/"+made["id"].(string), nil).is(204)
	a.post("/v1/networks/acme/webhooks", `{"url":"gopher://x"}`).problem(422, "invalid", "url")
	a.post("/v1/networks/acme/webhooks", `{"url":"https://example.com"}`, "Idempotency-Key: 1").problem(400, "malformed", "Idempotency-Key")
}
