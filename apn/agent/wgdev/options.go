package wgdev

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/apnkit/apnkit/apn/agent"
)

const (
	// MinMTU is the smallest MTU of an interface, in bytes: what IPv6 needs
	// (RFC 8200, section 5).
	MinMTU = 1280
	// DefaultMTU fits into Ethernet over IPv4 and IPv6, in bytes.
	DefaultMTU = 1420
	maxMTU     = 65535 - 80 // of a tunnel over IPv6

	// RouteProtocol marks our routes in the kernel ("proto 151" in ip-route(8)).
	// Routes of another protocol are never changed.
	RouteProtocol = 151
)

// Options say which interface [Open] makes.
type Options struct {
	// Name of the interface, at most 15 letters, digits and "_=+.-".
	Name string
	// MTU in bytes. Zero means [DefaultMTU].
	MTU int
	// Namespace is a network namespace that exists: a path such as
	// /proc/1234/ns/net, or a name below /run/netns. The interface lives there,
	// its UDP socket does not. Empty means the namespace of this process.
	Namespace string
	// ListenPort is the UDP port until [Interface.Configure] sets another one.
	// Zero means any free port.
	ListenPort int
	// InProcess uses wireguard-go even if the kernel has WireGuard.
	InProcess bool
	// Logger hears of what wireguard-go cannot do. Nil discards.
	Logger *slog.Logger
}

func (o *Options) check() error {
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Namespace != "" && !strings.Contains(o.Namespace, "/") {
		o.Namespace = "/run/netns/" + o.Namespace
	}
	switch {
	case !validName(o.Name):
		return fmt.Errorf("name: %w", ErrInvalid)
	case o.ListenPort < 0 || o.ListenPort > 65535:
		return fmt.Errorf("port %d: %w", o.ListenPort, ErrInvalid)
	}
	return checkMTU(o.MTU)
}

// validName takes what wg-quick(8) takes: a name is part of a path.
func validName(name string) bool {
	if len(name) == 0 || len(name) > 15 || name == "." || name == ".." {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_=+.-", c) {
			return false
		}
	}
	return true
}

func checkMTU(mtu int) error {
	if mtu < MinMTU || mtu > maxMTU {
		return fmt.Errorf("mtu %d: want %d to %d: %w", mtu, MinMTU, maxMTU, ErrInvalid)
	}
	return nil
}

// Links are what an interface is in the IP layer. An address comes with the
// prefix of its subnet, to which the kernel then has a route by itself, or alone
// (/32, /128).
type Links = agent.Links

func checkLinks(l Links) error {
	if l.MTU != 0 {
		if err := checkMTU(l.MTU); err != nil {
			return err
		}
	}
	for _, p := range l.Addresses {
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
			return fmt.Errorf("address %v: %w", p, ErrInvalid)
		}
	}
	for _, p := range l.Routes {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return fmt.Errorf("route %v: %w", p, ErrInvalid)
		}
	}
	return nil
}
