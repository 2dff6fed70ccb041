package apnhttp

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/apnkit/apnkit/apn"
)

// Principal is who makes a request.
type Principal struct {
	// Name is what the audit log shows.
	Name string
	// Operator may do everything.
	Operator bool
	// Network and Member name the person that the principal is. Empty for one
	// that is none.
	Network, Member string
}

// TokenAuth returns an Authenticate function that knows the API tokens of a
// Control, sent as "Authorization: Bearer apn_…".
func TokenAuth(ctl *apn.Control) func(*http.Request) (Principal, error) {
	return func(r *http.Request) (Principal, error) {
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Principal{}, ErrUnauthenticated
		}
		t, err := ctl.Token(r.Context(), strings.TrimSpace(secret))
		if errors.Is(err, apn.ErrForbidden) {
			return Principal{}, fmt.Errorf("%w: the token is unknown or has ended", ErrUnauthenticated)
		}
		if err != nil {
			return Principal{}, err
		}
		if t.Member != "" {
			return Principal{Name: t.Member, Network: t.Network, Member: t.Member}, nil
		}
		return Principal{Name: t.Name, Operator: true}, nil
	}
}

// access says who may use a route.
type access uint8

const (
	public    access = iota // anybody
	signedIn                // whoever is authenticated
	insider                 // a member of the network
	viewer                  // a member with at least this role on the app
	developer               //
	admin                   //
	self                    // the member that the path names
	agents                  // a server's agent, by its credential; nobody else
	operator                // operators alone; they may use all other routes too
)

// authorize opens the network that the path names and refuses the principal
// whom the route is not for.
func (c *call) authorize() error {
	network := c.r.PathValue("network")
	if !c.who.Operator && network != "" && network != c.who.Network {
		return errForeign // whether it exists is not theirs to know
	}
	if network != "" {
		var err error
		c.net, err = c.h.ctl.Network(c.ctx(), network)
		if errors.Is(err, apn.ErrInvalid) {
			return apn.ErrNotFound // no network can have this name
		}
		if err != nil {
			return err
		}
		if !c.who.Operator {
			// A token outlives its member.
			if _, err := c.net.Member(c.who.Member); err != nil {
				return ErrUnauthenticated
			}
		}
	}
	if !c.allowed() {
		return apn.ErrForbidden
	}
	return nil
}

func (c *call) allowed() bool {
	if c.who.Operator {
		return true
	}
	switch c.route.access {
	case public, signedIn:
		return true
	case agents:
		return c.agent != nil
	case insider:
		return c.who.Member != ""
	case viewer:
		return c.role() >= apn.Viewer
	case developer:
		return c.role() >= apn.Developer
	case admin:
		return c.role() >= apn.Admin
	case self:
		return c.who.Member != "" && c.who.Member == c.r.PathValue("member")
	default: // operator
		return false
	}
}

// role returns the principal's access level on the app that the path names.
func (c *call) role() apn.Role {
	if c.who.Operator {
		return apn.Admin
	}
	return c.net.Role(c.who.Member, c.r.PathValue("app"))
}
