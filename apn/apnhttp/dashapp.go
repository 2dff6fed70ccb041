package apnhttp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/render"
)

// leaseNow opens the port of an app's servers for who clicks.
func leaseNow() action {
	return action{
		do: "lease", api: "POST " + toApp + "/leases", title: "Lease Now", submit: "Lease Now", done: "The port is open. The lease is listed with the time that it has left.",
		fields: []field{
			{name: "member", label: "For", kind: choiceField, options: leaserOptions, required: true, operators: true},
			{name: "sources", label: "Addresses", kind: listField, more: true, hint: "Where you call from, an IPv4 and an IPv6 address if you have both. An IPv6 address stands for its /64.", example: "203.0.113.9 2001:db8::9"},
			{name: "duration", label: "Time", kind: choiceField, more: true, options: func(*call) []option {
				return []option{{"", "24 hours"}, {"1h", "1 hour"}, {"4h", "4 hours"}, {"8h", "8 hours"}}
			}},
		},
	}
}

func serverFields() []field {
	return []field{
		{name: "name", label: "Name", hint: "a-z, 0-9 and dashes.", required: true, example: "web-1"},
		{name: "endpoint", label: "Public address", hint: "Where others reach it: an address, or host:port. Empty: it is behind NAT and calls the others.", example: "203.0.113.7"},
		{name: "address", label: "Private address", more: true, hint: "Empty: the next one of the app's range.", example: "10.20.7.9"},
		{name: "public_key", label: "Public key", more: true, hint: "If the server made its own key, as wg pubkey prints it. Empty: a key pair is made and kept encrypted."},
	}
}

func appActions() []action {
	return []action{
		leaseNow(),
		{do: "renew-lease", api: "POST " + toLease + "/renew", title: "Renew", submit: "Renew", done: "The lease runs for 24 hours from now."},
		{do: "revoke-lease", api: "DELETE " + toLease, title: "Revoke", submit: "Revoke", done: "The lease has ended.", danger: true},
		{
			do: "add-server", api: "POST " + toApp + "/servers", title: "Add a server", submit: "Add server", done: "Server {name} was added. Every agent knows it by itself; files for computers and phones have to be downloaded again.",
			fields: serverFields(),
		},
		{
			do: "add-rule", api: "POST " + toApp + "/rules", title: "Add a permanent rule", submit: "Add rule", done: "The rule was added.",
			intro: "Opens the port for good, for an office with a fixed address.",
			fields: []field{
				{name: "source", label: "Addresses", required: true, hint: "A prefix.", example: "203.0.113.0/24"},
				{name: "note", label: "Note", hint: "What it is for.", example: "Office"},
			},
		},
		{
			do: "remove-rule", api: "DELETE " + toApp + "/rules/{rule}", title: "Remove rule", submit: "Remove", done: "The rule was removed.",
			ask: "Remove this permanent rule?", danger: true, plan: always,
		},
		{
			do: "remove-app", api: "DELETE " + toApp, query: "servers=true", title: "Remove the app", submit: "Remove app",
			intro: "Its servers, leases and rules go with it. Its addresses rest before anybody else gets them.",
			done:  "App {app} was removed.", ask: "Remove the app {app}?", danger: true, plan: always,
			then: func(c *call, _ url.Values) string { return c.at("networks", c.net.Name()) },
		},
	}
}

// sourceView is the address that Lease Now opens the port for.
type sourceView struct {
	Address string // empty: it cannot be told
	Family  string // "IPv4" or "IPv6"
	Other   string // the other of the two
	Prefix  string // what is opened, if that is more than the address
	Reason  string // why it cannot be told, or not be used
}

func (c *call) source() sourceView {
	if c.fromErr != nil {
		return sourceView{Reason: c.fromErr.Error()}
	}
	v := sourceView{Address: c.from.String(), Family: family(c.from), Other: "IPv4"}
	if v.Family == v.Other {
		v.Other = "IPv6"
	}
	p, err := lease.SourcePrefix(c.from, &lease.SourceOptions{AllowPrivate: true, AllowLoopback: true})
	if err != nil {
		return sourceView{Reason: err.Error()}
	}
	if !p.IsSingleIP() {
		v.Prefix = p.String()
	}
	return v
}

// leaseRow is a lease with its buttons.
type leaseRow struct {
	lease.Lease
	Family string
	Mine   bool
}

func (c *call) leaseRows(app string) ([]leaseRow, error) {
	leases, err := c.net.Leases(app)
	if err != nil {
		return nil, err
	}
	var rows []leaseRow
	for _, l := range leases {
		if c.sees(l) {
			rows = append(rows, leaseRow{Lease: l, Family: family(l.Source.Addr()), Mine: l.Member == c.who.Member && l.Source.Contains(c.from)})
		}
	}
	return rows, nil
}

// servers returns a page of an app's servers, of those that have a text in their
// name, addresses or endpoint.
func (c *call) servers(app, find string) (list []apn.Server, more bool, err error) {
	opts := &apn.ListOptions{After: c.query.Get("after"), Limit: pageSize}
	if find == "" {
		return c.net.Servers(app, opts)
	}
	opts.Limit = 0
	all, _, err := c.net.Servers(app, opts)
	for _, s := range all {
		if has := strings.Contains(s.Name, find) || strings.Contains(s.Endpoint.String(), find) ||
			slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return strings.HasPrefix(a.String(), find) }); !has {
			continue
		}
		if len(list) == pageSize {
			return list, true, err
		}
		list = append(list, s)
	}
	return list, false, err
}

// serverRow is a server and how it is, as its agent says.
type serverRow struct {
	apn.Server
	Status apn.ServerStatus
	Badge  string // good, warn, bad or empty
	State  string
	Shook  string // when the last handshake was
}

// silentAfter is how long an agent may say nothing: it reports every minute.
const silentAfter = 3 * time.Minute

// serverRows tells how servers are. Those without an agent only are.
func (c *call) serverRows(app string, servers []apn.Server) ([]serverRow, error) {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = s.Name
	}
	statuses, err := c.net.ServerStatuses(c.ctx(), app, names)
	if err != nil {
		return nil, err
	}
	rows := make([]serverRow, len(servers))
	for i, s := range servers {
		rows[i] = serverRow{Server: s, Status: statuses[i]}
		rows[i].judge(c.h.now())
	}
	return rows, nil
}

func (r *serverRow) judge(now time.Time) {
	s := r.Status
	switch silent := now.Sub(s.SeenAt); {
	case s.JoinedAt.IsZero():
		r.State = "no agent"
		return
	case s.SeenAt.IsZero():
		r.Badge, r.State = "warn", "has not reported yet"
	case silent > silentAfter:
		r.Badge, r.State = "bad", "silent for "+span(silent)
	case len(s.Errors) > 0:
		r.Badge, r.State = "bad", "in trouble"
	case s.Wanted != 0 && s.Applied != s.Wanted:
		r.Badge, r.State = "warn", fmt.Sprintf("behind: %d of %d", s.Applied, s.Wanted)
	default:
		r.Badge, r.State = "good", "up to date"
	}
	r.Shook = "never"
	if !s.LastHandshake.IsZero() {
		r.Shook = span(now.Sub(s.LastHandshake)) + " ago"
	}
}

// reachRow is another app, and whether its servers are reached.
type reachRow struct {
	Name   string
	Linked bool
}

// appPage shows an app: who may see it sees its servers, the rest is by role.
func (c *call) appPage() error {
	a, err := c.net.App(c.r.PathValue("app"))
	if err != nil {
		return err
	}
	data := struct {
		frame
		App       apn.App
		Role      string
		Info      apn.NetworkInfo
		Servers   []serverRow
		Find      string // what the servers are to have
		First     bool
		Next      string
		Source    sourceView
		MayLease  bool
		Nobody    bool // to lease for
		Leases    []leaseRow
		MayRules  bool
		Rules     []apn.Rule
		ShowReach bool
		Policy    string
		Reach     []reachRow // exceptions
	}{
		frame: c.frame(a.Name, link{Label: c.net.Name(), Path: c.at("networks", c.net.Name())}), App: a, Info: c.net.Info(),
		Find: strings.TrimSpace(c.query.Get("find")), First: !c.query.Has("after"), Source: c.source(),
		Policy: policyText(c.net.Info().Links), MayLease: c.may("GET " + toApp + "/leases"), MayRules: c.may("GET " + toApp + "/rules"),
	}
	data.Live = true
	if !c.who.Operator {
		data.Role = c.role().String()
	}
	servers, more, err := c.servers(a.Name, data.Find)
	if err != nil {
		return err
	}
	if data.Servers, err = c.serverRows(a.Name, servers); err != nil {
		return err
	}
	if more {
		data.Next = "?" + url.Values{"after": {servers[len(servers)-1].Name}, "find": {data.Find}}.Encode()
	}
	if data.MayLease {
		people := leaserOptions(c)
		data.Nobody = c.who.Operator && people != nil && len(people) == 0
		if data.Leases, err = c.leaseRows(a.Name); err != nil {
			return err
		}
	}
	if data.MayRules {
		if data.Rules, err = c.net.Rules(a.Name); err != nil {
			return err
		}
	}
	if data.ShowReach = c.may("GET " + toNet + "/links"); data.ShowReach {
		for _, l := range c.net.Links() {
			switch a.Name {
			case l.A:
				data.Reach = append(data.Reach, reachRow{l.B, l.Linked})
			case l.B:
				data.Reach = append(data.Reach, reachRow{l.A, l.Linked})
			}
		}
	}
	return c.show("app", data)
}

func serverActions() []action {
	return []action{
		{
			do: "update-server", api: "PATCH " + toSrv, title: "Public address", submit: "Save", done: "The public address was saved.",
			ask: "Change the public address of {server}?", plan: always,
			fields: []field{{name: "endpoint", label: "Public address", empty: true, hint: "An address, or host:port. Empty: it is behind NAT and calls the others.", example: "203.0.113.7:51820"}},
		},
		{
			do: "server-config", api: "GET " + toSrv + "/config", title: "Config file", submit: "Download file",
			intro:  "For servers without the agent. It holds the private key: keep it to the server.",
			fields: []field{{name: "format", label: "Format", kind: choiceField, options: formatOptions}},
			answer: (*call).passOn, repeat: true,
		},
		{
			do: "join", api: "POST " + toSrv + "/join", title: "Run the agent", submit: "Make a join token",
			intro:  "The agent keeps the server as it should be by itself: peers, leases, names. A join token works once, for an hour.",
			answer: (*call).showJoin, repeat: true,
		},
		{
			do: "rotate-server", api: "POST " + toSrv + "/rotate", title: "New key pair", submit: "Rotate key", done: "Server {server} has a new key pair.",
			intro: "Every other peer learns the new public key.", ask: "Give {server} a new key pair?", danger: true, plan: always,
		},
		{
			do: "remove-server", api: "DELETE " + toSrv, title: "Remove the server", submit: "Remove server", done: "Server {server} was removed.",
			intro: "Its address rests before another server gets it.", ask: "Remove the server {server}?", danger: true, plan: always,
			then: func(c *call, _ url.Values) string {
				return c.at("networks", c.net.Name(), "apps", c.r.PathValue("app"))
			},
		},
	}
}

func formatOptions(*call) []option {
	return []option{
		{render.Quick.String(), "WireGuard app and wg-quick"},
		{render.NMKeyfile.String(), "NetworkManager"},
		{render.NetworkdNetdev.String(), "systemd-networkd .netdev"},
		{render.NetworkdNetwork.String(), "systemd-networkd .network"},
		{render.SetConf.String(), "wg setconf"},
		{render.JSON.String(), "JSON"},
	}
}

// showJoin draws the page with the join token that was made. It is nowhere else.
func (c *call) showJoin(out *buffer, err error) error {
	if err != nil {
		return c.refused(c.route.page.action("join"), err)
	}
	var made joinToken
	if err := json.Unmarshal(out.Bytes(), &made); err != nil {
		return err
	}
	c.token = made.Token
	return c.route.page.draw(c)
}

func (c *call) serverPage() error {
	app := c.r.PathValue("app")
	s, err := c.net.Server(app, c.r.PathValue("server"))
	if err != nil {
		return err
	}
	rows, err := c.serverRows(app, []apn.Server{s})
	if err != nil {
		return err
	}
	return c.show("server", struct {
		frame
		Server serverRow
		Self   bool // it keeps its own key
		Update *formView
		Token  string // to join, just made
	}{
		c.frame(s.Name, link{Label: c.net.Name(), Path: c.at("networks", c.net.Name())}, link{Label: app, Path: c.at("networks", c.net.Name(), "apps", app)}),
		rows[0], s.Custody == keys.Self, c.form("update-server", "endpoint", endpointText(s.Endpoint)), c.token,
	})
}

func endpointText(e render.Endpoint) string {
	if e.IsZero() {
		return ""
	}
	return e.String()
}
