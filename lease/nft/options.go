package nft

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"github.com/apnkit/apnkit/lease"
)

// MaxTimeout is the longest that a lease may last from now. Kernels count
// milliseconds; all of them can count that far.
const MaxTimeout = 20_000 * 24 * time.Hour

// DefaultName is the name of the table, in the family inet.
const DefaultName = "apn"

// priority is ahead of the filters of others: what they accept on sight, such
// as an established flow, still ends here.
const priority = -10

// Options say what a [Table] guards.
type Options struct {
	// Port is the UDP port of WireGuard. It has to be set.
	Port uint16
	// Interface is the WireGuard interface in this network namespace. Empty
	// means that it lives in another one: nothing is guarded against spoofing.
	Interface string
	// Protected are the prefixes of the private network. Packets from or to
	// them enter the host through Interface only. Nil guards nothing.
	Protected []netip.Prefix
	// Inside names interfaces whose hosts may send into the private network
	// through this one, such as the bridge of its containers. A final "*"
	// matches any rest. Nil means none.
	Inside []string
	// Forward says whether the host passes packets of the private network on, see
	// [Table.Forward].
	Forward bool
	// Openings are in force from [Open] on, which takes over a table without a
	// moment in which it is empty. The zero value lets nobody in.
	Openings lease.Openings
	// Name of the table. Empty means [DefaultName]. A table of this name is
	// ours, whoever made it.
	Name string
	// Namespace is a file descriptor of the network namespace, which must stay
	// open. Zero means the namespace of the calling thread.
	Namespace int
	// Logger hears when somebody else has changed the table. Nil discards.
	Logger *slog.Logger
	// Now is the clock that the times of leases refer to. Nil means time.Now.
	Now func() time.Time
}

// check fills in defaults, and copies what the caller could change.
func (o *Options) check() error {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Port == 0 {
		return fmt.Errorf("port: %w", ErrInvalid)
	}
	if !validName(o.Name) {
		return fmt.Errorf("table name: %w", ErrInvalid)
	}
	o.Inside = slices.Clone(o.Inside)
	for _, name := range append([]string{o.Interface}, o.Inside...) {
		if len(name) > 15 || strings.ContainsAny(name, "/ \t\n\"\\") {
			return fmt.Errorf("interface name: %w", ErrInvalid)
		}
	}
	if slices.Contains(o.Inside, "") || slices.Contains(o.Inside, "*") {
		return fmt.Errorf("interface name: %w", ErrInvalid)
	}
	protected, err := merge(o.Protected)
	o.Protected = protected
	return err
}

// equal reports whether o and p ask for the same rules, of one table.
func (o *Options) equal(p *Options) bool {
	return o.Port == p.Port && slices.Equal(o.Protected, p.Protected) && o.Forward == p.Forward
}

// guards reports whether there is something to guard against spoofing.
func (o *Options) guards() bool { return o.Interface != "" && len(o.Protected) > 0 }

func familyOf(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "ip"
	}
	return "ip6"
}

// validName takes what nft(8) takes without quotes.
func validName(name string) bool {
	for i, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// merge returns the prefixes sorted and without overlaps, which an interval set
// refuses.
func merge(list []netip.Prefix) ([]netip.Prefix, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var b netipx.IPSetBuilder
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p != p.Masked() {
			return nil, &OpeningError{Source: p, Err: ErrInvalid}
		}
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return nil, err
	}
	return set.Prefixes(), nil
}
