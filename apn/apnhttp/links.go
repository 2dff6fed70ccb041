package apnhttp

import (
	"time"

	"github.com/apnkit/apnkit/apn"
)

type appLink struct {
	A         string    `json:"a"`
	B         string    `json:"b"`
	Linked    bool      `json:"linked"`
	CreatedAt time.Time `json:"created_at"`
	Revision  uint64    `json:"revision"`
}

func linkOf(l apn.Link) appLink {
	return appLink{A: l.A, B: l.B, Linked: l.Linked, CreatedAt: l.CreatedAt, Revision: uint64(l.Rev)}
}

// listLinks answers with the exceptions to the network's policy.
func (c *call) listLinks() error {
	return answerAll(c, c.net.Links(), linkKey, linkOf)
}

func linkKey(l apn.Link) string { return l.A + "/" + l.B }

type linkIn struct {
	Linked *bool `json:"linked"`
}

func (c *call) setLink() error {
	var in linkIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	if in.Linked == nil {
		f.add("linked", "is required")
		return f.err()
	}
	a, b := c.r.PathValue("a"), c.r.PathValue("b")
	if err := c.net.SetLink(c.ctx(), a, b, *in.Linked, &c.opts); err != nil {
		return err
	}
	if c.planned() {
		return nil
	}
	key := linkKey(apn.Link{A: min(a, b), B: max(a, b)})
	for _, l := range c.net.Links() {
		if linkKey(l) == key {
			return c.changed(uint64(l.Rev), linkOf(l))
		}
	}
	return apn.ErrNotFound // gone again
}

func (c *call) resetLink() error {
	return c.removed(c.net.ResetLink(c.ctx(), c.r.PathValue("a"), c.r.PathValue("b"), &c.opts))
}
