package apnhttp

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
)

type device struct {
	Member    string         `json:"member"`
	Name      string         `json:"name"`
	CreatedAt time.Time      `json:"created_at"`
	Addresses []netip.Addr   `json:"addresses"`
	PublicKey keys.PublicKey `json:"public_key"`
	KeyGen    uint64         `json:"key_generation"`
	Custody   keys.Custody   `json:"custody"`
	Servers   int            `json:"servers"`
	HandedOut *handOut       `json:"handed_out"` // null: it has no config yet
	Stale     bool           `json:"stale"`
	Reasons   []reason       `json:"reasons"`
	Alarm     *alarm         `json:"alarm,omitempty"`
	Revision  uint64         `json:"revision"`
}

type handOut struct {
	At          time.Time `json:"at"`
	Fingerprint string    `json:"fingerprint"`
	KeyGen      uint64    `json:"key_generation"`
	Servers     int       `json:"servers"`
	Revision    uint64    `json:"revision"`
}

type reason struct {
	Kind   apn.ReasonKind `json:"kind"`
	Object string         `json:"object,omitempty"`
}

func deviceOf(d apn.Device) device {
	out := device{
		Member: d.Member, Name: d.Name, CreatedAt: d.CreatedAt, Addresses: d.Addresses, PublicKey: d.PublicKey,
		KeyGen: d.KeyGen, Custody: d.Custody, Servers: d.Servers, Stale: len(d.Stale) > 0,
		Reasons: make([]reason, len(d.Stale)), Alarm: alarmOf(d.Alarm), Revision: uint64(d.Rev),
	}
	if h := d.HandedOut; h != nil {
		out.HandedOut = &handOut{At: h.At, Fingerprint: h.Fingerprint, KeyGen: h.KeyGen, Servers: h.Servers, Revision: uint64(h.Rev)}
	}
	for i, r := range d.Stale {
		out.Reasons[i] = reason(r)
	}
	return out
}

type deviceIn struct {
	Name      string `json:"name"`
	Address   string `json:"address"`
	PublicKey string `json:"public_key"`
	Custody   string `json:"custody"`
}

func (c *call) addDevice() error {
	var in deviceIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	opts := &apn.DeviceOptions{
		CommitOptions: c.opts, Address: f.addr("address", in.Address), PublicKey: f.key("public_key", in.PublicKey),
		Custody: keys.Custody(in.Custody),
	}
	if in.PublicKey != "" && in.Custody != "" && opts.Custody != keys.Self {
		f.add("custody", `must be "self" beside a public key`)
	}
	if err := f.err(); err != nil {
		return err
	}
	d, err := c.net.AddDevice(c.ctx(), c.r.PathValue("member"), in.Name, opts)
	if c.repeated(err) {
		d, err = c.net.Device(c.r.PathValue("member"), in.Name)
	}
	if err != nil {
		return err
	}
	return c.created(uint64(d.Rev), deviceOf(d), "networks", c.net.Name(), "members", d.Member, "devices", d.Name)
}

func (c *call) listDevices() error {
	devices, err := c.net.Devices(c.r.PathValue("member"))
	if err != nil {
		return err
	}
	return answerAll(c, devices, func(d apn.Device) string { return d.Name }, deviceOf)
}

func (c *call) device() error {
	d, err := c.net.Device(c.r.PathValue("member"), c.r.PathValue("device"))
	if err != nil {
		return err
	}
	return c.object(http.StatusOK, uint64(d.Rev), deviceOf(d))
}

func (c *call) removeDevice() error {
	return c.removed(c.net.RemoveDevice(c.ctx(), c.r.PathValue("member"), c.r.PathValue("device"), &c.opts))
}

func (c *call) rotateDevice() error {
	pub, err := c.newKey()
	if err != nil {
		return err
	}
	name := c.r.PathValue("device")
	d, err := c.net.RotateDevice(c.ctx(), c.r.PathValue("member"), name, pub, &c.opts)
	if c.repeated(err) {
		d, err = c.net.Device(c.r.PathValue("member"), name)
	}
	if err != nil {
		return err
	}
	return c.changed(uint64(d.Rev), deviceOf(d))
}
