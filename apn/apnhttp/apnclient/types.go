package apnclient

import (
	"net/netip"
	"time"
)

// Network is an account's private network.
type Network struct {
	Name          string         `json:"name"`
	CreatedAt     time.Time      `json:"created_at"`
	Prefixes      []netip.Prefix `json:"prefixes"`
	SubnetBits    int            `json:"subnet_bits"`
	Suffix        string         `json:"suffix"`
	Links         string         `json:"links"` // "all" or "none"
	ListenPort    uint16         `json:"listen_port"`
	Keepalive     string         `json:"keepalive"`
	PresharedKeys bool           `json:"preshared_keys"`
	Apps          int            `json:"apps"`
	Servers       int            `json:"servers"`
	Members       int            `json:"members"`
	Devices       int            `json:"devices"`
	Revision      uint64         `json:"revision"`
}

// NewNetwork asks for a network. Zero fields let the server choose.
type NewNetwork struct {
	Name          string         `json:"name"`
	Prefixes      []netip.Prefix `json:"prefixes,omitempty"`
	SubnetBits    int            `json:"subnet_bits,omitempty"`
	Suffix        string         `json:"suffix,omitempty"`
	Links         string         `json:"links,omitempty"`
	ListenPort    uint16         `json:"listen_port,omitempty"`
	Keepalive     string         `json:"keepalive,omitempty"`
	PresharedKeys bool           `json:"preshared_keys,omitempty"`
}

// NetworkUpdate changes settings. Nil fields stay as they are.
type NetworkUpdate struct {
	AddPrefixes   []netip.Prefix `json:"add_prefixes,omitempty"`
	Links         *string        `json:"links,omitempty"`
	Keepalive     *string        `json:"keepalive,omitempty"`
	PresharedKeys *bool          `json:"preshared_keys,omitempty"`
}

// App is an application with an address range of its own.
type App struct {
	Name      string         `json:"name"`
	CreatedAt time.Time      `json:"created_at"`
	Subnets   []netip.Prefix `json:"subnets"`
	Servers   int            `json:"servers"`
	Gateway   string         `json:"gateway,omitempty"`
	Revision  uint64         `json:"revision"`
}

// NewApp asks for an app. Zero fields let the network choose.
type NewApp struct {
	Name    string         `json:"name"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	Bits    int            `json:"bits,omitempty"`
}

// Server is a peer in the network that runs an app.
type Server struct {
	App       string       `json:"app"`
	Name      string       `json:"name"`
	CreatedAt time.Time    `json:"created_at"`
	Addresses []netip.Addr `json:"addresses"`
	Names     []string     `json:"names"`
	Endpoint  string       `json:"endpoint"`
	PublicKey string       `json:"public_key"`
	KeyGen    uint64       `json:"key_generation"`
	Custody   string       `json:"custody"`
	Revision  uint64       `json:"revision"`
	Agent     *Agent       `json:"agent,omitempty"` // nil: none has joined
}

// Agent is what a server's agent reports.
type Agent struct {
	JoinedAt        time.Time `json:"joined_at"`
	SeenAt          time.Time `json:"seen_at"`
	Version         string    `json:"version"`
	AppliedRevision uint64    `json:"applied_revision"`
	WantedRevision  uint64    `json:"wanted_revision"`
	ClockOffset     float64   `json:"clock_offset_seconds"`
	LastHandshake   time.Time `json:"last_handshake,omitzero"`
	PeersUp         int       `json:"peers_up"`
	Errors          []string  `json:"errors"`
}

// NewServer asks for a server. Zero fields let the network choose.
type NewServer struct {
	Name      string     `json:"name"`
	Endpoint  string     `json:"endpoint,omitempty"`
	Address   netip.Addr `json:"address,omitzero"`
	PublicKey string     `json:"public_key,omitempty"`
}

// ServerUpdate changes a server. Nil fields stay as they are.
type ServerUpdate struct {
	Endpoint *string `json:"endpoint,omitempty"`
}

// JoinToken lets the agent of one server join once.
type JoinToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Member is a person.
type Member struct {
	Name      string            `json:"name"`
	CreatedAt time.Time         `json:"created_at"`
	Roles     map[string]string `json:"roles"` // by app
	Devices   int               `json:"devices"`
	Revision  uint64            `json:"revision"`
}

// Device is a computer or phone of a member.
type Device struct {
	Member    string       `json:"member"`
	Name      string       `json:"name"`
	CreatedAt time.Time    `json:"created_at"`
	Addresses []netip.Addr `json:"addresses"`
	PublicKey string       `json:"public_key"`
	KeyGen    uint64       `json:"key_generation"`
	Custody   string       `json:"custody"`
	Profile   string       `json:"profile,omitempty"`
	Servers   int          `json:"servers"`
	HandedOut *HandOut     `json:"handed_out"` // nil: it has no config yet
	Stale     bool         `json:"stale"`
	Reasons   []Reason     `json:"reasons"`         // why it is stale, worst first
	Alarm     *Alarm       `json:"alarm,omitempty"` // nil: none about its present key
	Revision  uint64       `json:"revision"`
}

// Alarm says that somebody tried a device's one-time link again, or guessed at
// its passphrase.
type Alarm struct {
	Kind string    `json:"kind"` // "link_reused" or "link_guessed"
	At   time.Time `json:"at"`
	From string    `json:"from"`
	Link string    `json:"link"` // its ID
}

// DeviceLink is a one-time link to a device's config.
type DeviceLink struct {
	ID         string    `json:"id"`
	Member     string    `json:"member"`
	Device     string    `json:"device"`
	Format     string    `json:"format"`
	By         string    `json:"by,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	UsedAt     time.Time `json:"used_at,omitzero"` // zero: nobody used it
	Passphrase bool      `json:"passphrase"`
	Ended      string    `json:"ended,omitempty"` // why it works no more; empty: it does
	URL        string    `json:"url,omitempty"`   // in the answer that made it
}

// NewDeviceLink is what a one-time link is made from.
type NewDeviceLink struct {
	Format     string `json:"format,omitempty"` // a format of files, "zip" or "qr"; empty: wg-quick
	TTL        string `json:"ttl,omitempty"`    // empty: 10 minutes
	Passphrase string `json:"passphrase,omitempty"`
}

// HandOut is the config that a device was last given.
type HandOut struct {
	At          time.Time `json:"at"`
	Fingerprint string    `json:"fingerprint"`
	KeyGen      uint64    `json:"key_generation"`
	Servers     int       `json:"servers"`
	Revision    uint64    `json:"revision"`
}

// Reason is why a config is stale.
type Reason struct {
	Kind   string `json:"kind"` // "server_added"
	Object string `json:"object,omitempty"`
}

// NewDevice asks for a device. Zero fields let the network choose.
type NewDevice struct {
	Name      string     `json:"name"`
	Address   netip.Addr `json:"address,omitzero"`
	PublicKey string     `json:"public_key,omitempty"`
	Custody   string     `json:"custody,omitempty"` // "managed", "once"
	Profile   string     `json:"profile,omitempty"`
}

// Lease opens the WireGuard port of an app's servers to a source.
type Lease struct {
	ID        string       `json:"id"`
	App       string       `json:"app"`
	Member    string       `json:"member"`
	Source    netip.Prefix `json:"source"`
	IssuedAt  time.Time    `json:"issued_at"`
	ExpiresAt time.Time    `json:"expires_at"`
}

// NewLease asks for leases. Without Member it is the caller's own, without
// Sources for the address that the request comes from.
type NewLease struct {
	Member   string       `json:"member,omitempty"`
	Sources  []netip.Addr `json:"sources,omitempty"`
	Duration string       `json:"duration,omitempty"` // "24h"
}

// Rule opens the port to a prefix for good.
type Rule struct {
	ID        string       `json:"id"`
	App       string       `json:"app"`
	Source    netip.Prefix `json:"source"`
	Note      string       `json:"note"`
	CreatedAt time.Time    `json:"created_at"`
	Revision  uint64       `json:"revision"`
}

// Link is an exception to the links policy of a network.
type Link struct {
	A         string    `json:"a"`
	B         string    `json:"b"`
	Linked    bool      `json:"linked"`
	CreatedAt time.Time `json:"created_at"`
	Revision  uint64    `json:"revision"`
}

// Event is a line of the audit log.
type Event struct {
	N        uint64    `json:"n"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor"`
	From     string    `json:"from"`
	Action   string    `json:"action"`
	Object   string    `json:"object"`
	Detail   string    `json:"detail"`
	Outcome  string    `json:"outcome"` // "refused"; empty: it was done
	Revision uint64    `json:"revision"`
	Hash     []byte    `json:"hash"`
}

// AuditQuery says which events are wanted. Zero fields ask for nothing.
type AuditQuery struct {
	After                 uint64 // number of an event
	Actor, Action, Object string // "server" also stands for "server.add", "shop" for "shop/web-1"
	Refused               bool   // only what was refused
	From, To              time.Time
	NewestFirst           bool
}

// Webhook is a URL that is told what happens in a network. Secret is set in the
// answer that made it, and never again.
type Webhook struct {
	ID        string    `json:"id"`
	URL       string    `json:"url"`
	Actions   []string  `json:"actions"` // empty: all
	CreatedAt time.Time `json:"created_at"`
	Acked     uint64    `json:"acked"` // number of the last event that it took
	Failed    int       `json:"failed"`
	LastError string    `json:"last_error"`
	NextTry   time.Time `json:"next_try"`
	Secret    string    `json:"secret"`
}

// Token is an API token. Secret is set in the answer that made it, and never
// again.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Network   string    `json:"network,omitempty"`
	Member    string    `json:"member,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Secret    string    `json:"secret,omitempty"`
}

// NewToken asks for a token: an operator's without Network and Member.
type NewToken struct {
	Name    string `json:"name"`
	Network string `json:"network,omitempty"`
	Member  string `json:"member,omitempty"`
	TTL     string `json:"ttl,omitempty"` // "720h"; empty: for ever
}

// Identity is who a token is.
type Identity struct {
	Name     string     `json:"name"`
	Operator bool       `json:"operator"`
	Network  string     `json:"network,omitempty"`
	Member   string     `json:"member,omitempty"`
	Address  netip.Addr `json:"address,omitzero"` // that a lease without sources is for; zero if it cannot be told
}

// Inventory is a set of apps and servers that a network takes in one go.
type Inventory struct {
	Apps []InventoryApp `json:"apps"`
}

// InventoryApp is an app of an [Inventory].
type InventoryApp struct {
	Name    string         `json:"name"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	Servers []NewServer    `json:"servers"`
}

// Imported tells what an import added.
type Imported struct {
	Apps    []string `json:"apps"`
	Servers []string `json:"servers"`
}

// ConfigState says what a config file is worth: "current", "stale",
// "superseded" or "unknown".
type ConfigState struct {
	State  string  `json:"state"`
	Device *Device `json:"device"`
}

// Plan is what a mutation would change.
type Plan struct {
	Servers []string     `json:"servers"` // whose peers or openings change
	Devices []string     `json:"devices"` // whose configs become stale
	Leases  []PlanChange `json:"leases"`
	Rules   []PlanChange `json:"rules"`
	Names   []PlanChange `json:"names"`
}

// PlanChange is an object that comes, goes or changes.
type PlanChange struct {
	Object string `json:"object"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}
