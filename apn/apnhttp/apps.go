package apnhttp

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type app struct {
	Name      string         `json:"name"`
	CreatedAt time.Time      `json:"created_at"`
	Subnets   []netip.Prefix `json:"subnets"`
	Servers   int            `json:"servers"`
	Revision  uint64         `json:"revision"`
}

func appOf(a apn.App) app {
	return app{Name: a.Name, CreatedAt: a.CreatedAt, Subnets: a.Subnets, Servers: a.Servers, Revision: uint64(a.Rev)}
}

type appIn struct {
	Name    string   `json:"name"`
	Subnets []string `json:"subnets"`
	Bits    int      `json:"bits"`
}

func (c *call) addApp() error {
	var in appIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	opts := &apn.AppOptions{CommitOptions: c.opts, Subnets: f.prefixes("subnets", in.Subnets), Bits: in.Bits}
	if err := f.err(); err != nil {
		return err
	}
	a, err := c.net.AddApp(c.ctx(), in.Name, opts)
	if c.repeated(err) {
		a, err = c.net.App(in.Name)
	}
	if err != nil {
		return err
	}
	return c.created(uint64(a.Rev), appOf(a), "networks", c.net.Name(), "apps", a.Name)
}

// listApps answers a member with the apps on which the member has a role.
func (c *call) listApps() error {
	if !c.who.Operator {
		return answerAll(c, c.memberApps(), func(a apn.App) string { return a.Name }, appOf)
	}
	opts, err := c.page()
	if err != nil {
		return err
	}
	apps, more := c.net.Apps(&opts)
	return answerPage(c, apps, more, func(a apn.App) string { return a.Name }, appOf)
}

func (c *call) memberApps() []apn.App {
	m, err := c.net.Member(c.who.Member)
	if err != nil {
		return nil
	}
	var apps []apn.App
	for _, name := range slices.Sorted(maps.Keys(m.Roles)) {
		if a, err := c.net.App(name); err == nil && m.Roles[name] >= apn.Viewer {
			apps = append(apps, a)
		}
	}
	return apps
}

func (c *call) app() error {
	a, err := c.net.App(c.r.PathValue("app"))
	if err != nil {
		return err
	}
	return c.object(http.StatusOK, uint64(a.Rev), appOf(a))
}

func (c *call) removeApp() error {
	servers, err := c.flag("servers")
	if err != nil {
		return err
	}
	return c.removed(c.net.RemoveApp(c.ctx(), c.r.PathValue("app"), &apn.RemoveAppOptions{CommitOptions: c.opts, Servers: servers}))
}
