package nft

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrInvalid says that an option or the form of a prefix cannot be used.
	ErrInvalid = errors.New("invalid")
	// ErrNoTimeout says that a lease has no end. The kernel would keep it for
	// ever; what is open for ever is a rule.
	ErrNoTimeout = errors.New("lease has no end")
	// ErrTimeout says that a lease ends later than [MaxTimeout] from now.
	ErrTimeout = errors.New("lease ends too late")
	// ErrPrivilege says that the process may not change the firewall: it needs
	// root or CAP_NET_ADMIN.
	ErrPrivilege = errors.New("needs root or CAP_NET_ADMIN")
	// ErrUnsupported says that the kernel has no nftables, or lacks a part.
	ErrUnsupported = errors.New("the kernel lacks nftables")
)

// OpeningError says which source cannot be let in. It wraps [ErrInvalid],
// [ErrNoTimeout] or [ErrTimeout].
type OpeningError struct {
	Source netip.Prefix
	Err    error
}

func (e *OpeningError) Error() string { return fmt.Sprintf("source %v: %v", e.Source, e.Err) }

// Unwrap returns Err.
func (e *OpeningError) Unwrap() error { return e.Err }
