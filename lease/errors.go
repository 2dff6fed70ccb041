package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

var (
	// ErrSource says that an address or prefix cannot be the source of a lease
	// or rule, or that the client's address is not known. Errors with the
	// details are a [*SourceError].
	ErrSource = errors.New("source refused")
	// ErrDuration says that a lease would be too short or too long. Errors with
	// the details are a [*DurationError].
	ErrDuration = errors.New("duration refused")
	// ErrLimit says that a member holds as many leases as the policy allows.
	// Errors with the details are a [*LimitError].
	ErrLimit = errors.New("too many leases")
	// ErrNotFound says that there is no such lease.
	ErrNotFound = errors.New("lease not found")
	// ErrExpired says that a lease has ended, so that it cannot be renewed.
	ErrExpired = errors.New("lease expired")
)

// SourceError matches [ErrSource].
type SourceError struct {
	// Source is what was refused; an address stands as a prefix of its full
	// length. Invalid if there was no address to speak of.
	Source netip.Prefix
	// Reason is a short text for people, such as "loopback".
	Reason string
}

func (e *SourceError) Error() string {
	switch {
	case !e.Source.IsValid():
		return "lease: source: " + e.Reason
	case e.Source.IsSingleIP():
		return fmt.Sprintf("lease: source %v: %s", e.Source.Addr(), e.Reason)
	}
	return fmt.Sprintf("lease: source %v: %s", e.Source, e.Reason)
}

// Unwrap returns [ErrSource].
func (e *SourceError) Unwrap() error { return ErrSource }

// DurationError matches [ErrDuration].
type DurationError struct {
	Duration, Min, Max time.Duration
}

func (e *DurationError) Error() string {
	return fmt.Sprintf("lease: duration %v: want %v to %v", e.Duration, e.Min, e.Max)
}

// Unwrap returns [ErrDuration].
func (e *DurationError) Unwrap() error { return ErrDuration }

// LimitError matches [ErrLimit].
type LimitError struct {
	Member string
	Limit  int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("lease: member %q holds %d active leases, the limit", e.Member, e.Limit)
}

// Unwrap returns [ErrLimit].
func (e *LimitError) Unwrap() error { return ErrLimit }
