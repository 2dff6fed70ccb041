package apnhttp

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Network   string    `json:"network,omitempty"`
	Member    string    `json:"member,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Secret    string    `json:"secret,omitempty"` // in the answer that made it
}

func tokenOf(t apn.Token) token {
	return token{ID: t.ID, Name: t.Name, Network: t.Network, Member: t.Member, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
}

type tokenIn struct {
	Name    string `json:"name"`
	Network string `json:"network"`
	Member  string `json:"member"`
	TTL     string `json:"ttl"`
}

func (c *call) addToken() error {
	var in tokenIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	opts := &apn.TokenOptions{Network: in.Network, Member: in.Member, TTL: f.duration("ttl", in.TTL)}
	if err := f.err(); err != nil {
		return err
	}
	if c.opts.RequestID != "" {
		return errNotRepeatable
	}
	if c.planned() {
		return nil // a token is no part of any network
	}
	secret, t, err := c.h.ctl.AddToken(c.ctx(), in.Name, opts)
	if err != nil {
		return err
	}
	out := tokenOf(t)
	out.Secret = secret
	return c.json(http.StatusCreated, out)
}

func (c *call) listTokens() error {
	tokens, err := c.h.ctl.Tokens(c.ctx())
	if err != nil {
		return err
	}
	slices.SortFunc(tokens, func(a, b apn.Token) int { return strings.Compare(a.ID, b.ID) })
	return answerAll(c, tokens, func(t apn.Token) string { return t.ID }, tokenOf)
}

func (c *call) removeToken() error {
	if c.planned() {
		return nil
	}
	return c.removed(c.h.ctl.RemoveToken(c.ctx(), c.r.PathValue("token")))
}

func (c *call) whoami() error {
	out := struct {
		Name     string `json:"name"`
		Operator bool   `json:"operator"`
		Network  string `json:"network,omitempty"`
		Member   string `json:"member,omitempty"`
		Address  string `json:"address,omitempty"` // that a lease without sources is for
	}{c.who.Name, c.who.Operator, c.who.Network, c.who.Member, ""}
	if c.fromErr == nil {
		out.Address = c.from.String()
	}
	return c.json(http.StatusOK, out)
}
