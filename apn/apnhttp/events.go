package apnhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn"
)

// Live changes as server-sent events (HTML, section 9.2). An event's ID is
// "epoch-revision": the browser sends it when it connects again, and goes on
// from there.

const (
	maxStreams      = 1024
	callerStreams   = 8
	streamHeartbeat = 20 * time.Second
	streamPause     = 100 * time.Millisecond // between two looks at the log
	streamRetry     = 2 * time.Second
)

// errTooMany refuses a caller that asks too often or for too much at a time.
var errTooMany = errors.New("too many requests")

// streams counts who listens.
type streams struct {
	mu       sync.Mutex
	all      int
	byCaller map[string]int
}

func (s *streams) enter(caller string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.byCaller[caller] >= callerStreams {
		return nil, &refusal{kind: errTooMany, detail: fmt.Sprintf("at most %d streams are open at a time", callerStreams)}
	}
	if s.byCaller == nil {
		s.byCaller = map[string]int{}
	}
	s.all++
	s.byCaller[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.byCaller[caller]--; s.byCaller[caller] == 0 {
			delete(s.byCaller, caller)
		}
	}, nil
}

// change is what the stream tells of an audit event.
type change struct {
	N        uint64      `json:"n"`
	At       time.Time   `json:"at"`
	Action   string      `json:"action"`
	Object   string      `json:"object,omitempty"`
	Outcome  apn.Outcome `json:"outcome,omitempty"`
	Revision uint64      `json:"revision"`
	Actor    string      `json:"actor,omitempty"` // for operators
	From     string      `json:"from,omitempty"`  // likewise
}

// stream is one listener.
type stream struct {
	*call
	epoch string
	seen  uint64              // revision
	last  uint64              // event
	roles map[string]apn.Role // of a member, as of last
}

func (s *stream) rolesNow() map[string]apn.Role {
	m, err := s.net.Member(s.who.Member)
	if err != nil { // an operator
		return map[string]apn.Role{}
	}
	return m.Roles
}

// follow keeps the roles as they were at each event: what happened before a role
// was lost may be told after, and nothing else.
func (s *stream) follow(e apn.Event) {
	first, app, _ := strings.Cut(e.Object, "/")
	switch {
	case e.Action == "app.remove":
		delete(s.roles, first)
	case e.Action == "role.set" && first == s.who.Member:
		s.roles[app], _ = apn.ParseRole(e.Detail) // no role if it cannot be read
	}
}

func (c *call) events() error {
	leave, err := c.h.streams.enter(c.caller())
	if err != nil {
		return err
	}
	defer leave()
	s := &stream{call: c, epoch: c.net.Epoch()}
	s.roles = s.rolesNow()
	fresh, err := s.resume()
	if err != nil {
		return err
	}
	head := c.w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would gather events
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	first := "ready"
	if fresh {
		first = "reset"
	}
	text := fmt.Sprintf("retry: %d\n\n", streamRetry.Milliseconds())
	c.lost(s.run(text + s.message(first, s.seen, map[string]uint64{"revision": s.seen})))
	return nil
}

// caller names who the request is from, for what is counted per caller.
func (c *call) caller() string { return c.who.Network + "/" + c.who.Member + "/" + c.who.Name }

// resume finds where the stream begins, and whether what came before may be
// missing: then the listener reads everything anew.
func (s *stream) resume() (fresh bool, err error) {
	id := s.r.Header.Get("Last-Event-ID")
	if id != "" {
		epoch, number, _ := strings.Cut(id, "-")
		rev, err := strconv.ParseUint(number, 10, 64)
		if err == nil && epoch == s.epoch {
			s.seen = rev
			s.last, err = eventNumber(s.ctx(), s.net.EventNumber, rev)
			if !errors.Is(err, apn.ErrStartOver) {
				return false, err
			}
		}
	}
	s.seen = uint64(s.net.Rev())
	s.last, err = eventNumber(s.ctx(), s.net.EventNumber, s.seen)
	return id != "", err
}

// eventNumber spares this package the import of the store for the name of a
// number.
func eventNumber[R ~uint64](ctx context.Context, find func(context.Context, R) (uint64, error), rev uint64) (uint64, error) {
	return find(ctx, R(rev))
}

// run sends until the listener goes, may listen no more, or this process ends.
func (s *stream) run(text string) error {
	ctx, cancel := context.WithCancel(s.ctx())
	defer cancel()
	defer context.AfterFunc(s.h.waits, cancel)()
	for {
		if err := s.send(text); err != nil {
			return err
		}
		err := s.wait(ctx, s.h.heartbeat)
		quiet := errors.Is(err, context.DeadlineExceeded)
		if ctx.Err() != nil || err != nil && !quiet || !s.mayListen() {
			return nil
		}
		if text = ":\n\n"; !quiet {
			if text, err = s.news(); err != nil {
				return err
			}
		}
	}
}

// wait returns nil once there is a newer revision.
func (s *stream) wait(ctx context.Context, long time.Duration) error {
	pause := time.NewTimer(streamPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	return watch(ctx, s.net.Watch, s.seen)
}

// watch waits for a revision after seen.
func watch[R ~uint64](ctx context.Context, revs func(context.Context, R) iter.Seq2[R, error], seen uint64) error {
	for _, err := range revs(ctx, R(seen)) {
		return err
	}
	return ctx.Err()
}

// mayListen looks again who listens: a token ends, a member goes.
func (s *stream) mayListen() bool {
	probe := *s.call
	if probe.identify() != nil || probe.authorize() != nil {
		return false
	}
	s.who = probe.who
	return true
}

const streamBatch = 500

// news returns what happened since the last time.
func (s *stream) news() (string, error) {
	seen := uint64(s.net.Rev())
	if epoch := s.net.Epoch(); epoch != s.epoch {
		s.epoch = epoch
		var err error
		s.seen = seen
		s.last, err = eventNumber(s.ctx(), s.net.EventNumber, seen)
		return s.message("reset", seen, map[string]uint64{"revision": seen}), err
	}
	var b strings.Builder
	for more := true; more; {
		var list []apn.Event
		var err error
		if list, more, err = s.net.Audit(s.ctx(), s.last, streamBatch); err != nil {
			return "", err
		}
		for i, e := range list {
			if uint64(e.Rev) > seen {
				more = false // who may see it is not known here yet
				break
			}
			s.last = e.N
			sees := s.sees(e)
			s.follow(e)
			if !sees {
				continue
			}
			rev := uint64(e.Rev)
			if i+1 == len(list) && more || i+1 < len(list) && list[i+1].Rev == e.Rev {
				rev = 0 // who comes back after half a commit gets all of it
			}
			b.WriteString(s.message("change", rev, s.changeOf(e)))
		}
	}
	s.seen = seen
	// The ID alone is no event, and spares what came before when the listener
	// connects again.
	return fmt.Sprintf("%sid: %s-%d\n\n", &b, s.epoch, seen), nil
}

func (s *stream) changeOf(e apn.Event) change {
	out := change{N: e.N, At: e.At, Action: e.Action, Object: e.Object, Outcome: e.Outcome, Revision: uint64(e.Rev)}
	if s.who.Operator {
		out.Actor = e.Actor.ID
		if e.Actor.From != (netip.Addr{}) {
			out.From = e.Actor.From.String()
		}
	}
	return out
}

// message writes one event; without a revision it has no ID.
func (s *stream) message(name string, rev uint64, data any) string {
	text, err := json.Marshal(data)
	if err != nil { // texts and numbers always encode
		text = []byte("{}")
	}
	id := ""
	if rev != 0 {
		id = fmt.Sprintf("id: %s-%d\n", s.epoch, rev)
	}
	return fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, name, text)
}

func (s *stream) send(text string) error {
	control := http.NewResponseController(s.w)
	// A listener that does not read holds a connection, not a goroutine for ever.
	_ = control.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:forbidigo // the connection goes by this clock
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return control.Flush()
}

// sees reports whether an event is about what the listener may read.
func (s *stream) sees(e apn.Event) bool {
	if s.who.Operator {
		return true
	}
	first, second, _ := strings.Cut(e.Object, "/")
	kind, _, _ := strings.Cut(e.Action, ".")
	role := s.roles[first]
	switch kind {
	case "network":
		return e.Action == "network.update"
	case "member", "role", "device":
		return first == s.who.Member
	case "link": // those between apps have the same kind, and are for operators
		ones := []string{"link.create", "link.redeem", "link.reused", "link.refuse", "link.revoke"}
		return first == s.who.Member && slices.Contains(ones, e.Action)
	case "app", "server":
		return role >= apn.Viewer
	case "lease":
		return role >= apn.Admin || role >= apn.Developer && second == s.who.Member
	case "rule", "join", "agent":
		return role >= apn.Admin
	default:
		return false
	}
}
