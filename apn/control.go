package apn

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

// Config is what a [Control] needs.
type Config struct {
	// Store keeps everything. Required.
	Store store.Store
	// KEK wraps the data keys of new networks and opens those of existing ones,
	// also those that an earlier KEK of the set wrapped. Required.
	KEK *keys.KEKSet
	// Lease bounds port openings. The zero Policy has the documented defaults.
	Lease lease.Policy
	// Sources says which addresses leases and rules may open ports for. The
	// zero value refuses what is never a caller's address on the Internet.
	Sources lease.SourceOptions
	// Idle is how long a network stays in memory after the last call of
	// [Control.Network] for it, if nobody holds it any more. Zero means 10
	// minutes, a negative value for ever.
	Idle time.Duration
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Logger receives what goes wrong behind a caller's back. Nil discards.
	Logger *slog.Logger
}

// Control holds the networks of one store. Any number of Controls, in any number
// of processes, may share a store. Its methods are safe for concurrent use.
type Control struct {
	store   store.Store
	limits  limits
	custody atomic.Pointer[custodian]
	lease   lease.Policy
	sources lease.SourceOptions
	now     func() time.Time
	log     *slog.Logger

	// Close ends waits, waits for what is under way, then ends ctx.
	ctx, waits       context.Context
	cancel, endWaits context.CancelFunc
	wg               sync.WaitGroup
	agentsEnd        func()
	agentsEnded      chan struct{}

	places   places
	refusals refusals
	counters agentCounters

	mu       sync.Mutex
	closed   bool
	networks map[string]*opening
	idle     time.Duration
	sweeping bool
}

// Open returns a Control over a store. It touches neither the store nor the KEK
// yet.
func Open(cfg Config) (*Control, error) {
	switch {
	case cfg.Store == nil:
		return nil, &Error{Op: "open", Err: invalid("Store", "is required", nil)}
	case cfg.KEK == nil:
		return nil, &Error{Op: "open", Err: invalid("KEK", "is required", nil)}
	}
	c := &Control{
		store: cfg.Store, limits: limitsOf(cfg.Store), lease: cfg.Lease, sources: cfg.Sources,
		now: cfg.Now, log: cfg.Logger, networks: map[string]*opening{}, idle: cmp.Or(cfg.Idle, 10*time.Minute),
	}
	if c.now == nil {
		c.now = time.Now //nolint:forbidigo // the default of Config.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.custody.Store(newCustodian(cfg.KEK))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.waits, c.endWaits = context.WithCancel(c.ctx)
	c.agentsEnded = make(chan struct{})
	c.agentsEnd = sync.OnceFunc(func() { close(c.agentsEnded) })
	return c, nil
}

// Close waits for the commits that are under way and ends the rest with
// [ErrClosed]. It does not close the store.
func (c *Control) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.EndWaits()
	c.endWaits()
	c.wg.Wait()
	c.cancel()
	return nil
}

// start runs f in a goroutine that Close waits for. It reports whether the
// Control still accepts work.
func (c *Control) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// LinkPolicy says whether apps reach each other.
type LinkPolicy uint8

const (
	// LinkAll links all apps of the network but those that are unlinked. It is
	// the zero value.
	LinkAll LinkPolicy = iota
	// LinkNone links no apps but those that are linked by name.
	LinkNone
)

// MarshalText writes "all" or "none".
func (p LinkPolicy) MarshalText() ([]byte, error) {
	if p == LinkNone {
		return []byte("none"), nil
	}
	return []byte("all"), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *LinkPolicy) UnmarshalText(text []byte) error {
	switch string(text) {
	case "all":
		*p = LinkAll
	case "none":
		*p = LinkNone
	default:
		return invalid("links", `must be "all" or "none"`, nil)
	}
	return nil
}

const (
	// DefaultPort is the UDP port on which servers listen for WireGuard.
	DefaultPort = 51820
	// DefaultKeepalive keeps the mapping of common NATs and firewalls alive;
	// wg(8) recommends it.
	DefaultKeepalive = 25 * time.Second
	// defaultBits is what ipam makes of a zero.
	defaultBits = 24
	// DefaultSuffix is the zone of server names.
	DefaultSuffix = "apn"
)

// NetworkOptions are the optional settings of a network.
type NetworkOptions struct {
	CommitOptions
	// Prefixes are the pool that apps get their subnets from. Nil means a
	// random /16 of 10.0.0.0/8 and a random IPv6 ULA /48 (RFC 4193), so that two
	// networks, or a network and somebody's office, rarely overlap.
	Prefixes []netip.Prefix
	// SubnetBits is the prefix length of an app's IPv4 subnet. Zero means 24.
	SubnetBits int
	// Exclude are parts of the pool that are never used, besides the ranges
	// that clash with common software ([ipam.DefaultExclusions]).
	Exclude []ipam.Exclusion
	// Suffix ends the servers' names. Empty means [DefaultSuffix].
	Suffix string
	// Links is the policy between apps. Zero means [LinkAll].
	Links LinkPolicy
	// ListenPort is the servers' UDP port. Zero means [DefaultPort].
	ListenPort uint16
	// Keepalive is the interval of keepalive packets in configs, in whole
	// seconds. Zero means [DefaultKeepalive], a negative value none.
	Keepalive time.Duration
	// PresharedKeys adds a preshared key, derived per pair, to every tunnel.
	PresharedKeys bool
}

// NetworkInfo tells a network's settings.
type NetworkInfo struct {
	Name          string
	CreatedAt     time.Time
	Prefixes      []netip.Prefix
	SubnetBits    int // prefix length of an app's IPv4 subnet, as far as the pool allows
	Suffix        string
	Links         LinkPolicy
	ListenPort    uint16
	Keepalive     time.Duration // zero: none
	PresharedKeys bool
	Apps          int
	Servers       int
	Members       int
	Devices       int
	Epoch         string    // changes when the store is restored from a copy
	Rev           store.Rev // of the settings
	Head          store.Rev // of the whole network
}

// CreateNetwork makes the private network of an account; name is the caller's
// own ID of the account. opts may be nil.
//
// If the network exists, the error wraps [ErrExists]. A dry run and a creation
// inside a transaction return a nil Network: there is none yet.
func (c *Control) CreateNetwork(ctx context.Context, name string, opts *NetworkOptions) (*Network, error) {
	const op = "create network"
	if err := checkNetwork("name", name); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if opts == nil {
		opts = new(NetworkOptions)
	}
	settings, err := newNetRow(opts, c.now())
	if err != nil {
		return nil, &Error{Op: op, Object: name, Err: err}
	}
	if err := c.createNetwork(ctx, name, settings, opts); err != nil {
		return nil, &Error{Op: op, Object: name, Err: err}
	}
	if opts.DryRun != nil || opts.In != nil {
		return nil, nil
	}
	return c.Network(ctx, name)
}

func (c *Control) createNetwork(ctx context.Context, name string, settings *netRow, opts *NetworkOptions) error {
	switch n, err := c.open(ctx, name); {
	case err == nil:
		t := &tx{state: n.view(), cmd: &command{opts: opts.CommitOptions}, now: c.now()}
		return cmp.Or(t.repeated(), ErrExists)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if opts.DryRun != nil {
		*opts.DryRun = Plan{}
		return nil
	}
	rec, err := keys.NewDEK(ctx, c.custody.Load().kek, name, 1, settings.Created)
	if err != nil {
		return kekError(err)
	}
	// The directory first: a name without a network is skipped by lists, a
	// network without a name would be lost to them.
	st := c.store
	if opts.In != nil {
		st = opts.In
	}
	err = directory(ctx, st, name, settings.Created)
	if err != nil {
		return err
	}
	t := &tx{
		state:  newState(),
		cmd:    &command{network: name, actor: actorOf(ctx), opts: opts.CommitOptions},
		now:    settings.Created,
		writes: map[string]row{},
	}
	t.put(rowNet, settings)
	t.put(dekKey(1), &dekRow{DEKRecord: rec})
	t.hosts = true // the first DNS serial
	t.event("network.create", name, "")
	t.finish()
	b := store.Batch{Checks: map[string]store.Rev{rowNet: 0}}
	if b.Writes, err = encode(t.writes); err != nil {
		return err
	}
	_, err = st.Commit(ctx, space(name), b)
	if errors.Is(err, store.ErrConflict) {
		return ErrExists
	}
	return storeError(err)
}

// newNetRow fills in the defaults and refuses settings that no network can have.
func newNetRow(o *NetworkOptions, now time.Time) (*netRow, error) {
	r := &netRow{
		Created: now.UTC(), Epoch: newUID(), Suffix: o.Suffix, Links: o.Links, Port: o.ListenPort,
		Keepalive: o.Keepalive, PSK: o.PresharedKeys,
		Pool: ipam.Config{Prefixes: o.Prefixes, Exclude: append(ipam.DefaultExclusions(), o.Exclude...)},
	}
	if r.Suffix == "" {
		r.Suffix = DefaultSuffix
	}
	if r.Port == 0 {
		r.Port = DefaultPort
	}
	if r.Keepalive == 0 {
		r.Keepalive = DefaultKeepalive
	}
	if err := checkKeepalive(r.Keepalive); err != nil {
		return nil, err
	}
	if err := checkSuffix(r.Suffix); err != nil {
		return nil, err
	}
	if o.SubnetBits != 0 {
		r.Pool.Subnet4.Default = o.SubnetBits
	}
	if len(r.Pool.Prefixes) == 0 {
		v4, err := ipam.RandomPool4(rand.Reader, 16)
		if err != nil {
			return nil, err
		}
		v6, err := ipam.RandomULA(rand.Reader)
		if err != nil {
			return nil, err
		}
		r.Pool.Prefixes = []netip.Prefix{v4, v6}
	}
	pool, err := ipam.New(r.Pool)
	if err == nil {
		_, _, err = pool.Subnet(now, devicePool, nil) // room for nothing is no pool
	}
	if err != nil {
		return nil, &FieldError{Field: "prefixes", Reason: "cannot be the pool: " + err.Error()}
	}
	return r, nil
}

func checkKeepalive(d time.Duration) error {
	if d > 0 && (d%time.Second != 0 || d > 65535*time.Second) {
		return invalid("keepalive", "must be whole seconds, at most 65535", nil)
	}
	return nil
}

// checkSuffix refuses what cannot be a private zone. One or more labels.
func checkSuffix(suffix string) error {
	for label := range strings.SplitSeq(strings.TrimSuffix(suffix, "."), ".") {
		if err := checkLabel("suffix", label); err != nil {
			return err
		}
	}
	if len(suffix) > 100 {
		return invalid("suffix", "must be at most 100 bytes", nil)
	}
	return nil
}

// storeError marks a failed read or write of the store as an outage, unless the
// cause is known better.
func storeError(err error) error {
	for _, known := range []error{
		nil, ErrNotFound, ErrExists, ErrDamaged, ErrUnavailable, ErrClosed, ErrInvalid, ErrTooLarge,
		keys.ErrWrongKEK, keys.ErrTampered, keys.ErrUnknownDEK, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Info returns the network's settings and sizes.
func (n *Network) Info() NetworkInfo {
	s := n.view()
	r := s.net()
	info := NetworkInfo{
		Name: n.name, CreatedAt: r.Created, Prefixes: append([]netip.Prefix(nil), r.Pool.Prefixes...),
		SubnetBits: cmp.Or(r.Pool.Subnet4.Default, defaultBits), Suffix: r.Suffix, Links: r.Links, ListenPort: r.Port,
		Keepalive: max(r.Keepalive, 0), PresharedKeys: r.PSK, Epoch: r.Epoch, Rev: s.revOf(rowNet), Head: s.rev,
		Apps: s.count(preApp), Servers: s.count(preSrv), Members: s.count(preMem), Devices: s.count(preDev),
	}
	return info
}

// NetworkUpdate changes settings. Nil fields stay as they are.
type NetworkUpdate struct {
	CommitOptions
	AddPrefixes   []netip.Prefix // enlarge the pool
	Links         *LinkPolicy
	Keepalive     *time.Duration // zero: none
	PresharedKeys *bool
}

// Update changes the network's settings.
func (n *Network) Update(ctx context.Context, u NetworkUpdate) (NetworkInfo, error) {
	err := n.do(ctx, &u.CommitOptions, func(t *tx) error {
		if err := t.match(rowNet); err != nil {
			return err
		}
		r := *t.net()
		if u.Links != nil {
			r.Links = *u.Links
		}
		if u.Keepalive != nil {
			if r.Keepalive = *u.Keepalive; r.Keepalive == 0 {
				r.Keepalive = -1
			}
			if err := checkKeepalive(r.Keepalive); err != nil {
				return err
			}
		}
		if u.PresharedKeys != nil {
			r.PSK = *u.PresharedKeys
		}
		if len(u.AddPrefixes) > 0 {
			r.Pool.Prefixes = append(slices.Clip(r.Pool.Prefixes), u.AddPrefixes...)
			if _, err := poolOf(t.state, r.Pool); err != nil {
				return invalid("add_prefixes", "cannot enlarge the pool: "+err.Error(), err)
			}
			t.repool = true
			t.hosts = true // reverse zones
		}
		t.put(rowNet, &r)
		t.event("network.update", n.name, "")
		return nil
	})
	if err != nil {
		return NetworkInfo{}, &Error{Op: "update network", Object: n.name, Err: err}
	}
	return n.Info(), nil
}

// Networks returns the names of networks after after, sorted, at most limit, and
// whether there are more. A limit of 0 or less means 100.
func (c *Control) Networks(ctx context.Context, after string, limit int) (names []string, more bool, err error) {
	names, more, err = networksOf(ctx, c.store, after, limit)
	if err != nil {
		return nil, false, &Error{Op: "list networks", Err: storeError(err)}
	}
	return names, more, nil
}

func networksOf(ctx context.Context, st store.Store, after string, limit int) (names []string, more bool, err error) {
	if limit <= 0 {
		limit = 100
	}
	for more = true; more && len(names) < limit; {
		key := ""
		if after != "" {
			key = dirNet + after
		}
		page, err := st.List(ctx, dirSpace, dirNet, key, limit-len(names))
		if err != nil {
			return nil, false, err
		}
		for _, e := range page.Entries {
			after = strings.TrimPrefix(e.Key, dirNet)
			// A creation that was cut off left a name and no network.
			row, err := st.Get(ctx, space(after), rowNet)
			if err != nil {
				return nil, false, err
			}
			if len(row.Entries) > 0 {
				names = append(names, after)
			}
		}
		more = page.More
	}
	return names, more, nil
}

// The directory space lists the networks and holds the API tokens, which belong
// to no network.
const (
	dirSpace = "dir"
	dirNet   = "net/"
	dirToken = "token/"
)

func space(network string) string { return "net/" + network }

func directory(ctx context.Context, st store.Store, name string, created time.Time) error {
	value, err := json.Marshal(map[string]any{"v": rowFormat, "created": created})
	if err != nil {
		return err
	}
	_, err = st.Commit(ctx, dirSpace, store.Batch{Writes: []store.Write{{Key: dirNet + name, Value: value}}})
	return storeError(err)
}
