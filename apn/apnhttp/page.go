package apnhttp

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/netip"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/render"
)

//go:embed page
var pageFiles embed.FS

// pages are the templates by name.
type pages map[string]*template.Template

func newPages() (pages, error) {
	p := pages{}
	for _, name := range []string{"sign-in", "networks", "network", "problem"} {
		t, err := template.New(name+".html").ParseFS(pageFiles, "page/layout.html", "page/"+name+".html")
		if err != nil {
			return nil, err
		}
		p[name] = t
	}
	return p, nil
}

// frame is what every page shows.
type frame struct {
	Title, Root, Who string
	Note             string // what went wrong
}

func (c *call) frame(title string) frame {
	return frame{Title: title, Root: c.h.prefix, Who: c.who.Name}
}

func (c *call) page200(name string, data any) error { return c.writePage(http.StatusOK, name, data) }

func (c *call) writePage(status int, name string, data any) error {
	var b bytes.Buffer
	if err := c.h.pages[name].Execute(&b, data); err != nil {
		return err
	}
	head := c.w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	head.Set("Referrer-Policy", "no-referrer")
	return c.send(status, "text/html; charset=utf-8", b.Bytes())
}

// failPage shows a problem to a person, or asks who it is.
func (c *call) failPage(p problem) {
	f := c.frame(p.Title)
	f.Note = p.Detail
	name := "problem"
	if p.Status == http.StatusUnauthorized {
		name, f.Title, f.Note = "sign-in", "Sign in", ""
	}
	_ = c.writePage(p.Status, name, f) // these templates use nothing but texts
}

func (c *call) style() error {
	css, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-cache")
	return c.send(http.StatusOK, "text/css; charset=utf-8", css)
}

// homePage lists the networks to an operator and sends a member to the one that
// is theirs.
func (c *call) homePage() error {
	err := c.signedIn()
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return c.page200("sign-in", c.frame("Sign in"))
	case err != nil:
		return err
	case !c.who.Operator && c.who.Network != "":
		http.Redirect(c.w, c.r, c.h.prefix+"/networks/"+c.who.Network, http.StatusSeeOther)
		return nil
	case !c.who.Operator:
		return apn.ErrForbidden
	}
	names, more, err := c.h.ctl.Networks(c.ctx(), "", maxLimit)
	if err != nil {
		return err
	}
	return c.page200("networks", struct {
		frame
		Networks []string
		More     bool
	}{c.frame("Networks"), names, more})
}

// The page of a network shows at most this many of each; the API lists all.
const (
	pageServers = 200
	pageMembers = 200
)

type appView struct {
	apn.App
	Servers []apn.Server
	More    bool
}

type memberView struct {
	apn.Member
	Devices []deviceView
}

type deviceView struct {
	Name      string
	Addresses []netip.Addr
	HandedOut bool
	Stale     []string
	Path      string // of the API
	QR        bool
}

// networkPage shows an operator everything and a member what is the member's.
func (c *call) networkPage() error {
	data := struct {
		frame
		Apps    []appView
		Members []memberView
	}{frame: c.frame(c.net.Name())}
	apps := c.memberApps()
	members := []apn.Member{}
	if c.who.Operator {
		apps, _ = c.net.Apps(&apn.ListOptions{Limit: maxLimit})
		members, _ = c.net.Members(&apn.ListOptions{Limit: pageMembers})
	} else if m, err := c.net.Member(c.who.Member); err == nil {
		members = append(members, m)
	}
	for _, a := range apps {
		servers, more, err := c.net.Servers(a.Name, &apn.ListOptions{Limit: pageServers})
		if err != nil {
			continue // gone meanwhile
		}
		data.Apps = append(data.Apps, appView{a, servers, more})
	}
	for _, m := range members {
		devices, err := c.net.Devices(m.Name)
		if err != nil {
			continue
		}
		view := memberView{Member: m}
		for _, d := range devices {
			view.Devices = append(view.Devices, c.deviceView(d))
		}
		data.Members = append(data.Members, view)
	}
	return c.page200("network", data)
}

func (c *call) deviceView(d apn.Device) deviceView {
	v := deviceView{
		Name: d.Name, Addresses: d.Addresses, HandedOut: d.HandedOut != nil, QR: d.Servers <= render.MaxQRServers,
		Path: c.link("networks", c.net.Name(), "members", d.Member, "devices", d.Name),
	}
	for _, r := range d.Stale {
		v.Stale = append(v.Stale, reasonText(r))
	}
	return v
}

func reasonText(r apn.Reason) string {
	switch r.Kind {
	case apn.KeyRotated:
		return "the device has a new key"
	case apn.AccessLost:
		return "access to " + r.Object + " was lost"
	case apn.ServerKey:
		return r.Object + " has a new key"
	case apn.ServerAddress:
		return r.Object + " has another address"
	case apn.ServerEndpoint:
		return r.Object + " listens elsewhere"
	case apn.ServerRemoved:
		return r.Object + " was removed"
	case apn.ServerAdded:
		return r.Object + " was added"
	case apn.AccessGained:
		return "access to " + r.Object + " was given"
	case apn.SettingsChanged:
		return "settings changed"
	default:
		return string(r.Kind)
	}
}
