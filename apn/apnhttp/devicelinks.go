package apnhttp

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/render"
)

// deviceLink is a one-time link without its secret, but in the answer that made
// it.
type deviceLink struct {
	ID         string    `json:"id"`
	Member     string    `json:"member"`
	Device     string    `json:"device"`
	Format     string    `json:"format"`
	By         string    `json:"by,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	UsedAt     time.Time `json:"used_at,omitzero"`
	Passphrase bool      `json:"passphrase"`
	Ended      string    `json:"ended,omitempty"` // why it works no more
	URL        string    `json:"url,omitempty"`
}

func deviceLinkOf(l apn.DeviceLink) deviceLink {
	return deviceLink{
		ID: l.ID, Member: l.Member, Device: l.Device, Format: l.Format, By: l.By, CreatedAt: l.CreatedAt,
		ExpiresAt: l.ExpiresAt, UsedAt: l.UsedAt, Passphrase: l.Passphrase, Ended: l.Ended,
	}
}

// alarm says that somebody tried a link of a device again, or guessed.
type alarm struct {
	Kind apn.AlarmKind `json:"kind"`
	At   time.Time     `json:"at"`
	From string        `json:"from,omitempty"`
	Link string        `json:"link"`
}

func alarmOf(a *apn.Alarm) *alarm {
	if a == nil {
		return nil
	}
	out := &alarm{Kind: a.Kind, At: a.At, Link: a.Link}
	if a.From != (netip.Addr{}) {
		out.From = a.From.String()
	}
	return out
}

// Besides the formats of files, a link may lead to these.
const (
	linkZip = "zip" // one tunnel per app
	linkQR  = "qr"
)

type deviceLinkIn struct {
	Format     string `json:"format"`
	TTL        string `json:"ttl"`
	Passphrase string `json:"passphrase"`
}

func (c *call) addDeviceLink() error {
	var in deviceLinkIn
	if err := c.decode(&in, true); err != nil {
		return err
	}
	var f fields
	if in.Format == "" {
		in.Format = render.Quick.String()
	}
	if _, err := render.ParseFormat(in.Format); err != nil && !slices.Contains([]string{linkZip, linkQR}, in.Format) {
		f.add("format", `must be a format of files, "zip" or "qr"`)
	}
	opts := &apn.DeviceLinkOptions{
		CommitOptions: c.opts, Format: in.Format, Apps: in.Format == linkZip, TTL: f.duration("ttl", in.TTL), Passphrase: in.Passphrase,
	}
	if err := f.err(); err != nil {
		return err
	}
	if c.opts.RequestID != "" {
		return errNotRepeatable
	}
	member, name := c.r.PathValue("member"), c.r.PathValue("device")
	if d, err := c.net.Device(member, name); err == nil && in.Format == linkQR && d.Servers > render.MaxQRServers {
		return &render.TooManyServersError{Servers: d.Servers, Limit: render.MaxQRServers}
	}
	secret, l, err := c.net.AddDeviceLink(c.ctx(), member, name, opts)
	if err != nil || c.planned() {
		return err
	}
	out := deviceLinkOf(l)
	out.URL = c.publicURL() + "/d#" + secret
	return c.json(http.StatusCreated, out)
}

func (c *call) listDeviceLinks() error {
	links, err := c.net.DeviceLinks(c.r.PathValue("member"), c.r.PathValue("device"))
	if err != nil {
		return err
	}
	newestFirst := func(l apn.DeviceLink) string {
		return fmt.Sprintf("%016x%s", math.MaxInt64-l.CreatedAt.UnixNano(), l.ID)
	}
	return answerAll(c, links, newestFirst, deviceLinkOf)
}

func (c *call) removeDeviceLink() error {
	return c.removed(c.net.RemoveDeviceLink(c.ctx(), c.r.PathValue("member"), c.r.PathValue("device"), c.r.PathValue("link"), &c.opts))
}
