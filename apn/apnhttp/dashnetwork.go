package apnhttp

import (
	"errors"
	"html/template"
	"net/url"
	"time"

	"github.com/apnkit/apnkit/apn"
)

// pageSize is how many rows of a list a page shows at once.
const pageSize = 100

func homeActions() []action {
	return []action{{
		do: "add-network", api: "POST /v1/networks", title: "Create a network", submit: "Create network",
		intro: "One network per account. It chooses its own address range, unless you know better.",
		done:  "Network {name} was created.",
		fields: []field{
			{name: "name", label: "Name", hint: "Your own ID of the account: letters, digits, dot, dash and underscore.", required: true, example: "acme"},
			{name: "prefixes", label: "Address ranges", kind: listField, more: true, hint: "Empty: a random /16 of 10.0.0.0/8 and an IPv6 /48, so that networks rarely overlap.", example: "10.20.0.0/16 fd12:3456:789a::/48"},
			{name: "suffix", label: "Name suffix", more: true, hint: "Server names end with it. Empty: apn.", example: "apn"},
			{name: "listen_port", label: "WireGuard port", kind: numberField, more: true, hint: "UDP port of the servers. Empty: 51820.", example: "51820"},
			{name: "links", label: "Apps reach each other", kind: choiceField, more: true, options: linkPolicies},
			{name: "preshared_keys", label: "Add a preshared key to every tunnel", kind: checkField, more: true},
		},
		then: func(c *call, form url.Values) string { return c.at("networks", form.Get("name")) },
	}}
}

func linkPolicies(*call) []option {
	return []option{{"all", "All, unless two are unlinked"}, {"none", "None, unless two are linked"}}
}

// homePage lists the networks to an operator and sends a member to the one that
// is theirs.
func (c *call) homePage() error {
	if c.who == (Principal{}) {
		if err := c.signedIn(); err != nil {
			if errors.Is(err, ErrUnauthenticated) {
				return c.signInPage(200, "")
			}
			return err
		}
	}
	switch {
	case !c.who.Operator && c.who.Network != "":
		return c.seeOther(c.at("networks", c.who.Network))
	case !c.who.Operator:
		return apn.ErrForbidden
	}
	after := c.query.Get("after")
	names, more, err := c.h.ctl.Networks(c.ctx(), after, pageSize)
	if err != nil {
		return err
	}
	data := struct {
		frame
		Networks []apn.NetworkInfo
		After    string // where this part of the list begins
		Next     string
		Create   *formView
	}{frame: c.frame("Networks"), After: after}
	defaults := c.h.defaults
	data.Create = c.form("add-network", "links", policyText(defaults.Links), "preshared_keys", checked(defaults.PresharedKeys))
	for _, name := range names {
		n, err := c.h.ctl.Network(c.ctx(), name)
		if err != nil {
			return err
		}
		data.Networks = append(data.Networks, n.Info())
	}
	if more && len(names) > 0 {
		data.Next = names[len(names)-1]
	}
	return c.show("networks", data)
}

func networkActions() []action {
	return []action{
		{
			do: "add-app", api: "POST " + toNet + "/apps", title: "Add an app", submit: "Add app", done: "App {name} was added.",
			intro: "An app gets an address range of its own, which overlaps with no other.",
			fields: []field{
				{name: "name", label: "Name", hint: "Part of its servers' names: a-z, 0-9 and dashes.", required: true, example: "shop"},
				{name: "subnets", label: "Address ranges", kind: listField, more: true, hint: "Empty: the network chooses.", example: "10.20.7.0/24"},
			},
			then: func(c *call, form url.Values) string {
				return c.at("networks", c.net.Name(), "apps", form.Get("name"))
			},
		},
		{
			do: "set-link", api: "PUT " + toNet + "/links/{a}/{b}", title: "Link or unlink two apps", submit: "Save", done: "The link was saved.",
			intro: "An exception to what holds for all apps of the network, in both directions.",
			ask:   "Change who reaches whom?",
			fields: []field{
				{name: "a", label: "App", kind: choiceField, options: appOptions, required: true},
				{name: "b", label: "Other app", kind: choiceField, options: appOptions, required: true},
				{name: "linked", label: "Their servers", kind: boolField, options: func(*call) []option {
					return []option{{"false", "do not reach each other"}, {"true", "reach each other"}}
				}},
			},
			plan: always,
		},
		{
			do: "reset-link", api: "DELETE " + toNet + "/links/{a}/{b}", title: "Take back", submit: "Take back", done: "The exception was taken back.",
			ask: "Take the exception back?", plan: always,
		},
		{
			do: "update-network", api: "PATCH " + toNet, title: "Settings", submit: "Save settings", done: "The settings were saved.",
			ask: "Change the settings of the network?",
			fields: []field{
				{name: "links", label: "Apps reach each other", kind: choiceField, options: linkPolicies},
				{name: "keepalive", label: "Keepalive", hint: `Interval of keepalive packets in configs; "0s" is none.`, example: "25s"},
				{name: "preshared_keys", label: "A preshared key in every tunnel", kind: checkField},
				{name: "add_prefixes", label: "Further address ranges", kind: listField, hint: "For networks that have outgrown theirs. Ranges are never taken away.", example: "10.30.0.0/16"},
			},
			plan: always,
		},
		leaseNow(),
	}
}

const staleShown = 5 // on the page of a network

// appRow is an app as the network's page lists it.
type appRow struct {
	apn.App
	Role  apn.Role
	Lease *formView
	Open  time.Time // until when the port is open for where the member comes from
}

// networkPage shows an operator everything and a member what is the member's.
func (c *call) networkPage() error {
	data := struct {
		frame
		Info                  apn.NetworkInfo
		Operator              bool
		Policy                string
		Apps                  []appRow
		Next                  string
		Links                 []apn.Link
		Picture               template.HTML
		Settings              *formView
		Member                *apn.Member
		Devices               []deviceRow
		Stale                 []deviceRow
		StaleCount, MoreStale int
		Source                sourceView
		FirstApp              string
		FirstName             string // of a member
	}{frame: c.frame(c.net.Name()), Info: c.net.Info(), Operator: c.who.Operator, Policy: policyText(c.net.Info().Links), Source: c.source()}
	apps := c.memberApps()
	if c.who.Operator {
		var more bool
		apps, more = c.net.Apps(&apn.ListOptions{After: c.query.Get("after"), Limit: pageSize})
		if more {
			data.Next = apps[len(apps)-1].Name
		}
		data.Links = c.net.Links()
		data.Picture = c.picture()
		stale, _ := c.net.StaleDevices(&apn.ListOptions{Limit: staleShown})
		for _, d := range stale {
			data.Stale = append(data.Stale, deviceRowOf(d, 3))
		}
		data.StaleCount = c.net.StaleCount()
		data.MoreStale = data.StaleCount - len(stale)
		data.Settings = c.form("update-network", "links", policyText(data.Info.Links), "keepalive", durationText(data.Info.Keepalive), "preshared_keys", checked(data.Info.PresharedKeys))
		if members, _ := c.net.Members(&apn.ListOptions{Limit: 1}); len(members) > 0 {
			data.FirstName = members[0].Name
		}
	} else {
		m, err := c.net.Member(c.who.Member)
		if err != nil {
			return err
		}
		data.Member = &m
		if data.Devices, err = c.deviceRows(m.Name); err != nil {
			return err
		}
	}
	for _, a := range apps {
		row := appRow{App: a, Role: apn.Admin}
		if data.Member != nil {
			row.Role = data.Member.Roles[a.Name]
			row.Lease = c.form("lease", "app", a.Name, "sources", data.Source.Address)
			leases, _ := c.net.Leases(a.Name)
			for _, l := range leases {
				if l.Member == c.who.Member && l.Source.Contains(c.from) {
					row.Open = l.ExpiresAt
				}
			}
		}
		data.Apps = append(data.Apps, row)
	}
	if len(data.Apps) > 0 {
		data.FirstApp = data.Apps[0].Name
	}
	return c.show("network", data)
}

func policyText(p apn.LinkPolicy) string {
	text, _ := p.MarshalText() // never fails
	return string(text)
}

func checked(on bool) string {
	if on {
		return "on"
	}
	return ""
}
