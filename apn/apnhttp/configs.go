package apnhttp

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/render"
)

// errNotRenderable means that a config has something that a format cannot say.
var errNotRenderable = errors.New("not possible in this format")

// file is an answer with a private key in it.
type file struct {
	kind string // media type
	name string // empty: shown, not saved
	body []byte
}

// deviceConfig hands out a device's config. The text is made before anything is
// recorded, and sent after.
func (c *call) deviceConfig() error {
	f, err := c.format()
	if err != nil {
		return err
	}
	return c.handOut(func(cfg *render.Config, fp render.Fingerprint) (file, error) { return configFile(f, cfg, fp) })
}

func (c *call) handOut(draw func(*render.Config, render.Fingerprint) (file, error)) error {
	var out file
	err := c.net.HandOut(c.ctx(), c.r.PathValue("member"), c.r.PathValue("device"), func(cfg *render.Config, fp render.Fingerprint) (err error) {
		out, err = draw(cfg, fp)
		return err
	})
	defer func() { clear(out.body) }()
	if err != nil {
		return err
	}
	return c.sendFile(out)
}

// deviceConfigs hands out a device's config as one tunnel per app, for phones.
func (c *call) deviceConfigs() error {
	out := file{kind: "application/zip", name: c.net.Name() + "-" + c.r.PathValue("device") + ".zip"}
	err := c.net.HandOutApps(c.ctx(), c.r.PathValue("member"), c.r.PathValue("device"), func(configs []*render.Config) (err error) {
		out.body, err = render.AppendZip(nil, configs, nil)
		return renderError(err)
	})
	defer func() { clear(out.body) }()
	if err != nil {
		return err
	}
	return c.sendFile(out)
}

type configCheckIn struct {
	PublicKey   string `json:"public_key"`
	Fingerprint string `json:"fingerprint"`
}

type configCheck struct {
	State  apn.ConfigState `json:"state"`
	Device *device         `json:"device"` // null: unknown
}

// checkConfig tells what a config file is worth. The file itself stays where it
// is: its public key and fingerprint suffice.
func (c *call) checkConfig() error {
	var in configCheckIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	pub := f.key("public_key", in.PublicKey)
	if in.PublicKey == "" {
		f.add("public_key", "is required")
	}
	fp, err := render.ParseFingerprint(in.Fingerprint)
	if err != nil {
		f.add("fingerprint", "must be that of a config file")
	}
	if err := f.err(); err != nil {
		return err
	}
	out := configCheck{State: apn.ConfigUnknown}
	state, d := c.net.CheckConfig(pub, fp)
	// A member learns nothing of devices of others.
	if state != apn.ConfigUnknown && (c.who.Operator || d.Member == c.who.Member) {
		known := deviceOf(d)
		out = configCheck{state, &known}
	}
	return c.json(http.StatusOK, out)
}

func (c *call) serverConfig() error {
	f, err := c.format()
	if err != nil {
		return err
	}
	cfg, err := c.net.ServerConfig(c.ctx(), c.r.PathValue("app"), c.r.PathValue("server"))
	if err != nil {
		return err
	}
	out, err := configFile(f, cfg, render.Fingerprint{})
	defer func() { clear(out.body) }()
	if err != nil {
		return err
	}
	return c.sendFile(out)
}

func (c *call) format() (render.Format, error) {
	if !c.query.Has("format") {
		return render.Quick, nil
	}
	f, err := render.ParseFormat(c.query.Get("format"))
	if err != nil {
		return 0, malformed("format", "must be wg-quick, compact, setconf, uapi, networkd-netdev, networkd-network, networkmanager or json")
	}
	return f, nil
}

// configFile renders a config. A zero fingerprint is computed.
func configFile(f render.Format, cfg *render.Config, fp render.Fingerprint) (file, error) {
	name, err := f.Filename(cfg)
	if err != nil {
		return file{}, err
	}
	body, err := f.Append(nil, cfg, &render.Options{Secrets: true, Fingerprint: fp})
	if err != nil {
		return file{}, renderError(err)
	}
	return file{kind: f.MIME(), name: name, body: body}, nil
}

// renderError says that the config is sound but for the wish of the request.
func renderError(err error) error {
	if err == nil || errors.Is(err, render.ErrNoPrivateKey) || errors.Is(err, render.ErrNoQR) {
		return err
	}
	if v, ok := errors.AsType[*render.ValueError](err); ok {
		return &refusal{kind: errNotRenderable, detail: v.Error()}
	}
	return err
}

func (c *call) sendFile(f file) error {
	head := c.w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Referrer-Policy", "no-referrer")
	if f.name != "" {
		head.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.name}))
	}
	return c.send(http.StatusOK, f.kind, f.body)
}

// maxScale bounds an image to about 12,000 pixels a side.
const maxScale = 64

func (c *call) qrPNG() error { return c.qrImage("image/png", (*render.Symbol).AppendPNG) }

func (c *call) qrSVG() error { return c.qrImage("image/svg+xml", (*render.Symbol).AppendSVG) }

func (c *call) qrImage(kind string, draw func(s *render.Symbol, dst []byte, scale int) []byte) error {
	scale := 0
	if c.query.Has("scale") {
		var err error
		if scale, err = strconv.Atoi(c.query.Get("scale")); err != nil || scale < 1 || scale > maxScale {
			return malformed("scale", fmt.Sprintf("must be 1 to %d pixels per module", maxScale))
		}
	}
	return c.qr(kind, func(s *render.Symbol) []byte { return draw(s, nil, scale) })
}

func (c *call) qrText() error {
	plain, err := c.flag("plain")
	if err != nil {
		return err
	}
	return c.qr("text/plain; charset=utf-8", func(s *render.Symbol) []byte {
		return s.AppendText(nil, &render.TextOptions{Plain: plain})
	})
}

func (c *call) qr(kind string, draw func(*render.Symbol) []byte) error {
	return c.handOut(func(cfg *render.Config, _ render.Fingerprint) (file, error) {
		s, err := render.QR(cfg, nil)
		if err != nil {
			return file{}, renderError(err)
		}
		return file{kind: kind, body: draw(s)}, nil
	})
}
