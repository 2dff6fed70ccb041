package apn

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
)

// devicePool is the ipam app whose subnets hold the devices' addresses. No app
// can have this name.
const devicePool = "@devices"

// Device is a member's computer or phone.
type Device struct {
	Member    string
	Name      string
	CreatedAt time.Time
	Addresses []netip.Addr // IPv4 first
	PublicKey keys.PublicKey
	KeyGen    uint64
	Custody   keys.Custody
	Servers   int      // peers that its config has now
	HandedOut *HandOut // nil: it has no config yet
	Stale     []Reason // why the handed-out config is out of date; empty: it is current
	Alarm     *Alarm   // the last one about its present key; nil: none
	Rev       store.Rev
}

// DeviceOptions are the optional settings of a device.
type DeviceOptions struct {
	CommitOptions
	// PublicKey is the device's own key, whose private half stays there (custody
	// Self). Zero generates a key pair.
	PublicKey keys.PublicKey
	// Custody says what happens to a generated key pair. Zero is Managed: it is
	// kept sealed and can be downloaded again. Once: the private key is
	// forgotten as soon as it was downloaded.
	Custody keys.Custody
	// Address is the address that the device gets. Zero lets the network choose.
	Address netip.Addr
}

// AddDevice adds a device to a member, with an address and a key. opts may be
// nil.
func (n *Network) AddDevice(ctx context.Context, member, device string, opts *DeviceOptions) (Device, error) {
	const op = "add device"
	if opts == nil {
		opts = new(DeviceOptions)
	}
	object := member + "/" + device
	k, err := newKey(opts.PublicKey, opts.Custody)
	if err != nil {
		return Device{}, &Error{Op: op, Object: object, Err: err}
	}
	var out Device
	err = n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if err := t.addDevice(member, device, opts, k); err != nil {
			return err
		}
		out, _ = t.device(member, device)
		return nil
	})
	if err != nil {
		return Device{}, &Error{Op: op, Object: object, Err: err}
	}
	return n.settledDevice(member, device, out), nil
}

func (t *tx) addDevice(member, device string, opts *DeviceOptions, k *keyPair) error {
	if err := checkLabel("name", device); err != nil {
		return err
	}
	if _, ok := find[*memRow](t.state, memKey(member)); !ok {
		return notFound("member")
	}
	key := devKey(member, device)
	if _, ok := find[*devRow](t.state, key); ok {
		return ErrExists
	}
	addrs, err := t.deviceAddress(member+"/"+device, opts.Address)
	if err != nil {
		return err
	}
	row := &devRow{UID: newUID(), Created: t.now.UTC(), Addrs: addrs}
	t.put(key, row)
	if err := t.seal(key, k.row(row.UID, 1, t.now), k.private); err != nil {
		return err
	}
	t.event("device.add", member+"/"+device, "")
	return nil
}

// deviceAddress takes an address in the devices' range, which the first device
// of the network makes.
func (t *tx) deviceAddress(owner string, at netip.Addr) ([]netip.Addr, error) {
	_, change, err := t.pool.Subnet(t.now, devicePool, nil)
	if err != nil {
		return nil, poolError("address", err)
	}
	if err := t.address(change); err != nil {
		return nil, err
	}
	asg, change, err := t.pool.Acquire(t.now, devicePool, owner, &ipam.AcquireOptions{At: at, AutoGrow: true})
	if err != nil {
		return nil, poolError("address", err)
	}
	return asg.Addrs, t.address(change)
}

// Device returns one device, with the reasons why its config is stale.
func (n *Network) Device(member, device string) (Device, error) {
	d, ok := n.view().device(member, device)
	if !ok {
		return Device{}, &Error{Op: "read device", Object: member + "/" + device, Err: ErrNotFound}
	}
	return d, nil
}

func (n *Network) settledDevice(member, device string, out Device) Device {
	if d, err := n.Device(member, device); err == nil {
		return d
	}
	return out
}

// Devices returns a member's devices, sorted by name.
func (n *Network) Devices(member string) ([]Device, error) {
	s := n.view()
	if _, ok := find[*memRow](s, memKey(member)); !ok {
		return nil, &Error{Op: "list devices", Object: member, Err: ErrNotFound}
	}
	devices := []Device{}
	for name := range under[*devRow](s, devKey(member, "")) {
		d, _ := s.device(member, name)
		devices = append(devices, d)
	}
	return devices, nil
}

func (s *state) device(member, device string) (Device, bool) {
	key := devKey(member, device)
	r, ok := find[*devRow](s, key)
	if !ok {
		return Device{}, false
	}
	d := Device{
		Member: member, Name: device, CreatedAt: r.Created, Addresses: slices.Clone(r.Addrs), Rev: s.revOf(key),
	}
	if k, ok := find[*keyRow](s, keyKey(key)); ok {
		d.PublicKey, d.KeyGen, d.Custody = k.pub, k.Gen, k.Custody
		d.Alarm = s.alarmOf(member, device, k)
	}
	d.Servers, d.HandedOut, d.Stale = s.compare(member, device)
	return d, true
}

// RemoveDevice removes a device and its key. opts may be nil.
func (n *Network) RemoveDevice(ctx context.Context, member, device string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		if err := t.match(devKey(member, device)); err != nil {
			return err
		}
		return t.removeDevice(member, device)
	})
	if err != nil {
		return &Error{Op: "remove device", Object: member + "/" + device, Err: err}
	}
	return nil
}

func (t *tx) removeDevice(member, device string) error {
	key := devKey(member, device)
	if _, ok := find[*devRow](t.state, key); !ok {
		return ErrNotFound
	}
	change, err := t.pool.Release(t.now, devicePool, member+"/"+device, 0)
	if err != nil {
		return err
	}
	if err := t.address(change); err != nil {
		return err
	}
	t.dropHandOut(member, device)
	t.dropLinks(member, device)
	t.del(keyKey(key))
	t.del(key)
	t.event("device.remove", member+"/"+device, "")
	return nil
}

// RotateDevice gives a device a new key pair; the old config stops working. pub
// is the new key of a device in custody Self, zero otherwise. opts may be nil.
func (n *Network) RotateDevice(ctx context.Context, member, device string, pub keys.PublicKey, opts *CommitOptions) (Device, error) {
	const op = "rotate device"
	object := member + "/" + device
	k, err := newKey(pub, keys.Managed)
	if err != nil {
		return Device{}, &Error{Op: op, Object: object, Err: err}
	}
	var out Device
	err = n.do(ctx, opts, func(t *tx) error {
		if err := t.rotate(devKey(member, device), k); err != nil {
			return err
		}
		t.event("device.rotate", object, "")
		out, _ = t.device(member, device)
		return nil
	})
	if err != nil {
		return Device{}, &Error{Op: op, Object: object, Err: err}
	}
	return n.settledDevice(member, device, out), nil
}
