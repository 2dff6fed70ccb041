package apnhttp

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"path"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/render"
)

// Hand-over by one-time link: a page with a button, which previews of the link
// and scanners of mail do not press. The token is in the fragment of the link,
// which browsers send nobody.

//go:embed handover
var handoverFiles embed.FS

// handover is what hand-over needs beside the API.
type handover struct {
	page  *template.Template
	slots chan struct{} // bounds the memory that passphrases take to check
}

// redeemSlots is how many links are redeemed at a time.
const redeemSlots = 8

func newHandover() (handover, error) {
	page, err := template.ParseFS(handoverFiles, "handover/page.html")
	return handover{page, make(chan struct{}, redeemSlots)}, err
}

func (c *call) handoverPage() error { return c.writeHandover(http.StatusOK, "", true) }

// writeHandover answers with the page. Without form the link is of no use any
// more.
func (c *call) writeHandover(status int, note string, form bool) error {
	var b bytes.Buffer
	err := c.h.handover.page.Execute(&b, struct {
		Title, Root, Note string
		Form              bool
	}{"Your WireGuard config", c.h.prefix, note, form})
	if err != nil {
		return err
	}
	head := c.w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	// With no-referrer, browsers would send the form from the origin "null".
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	return c.send(status, "text/html; charset=utf-8", b.Bytes())
}

// handoverFile answers with what the page loads.
func (c *call) handoverFile() error {
	name := c.r.PathValue("file")
	kind, ok := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}[path.Ext(name)]
	body, err := handoverFiles.ReadFile("handover/" + name)
	if !ok || err != nil {
		return errRoute
	}
	c.w.Header().Set("Cache-Control", "no-cache")
	return c.send(http.StatusOK, kind, body)
}

type redeemIn struct {
	Token      string `json:"token"`
	Passphrase string `json:"passphrase"`
}

// redeem hands a config to whoever has a link. A browser's form is answered with
// pages, everybody else with problems.
func (c *call) redeem() error {
	var in redeemIn
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")) // decode says what is wrong with it
	form := kind == "application/x-www-form-urlencoded"
	if form {
		if err := c.readForm(); err != nil {
			return err
		}
		in = redeemIn{c.r.PostForm.Get("token"), c.r.PostForm.Get("passphrase")}
	} else if err := c.readBody(); err != nil {
		return err
	} else if err := c.decode(&in, false); err != nil {
		return err
	}
	out, err := c.redeemLink(in)
	defer func() { clear(out.body) }()
	if err == nil {
		return c.sendFile(out)
	}
	if p := c.problemOf(err); form && p.Status < http.StatusInternalServerError {
		c.recordRefusal(err)
		return c.writeHandover(p.Status, p.Detail, p.Status != http.StatusGone)
	}
	return err
}

func (c *call) redeemLink(in redeemIn) (file, error) {
	select {
	case c.h.handover.slots <- struct{}{}:
		defer func() { <-c.h.handover.slots }()
	case <-c.ctx().Done():
		return file{}, c.ctx().Err()
	}
	var out file
	err := c.h.ctl.RedeemLink(c.ctx(), in.Token, in.Passphrase, func(l apn.DeviceLink, configs []*render.Config) (err error) {
		c.who.Name = "link " + l.ID
		out, err = linkFile(l, configs)
		return err
	})
	if errors.Is(err, apn.ErrNotFound) {
		return out, errLink
	}
	return out, err
}

// errLink says that nobody made the link, or that it was removed.
var errLink = &refusal{kind: apn.ErrNotFound, detail: "The link is unknown, incomplete or was taken back."}

func linkFile(l apn.DeviceLink, configs []*render.Config) (file, error) {
	switch l.Format {
	case linkZip:
		body, err := render.AppendZip(nil, configs, nil)
		return file{kind: "application/zip", name: l.Device + ".zip", body: body}, renderError(err)
	case linkQR:
		s, err := render.QR(configs[0], nil)
		if errors.Is(err, render.ErrNoQR) {
			return file{}, &refusal{kind: render.ErrNoQR, detail: "The config has become too large for a QR code: ask for a link to the file."}
		}
		if err != nil {
			return file{}, renderError(err)
		}
		return file{kind: "image/svg+xml", body: s.AppendSVG(nil, 0)}, nil
	default:
		f, err := render.ParseFormat(l.Format)
		if err != nil {
			return file{}, err
		}
		return configFile(f, configs[0], render.Fingerprint{})
	}
}
