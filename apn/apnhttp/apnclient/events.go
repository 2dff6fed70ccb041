package apnclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"
)

// Change is a message of a network's stream of events.
type Change struct {
	ID       string    `json:"-"`  // of the last message that had one: where another stream goes on
	Kind     string    `json:"-"`  // "ready", "change", or "reset": what came before cannot be told
	N        uint64    `json:"n"`  // the rest is empty but for a change
	At       time.Time `json:"at"` //
	Action   string    `json:"action"`
	Object   string    `json:"object"`
	Outcome  string    `json:"outcome"`
	Revision uint64    `json:"revision"`
	Actor    string    `json:"actor"`
	From     string    `json:"from"`
}

// eventsRetry is how long a client stays away from a stream that was cut.
const eventsRetry = 2 * time.Second

// Events yields what happens in a network, of what the caller may see. after is
// the ID of a message that it goes on after; empty: from now on. A stream that
// is cut is opened again. It ends with the context, whose error is the last,
// and with a [*Problem].
func (c *Client) Events(ctx context.Context, network, after string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			err := c.stream(ctx, network, &after, func(m Change) bool { return yield(m, nil) })
			if errors.Is(err, errStop) {
				return
			}
			if p := (*Problem)(nil); errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests {
				yield(Change{}, err)
				return
			}
			wait := time.NewTimer(eventsRetry)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				yield(Change{}, context.Cause(ctx))
				return
			}
		}
	}
}

// errStop says that the caller has heard enough.
var errStop = errors.New("stop")

// stream reads one stream to its end.
func (c *Client) stream(ctx context.Context, network string, after *string, yield func(Change) bool) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+path("networks", network, "events"), nil)
	if err != nil {
		return fmt.Errorf("apnclient: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	if *after != "" {
		req.Header.Set("Last-Event-ID", *after)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("apnclient: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(resp.Body)
		return errors.Join(problemOf(resp.StatusCode, text), err)
	}
	kind, data := "", ""
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			*after = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if data != "" {
				m := Change{ID: *after, Kind: kind}
				if json.Unmarshal([]byte(data), &m) == nil && !yield(m) {
					return errStop
				}
			}
			kind, data = "", ""
		}
	}
	return lines.Err()
}
