package apnclient

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
)

// Whoami tells whose token the client has.
func (c *Client) Whoami(ctx context.Context) (Identity, error) {
	return get[Identity](ctx, c, "whoami")
}

// Tokens yields the API tokens.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return list[Token](ctx, c, nil, "tokens")
}

// AddToken makes an API token. It is sent once: an answer that is lost is an
// error, and the token that it may have made is in the list.
func (c *Client) AddToken(ctx context.Context, in NewToken) (t Token, err error) {
	err = c.call(ctx, &request{method: post, path: path("tokens"), in: in, out: &t})
	return t, err
}

// RemoveToken ends an API token.
func (c *Client) RemoveToken(ctx context.Context, id string) error {
	return c.remove(ctx, nil, nil, "tokens", id)
}

// Networks yields the networks.
func (c *Client) Networks(ctx context.Context) iter.Seq2[Network, error] {
	return list[Network](ctx, c, nil, "networks")
}

// Network returns a network.
func (c *Client) Network(ctx context.Context, network string) (Network, error) {
	return get[Network](ctx, c, "networks", network)
}

// AddNetwork makes a network.
func (c *Client) AddNetwork(ctx context.Context, in NewNetwork, opts *Options) (Network, error) {
	return change[Network](ctx, c, post, in, opts, "networks")
}

// UpdateNetwork changes a network's settings.
func (c *Client) UpdateNetwork(ctx context.Context, network string, in NetworkUpdate, opts *Options) (Network, error) {
	return change[Network](ctx, c, patch, in, opts, "networks", network)
}

// Import adds apps and servers, all or nothing.
func (c *Client) Import(ctx context.Context, network string, in Inventory, opts *Options) (Imported, error) {
	return change[Imported](ctx, c, post, in, opts, "networks", network, "import")
}

// Zone returns the network's names as a master file (RFC 1035). zone may name
// one zone; empty: the forward zone.
func (c *Client) Zone(ctx context.Context, network, zone string) ([]byte, error) {
	q := url.Values{}
	if zone != "" {
		q.Set("zone", zone)
	}
	return c.file(ctx, q, "networks", network, "zone")
}

// ZoneReport tells which names are withheld, and why.
func (c *Client) ZoneReport(ctx context.Context, network string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "networks", network, "zone", "report")
}

// Hosts returns the network's names as a hosts file.
func (c *Client) Hosts(ctx context.Context, network string) ([]byte, error) {
	return c.file(ctx, nil, "networks", network, "hosts")
}

// CheckConfig tells what a config file is worth that has this public key and
// fingerprint.
func (c *Client) CheckConfig(ctx context.Context, network, publicKey, fingerprint string) (s ConfigState, err error) {
	in := map[string]string{"public_key": publicKey, "fingerprint": fingerprint}
	err = c.call(ctx, &request{method: post, path: path("networks", network, "config", "check"), in: in, out: &s})
	return s, err
}

// Audit yields the audit log from the event after number after on.
func (c *Client) Audit(ctx context.Context, network string, after uint64) iter.Seq2[Event, error] {
	q := url.Values{}
	if after > 0 {
		q.Set("cursor", strconv.FormatUint(after, 10))
	}
	return list[Event](ctx, c, q, "networks", network, "audit")
}

// SearchAudit yields the events of the audit log that q asks for. An empty
// network is the log of what belongs to none: tokens, sessions, refusals.
func (c *Client) SearchAudit(ctx context.Context, network string, q AuditQuery) iter.Seq2[Event, error] {
	return list[Event](ctx, c, q.values(), auditPath(network)...)
}

// ExportAudit returns the events that q asks for as JSON lines.
func (c *Client) ExportAudit(ctx context.Context, network string, q AuditQuery) ([]byte, error) {
	values := q.values()
	values.Set("format", "jsonl")
	return c.file(ctx, values, auditPath(network)...)
}

func auditPath(network string) []string {
	if network == "" {
		return []string{"audit"}
	}
	return []string{"networks", network, "audit"}
}

func (q *AuditQuery) values() url.Values {
	values := url.Values{}
	set := func(name, value string, ok bool) {
		if ok {
			values.Set(name, value)
		}
	}
	set("cursor", strconv.FormatUint(q.After, 10), q.After > 0)
	set("actor", q.Actor, q.Actor != "")
	set("action", q.Action, q.Action != "")
	set("object", q.Object, q.Object != "")
	set("outcome", "refused", q.Refused)
	set("from", q.From.Format(time.RFC3339Nano), !q.From.IsZero())
	set("to", q.To.Format(time.RFC3339Nano), !q.To.IsZero())
	set("order", "desc", q.NewestFirst)
	return values
}

// Webhooks yields a network's webhooks.
func (c *Client) Webhooks(ctx context.Context, network string) iter.Seq2[Webhook, error] {
	return list[Webhook](ctx, c, nil, "networks", network, "webhooks")
}

// AddWebhook has a URL told what happens. actions are those that it is told;
// none: all. Like a token it is asked for once.
func (c *Client) AddWebhook(ctx context.Context, network, url string, actions ...string) (w Webhook, err error) {
	in := map[string]any{"url": url, "actions": actions}
	err = c.call(ctx, &request{method: post, path: path("networks", network, "webhooks"), in: in, out: &w})
	return w, err
}

// RemoveWebhook removes a webhook.
func (c *Client) RemoveWebhook(ctx context.Context, network, id string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "webhooks", id)
}

// VerifyAudit has the server walk the audit log's hash chain, and returns the
// number of the last event. An empty network is the log of what belongs to none.
func (c *Client) VerifyAudit(ctx context.Context, network string) (uint64, error) {
	v, err := get[struct {
		Events uint64 `json:"events"`
	}](ctx, c, append(auditPath(network), "verify")...)
	return v.Events, err
}

// Links yields the exceptions to the links policy.
func (c *Client) Links(ctx context.Context, network string) iter.Seq2[Link, error] {
	return list[Link](ctx, c, nil, "networks", network, "links")
}

// SetLink links two apps, or unlinks them.
func (c *Client) SetLink(ctx context.Context, network, a, b string, linked bool, opts *Options) (Link, error) {
	return change[Link](ctx, c, put, map[string]bool{"linked": linked}, opts, "networks", network, "links", a, b)
}

// ResetLink leaves two apps to the links policy.
func (c *Client) ResetLink(ctx context.Context, network, a, b string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "links", a, b)
}

// Apps yields the apps of a network that the caller may see.
func (c *Client) Apps(ctx context.Context, network string) iter.Seq2[App, error] {
	return list[App](ctx, c, nil, "networks", network, "apps")
}

// App returns an app.
func (c *Client) App(ctx context.Context, network, app string) (App, error) {
	return get[App](ctx, c, "networks", network, "apps", app)
}

// AddApp adds an app.
func (c *Client) AddApp(ctx context.Context, network string, in NewApp, opts *Options) (App, error) {
	return change[App](ctx, c, post, in, opts, "networks", network, "apps")
}

// RemoveApp removes an app, and its servers if servers is true.
func (c *Client) RemoveApp(ctx context.Context, network, app string, servers bool, opts *Options) error {
	q := url.Values{}
	if servers {
		q.Set("servers", "true")
	}
	return c.remove(ctx, q, opts, "networks", network, "apps", app)
}

// Servers yields an app's servers.
func (c *Client) Servers(ctx context.Context, network, app string) iter.Seq2[Server, error] {
	return list[Server](ctx, c, nil, "networks", network, "apps", app, "servers")
}

// Server returns a server, with what its agent reports.
func (c *Client) Server(ctx context.Context, network, app, server string) (Server, error) {
	return get[Server](ctx, c, "networks", network, "apps", app, "servers", server)
}

// AddServer adds a server.
func (c *Client) AddServer(ctx context.Context, network, app string, in NewServer, opts *Options) (Server, error) {
	return change[Server](ctx, c, post, in, opts, "networks", network, "apps", app, "servers")
}

// UpdateServer changes a server.
func (c *Client) UpdateServer(ctx context.Context, network, app, server string, in ServerUpdate, opts *Options) (Server, error) {
	return change[Server](ctx, c, patch, in, opts, "networks", network, "apps", app, "servers", server)
}

// RemoveServer removes a server.
func (c *Client) RemoveServer(ctx context.Context, network, app, server string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "apps", app, "servers", server)
}

// RotateServer gives a server a new key. publicKey is that of a server that
// keeps its own private key, else empty.
func (c *Client) RotateServer(ctx context.Context, network, app, server, publicKey string, opts *Options) (Server, error) {
	return change[Server](ctx, c, post, rotation(publicKey), opts, "networks", network, "apps", app, "servers", server, "rotate")
}

// ServerConfig returns a server's own config file. format may be empty for
// wg-quick's.
func (c *Client) ServerConfig(ctx context.Context, network, app, server, format string) ([]byte, error) {
	return c.file(ctx, formatted(format), "networks", network, "apps", app, "servers", server, "config")
}

// ServerMap returns what a server may know, as JSON.
func (c *Client) ServerMap(ctx context.Context, network, app, server string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "networks", network, "apps", app, "servers", server, "netmap")
}

// AddJoinToken makes a token with which the server's agent joins.
func (c *Client) AddJoinToken(ctx context.Context, network, app, server string) (t JoinToken, err error) {
	err = c.call(ctx, &request{method: post, path: path("networks", network, "apps", app, "servers", server, "join"), out: &t})
	return t, err
}

// Leases yields an app's leases that the caller may see.
func (c *Client) Leases(ctx context.Context, network, app string) iter.Seq2[Lease, error] {
	return list[Lease](ctx, c, nil, "networks", network, "apps", app, "leases")
}

// Lease returns a lease.
func (c *Client) Lease(ctx context.Context, network, app, id string) (Lease, error) {
	return get[Lease](ctx, c, "networks", network, "apps", app, "leases", id)
}

// AddLease is "Lease Now": it opens the port, and returns a lease per source.
func (c *Client) AddLease(ctx context.Context, network, app string, in NewLease, opts *Options) ([]Lease, error) {
	v, err := change[struct {
		Items []Lease `json:"items"`
	}](ctx, c, post, in, opts, "networks", network, "apps", app, "leases")
	return v.Items, err
}

// RenewLease extends a lease. duration may be empty for the default.
func (c *Client) RenewLease(ctx context.Context, network, app, id, duration string, opts *Options) (Lease, error) {
	in := map[string]string{}
	if duration != "" {
		in["duration"] = duration
	}
	return change[Lease](ctx, c, post, in, opts, "networks", network, "apps", app, "leases", id, "renew")
}

// RevokeLease ends a lease.
func (c *Client) RevokeLease(ctx context.Context, network, app, id string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "apps", app, "leases", id)
}

// Rules yields an app's permanent openings.
func (c *Client) Rules(ctx context.Context, network, app string) iter.Seq2[Rule, error] {
	return list[Rule](ctx, c, nil, "networks", network, "apps", app, "rules")
}

// Rule returns a rule.
func (c *Client) Rule(ctx context.Context, network, app, id string) (Rule, error) {
	return get[Rule](ctx, c, "networks", network, "apps", app, "rules", id)
}

// AddRule opens the port to a prefix, or address, for good.
func (c *Client) AddRule(ctx context.Context, network, app, source, note string, opts *Options) (Rule, error) {
	in := map[string]string{"source": source, "note": note}
	return change[Rule](ctx, c, post, in, opts, "networks", network, "apps", app, "rules")
}

// RemoveRule ends a rule.
func (c *Client) RemoveRule(ctx context.Context, network, app, id string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "apps", app, "rules", id)
}

// Members yields the members.
func (c *Client) Members(ctx context.Context, network string) iter.Seq2[Member, error] {
	return list[Member](ctx, c, nil, "networks", network, "members")
}

// Member returns a member.
func (c *Client) Member(ctx context.Context, network, member string) (Member, error) {
	return get[Member](ctx, c, "networks", network, "members", member)
}

// AddMember adds a member.
func (c *Client) AddMember(ctx context.Context, network, member string, opts *Options) (Member, error) {
	return change[Member](ctx, c, post, map[string]string{"name": member}, opts, "networks", network, "members")
}

// RemoveMember removes a member with their devices, roles and leases.
func (c *Client) RemoveMember(ctx context.Context, network, member string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "members", member)
}

// SetRole gives a member a role on an app: "none", "viewer", "developer" or
// "admin".
func (c *Client) SetRole(ctx context.Context, network, member, app, role string, opts *Options) (Member, error) {
	return change[Member](ctx, c, put, map[string]string{"role": role}, opts, "networks", network, "members", member, "roles", app)
}

// Devices yields a member's devices.
func (c *Client) Devices(ctx context.Context, network, member string) iter.Seq2[Device, error] {
	return list[Device](ctx, c, nil, "networks", network, "members", member, "devices")
}

// Device returns a device, and why it is stale.
func (c *Client) Device(ctx context.Context, network, member, device string) (Device, error) {
	return get[Device](ctx, c, "networks", network, "members", member, "devices", device)
}

// StaleDevices yields the devices of a network that hold a config that is out of
// date.
func (c *Client) StaleDevices(ctx context.Context, network string) iter.Seq2[Device, error] {
	return list[Device](ctx, c, nil, "networks", network, "stale")
}

// AddDevice adds a device.
func (c *Client) AddDevice(ctx context.Context, network, member string, in NewDevice, opts *Options) (Device, error) {
	return change[Device](ctx, c, post, in, opts, "networks", network, "members", member, "devices")
}

// RemoveDevice removes a device.
func (c *Client) RemoveDevice(ctx context.Context, network, member, device string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "members", member, "devices", device)
}

// RotateDevice gives a device a new key: the configs before it work no more.
func (c *Client) RotateDevice(ctx context.Context, network, member, device, publicKey string, opts *Options) (Device, error) {
	return change[Device](ctx, c, post, rotation(publicKey), opts, "networks", network, "members", member, "devices", device, "rotate")
}

// DeviceConfig returns the config file of a device. format may be empty for
// wg-quick's.
func (c *Client) DeviceConfig(ctx context.Context, network, member, device, format string) ([]byte, error) {
	return c.file(ctx, formatted(format), "networks", network, "members", member, "devices", device, "config")
}

// DeviceConfigs returns a zip file with one config per app.
func (c *Client) DeviceConfigs(ctx context.Context, network, member, device string) ([]byte, error) {
	return c.file(ctx, nil, "networks", network, "members", member, "devices", device, "configs.zip")
}

// QR returns the config of a device as a QR code: "png", "svg", "txt", which is
// for terminals, or "plain", which is text without colour codes. Over the limit
// of servers it is a [*Problem] that names the file instead.
func (c *Client) QR(ctx context.Context, network, member, device, kind string) ([]byte, error) {
	var q url.Values
	if kind == "plain" {
		kind, q = "txt", url.Values{"plain": {"true"}}
	}
	return c.file(ctx, q, "networks", network, "members", member, "devices", device, "qr."+kind)
}

// DeviceLinks yields the one-time links to a device's config, newest first.
func (c *Client) DeviceLinks(ctx context.Context, network, member, device string) iter.Seq2[DeviceLink, error] {
	return list[DeviceLink](ctx, c, nil, "networks", network, "members", member, "devices", device, "links")
}

// AddDeviceLink makes a link that hands out a device's config once. Like a token
// it is asked for once.
func (c *Client) AddDeviceLink(ctx context.Context, network, member, device string, in NewDeviceLink) (l DeviceLink, err error) {
	err = c.call(ctx, &request{method: post, path: path("networks", network, "members", member, "devices", device, "links"), in: in, out: &l})
	return l, err
}

// RemoveDeviceLink takes a one-time link back.
func (c *Client) RemoveDeviceLink(ctx context.Context, network, member, device, id string, opts *Options) error {
	return c.remove(ctx, nil, opts, "networks", network, "members", member, "devices", device, "links", id)
}

// file reads a body as it is.
func (c *Client) file(ctx context.Context, query url.Values, parts ...string) (text []byte, err error) {
	err = c.call(ctx, &request{method: http.MethodGet, path: path(parts...), query: query, out: &text})
	return text, err
}

func formatted(format string) url.Values {
	if format == "" {
		return nil
	}
	return url.Values{"format": {format}}
}

func rotation(publicKey string) map[string]string {
	if publicKey == "" {
		return map[string]string{}
	}
	return map[string]string{"public_key": publicKey}
}
