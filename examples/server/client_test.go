package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"
)

// client calls a server that runs, as somebody.
type client struct {
	t     *testing.T
	url   string
	token string
	doc   validator.Validator
}

// begin starts a server over a data folder and returns a client for its first
// admin token, or for the token of an earlier start.
func begin(t *testing.T, dir string, token ...string) (*launched, *client) {
	t.Helper()
	s := launch(t, dir, token...)
	return s, &client{t: t, url: s.url, token: s.token, doc: document(t)}
}

type object map[string]any

func (o object) items() []object {
	var list []object
	for _, v := range o["items"].([]any) {
		list = append(list, object(v.(map[string]any)))
	}
	return list
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// call sends a request, and holds request and answer against the OpenAPI
// document.
func (c *client) call(method, path, body string) *answer {
	c.t.Helper()
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
		require.NoError(c.t, err)
		r.Header.Set("Authorization", "Bearer "+c.token)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		return r
	}
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(request())
	require.NoError(c.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, resp.Body.Close())
	c.validate(request(), resp, text)
	return &answer{t: c.t, status: resp.StatusCode, header: resp.Header, body: text}
}

func (c *client) validate(r *http.Request, resp *http.Response, body []byte) {
	c.t.Helper()
	if resp.StatusCode < 400 {
		ok, errs := c.doc.ValidateHttpRequestSync(r)
		require.True(c.t, ok, "request %s %s: %v", r.Method, r.URL.Path, errs)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.Contains(kind, "json") {
		return // the validator knows nothing else
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	ok, errs := c.doc.GetResponseBodyValidator().ValidateResponseBody(r, resp)
	require.True(c.t, ok, "answer to %s %s: %v\n%s", r.Method, r.URL.Path, errs, body)
}

// document returns a validator over the OpenAPI document.
func document(t *testing.T) validator.Validator {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "apn", "apnhttp", "openapi.yaml"))
	require.NoError(t, err)
	doc, err := libopenapi.NewDocument(bytes.Replace(text, []byte("url: .,"), []byte("url: /,"), 1))
	require.NoError(t, err)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	return v
}

func (c *client) get(path string) *answer {
	c.t.Helper()
	return c.call(http.MethodGet, path, "")
}

func (c *client) post(path, body string) *answer {
	c.t.Helper()
	return c.call(http.MethodPost, path, body)
}

func (r *answer) is(status int) *answer {
	r.t.Helper()
	require.Equal(r.t, status, r.status, "%s", r.body)
	return r
}

func (r *answer) json() object {
	r.t.Helper()
	var v object
	require.NoError(r.t, json.Unmarshal(r.body, &v), "%s", r.body)
	return v
}

// tool returns the path of a program that the test compares with.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("APN_REQUIRE") == "all" {
		t.Fatal(name + " is not installed")
	}
	t.Skip(name + " is not installed")
	return ""
}

// save writes a text where a program can read it.
func save(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// output runs a program that must succeed.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s %v: %s%s", name, args, out, stderr.String())
	return out
}
