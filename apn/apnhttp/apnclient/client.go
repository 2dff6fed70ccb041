package apnclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client calls one server. Set its fields before the first call; its methods
// are safe for concurrent use.
type Client struct {
	// URL is where the API is mounted, without the "/v1".
	URL string
	// Token is an API token. It never appears in an error.
	Token string
	// HTTP sends the requests. Nil means http.DefaultClient.
	HTTP *http.Client
	// Attempts is how often a request is sent at most, if it is not answered or
	// the answer asks to come again. Zero means 4.
	Attempts int
}

// Options are how a mutation is carried out. Nil just does it.
type Options struct {
	// DryRun receives what would change, and nothing changes. What the method
	// returns is then empty.
	DryRun *Plan
	// IfMatch is the ETag that the object must still have, else the problem has
	// status 412. Empty is not checked.
	IfMatch string
}

// Problem is a refusal (RFC 9457).
type Problem struct {
	Type      string `json:"type"` // "urn:apnkit:problem:not-found"
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Field     string `json:"field,omitempty"` // the input that is at fault
	Servers   int    `json:"servers,omitempty"`
	Limit     int    `json:"limit,omitempty"`
	Config    string `json:"config,omitempty"` // the file that stands in for a QR code
	RequestID string `json:"request_id,omitempty"`
}

func (p *Problem) Error() string {
	text := p.Title
	if p.Field != "" {
		text += ": " + p.Field
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// request is a call of the API.
type request struct {
	method, path string
	query        url.Values
	in, out      any // JSON; out may be *[]byte for a body as it is
	opts         *Options
	header       http.Header // of the answer
}

// path joins parts below /v1.
func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// call sends r until it is answered.
func (c *Client) call(ctx context.Context, r *request) error {
	var body []byte
	if r.in != nil {
		var err error
		if body, err = json.Marshal(r.in); err != nil {
			return fmt.Errorf("apnclient: %s %s: %w", r.method, r.path, err)
		}
	}
	key := ""
	if r.method == http.MethodPost && r.opts != nil {
		key = rand.Text()
	}
	attempts := c.Attempts
	if attempts == 0 {
		attempts = 4
	}
	for try := 1; ; try++ {
		wait, err := c.send(ctx, r, body, key)
		if err == nil || try == attempts || wait < 0 {
			return err
		}
		if wait == 0 {
			wait = 100 * time.Millisecond << try
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// send sends r once. A wait below 0 says that repeating it is of no use, 0 that
// the server did not say when.
func (c *Client) send(ctx context.Context, r *request, body []byte, key string) (wait time.Duration, err error) {
	query := url.Values{}
	maps.Copy(query, r.query)
	if r.opts != nil && r.opts.DryRun != nil {
		query.Set("dry_run", "true")
	}
	target := strings.TrimSuffix(c.URL, "/") + r.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return -1, fmt.Errorf("apnclient: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if r.opts != nil && r.opts.IfMatch != "" {
		req.Header.Set("If-Match", r.opts.IfMatch)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return again(ctx, r, key), fmt.Errorf("apnclient: %w", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return again(ctx, r, key), fmt.Errorf("apnclient: %s %s: %w", r.method, r.path, err)
	}
	r.header = resp.Header
	switch {
	case resp.StatusCode >= 400:
		wait := time.Duration(-1)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			wait = again(ctx, r, key)
			if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && wait == 0 {
				wait = time.Duration(s) * time.Second
			}
		}
		return wait, problemOf(resp.StatusCode, text)
	case r.opts != nil && r.opts.DryRun != nil:
		return -1, decode(r, text, r.opts.DryRun)
	default:
		return -1, decode(r, text, r.out)
	}
}

// again reports whether r may be sent once more without harm.
func again(ctx context.Context, r *request, key string) time.Duration {
	if ctx.Err() != nil || r.method == http.MethodPost && key == "" {
		return -1
	}
	return 0
}

func decode(r *request, text []byte, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = text
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("apnclient: %s %s: the answer is not what the API answers: %w", r.method, r.path, err)
	}
	return nil
}

// problemOf reads a refusal, also that of a proxy in between.
func problemOf(status int, text []byte) error {
	p := &Problem{}
	if json.Unmarshal(text, p) != nil || p.Status == 0 {
		return &Problem{Title: http.StatusText(status), Status: status}
	}
	return p
}

// get reads an object.
func get[T any](ctx context.Context, c *Client, parts ...string) (v T, err error) {
	err = c.call(ctx, &request{method: http.MethodGet, path: path(parts...), out: &v})
	return v, err
}

// change sends a mutation and returns the object that it answers with.
func change[T any](ctx context.Context, c *Client, method string, in any, opts *Options, parts ...string) (v T, err error) {
	if opts == nil {
		opts = new(Options)
	}
	err = c.call(ctx, &request{method: method, path: path(parts...), in: in, out: &v, opts: opts})
	return v, err
}

// remove deletes an object.
func (c *Client) remove(ctx context.Context, query url.Values, opts *Options, parts ...string) error {
	if opts == nil {
		opts = new(Options)
	}
	return c.call(ctx, &request{method: http.MethodDelete, path: path(parts...), query: query, opts: opts})
}

// list yields all items of a list, page by page. The first error ends it.
func list[T any](ctx context.Context, c *Client, query url.Values, parts ...string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q := url.Values{"limit": {"500"}}
		maps.Copy(q, query)
		for {
			var page struct {
				Items []T    `json:"items"`
				Next  string `json:"next"`
			}
			err := c.call(ctx, &request{method: http.MethodGet, path: path(parts...), query: q, out: &page})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Set("cursor", page.Next)
		}
	}
}
