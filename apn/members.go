package apn

import (
	"context"
	"maps"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Member is a person with roles on apps.
type Member struct {
	Name      string
	CreatedAt time.Time
	Roles     map[string]Role // by app; apps without a role are left out
	Devices   int
	Rev       store.Rev
}

// AddMember adds a person without any role. opts may be nil.
func (n *Network) AddMember(ctx context.Context, member string, opts *CommitOptions) (Member, error) {
	var out Member
	err := n.do(ctx, opts, func(t *tx) error {
		if err := checkMember("name", member); err != nil {
			return err
		}
		if _, ok := find[*memRow](t.state, memKey(member)); ok {
			return ErrExists
		}
		t.put(memKey(member), &memRow{UID: newUID(), Created: t.now.UTC()})
		t.event("member.add", member, "")
		out, _ = t.member(member)
		return nil
	})
	if err != nil {
		return Member{}, &Error{Op: "add member", Object: member, Err: err}
	}
	return n.settledMember(member, out), nil
}

func (n *Network) settledMember(member string, out Member) Member {
	if m, ok := n.view().member(member); ok {
		return m
	}
	return out
}

// Member returns one member.
func (n *Network) Member(member string) (Member, error) {
	m, ok := n.view().member(member)
	if !ok {
		return Member{}, &Error{Op: "read member", Object: member, Err: ErrNotFound}
	}
	return m, nil
}

// Members returns the members, sorted by name, and whether there are more. opts
// may be nil.
func (n *Network) Members(opts *ListOptions) ([]Member, bool) {
	s := n.view()
	list, more := page[*memRow](s, preMem, opts)
	members := make([]Member, len(list))
	for i, name := range list {
		members[i], _ = s.member(name)
	}
	return members, more
}

func (s *state) member(member string) (Member, bool) {
	r, ok := find[*memRow](s, memKey(member))
	if !ok {
		return Member{}, false
	}
	m := Member{
		Name: member, CreatedAt: r.Created, Roles: maps.Clone(r.Roles),
		Devices: s.count(devKey(member, "")), Rev: s.revOf(memKey(member)),
	}
	if m.Roles == nil {
		m.Roles = map[string]Role{}
	}
	return m, true
}

// SetRole sets a member's access level on an app; [NoRole] takes it away. A
// member who is no longer Developer loses the peers and the leases at once.
// opts may be nil.
func (n *Network) SetRole(ctx context.Context, member, app string, role Role, opts *CommitOptions) error {
	object := member + "/" + app
	err := n.do(ctx, opts, func(t *tx) error {
		if role > Admin {
			return invalid("role", "is unknown", nil)
		}
		if _, ok := find[*memRow](t.state, memKey(member)); !ok {
			return notFound("member")
		}
		if _, ok := find[*appRow](t.state, appKey(app)); !ok {
			return notFound("app")
		}
		if err := t.match(memKey(member)); err != nil {
			return err
		}
		t.setRole(member, app, role)
		t.event("role.set", object, role.String())
		return nil
	})
	if err != nil {
		return &Error{Op: "set role", Object: object, Err: err}
	}
	return nil
}

func (t *tx) setRole(member, app string, role Role) {
	old, _ := find[*memRow](t.state, memKey(member))
	r := *old
	if r.Roles = maps.Clone(old.Roles); r.Roles == nil {
		r.Roles = map[string]Role{}
	}
	if role == NoRole {
		delete(r.Roles, app)
	} else {
		r.Roles[app] = role
	}
	t.put(memKey(member), &r)
	if role < Developer {
		t.dropLeases(app, member)
	}
}

// dropRole takes a role away that may not be there.
func (t *tx) dropRole(member, app string) {
	if r, ok := find[*memRow](t.state, memKey(member)); ok && r.Roles[app] != NoRole {
		t.setRole(member, app, NoRole)
	}
}

// RemoveMember removes a person with devices and leases. opts may be nil.
func (n *Network) RemoveMember(ctx context.Context, member string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		r, ok := find[*memRow](t.state, memKey(member))
		if !ok {
			return ErrNotFound
		}
		if err := t.match(memKey(member)); err != nil {
			return err
		}
		for _, device := range names[*devRow](t.state, devKey(member, "")) {
			if err := t.removeDevice(member, device); err != nil {
				return err
			}
		}
		for app := range r.Roles {
			t.dropLeases(app, member)
		}
		t.del(memKey(member))
		t.event("member.remove", member, "")
		return nil
	})
	if err != nil {
		return &Error{Op: "remove member", Object: member, Err: err}
	}
	return nil
}

// role returns a member's access level on an app.
func (s *state) role(member, app string) Role {
	if r, ok := find[*memRow](s, memKey(member)); ok {
		return r.Roles[app]
	}
	return NoRole
}

// Role returns a member's access level on an app; NoRole for strangers.
func (n *Network) Role(member, app string) Role { return n.view().role(member, app) }
