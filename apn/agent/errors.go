package agent

import (
	"errors"
	"fmt"
	"time"
)

// Causes to branch on.
var (
	// ErrStartOver says that the control plane no longer knows the document that
	// the server has.
	ErrStartOver = errors.New("the control plane starts over")
	// ErrRefused says that the control plane does not know this server: it was
	// removed, or joined anew.
	ErrRefused = errors.New("the control plane does not know this server")
	// ErrOwnKey says that a document has a peer with the server's own key. An
	// interface would ignore such a peer silently.
	ErrOwnKey = errors.New("a peer has the server's own key")
	// ErrNoKey says that the server does not hold the private key that the
	// document asks for.
	ErrNoKey = errors.New("the private key of the document is not here")
	// ErrManaged says that the control plane keeps the server's key, which the
	// server can therefore not change.
	ErrManaged = errors.New("the control plane keeps the server's key")
	// ErrNoMap says that there is no document yet.
	ErrNoMap = errors.New("no document yet")
	// ErrNotJoined says that a state directory holds no identity.
	ErrNotJoined = errors.New("this server has not joined a network")
)

// RetryError says that the control plane asks for patience.
type RetryError struct {
	After time.Duration // at least this long
	Err   error
}

func (e *RetryError) Error() string { return fmt.Sprintf("%v; try again in %v", e.Err, e.After) }

func (e *RetryError) Unwrap() error { return e.Err }
