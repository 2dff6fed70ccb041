package apnhttp

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed web
var webFiles embed.FS

// assets are what pages are made of.
type assets struct {
	pages map[string]*template.Template
	files map[string][]byte // by name, what browsers load beside a page
	stamp string            // changes with the files
}

func newAssets() (*assets, error) {
	a := &assets{pages: map[string]*template.Template{}, files: map[string][]byte{}}
	names, err := webFiles.ReadDir("web")
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, entry := range names {
		name := entry.Name()
		page, isPage := strings.CutSuffix(name, ".html")
		if !isPage {
			if a.files[name], err = webFiles.ReadFile("web/" + name); err != nil {
				return nil, err
			}
			sum.Write(a.files[name])
			continue
		}
		if page == "layout" || page == "parts" {
			continue
		}
		a.pages[page], err = template.New("layout.html").Funcs(templateFuncs()).ParseFS(webFiles, "web/layout.html", "web/parts.html", "web/"+name)
		if err != nil {
			return nil, err
		}
	}
	a.stamp = hex.EncodeToString(sum.Sum(nil)[:8])
	return a, nil
}

func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"plural": func(n int, one, many string) string {
			if n == 1 {
				return "1 " + one
			}
			return thousands(n) + " " + many
		},
		"number": thousands,
		"bytes":  size,
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"day":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		"minute": func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04 UTC") },
		"upper":  upper,
		"why":    why,
		"peer": func(id string) string { // without what kind it is
			_, rest, _ := strings.Cut(id, "/")
			return rest
		},
		"first": first[string], "beyond": beyond[string],
		"firstLines": first[planChange], "beyondLines": beyond[planChange],
	}
}

// thousands writes 1234567 as "1,234,567".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// span writes a duration as people say it, by its largest unit or two.
func span(d time.Duration) string {
	d = max(d, 0)
	switch days, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour), int(d/time.Minute); {
	case days >= 2:
		return fmt.Sprintf("%d days", days)
	case hours >= 1:
		return fmt.Sprintf("%d h %02d min", hours, minutes%60)
	case minutes >= 1:
		return fmt.Sprintf("%d min", minutes)
	default:
		return fmt.Sprintf("%d s", int(d/time.Second))
	}
}

// size writes a number of bytes.
func size(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	f, i := float64(n), 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func family(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

const planLines = 20 // of each kind

// first returns the lines of a plan that are shown, beyond counts the others.
func first[T any](list []T) []T { return list[:min(len(list), planLines)] }

func beyond[T any](list []T) int { return max(len(list)-planLines, 0) }

// frame is what every page shows.
type frame struct {
	c                       *call
	Title, Root, Stamp, Who string
	Network                 string // empty outside of one
	Nav                     []link
	Crumbs                  []link
	Said                    string // what was done
	Note                    string // what went wrong
	Now                     time.Time
	Live                    bool // the script may load the page again now and then
}

type link struct {
	Label, Path string
	Here        bool
}

// Form returns a form of the page, nil if it is not for who looks at it.
func (f frame) Form(do string, values ...string) *formView { return f.c.form(do, values...) }

// Ago says how long ago a time is.
func (f frame) Ago(t time.Time) string { return span(f.Now.Sub(t)) + " ago" }

// Age says how long something has been there.
func (f frame) Age(t time.Time) string { return span(f.Now.Sub(t)) }

// Left says how long it is until a time.
func (f frame) Left(t time.Time) string { return span(t.Sub(f.Now)) }

// Seconds is Left for the script that counts down.
func (f frame) Seconds(t time.Time) int { return int(t.Sub(f.Now) / time.Second) }

// At returns the path of a page.
func (f frame) At(parts ...string) string { return f.c.at(parts...) }

func (c *call) frame(title string, crumbs ...link) frame {
	f := frame{
		c: c, Title: title, Root: c.h.prefix, Stamp: c.h.assets.stamp, Who: c.who.Name, Crumbs: crumbs,
		Said: c.said(), Now: c.h.now(),
	}
	if c.net == nil {
		if c.who.Operator {
			f.Nav = []link{{Label: "Networks", Path: c.at("")}, {Label: "Tokens", Path: c.at("tokens")}, {Label: "Audit", Path: c.at("audit")}}
		}
	} else {
		f.Network = c.net.Name()
		f.Nav = append(f.Nav, link{Label: "Overview", Path: c.at("networks", f.Network)})
		if c.who.Member != "" {
			f.Nav = append(f.Nav, link{Label: "My devices", Path: c.at("networks", f.Network, "people", c.who.Member)})
		}
		for _, p := range []struct{ api, label, path string }{
			{"GET " + toNet + "/members", "People", "people"},
			{"GET " + toNet + "/zone/report", "Names", "names"},
			{"GET " + toNet + "/audit", "Audit", "audit"},
			{"PATCH " + toNet, "Keys", "keys"},
		} {
			if c.may(p.api) {
				f.Nav = append(f.Nav, link{Label: p.label, Path: c.at("networks", f.Network, p.path)})
			}
		}
	}
	for i, l := range f.Nav {
		here := c.here()
		f.Nav[i].Here = here == l.Path || strings.HasPrefix(here, l.Path+"/") && (i > 0 || strings.HasPrefix(here, l.Path+"/apps/"))
	}
	return f
}

// show answers with a page.
func (c *call) show(name string, data any) error {
	status := http.StatusOK
	if c.failed != nil {
		status = c.failed.problem.Status
	}
	return c.writePage(status, name, data)
}

func (c *call) writePage(status int, name string, data any) error {
	var b bytes.Buffer
	if err := c.h.assets.pages[name].Execute(&b, data); err != nil {
		return err
	}
	head := c.w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	// With no-referrer, browsers would send forms from the origin "null".
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	return c.send(status, "text/html; charset=utf-8", b.Bytes())
}

// failPage shows a problem to a person, or asks who it is.
func (c *call) failPage(p problem) {
	if p.Status == http.StatusUnauthorized {
		_ = c.signInPage(p.Status, "") // these templates use nothing but texts
		return
	}
	c.failed, c.net = nil, nil
	_ = c.writePage(p.Status, "problem", struct {
		frame
		Problem problem
	}{c.frame(p.Title), p})
}

func (c *call) signInPage(status int, note string) error {
	c.failed, c.net = nil, nil
	f := c.frame("Sign in")
	f.Note = note
	next := c.r.PostForm.Get("next")
	if c.route.page != nil {
		next = c.here()
	}
	return c.writePage(status, "sign-in", struct {
		frame
		Next string
	}{f, next})
}

// asset answers with a file that a page needs. Its address changes with it, so
// that browsers may keep it.
func (c *call) asset() error {
	name := c.r.PathValue("file")
	body, ok := c.h.assets.files[name]
	if !ok {
		return errRoute
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	cache := "no-cache"
	if c.query.Get("v") == c.h.assets.stamp {
		cache = "public, max-age=31536000, immutable"
	}
	c.w.Header().Set("Cache-Control", cache)
	return c.send(http.StatusOK, kinds[path.Ext(name)], body)
}

// confirmPage shows what an action would change, and asks.
func (c *call) confirmPage(a *action, p plan, stamp string) error {
	form := c.r.PostForm
	data := struct {
		frame
		Intro, Submit, Back string
		Hidden              []option
		Plan                plan
		Changed             bool // since it was shown
	}{c.frame(c.fillFrom(a.ask, form)), a.intro, a.submit, c.here(), nil, p, form.Has("confirm")}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if name != "confirm" {
			data.Hidden = append(data.Hidden, option{name, form.Get(name)})
		}
	}
	data.Hidden = append(data.Hidden, option{"confirm", stamp})
	return c.writePage(http.StatusOK, "confirm", data)
}
