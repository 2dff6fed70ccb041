package apnhttp

import (
	"net/http"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type joinTokenIn struct {
	TTL string `json:"ttl"`
}

type joinToken struct {
	App       string    `json:"app"`
	Server    string    `json:"server"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// addJoinToken makes the token that an operator hands to a server.
func (c *call) addJoinToken() error {
	var in joinTokenIn
	if err := c.decode(&in, true); err != nil {
		return err
	}
	var f fields
	opts := &apn.JoinOptions{CommitOptions: c.opts, TTL: f.duration("ttl", in.TTL), Pin: c.h.pin}
	if err := f.err(); err != nil {
		return err
	}
	if c.opts.RequestID != "" {
		return errNotRepeatable
	}
	out := joinToken{App: c.r.PathValue("app"), Server: c.r.PathValue("server")}
	token, expires, err := c.net.AddJoinToken(c.ctx(), out.App, out.Server, c.publicURL(), opts)
	if err != nil || c.planned() {
		return err
	}
	out.ExpiresAt = expires
	if out.Token, err = token.Encode(); err != nil {
		return err
	}
	return c.json(http.StatusCreated, out)
}

// publicURL returns where agents reach this handler.
func (c *call) publicURL() string {
	if c.h.url != "" {
		return c.h.url
	}
	scheme := "http"
	if c.overTLS() {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + c.h.prefix
}
