package render

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrNoQR means that a config does not go into a QR code. [*TooManyServersError]
	// and [*TooLargeError] match it: offer the file or the zip instead.
	ErrNoQR = errors.New("no QR code")
	// ErrNoPrivateKey means that an output needs the private key that the config
	// lacks.
	ErrNoPrivateKey = errors.New("no private key")
)

// TooManyServersError says that a config has more peers than a QR code may
// hold. It matches [ErrNoQR].
type TooManyServersError struct{ Servers, Limit int }

func (e *TooManyServersError) Error() string {
	return fmt.Sprintf("render: QR code: %d servers, limit %d", e.Servers, e.Limit)
}

// Is reports whether target is [ErrNoQR].
func (e *TooManyServersError) Is(target error) bool { return target == ErrNoQR }

// TooLargeError says that the compact text of a config exceeds what the largest
// QR code of a level holds. It matches [ErrNoQR].
type TooLargeError struct {
	Bytes, Capacity int
	Level           Level
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("render: QR code: %d bytes, capacity %d at level %v", e.Bytes, e.Capacity, e.Level)
}

// Is reports whether target is [ErrNoQR].
func (e *TooLargeError) Is(target error) bool { return target == ErrNoQR }

// ValueError says which value of a config cannot be rendered, and why. Several
// are joined, so use [errors.As] on each or print them all.
type ValueError struct {
	Field  string // as in the wg-quick file: Address, Endpoint, ...
	Peer   string // the peer's name, else the fingerprint of its public key; empty: the interface
	Reason string
}

func (e *ValueError) Error() string {
	if e.Peer == "" {
		return fmt.Sprintf("render: interface: %s: %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("render: peer %q: %s: %s", e.Peer, e.Field, e.Reason)
}

// ConflictError says that two parts of a config, or two configs of a zip,
// exclude each other: they claim one prefix, or one public key.
type ConflictError struct {
	Prefix netip.Prefix // the prefix that both claim; zero: the public key
	A, B   string       // who: as [ValueError.Peer], or "interface"
}

func (e *ConflictError) Error() string {
	what := "public key"
	if e.Prefix.IsValid() {
		what = e.Prefix.String()
	}
	return fmt.Sprintf("render: %q and %q share %s", e.A, e.B, what)
}

// ParseError says where [Parse] stopped. It never holds text of the input other
// than the name of a key that WireGuard knows.
type ParseError struct {
	Line int    // from 1; 0: the file as a whole
	Key  string // empty: none, or not one that WireGuard knows
	Err  error
}

func (e *ParseError) Error() string {
	switch {
	case e.Line == 0:
		return fmt.Sprintf("render: parse config: %v", e.Err)
	case e.Key == "":
		return fmt.Sprintf("render: parse config: line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("render: parse config: line %d: %s: %v", e.Line, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.Err }
