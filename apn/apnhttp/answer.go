package apnhttp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/apnkit/apnkit/apn"
)

// response remembers what was answered.
type response struct {
	http.ResponseWriter
	status int
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// json answers with v. Lists and other answers without a revision of their own.
func (c *call) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.send(status, "application/json", append(body, '\n'))
}

// send answers with a body.
func (c *call) send(status int, kind string, body []byte) error {
	head := c.w.Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, err := c.w.Write(body)
	c.lost(err)
	return nil // it is too late to say anything else
}

// object answers with a single object at a revision, or with 304 if the client
// has it.
func (c *call) object(status int, rev uint64, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	tag := entityTag(rev, body)
	head := c.w.Header()
	head.Set("ETag", tag)
	head.Set("Cache-Control", "private, no-cache")
	if c.route.method == http.MethodGet && matchesTag(c.r.Header.Values("If-None-Match"), tag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.send(status, "application/json", body)
}

// entityTag names a representation: the revision of the object, which If-Match
// is about, and a hash of the body. An answer also tells what the object's own
// row does not, such as names and staleness, so the revision alone would call
// different answers equal.
func entityTag(rev uint64, body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + strconv.FormatUint(rev, 10) + "-" + base64.RawURLEncoding.EncodeToString(sum[:6]) + `"`
}

// matchesTag implements If-None-Match, where weak tags count (RFC 9110, 13.1.2).
func matchesTag(headers []string, tag string) bool {
	for _, line := range headers {
		for item := range strings.SplitSeq(line, ",") {
			item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
			if item == tag || item == "*" {
				return true
			}
		}
	}
	return false
}

// planned answers a dry run, and reports whether it was one.
func (c *call) planned() bool {
	if c.opts.DryRun == nil {
		return false
	}
	_ = c.json(http.StatusOK, planOf(*c.opts.DryRun)) // a plan always encodes
	return true
}

// created answers a POST: 201 with the object's place, 200 if the request was
// carried out before.
func (c *call) created(rev uint64, v any, path ...string) error {
	if c.planned() {
		return nil
	}
	c.w.Header().Set("Location", c.link(path...))
	if c.replay {
		return c.object(http.StatusOK, rev, v)
	}
	return c.object(http.StatusCreated, rev, v)
}

// changed answers a PATCH or PUT.
func (c *call) changed(rev uint64, v any) error {
	if c.planned() {
		return nil
	}
	return c.object(http.StatusOK, rev, v)
}

// removed answers a DELETE.
func (c *call) removed(err error) error {
	if err != nil || c.planned() {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// link returns the path below /v1 that the parts name, as clients see it.
func (c *call) link(parts ...string) string {
	var b strings.Builder
	b.WriteString(c.h.prefix + "/v1")
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// list is a page of a list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// page reads which part of a list is wanted.
func (c *call) page() (apn.ListOptions, error) {
	opts := apn.ListOptions{After: c.query.Get("cursor"), Limit: defaultLimit}
	if c.query.Has("limit") {
		n, err := strconv.Atoi(c.query.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return opts, malformed("limit", "must be 1 to 1000")
		}
		opts.Limit = n
	}
	return opts, nil
}

// answerPage answers with a page that a list method of apn returned.
func answerPage[T, D any](c *call, items []T, more bool, key func(T) string, dto func(T) D) error {
	out := list[D]{Items: make([]D, len(items))}
	for i, item := range items {
		out.Items[i] = dto(item)
	}
	if more {
		out.Next = key(items[len(items)-1])
	}
	return c.json(http.StatusOK, out)
}

// answerAll answers with a page of a whole list that is sorted by key.
func answerAll[T, D any](c *call, all []T, key func(T) string, dto func(T) D) error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	first := 0
	for first < len(all) && opts.After != "" && key(all[first]) <= opts.After {
		first++
	}
	all = all[first:]
	n := min(len(all), opts.Limit)
	return answerPage(c, all[:n], n < len(all), key, dto)
}
