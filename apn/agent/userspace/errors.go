package userspace

import "errors"

var (
	// ErrNoRoute says that no peer has the address among its allowed IPs.
	ErrNoRoute = errors.New("no peer has this address")
	// ErrNoName says that the network does not know a name, or that there is
	// nobody to ask.
	ErrNoName = errors.New("no such name in the network")
	// ErrNetwork says that a network is neither tcp nor udp.
	ErrNetwork = errors.New("unknown network")
)
