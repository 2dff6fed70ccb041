package apnhttp

import (
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// maxOptions is how many choices there are at most; with more, people type.
const maxOptions = 200

// leaserOptions are the people whom the port of the app may be opened for, nil if
// they are too many.
func leaserOptions(c *call) []option {
	app := c.r.PathValue("app")
	list := []option{}
	members, _ := c.net.Members(nil)
	for _, m := range members {
		if m.Roles[app] < apn.Developer {
			continue
		}
		if len(list) == maxOptions {
			return nil
		}
		list = append(list, option{m.Name, m.Name})
	}
	return list
}

// appOptions are the apps, nil if they are too many.
func appOptions(c *call) []option {
	apps, more := c.net.Apps(&apn.ListOptions{Limit: maxOptions})
	if more {
		return nil
	}
	list := make([]option, len(apps))
	for i, a := range apps {
		list[i] = option{a.Name, a.Name}
	}
	return list
}

func roleOptions(*call) []option {
	return []option{
		{"developer", "Developer: reaches the servers"},
		{"viewer", "Viewer: sees the app, reaches nothing"},
		{"admin", "Admin: may also change the app"},
		{"none", "No access"},
	}
}

func peopleActions() []action {
	return []action{{
		do: "add-member", api: "POST " + toNet + "/members", title: "Add a person", submit: "Add person", done: "{name} was added. Give access to an app next.",
		fields: []field{{name: "name", label: "User name or e-mail address", hint: "In lower case.", required: true, example: "ada@example.com"}},
		then: func(c *call, form url.Values) string {
			return c.at("networks", c.net.Name(), "people", form.Get("name"))
		},
	}}
}

const maxRoles = 5 // that the list of people shows

// memberRow is a person as the list shows one.
type memberRow struct {
	apn.Member
	Shown     []roleRow
	MoreRoles int
	Stale     int // of the devices
}

type roleRow struct {
	App  string
	Role apn.Role
	Form *formView
}

func roleRows(m apn.Member) []roleRow {
	rows := make([]roleRow, 0, len(m.Roles))
	for _, app := range slices.Sorted(maps.Keys(m.Roles)) {
		rows = append(rows, roleRow{App: app, Role: m.Roles[app]})
	}
	return rows
}

func (c *call) peoplePage() error {
	data := struct {
		frame
		Members []memberRow
		First   bool
		Next    string
	}{frame: c.frame("People"), First: !c.query.Has("after")}
	members, more := c.net.Members(&apn.ListOptions{After: c.query.Get("after"), Limit: pageSize})
	stale := c.net.StaleIDs()
	for _, m := range members {
		roles := roleRows(m)
		n := min(len(roles), maxRoles)
		row := memberRow{Member: m, Shown: roles[:n], MoreRoles: len(roles) - n}
		first, _ := slices.BinarySearch(stale, m.Name+"/")
		for first+row.Stale < len(stale) && strings.HasPrefix(stale[first+row.Stale], m.Name+"/") {
			row.Stale++
		}
		data.Members = append(data.Members, row)
	}
	if more {
		data.Next = members[len(members)-1].Name
	}
	return c.show("people", data)
}

func memberActions() []action {
	return []action{
		{
			do: "set-role", api: "PUT " + toMem + "/roles/{app}", title: "Give access", submit: "Save", done: "Access to {app} was saved. It holds at once.",
			ask: "Take access to {app} away?", plan: losesAccess,
			fields: []field{
				{name: "app", label: "App", kind: choiceField, options: appOptions, required: true},
				{name: "role", label: "Access", kind: choiceField, options: roleOptions},
			},
		},
		{
			do: "add-device", api: "POST " + toMem + "/devices", title: "Add a device", submit: "Add device", done: "Device {name} was added. Download its file, or scan the code.",
			fields: []field{
				{name: "name", label: "Name", hint: "a-z, 0-9 and dashes.", required: true, example: "laptop"},
				{name: "custody", label: "Private key", kind: choiceField, more: true, options: func(*call) []option {
					return []option{
						{"", "Kept encrypted: the file can be downloaded again"},
						{string(keys.Once), "Shown once, then forgotten"},
					}
				}},
				{name: "public_key", label: "Public key", more: true, hint: "If the device made its own key pair: the private key never leaves it."},
			},
			then: func(c *call, form url.Values) string {
				return c.at("networks", c.net.Name(), "people", c.r.PathValue("member"), "devices", form.Get("name"))
			},
		},
		{
			do: "add-token", api: "POST /v1/tokens", title: "Let them sign in", submit: "Make a token",
			intro: "A token signs this person in here and at the API. It is shown once.",
			fields: []field{
				{name: "name", label: "What it is for", required: true, example: "dashboard"},
				{name: "ttl", label: "Valid for", kind: choiceField, options: ttlOptions},
				{name: "network", kind: hiddenField},
				{name: "member", kind: hiddenField},
			},
			answer: (*call).showToken, repeat: true,
		},
		{
			do: "remove-member", api: "DELETE " + toMem, title: "Remove the person", submit: "Remove person", done: "{member} was removed.",
			intro: "Devices, leases and tokens go, too.", ask: "Remove {member}?", danger: true, plan: always,
			then: func(c *call, _ url.Values) string { return c.at("networks", c.net.Name(), "people") },
		},
	}
}

func ttlOptions(*call) []option {
	return []option{{"2160h", "90 days"}, {"24h", "1 day"}, {"168h", "7 days"}, {"8760h", "1 year"}, {"0s", "No end"}}
}

// losesAccess reports whether a form takes a role away that somebody has.
func losesAccess(c *call, form url.Values) bool {
	role, err := apn.ParseRole(form.Get("role"))
	return err == nil && role < c.net.Role(c.r.PathValue("member"), form.Get("app"))
}

// deviceRow is a device as lists show it.
type deviceRow struct {
	apn.Device
	Reasons []string
	More    int // reasons that are not shown
}

const maxReasons = 10

func (c *call) deviceRows(member string) ([]deviceRow, error) {
	devices, err := c.net.Devices(member)
	rows := make([]deviceRow, len(devices))
	for i, d := range devices {
		rows[i] = deviceRowOf(d, 3)
	}
	return rows, err
}

func deviceRowOf(d apn.Device, most int) deviceRow {
	row := deviceRow{Device: d}
	for _, r := range d.Stale {
		if len(row.Reasons) == most {
			row.More++
		} else {
			row.Reasons = append(row.Reasons, reasonText(r))
		}
	}
	return row
}

func reasonText(r apn.Reason) string {
	switch r.Kind {
	case apn.KeyRotated:
		return "The device has a new key."
	case apn.AccessLost:
		return "Access to " + r.Object + " was lost."
	case apn.ServerKey:
		return r.Object + " has a new key."
	case apn.ServerAddress:
		return r.Object + " has another address."
	case apn.ServerEndpoint:
		return r.Object + " listens elsewhere."
	case apn.ServerRemoved:
		return r.Object + " was removed."
	case apn.ServerAdded:
		return r.Object + " was added."
	case apn.AccessGained:
		return "Access to " + r.Object + " was given."
	case apn.SettingsChanged:
		return "Settings changed."
	default:
		return string(r.Kind)
	}
}

// memberPage shows a person and the person's devices, to operators and to the
// person.
func (c *call) memberPage() error {
	m, err := c.net.Member(c.r.PathValue("member"))
	if err != nil {
		return err
	}
	title, crumbs := m.Name, []link{{Label: c.net.Name(), Path: c.at("networks", c.net.Name())}}
	if m.Name == c.who.Member {
		title = "My devices"
	} else {
		crumbs = append(crumbs, link{Label: "People", Path: c.at("networks", c.net.Name(), "people")})
	}
	data := struct {
		frame
		Member  apn.Member
		Mine    bool
		Roles   []roleRow
		More    int  // roles that are not shown
		Apps    bool // there are some
		Devices []deviceRow
		Token   string // just made
	}{frame: c.frame(title, crumbs...), Member: m, Mine: m.Name == c.who.Member, Roles: roleRows(m), Token: c.token}
	if n := len(data.Roles) - pageSize; n > 0 {
		data.Roles, data.More = data.Roles[:pageSize], n
	}
	for i, r := range data.Roles {
		data.Roles[i].Form = c.form("set-role", "=app", r.App, "role", r.Role.String())
	}
	apps, _ := c.net.Apps(&apn.ListOptions{Limit: 1})
	data.Apps = len(apps) > 0
	if data.Devices, err = c.deviceRows(m.Name); err != nil {
		return err
	}
	return c.show("member", data)
}

// showToken draws the page with the token that was made. It is nowhere else.
func (c *call) showToken(out *buffer, err error) error {
	if err != nil {
		return c.refused(c.route.page.action(c.r.PostForm.Get("do")), err)
	}
	var made token
	if err := json.Unmarshal(out.Bytes(), &made); err != nil {
		return err
	}
	c.token = made.Secret
	return c.route.page.draw(c)
}

func deviceActions() []action {
	return []action{
		{
			do: "config", api: "GET " + toDev + "/config", title: "Download the file", submit: "Download",
			fields: []field{{name: "format", label: "For", kind: choiceField, options: formatOptions}},
			answer: (*call).passOn, repeat: true,
		},
		{do: "zip", api: "GET " + toDev + "/configs.zip", title: "One tunnel per app", submit: "Download zip", answer: (*call).passOn},
		{do: "qr", api: "GET " + toDev + "/qr.svg", title: "QR code", submit: "Show QR code", answer: (*call).showQR},
		{
			do: "link", api: "POST " + toDev + "/links", title: "Make a one-time link", submit: "Make the link",
			intro: "For a device that is not at hand: whoever opens the link gets the config, once. A second try raises an alarm here.",
			fields: []field{
				{name: "format", label: "It leads to", kind: choiceField, options: func(*call) []option {
					return []option{{render.Quick.String(), "The file"}, {linkQR, "The QR code"}, {linkZip, "A zip with one tunnel per app"}}
				}},
				{name: "ttl", label: "Valid for", kind: choiceField, options: func(*call) []option {
					return []option{{"10m", "10 minutes"}, {"1h", "1 hour"}, {"24h", "1 day"}}
				}},
				{name: "passphrase", label: "Passphrase", kind: secretField, more: true, hint: "Tell it over another channel than the link. Five wrong ones end the link."},
			},
			answer: (*call).showLink, repeat: true,
		},
		{do: "remove-link", api: "DELETE " + toDev + "/links/{link}", title: "Take back", submit: "Take back", done: "The link leads nowhere any more.", danger: true},
		{
			do: "rotate-device", api: "POST " + toDev + "/rotate", title: "New key pair", submit: "Rotate key", done: "{device} has a new key pair. Download its new file.",
			intro: "For a device that was lost for a while, or a file that somebody else has seen: the old file stops working.",
			ask:   "Give {device} a new key pair?", danger: true, plan: always,
		},
		{
			do: "remove-device", api: "DELETE " + toDev, title: "Remove the device", submit: "Remove device", done: "{device} was removed.",
			intro: "It loses its access at once.", ask: "Remove {device}?", danger: true, plan: always,
			then: func(c *call, _ url.Values) string {
				return c.at("networks", c.net.Name(), "people", c.r.PathValue("member"))
			},
		},
	}
}

// showLink draws the page with the one-time link that was made. It is nowhere
// else.
func (c *call) showLink(out *buffer, err error) error {
	if err != nil {
		return c.refused(c.route.page.action("link"), err)
	}
	var made deviceLink
	if err := json.Unmarshal(out.Bytes(), &made); err != nil {
		return err
	}
	c.token = made.URL
	return c.route.page.draw(c)
}

// passOn answers with the file that a route of the API made.
func (c *call) passOn(out *buffer, err error) error {
	defer func() { clear(out.Bytes()) }()
	if err != nil {
		return c.refused(c.route.page.action(c.r.PostForm.Get("do")), err)
	}
	maps.Copy(c.w.Header(), out.head)
	return c.send(http.StatusOK, out.head.Get("Content-Type"), out.Bytes())
}

// showQR draws the page with the QR code, or with the ways out if there is none.
func (c *call) showQR(out *buffer, err error) error {
	defer func() { clear(out.Bytes()) }()
	if err != nil {
		return c.refused(c.route.page.action("qr"), err)
	}
	c.image = template.HTML(out.String()) //nolint:gosec // G203: it is made of numbers alone
	return c.route.page.draw(c)
}

func (c *call) devicePage() error {
	member := c.r.PathValue("member")
	d, err := c.net.Device(member, c.r.PathValue("device"))
	if err != nil {
		return err
	}
	crumbs := []link{{Label: c.net.Name(), Path: c.at("networks", c.net.Name())}}
	owner := link{Label: "My devices", Path: c.at("networks", c.net.Name(), "people", member)}
	if member != c.who.Member {
		crumbs = append(crumbs, link{Label: "People", Path: c.at("networks", c.net.Name(), "people")})
		owner.Label = member
	}
	data := struct {
		frame
		Device   deviceRow
		TooMany  bool
		Limit    int
		QR       template.HTML
		NoQR     string
		Own      bool
		Revealed bool
		Links    []apn.DeviceLink
		Link     string // just made
	}{
		frame: c.frame(d.Name, append(crumbs, owner)...), Device: deviceRowOf(d, maxReasons),
		Limit: render.MaxQRServers, TooMany: d.Servers > render.MaxQRServers, QR: c.image, Link: c.token,
		Own: d.Custody == keys.Self, Revealed: d.Custody == keys.Once && d.HandedOut != nil && d.HandedOut.KeyGen == d.KeyGen,
	}
	if data.Links, err = c.net.DeviceLinks(member, d.Name); err != nil {
		return err
	}
	if c.failed != nil && c.failed.do == "qr" {
		data.NoQR = upper(c.failed.problem.Detail)
	}
	return c.show("device", data)
}
