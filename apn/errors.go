package apn

import (
	"errors"
	"fmt"
	"strconv"
)

// Sentinels that callers branch on. Every error of this package that stems from
// a command or a read is an [*Error] around one of them, a context's error or
// the failure of a store or KEK.
var (
	// ErrNotFound: the named object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: an object of that name exists already.
	ErrExists = errors.New("exists already")
	// ErrConflict: the object changed since the revision that the caller saw.
	ErrConflict = errors.New("changed meanwhile")
	// ErrForbidden: the member's role does not allow it.
	ErrForbidden = errors.New("forbidden")
	// ErrInvalid: a value is malformed; see [*FieldError].
	ErrInvalid = errors.New("invalid")
	// ErrExhausted: no address, subnet or lease is left.
	ErrExhausted = errors.New("exhausted")
	// ErrRevealed: a key that is shown once was shown already.
	ErrRevealed = errors.New("revealed already")
	// ErrInUse: the object still holds others.
	ErrInUse = errors.New("in use")
	// ErrRepeated: a command with the same request ID was committed before.
	ErrRepeated = errors.New("repeated request")
	// ErrUnavailable: the store or the KEK did not answer; trying later may help.
	ErrUnavailable = errors.New("unavailable")
	// ErrDamaged: a row in the store cannot be what this program wrote.
	ErrDamaged = errors.New("damaged")
	// ErrTooLarge: the change has more rows than one commit of the store takes.
	ErrTooLarge = errors.New("too large for one commit of the store")
	// ErrManaged: the key pair is kept by the control plane.
	ErrManaged = errors.New("the key pair is kept by the control plane")
	// ErrStartOver: nothing leads from the document that an agent has to the
	// newest.
	ErrStartOver = errors.New("the document is not known any more")
	// ErrLinkUsed: the one-time link was redeemed before.
	ErrLinkUsed = errors.New("the link was used already")
	// ErrLinkEnded: the one-time link works no more.
	ErrLinkEnded = errors.New("the link has ended")
	// ErrClosed: the Control is closed.
	ErrClosed = errors.New("closed")
)

// Error tells which operation failed, on which object, and why.
type Error struct {
	Op     string // "add server"
	Object string // "shop/web-1"; empty if the operation has none
	Err    error
}

func (e *Error) Error() string {
	if e.Object == "" {
		return "apn: " + e.Op + ": " + e.Err.Error()
	}
	return "apn: " + e.Op + " " + strconv.Quote(e.Object) + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// FieldError names the input that is at fault. It matches [ErrInvalid], unless
// Err says otherwise: [ErrExists], [ErrNotFound] or [ErrExhausted].
type FieldError struct {
	Field  string // "name", "endpoint", "apps[0].servers[3].name"
	Reason string // never repeats a secret
	Err    error  // what a leaf said; may be nil
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

func (e *FieldError) Unwrap() []error {
	switch {
	case e.Err == nil:
		return []error{ErrInvalid}
	case errors.Is(e.Err, ErrExists), errors.Is(e.Err, ErrNotFound), errors.Is(e.Err, ErrExhausted):
		return []error{e.Err}
	default:
		return []error{ErrInvalid, e.Err}
	}
}

// invalid returns a FieldError. cause may be nil.
func invalid(field, reason string, cause error) error {
	return &FieldError{Field: field, Reason: reason, Err: cause}
}

// notFound says which of the objects that a command names is missing.
func notFound(what string) error { return fmt.Errorf("%s %w", what, ErrNotFound) }

// damaged reports a row that this package cannot have written.
func damaged(key string, cause error) error {
	return fmt.Errorf("row %q: %w: %w", key, ErrDamaged, cause)
}
