package apnhttp

import (
	"net/http"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type member struct {
	Name      string              `json:"name"`
	CreatedAt time.Time           `json:"created_at"`
	Roles     map[string]apn.Role `json:"roles"`
	Devices   int                 `json:"devices"`
	Revision  uint64              `json:"revision"`
}

func memberOf(m apn.Member) member {
	return member{Name: m.Name, CreatedAt: m.CreatedAt, Roles: m.Roles, Devices: m.Devices, Revision: uint64(m.Rev)}
}

type memberIn struct {
	Name string `json:"name"`
}

func (c *call) addMember() error {
	var in memberIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	m, err := c.net.AddMember(c.ctx(), in.Name, &c.opts)
	if c.repeated(err) {
		m, err = c.net.Member(in.Name)
	}
	if err != nil {
		return err
	}
	return c.created(uint64(m.Rev), memberOf(m), "networks", c.net.Name(), "members", m.Name)
}

func (c *call) listMembers() error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	members, more := c.net.Members(&opts)
	return answerPage(c, members, more, func(m apn.Member) string { return m.Name }, memberOf)
}

func (c *call) member() error {
	m, err := c.net.Member(c.r.PathValue("member"))
	if err != nil {
		return err
	}
	return c.object(http.StatusOK, uint64(m.Rev), memberOf(m))
}

func (c *call) removeMember() error {
	return c.removed(c.net.RemoveMember(c.ctx(), c.r.PathValue("member"), &c.opts))
}

type roleIn struct {
	Role string `json:"role"`
}

func (c *call) setRole() error {
	var in roleIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	role, err := apn.ParseRole(in.Role)
	if err != nil {
		f.add("role", `must be "none", "viewer", "developer" or "admin"`)
		return f.err()
	}
	name := c.r.PathValue("member")
	if err := c.net.SetRole(c.ctx(), name, c.r.PathValue("app"), role, &c.opts); err != nil {
		return err
	}
	if c.planned() {
		return nil
	}
	m, err := c.net.Member(name)
	if err != nil {
		return err
	}
	return c.changed(uint64(m.Rev), memberOf(m))
}
