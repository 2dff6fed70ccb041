package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
	"github.com/apnkit/apnkit/render"
)

// upEvery is how long up waits between looks if nothing else is said. A look
// sends a public key and a fingerprint.
const upEvery = time.Minute

// upEvent is a line of up.
type upEvent struct {
	At    time.Time `json:"at"`
	State string    `json:"state"` // what the file was worth; "missing"
	Why   string    `json:"why,omitempty"`
	File  string    `json:"file"`
}

// up keeps a config file current until ctx ends.
func up(ctx context.Context, c *call) error {
	path, err := c.path(render.Quick)
	if err != nil {
		return err
	}
	hook := false // the command has yet to run for the present file
	for {
		event, err := c.freshen(ctx, path)
		if event != nil {
			hook = c.exec != ""
			if err := c.say(event, fmt.Sprintf("%s %s: new file (%s)", moment(event.At), path, cmp.Or(event.Why, event.State))); err != nil {
				return err
			}
		}
		if err == nil && hook {
			err = c.runHook(ctx, path)
			hook = err != nil
		}
		switch {
		case err == nil && c.once:
			return nil
		case err != nil && (c.once || refused(err)):
			return endedBy(ctx, err)
		case err != nil && ctx.Err() == nil:
			fmt.Fprintf(c.stderr, "apnctl: %s\n", explain(err)) // and try again
		}
		if !wait(ctx, cmp.Or(c.every, upEvery)) {
			return nil
		}
	}
}

// refused reports whether asking again is of no use.
func refused(err error) bool {
	p, ok := errors.AsType[*apnclient.Problem](err)
	return errors.Is(err, errNotOurs) || ok && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests
}

// errNotOurs means that a file is in the way.
var errNotOurs = errors.New("move it away, or name another file")

// freshen writes a new file if the one that is there is not current. The event is
// nil if it is.
func (c *call) freshen(ctx context.Context, path string) (*upEvent, error) {
	event := &upEvent{At: time.Now(), State: "missing", File: path}
	mine, err := readConfig(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, errNotOurs)
	default:
		state, err := c.freshness(ctx, mine)
		if err != nil {
			return nil, err
		}
		if d := state.Device; d != nil && (d.Member != c.of || d.Name != c.name) {
			return nil, fmt.Errorf("%s is the config of %s/%s: %w", path, d.Member, d.Name, errNotOurs)
		}
		if state.State == "current" {
			return nil, nil
		}
		event.State = state.State
		if state.Device != nil {
			event.Why = reasons(state.Device)
		}
	}
	text, err := c.download(ctx, render.Quick, mine)
	defer func() { clear(text) }()
	if err != nil {
		return nil, err
	}
	if err := replaceFile(path, text); err != nil {
		return nil, err
	}
	return event, nil
}

// say prints an event of a command that goes on.
func (c *call) say(event any, text string) error {
	if c.json {
		return c.line(event)
	}
	_, err := fmt.Fprintln(c.stdout, text)
	return err
}

// runHook runs the user's command, which learns the file and no token.
func (c *call) runHook(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", c.exec) //nolint:gosec // the user's own command
	cmd.Stdout, cmd.Stderr = c.stderr, c.stderr         // stdout is for events
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "APN_TOKEN=") }), "APN_CONFIG="+path)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("-exec: %w", err)
	}
	return nil
}
