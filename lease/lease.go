package lease

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// Key says what a lease is about: there is at most one lease per Key.
type Key struct {
	Network string `json:"network,omitempty"`
	App     string `json:"app"`
	Member  string `json:"member"`
	// Source is an IPv4 /32 or an IPv6 /64, as [SourcePrefix] makes it.
	Source netip.Prefix `json:"source"`
}

// Lease opens the WireGuard port of an application's servers for one source.
type Lease struct {
	// ID is [IDOf] the Key.
	ID string `json:"id"`
	Key
	// IssuedAt is when the lease was granted or last extended, in UTC.
	// ExpiresAt - IssuedAt is the duration that was granted then.
	IssuedAt time.Time `json:"issued_at"`
	// ExpiresAt is the first moment at which the lease is over, in UTC.
	ExpiresAt time.Time `json:"expires_at"`
}

// Active reports whether the lease holds at now. The zero Lease never does.
func (l Lease) Active(now time.Time) bool { return now.Before(l.ExpiresAt) }

// Rule opens the WireGuard port of an application's servers for good.
type Rule struct {
	Network string `json:"network,omitempty"`
	App     string `json:"app"`
	// Source is a prefix as [RulePrefix] takes it.
	Source netip.Prefix `json:"source"`
	// Note is a text for people: who sits there.
	Note      string    `json:"note,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// IDOf returns the identifier of the lease under k: 26 characters of a-z and
// 2-7, always the same for the same Key, so that granting again gives the same
// lease.
//
// It shows nothing of the Key, and may stand in a URL. It is a plain hash:
// somebody who knows the other parts of a Key can test a guess of the rest.
func IDOf(k Key) string {
	h := sha256.New()
	for _, part := range []string{"apnkit lease v1", k.Network, k.App, k.Member, k.Source.String()} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:]) // lengths keep ("a", "bc") apart from ("ab", "c")
		h.Write([]byte(part))
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:16]))
}
