package apnhttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
)

// The agent channel. Package netmap has its protocol.

const (
	// maxWait is how long a request waits for news at most. Proxies tend to give
	// up after a minute.
	maxWait = time.Minute
	// writeTime is how long an agent may take to read its answer.
	writeTime = 30 * time.Second
)

// identify tells who makes the request.
func (c *call) identify() error {
	if c.route.access != agents {
		return c.signedIn()
	}
	c.stamp()
	scheme, credential, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ErrUnauthenticated
	}
	var err error
	c.agent, err = c.h.ctl.Agent(c.ctx(), strings.TrimSpace(credential))
	if err != nil {
		return c.agentError(err)
	}
	c.who.Name = "agent of " + c.agent.App + "/" + c.agent.Server
	return nil
}

// stamp tells the control plane's clock. It is called right before an answer.
func (c *call) stamp() {
	c.w.Header().Set("APN-Time", c.h.now().UTC().Format(time.RFC3339Nano))
}

// agentError says what an error means to an agent, which goes by the status.
func (c *call) agentError(err error) error {
	c.stamp()
	if errors.Is(err, apn.ErrForbidden) {
		return errCredential
	}
	if e, ok := errors.AsType[*apn.FieldError](err); ok {
		return malformed(e.Field, e.Reason)
	}
	return err
}

// done answers a request of an agent that has no answer.
func (c *call) done(err error) error {
	if err != nil {
		return c.agentError(err)
	}
	c.stamp()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// decodeAgent reads the body of an agent. Members that are unknown here are of a
// newer agent.
func (c *call) decodeAgent(v any) error {
	if json.Unmarshal(c.body, v) != nil { // the decoder's own text may quote a secret
		return malformed("", "the body is not the JSON object that is expected")
	}
	return nil
}

func (c *call) joinAgent() error {
	c.stamp()
	var in netmap.Join
	if err := c.decodeAgent(&in); err != nil {
		return err
	}
	out, err := c.h.ctl.Join(c.ctx(), in)
	c.stamp()
	if e, ok := errors.AsType[*apn.FieldError](err); ok {
		return malformed(e.Field, e.Reason)
	}
	if err != nil {
		return err
	}
	c.who.Name = "agent of " + out.App + "/" + out.Server
	return c.json(http.StatusOK, out)
}

func (c *call) agentSecrets() error {
	sealed, err := c.agent.Secrets(c.ctx())
	if err != nil || sealed == nil {
		return c.done(err)
	}
	c.stamp()
	return c.json(http.StatusOK, sealed)
}

func (c *call) agentKey() error {
	var in netmap.NewKey
	if err := c.decodeAgent(&in); err != nil {
		return err
	}
	if in.PublicKey.IsZero() {
		return malformed("public_key", "is required")
	}
	return c.done(c.agent.SetKey(c.ctx(), in.PublicKey))
}

func (c *call) agentStatus() error {
	var in netmap.Status
	if err := c.decodeAgent(&in); err != nil {
		return err
	}
	return c.done(c.agent.Report(c.ctx(), in))
}

func (c *call) agentLeave() error { return c.done(c.agent.Leave(c.ctx())) }

// agentNetmap answers with what leads to the newest document, as soon as there is
// another one than the agent has.
func (c *call) agentNetmap() error {
	wait := c.wait()
	control := http.NewResponseController(c.w)
	// The server's own limits are for answers that come at once. Not every
	// ResponseWriter has some.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(wait + writeTime)) //nolint:forbidigo // the connection goes by this clock
	if err := c.awaitNetmap(wait); err != nil {
		c.fail(c.agentError(err))
	}
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{}) // the connection's next request may wait for other things
	return nil
}

func (c *call) awaitNetmap(wait time.Duration) error {
	have, err := c.held()
	if err != nil {
		return err
	}
	update, err := c.agent.Netmap(c.ctx(), have, wait)
	if err != nil && c.ctx().Err() != nil {
		update, err = nil, nil // nobody listens
	}
	if err != nil {
		return err
	}
	c.stamp()
	if update == nil {
		c.w.Header().Set("ETag", netmapTag(have.Epoch, have.Revision))
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	c.w.Header().Set("ETag", netmapTag(update.Epoch, update.Revision))
	return c.send(http.StatusOK, "application/json", update.Body)
}

// EndWaits answers all agents that wait for news, and ends all streams, now and
// from now on, so that an orderly shutdown need not wait for them. It is made
// for [http.Server.RegisterOnShutdown].
func (h *Handler) EndWaits() {
	h.endWaits()
	h.ctl.EndWaits()
}

func netmapTag(epoch string, revision uint64) string {
	return `"` + epoch + "-" + strconv.FormatUint(revision, 10) + `"`
}

// held reads which document the agent has. A tag that is none of ours is of
// another epoch.
func (c *call) held() (apn.Held, error) {
	tag := c.r.Header.Get("If-None-Match")
	if tag == "" {
		return apn.Held{}, nil
	}
	epoch, number, ok := strings.Cut(strings.Trim(tag, `"`), "-")
	revision, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || epoch == "" || revision == 0 {
		return apn.Held{}, apn.ErrStartOver
	}
	return apn.Held{Epoch: epoch, Revision: revision, Content: c.r.Header.Get("APN-Content")}, nil
}

// wait reads how long the agent waits (RFC 7240, 4.3).
func (c *call) wait() time.Duration {
	for _, line := range c.r.Header.Values("Prefer") {
		for item := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			if s, err := strconv.Atoi(value); strings.EqualFold(name, "wait") && err == nil && s > 0 {
				return min(time.Duration(s)*time.Second, maxWait)
			}
		}
	}
	return 0
}

// agentState is how a server is, in the server's JSON.
type agentState struct {
	JoinedAt      time.Time        `json:"joined_at"`
	SeenAt        time.Time        `json:"seen_at,omitzero"`
	Version       string           `json:"version,omitempty"`
	Applied       uint64           `json:"applied_revision"`
	Wanted        uint64           `json:"wanted_revision,omitempty"`
	ClockOffset   float64          `json:"clock_offset_seconds"`
	LastHandshake time.Time        `json:"last_handshake,omitzero"`
	PeersUp       int              `json:"peers_up"`
	Peers         []apn.PeerStatus `json:"peers"`
	Errors        []string         `json:"errors"`
}

// agentStateOf returns nil for a server that no agent runs.
func agentStateOf(s apn.ServerStatus) *agentState {
	if s.JoinedAt.IsZero() {
		return nil
	}
	return &agentState{
		JoinedAt: s.JoinedAt, SeenAt: s.SeenAt, Version: s.Version, Applied: s.Applied, Wanted: s.Wanted,
		ClockOffset: s.ClockOffset.Seconds(), LastHandshake: s.LastHandshake, PeersUp: s.PeersUp,
		Peers: append([]apn.PeerStatus{}, s.Peers...), Errors: append([]string{}, s.Errors...),
	}
}
