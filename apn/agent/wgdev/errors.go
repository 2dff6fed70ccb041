package wgdev

import "errors"

var (
	// ErrInvalid says that a name, an MTU or a prefix cannot be used.
	ErrInvalid = errors.New("invalid")
	// ErrExists says that somebody else has an interface, a socket or a route
	// of that kind. It was not touched.
	ErrExists = errors.New("belongs to somebody else")
	// ErrPrivilege says that the process may not make network interfaces: it
	// needs root or CAP_NET_ADMIN.
	ErrPrivilege = errors.New("needs root or CAP_NET_ADMIN")
	// ErrNoTUN says that the kernel has neither WireGuard nor /dev/net/tun.
	ErrNoTUN = errors.New("the kernel has neither WireGuard nor /dev/net/tun")
	// ErrNamespace says that there is no such network namespace.
	ErrNamespace = errors.New("no such network namespace")
	// ErrForwarding says that the kernel forwards IPv6 on all interfaces or on
	// none, and does on none.
	ErrForwarding = errors.New("the kernel does not forward")
	// ErrClosed says that the interface was closed, or deleted by somebody
	// else. It does not come back: open another one.
	ErrClosed = errors.New("interface is gone")
)
