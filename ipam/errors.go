package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The reasons for which a call fails. Every error of this package matches
// exactly one of them with [errors.Is].
var (
	// ErrExhausted means that no address or no range is left, see [ExhaustedError].
	ErrExhausted = errors.New("exhausted")
	// ErrNotFound means that the app has no subnet or the owner no address.
	ErrNotFound = errors.New("not found")
	// ErrOverlap means that a prefix meets one that is held, see [OverlapError].
	ErrOverlap = errors.New("prefixes overlap")
	// ErrExcluded means that an address is excluded, reserved, or the network
	// or broadcast address of a range, or that a prefix meets an exclusion.
	ErrExcluded = errors.New("excluded")
	// ErrNotInPool means that a prefix lies outside the pool, or an address
	// outside the app's subnet.
	ErrNotInPool = errors.New("not in the pool")
	// ErrInUse means that live addresses forbid the call, or that the owner
	// holds another address than the one asked for.
	ErrInUse = errors.New("in use")
	// ErrTaken means that the address is held by, or still rests for, somebody else.
	ErrTaken = errors.New("taken")
	// ErrStale means that the generation or the state that the caller has seen
	// is no longer the current one.
	ErrStale = errors.New("stale")
	// ErrInvalid means that an argument, a record or a setting is malformed.
	ErrInvalid = errors.New("invalid")
)

// ConfigError names the setting of a [Config] that cannot work. It matches
// [ErrInvalid].
type ConfigError struct {
	Field  string // "Prefixes[1]", "Subnet4.Min"
	Reason string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("ipam: config %s: %s", e.Field, e.Reason)
}

// Unwrap returns [ErrInvalid].
func (e *ConfigError) Unwrap() error { return ErrInvalid }

// ExhaustedError tells whether to grow or to wait. It matches [ErrExhausted].
type ExhaustedError struct {
	App                     string
	Live, Cooling, Reserved uint64
	// NextFree is when the next resting address, or for a subnet the next
	// resting range, may be given out. Zero: nothing rests.
	NextFree time.Time
}

func (e *ExhaustedError) Error() string {
	s := fmt.Sprintf("app %q exhausted: %d live, %d cooling, %d reserved", e.App, e.Live, e.Cooling, e.Reserved)
	if !e.NextFree.IsZero() {
		s += ", next free at " + e.NextFree.Format(time.RFC3339)
	}
	return s
}

// Unwrap returns [ErrExhausted].
func (e *ExhaustedError) Unwrap() error { return ErrExhausted }

// OverlapError names the two prefixes that meet. It matches [ErrOverlap].
type OverlapError struct {
	Want, Have netip.Prefix
	Holder     string // the app that holds Have; empty: another prefix of the same call
}

func (e *OverlapError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%v overlaps %v", e.Want, e.Have)
	}
	return fmt.Sprintf("%v overlaps %v of app %q", e.Want, e.Have, e.Holder)
}

// Unwrap returns [ErrOverlap].
func (e *OverlapError) Unwrap() error { return ErrOverlap }
