package apnhttp

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/keys"
)

func (c *call) namesPage() error {
	set, err := c.net.Zone(c.ctx())
	if err != nil {
		return err
	}
	report := set.Report()
	data := struct {
		frame
		Info    apn.NetworkInfo
		Serial  uint32
		Zones   []string
		Report  *dnszone.Report
		Hidden  int // collisions that are not shown
		ZoneURL string
		Hosts   string
	}{
		frame: c.frame("Names"), Info: c.net.Info(), Serial: set.Serial(), Report: report,
		ZoneURL: c.link("networks", c.net.Name(), "zone"), Hosts: c.link("networks", c.net.Name(), "hosts"),
	}
	for z := range set.Zones() {
		data.Zones = append(data.Zones, strings.TrimSuffix(z.Name(), "."))
	}
	if n := len(report.Withheld); n > pageSize {
		data.Hidden, report.Withheld = n-pageSize, report.Withheld[:pageSize]
	}
	return c.show("names", data)
}

// why says in words why nobody gets a name.
func why(k dnszone.Collision) string {
	switch k.Kind {
	case dnszone.ShortName:
		return "Servers of several apps have this name. Each keeps its longer one."
	case dnszone.QualifiedName:
		return "Several servers of one app have this name."
	case dnszone.ApplicationLabel:
		return "Several apps have this name."
	case dnszone.Address:
		return "Several servers have this address, so it leads back to none."
	default:
		return string(k.Kind)
	}
}

func (c *call) auditPage() error {
	return c.auditPageOf(c.net.SearchAudit, "networks", c.net.Name(), "audit")
}

// auditOfNonePage is about what belongs to no network, such as tokens.
func (c *call) auditOfNonePage() error { return c.auditPageOf(c.h.ctl.SearchAudit, "audit") }

// auditPageOf shows what was done, newest first. The route of the API is at the
// same place.
func (c *call) auditPageOf(search searchAudit, at ...string) error {
	q := apn.AuditQuery{
		Actor: c.query.Get("actor"), Action: c.query.Get("action"), Object: c.query.Get("object"),
		Outcome: apn.Outcome(c.query.Get("outcome")), Limit: pageSize,
	}
	if s := c.query.Get("before"); s != "" {
		var err error
		if q.Before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return malformed("before", "must be the number of an event")
		}
	}
	events, next, err := search(c.ctx(), q)
	if err != nil {
		return err
	}
	data := struct {
		frame
		Query    apn.AuditQuery
		Events   []apn.Event
		Any      bool // no filter
		First    string
		Next     string
		All      string // without a filter
		Export   string
		Outcomes []option
	}{frame: c.frame("Audit"), Query: q, Events: events, All: c.at(at...), Outcomes: []option{
		{"", "Any"}, {string(apn.OutcomeRefused), "Refused"},
	}}
	page := url.Values{}
	for name, value := range map[string]string{"actor": q.Actor, "action": q.Action, "object": q.Object, "outcome": string(q.Outcome)} {
		if value != "" {
			page.Set(name, value)
		}
	}
	data.Any = len(page) == 0
	if q.Before > 0 {
		data.First = data.All + "?" + page.Encode()
	}
	if next > 0 {
		page.Set("before", strconv.FormatUint(next, 10))
		data.Next = data.All + "?" + page.Encode()
		page.Del("before")
	}
	page.Set("format", "jsonl")
	data.Export = c.link(at...) + "?" + page.Encode()
	return c.show("audit", data)
}

// custodyRow counts the private keys that are kept in one way.
type custodyRow struct {
	Label            string
	Servers, Devices int
}

func (c *call) keysPage() error {
	status := c.net.KeyStatus()
	data := struct {
		frame
		Keys    apn.KeyStatus
		Act     bool // something should be rotated
		Custody []custodyRow
	}{frame: c.frame("Keys"), Keys: status}
	for _, d := range status.DEKs {
		data.Act = data.Act || d.Due || d.Stale
	}
	for _, k := range []struct {
		custody keys.Custody
		label   string
	}{
		{keys.Managed, "Kept here, encrypted"}, {keys.Once, "Shown once, then forgotten"}, {keys.Self, "On the server or device alone"},
	} {
		data.Custody = append(data.Custody, custodyRow{k.label, status.Servers[k.custody], status.Devices[k.custody]})
	}
	return c.show("keys", data)
}

func tokensActions() []action {
	return []action{
		{
			do: "add-token", api: "POST /v1/tokens", title: "Make an operator's token", submit: "Make a token",
			intro: "It may do everything in every network. For one person of one network, make the token on that person's page.",
			fields: []field{
				{name: "name", label: "What it is for", required: true, example: "deploy pipeline"},
				{name: "ttl", label: "Valid for", kind: choiceField, options: ttlOptions},
			},
			answer: (*call).showToken, repeat: true,
		},
		{
			do: "remove-token", api: "DELETE /v1/tokens/{token}", title: "Remove", submit: "Remove", done: "The token opens nothing any more.",
			intro: "Whoever uses it is signed out at once.", ask: "Remove the token?", danger: true, plan: always,
		},
	}
}

func (c *call) tokensPage() error {
	tokens, err := c.h.ctl.Tokens(c.ctx())
	if err != nil {
		return err
	}
	slices.SortFunc(tokens, func(a, b apn.Token) int {
		return strings.Compare(a.Network+"\x00"+a.Member+"\x00"+a.Name+a.ID, b.Network+"\x00"+b.Member+"\x00"+b.Name+b.ID)
	})
	return c.show("tokens", struct {
		frame
		Tokens []apn.Token
		Token  string // just made
	}{c.frame("Tokens"), tokens, c.token})
}
