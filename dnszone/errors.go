package dnszone

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of a refused label; they arrive wrapped in a [*LabelError].
var (
	ErrLabelEmpty    = errors.New("label is empty")
	ErrLabelTooLong  = errors.New("label is longer than 63 octets")
	ErrLabelBadRune  = errors.New("label holds a character that names cannot have")
	ErrLabelReserved = errors.New("label is reserved")
)

// Other causes to branch on.
var (
	// ErrNameTooLong means that a whole name would exceed 253 characters.
	ErrNameTooLong = errors.New("name is longer than 253 characters")
	// ErrBadName means that a text is no domain name.
	ErrBadName = errors.New("not a domain name")
	// ErrBadAddr means that an address cannot stand in a zone: it is invalid,
	// unspecified, multicast or carries an IPv6 zone.
	ErrBadAddr = errors.New("address cannot be published")
	// ErrAddrCount means that a host has no address, or more than [MaxAddrs].
	ErrAddrCount = errors.New("host needs 1 to 16 addresses")
	// ErrNoID means that a host has no ID.
	ErrNoID = errors.New("host has no ID")
	// ErrSameID means that several hosts share one ID.
	ErrSameID = errors.New("several hosts have this ID")
	// ErrConflict means that an extra record clashes with another record, or
	// that aliases go in a circle.
	ErrConflict = errors.New("record clashes with another one")
	// ErrBadRecord means that a record cannot stand in these zones.
	ErrBadRecord = errors.New("record cannot stand in the zone")
	// ErrNotOwnedPrefix means that a prefix or an address is not inside the
	// network's own prefixes.
	ErrNotOwnedPrefix = errors.New("outside the network's own prefixes")
	// ErrSerialNotNewer means that a serial does not follow the current one in
	// the order of RFC 1982.
	ErrSerialNotNewer = errors.New("serial is not newer")
	// ErrDrop means that a packet deserves no reply.
	ErrDrop = errors.New("no reply")
)

// A LabelError says why a text is no label.
type LabelError struct {
	Input string // the refused text
	Rune  rune   // the offending character; 0 if none
	Pos   int    // its byte offset in Input
	Err   error  // one of the ErrLabel causes
}

func (e *LabelError) Error() string {
	in := e.Input
	if len(in) > 80 {
		in = in[:80]
	}
	if e.Rune != 0 {
		return fmt.Sprintf("dnszone: label %q: %v: %q at %d", in, e.Err, e.Rune, e.Pos)
	}
	return fmt.Sprintf("dnszone: label %q: %v", in, e.Err)
}

func (e *LabelError) Unwrap() error { return e.Err }

// A ConfigError names the field of a [Config] that cannot be used.
type ConfigError struct {
	Field string // such as "Suffixes[1]"
	Err   error
}

func (e *ConfigError) Error() string { return "dnszone: config " + e.Field + ": " + e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

// A CollisionError says which name several hosts want. Under [CollisionReject]
// it fails [Build] and [Set.Update].
type CollisionError struct {
	Collision
}

func (e *CollisionError) Error() string {
	who := e.Hosts
	if e.Kind == ApplicationLabel {
		who = e.Names
	}
	more := ""
	if len(who) > 4 {
		more = fmt.Sprintf(" and %d more", len(who)-4+e.More)
		who = who[:4]
	}
	return fmt.Sprintf("dnszone: %s %q: wanted by %s%s", e.Kind, e.Name, strings.Join(who, ", "), more)
}
