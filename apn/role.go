package apn

import (
	"fmt"
)

// Role is a member's access level on one app. Roles are ordered: each includes
// the ones below it.
type Role uint8

const (
	// NoRole means no access. It is the zero value.
	NoRole Role = iota
	// Viewer sees the app and its servers, and reaches none of them.
	Viewer
	// Developer reaches the app's servers: they are peers in the configs of the
	// member's devices, and the member may lease their ports.
	Developer
	// Admin may also change the app.
	Admin
)

// String returns the role as the API spells it.
func (r Role) String() string {
	switch r {
	case NoRole:
		return "none"
	case Viewer:
		return "viewer"
	case Developer:
		return "developer"
	case Admin:
		return "admin"
	default:
		return fmt.Sprintf("role(%d)", uint8(r))
	}
}

// ParseRole reads what [Role.String] writes.
func ParseRole(s string) (Role, error) {
	for r := NoRole; r <= Admin; r++ {
		if r.String() == s {
			return r, nil
		}
	}
	return NoRole, invalid("role", `must be "none", "viewer", "developer" or "admin"`, nil)
}

// MarshalText writes the role as the API spells it.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Role) UnmarshalText(text []byte) error {
	role, err := ParseRole(string(text))
	if err != nil {
		return err
	}
	*r = role
	return nil
}
