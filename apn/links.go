package apn

import (
	"context"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Link is an exception to the network's [LinkPolicy] between two apps. It holds
// in both directions: an answer needs the way back.
type Link struct {
	A, B      string // sorted
	Linked    bool
	CreatedAt time.Time
	Rev       store.Rev
}

// SetLink links two apps, or unlinks them, whatever the network's policy says.
// opts may be nil.
func (n *Network) SetLink(ctx context.Context, a, b string, linked bool, opts *CommitOptions) error {
	return n.link(ctx, "set link", a, b, opts, func(t *tx) error {
		for _, app := range []string{a, b} {
			if _, ok := find[*appRow](t.state, appKey(app)); !ok {
				return notFound("app")
			}
		}
		t.put(linkKey(a, b), &linkRow{Created: t.now.UTC(), Linked: linked})
		action := "link.remove"
		if linked {
			action = "link.add"
		}
		t.event(action, a+"/"+b, "")
		return nil
	})
}

// ResetLink takes an exception back: the network's policy holds between the two
// apps again. opts may be nil.
func (n *Network) ResetLink(ctx context.Context, a, b string, opts *CommitOptions) error {
	return n.link(ctx, "reset link", a, b, opts, func(t *tx) error {
		if _, ok := find[*linkRow](t.state, linkKey(a, b)); !ok {
			return ErrNotFound
		}
		t.del(linkKey(a, b))
		t.event("link.reset", a+"/"+b, "")
		return nil
	})
}

func (n *Network) link(ctx context.Context, op, a, b string, opts *CommitOptions, decide func(*tx) error) error {
	err := n.do(ctx, opts, func(t *tx) error {
		if a == b {
			return invalid("app", "an app always reaches itself", nil)
		}
		if err := t.match(linkKey(a, b)); err != nil {
			return err
		}
		return decide(t)
	})
	if err != nil {
		return &Error{Op: op, Object: a + "/" + b, Err: err}
	}
	return nil
}

// Links returns the exceptions to the network's policy, sorted.
func (n *Network) Links() []Link {
	s := n.view()
	links := []Link{}
	for pair, r := range under[*linkRow](s, preLink) {
		a, b, _ := strings.Cut(pair, "/")
		links = append(links, Link{A: a, B: b, Linked: r.Linked, CreatedAt: r.Created, Rev: s.revOf(preLink + pair)})
	}
	return links
}

// linked reports whether the servers of two apps reach each other.
func (s *state) linked(a, b string) bool {
	if a == b {
		return true
	}
	if r, ok := find[*linkRow](s, linkKey(a, b)); ok {
		return r.Linked
	}
	return s.net().Links == LinkAll
}
