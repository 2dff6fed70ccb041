package main

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

func networks(ctx context.Context, c *call) error {
	return list(c, c.client.Networks(ctx), "no networks yet: apnctl networks add NETWORK", "NAME PREFIXES SUFFIX APPS SERVERS MEMBERS DEVICES",
		func(n apnclient.Network) []string {
			return []string{n.Name, join(n.Prefixes), n.Suffix, strconv.Itoa(n.Apps), strconv.Itoa(n.Servers), strconv.Itoa(n.Members), strconv.Itoa(n.Devices)}
		})
}

func apps(ctx context.Context, c *call) error {
	return list(c, c.client.Apps(ctx, c.network), "no apps yet: apnctl apps add APP", "NAME SUBNETS SERVERS GATEWAY", func(a apnclient.App) []string {
		return []string{a.Name, join(a.Subnets), strconv.Itoa(a.Servers), a.Gateway}
	})
}

func servers(ctx context.Context, c *call) error {
	return list(c, ofApps(ctx, c, c.client.Servers), "no servers yet: apnctl servers add APP/SERVER", "SERVER ADDRESSES ENDPOINT AGENT", func(s apnclient.Server) []string {
		return []string{s.App + "/" + s.Name, join(s.Addresses), s.Endpoint, c.agentState(s.Agent)}
	})
}

// agentSilence is how long an agent may be silent: it reports every minute.
const agentSilence = 3 * time.Minute

func (c *call) agentState(a *apnclient.Agent) string {
	switch {
	case a == nil:
		return ""
	case c.now().Sub(a.SeenAt) > agentSilence:
		return "silent since " + moment(a.SeenAt)
	case len(a.Errors) > 0:
		return a.Errors[0]
	case a.AppliedRevision < a.WantedRevision:
		return "behind"
	default:
		return "current"
	}
}

func members(ctx context.Context, c *call) error {
	return list(c, c.client.Members(ctx, c.network), "no members yet: apnctl members add MEMBER", "NAME DEVICES ROLES", func(m apnclient.Member) []string {
		return []string{m.Name, strconv.Itoa(m.Devices), strings.Join(texts(m.Roles), ", ")}
	})
}

func devices(ctx context.Context, c *call) error {
	all := ofMembers(ctx, c, func(m apnclient.Member) iter.Seq2[apnclient.Device, error] {
		return c.client.Devices(ctx, c.network, m.Name)
	})
	empty := "no devices yet: apnctl devices add DEVICE"
	if c.stale {
		all, empty = c.client.StaleDevices(ctx, c.network), "no config is out of date"
	}
	return list(c, all, empty, "DEVICE ADDRESSES CUSTODY SERVERS CONFIG", func(d apnclient.Device) []string {
		return []string{d.Member + "/" + d.Name, join(d.Addresses), d.Custody, strconv.Itoa(d.Servers), deviceState(d)}
	})
}

func deviceState(d apnclient.Device) string {
	switch {
	case d.Alarm != nil:
		return "alarm: " + d.Alarm.Kind
	case d.HandedOut == nil:
		return "none yet"
	case d.Stale:
		return "stale: " + reasons(&d)
	default:
		return "current"
	}
}

// reasons says why a device is stale.
func reasons(d *apnclient.Device) string {
	all := make([]string, len(d.Reasons))
	for i, r := range d.Reasons {
		all[i] = strings.TrimSpace(strings.ReplaceAll(r.Kind, "_", " ") + " " + r.Object)
	}
	return strings.Join(all, ", ")
}

// role is what a member may do with an app.
type role struct {
	Member string `json:"member"`
	App    string `json:"app"`
	Role   string `json:"role"`
}

func roles(ctx context.Context, c *call) error {
	all := ofMembers(ctx, c, func(m apnclient.Member) iter.Seq2[role, error] {
		return func(yield func(role, error) bool) {
			for _, text := range texts(m.Roles) {
				app, name, _ := strings.Cut(text, " ")
				if !yield(role{m.Name, app, name}, nil) {
					return
				}
			}
		}
	})
	return list(c, all, "no roles yet: apnctl roles add MEMBER APP developer", "MEMBER APP ROLE", func(r role) []string {
		return []string{r.Member, r.App, r.Role}
	})
}

func links(ctx context.Context, c *call) error {
	return list(c, c.client.Links(ctx, c.network), "no exceptions: the network's policy holds for all apps", "A B LINKED SINCE", func(l apnclient.Link) []string {
		return []string{l.A, l.B, strconv.FormatBool(l.Linked), moment(l.CreatedAt)}
	})
}

func leases(ctx context.Context, c *call) error {
	return list(c, ofApps(ctx, c, c.client.Leases), "no leases: apnctl lease APP", "APP MEMBER SOURCE LEFT LEASE", func(l apnclient.Lease) []string {
		return []string{l.App, l.Member, l.Source.String(), c.left(l.ExpiresAt), l.ID}
	})
}

func rules(ctx context.Context, c *call) error {
	return list(c, ofApps(ctx, c, c.client.Rules), "no rules: leases alone open the port", "APP SOURCE NOTE RULE", func(r apnclient.Rule) []string {
		return []string{r.App, r.Source.String(), r.Note, r.ID}
	})
}

func tokens(ctx context.Context, c *call) error {
	return list(c, c.client.Tokens(ctx), "no tokens", "ID NAME NETWORK MEMBER EXPIRES", func(t apnclient.Token) []string {
		return []string{t.ID, t.Name, t.Network, t.Member, moment(t.ExpiresAt)}
	})
}

// ofApps yields what the app that is named has, or each of them.
func ofApps[T any](ctx context.Context, c *call, of func(ctx context.Context, network, app string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	if len(c.words) > 0 {
		return of(ctx, c.network, c.words[0])
	}
	return ofAll(c.client.Apps(ctx, c.network), func(a apnclient.App) iter.Seq2[T, error] { return of(ctx, c.network, a.Name) })
}

// ofMembers yields what the member that is named has, else the caller, else each
// of them.
func ofMembers[T any](ctx context.Context, c *call, of func(apnclient.Member) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return ofAll(func(yield func(apnclient.Member, error) bool) {
		if len(c.words) > 0 {
			yield(c.client.Member(ctx, c.network, c.words[0]))
			return
		}
		if me, err := c.client.Whoami(ctx); err != nil || !me.Operator {
			if err != nil {
				yield(apnclient.Member{}, err)
				return
			}
			yield(c.client.Member(ctx, c.network, me.Member))
			return
		}
		c.client.Members(ctx, c.network)(yield)
	}, of)
}

func ofAll[A, T any](all iter.Seq2[A, error], of func(A) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for a, err := range all {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for item, err := range of(a) {
				if !yield(item, err) {
					return
				}
			}
		}
	}
}
