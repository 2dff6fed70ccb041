package apnhttp

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/ipam"
)

type network struct {
	Name          string         `json:"name"`
	CreatedAt     time.Time      `json:"created_at"`
	Prefixes      []netip.Prefix `json:"prefixes"`
	SubnetBits    int            `json:"subnet_bits"`
	Suffix        string         `json:"suffix"`
	Links         apn.LinkPolicy `json:"links"`
	ListenPort    uint16         `json:"listen_port"`
	Keepalive     string         `json:"keepalive"`
	PresharedKeys bool           `json:"preshared_keys"`
	Apps          int            `json:"apps"`
	Servers       int            `json:"servers"`
	Members       int            `json:"members"`
	Devices       int            `json:"devices"`
	Revision      uint64         `json:"revision"`
}

func networkOf(i apn.NetworkInfo) network {
	return network{
		Name: i.Name, CreatedAt: i.CreatedAt, Prefixes: i.Prefixes, SubnetBits: i.SubnetBits, Suffix: i.Suffix, Links: i.Links,
		ListenPort: i.ListenPort, Keepalive: durationText(i.Keepalive), PresharedKeys: i.PresharedKeys,
		Apps: i.Apps, Servers: i.Servers, Members: i.Members, Devices: i.Devices, Revision: uint64(i.Rev),
	}
}

// memberNetwork is what a member sees of a network.
type memberNetwork struct {
	Name   string `json:"name"`
	Suffix string `json:"suffix"`
}

type networkIn struct {
	Name       string   `json:"name"`
	Prefixes   []string `json:"prefixes"`
	SubnetBits int      `json:"subnet_bits"`
	Exclude    []struct {
		Prefix string `json:"prefix"`
		Reason string `json:"reason"`
	} `json:"exclude"`
	Suffix        string `json:"suffix"`
	Links         string `json:"links"`
	ListenPort    uint16 `json:"listen_port"`
	Keepalive     string `json:"keepalive"`
	PresharedKeys *bool  `json:"preshared_keys"`
}

func (c *call) addNetwork() error {
	var in networkIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	opts := c.h.defaults
	opts.CommitOptions = c.opts
	var f fields
	if in.Prefixes != nil {
		opts.Prefixes = f.prefixes("prefixes", in.Prefixes)
	}
	for i, e := range in.Exclude {
		at := fmt.Sprintf("exclude[%d].prefix", i)
		opts.Exclude = append(slices.Clip(opts.Exclude), ipam.Exclusion{Prefix: f.prefix(at, e.Prefix), Reason: e.Reason})
	}
	if in.SubnetBits != 0 {
		opts.SubnetBits = in.SubnetBits
	}
	if in.Suffix != "" {
		opts.Suffix = in.Suffix
	}
	if in.ListenPort != 0 {
		opts.ListenPort = in.ListenPort
	}
	if in.PresharedKeys != nil {
		opts.PresharedKeys = *in.PresharedKeys
	}
	f.text("links", in.Links, &opts.Links)
	if in.Keepalive != "" {
		if opts.Keepalive = f.duration("keepalive", in.Keepalive); opts.Keepalive == 0 {
			opts.Keepalive = -1
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	n, err := c.h.ctl.CreateNetwork(c.ctx(), in.Name, &opts)
	if c.repeated(err) {
		n, err = c.h.ctl.Network(c.ctx(), in.Name)
	}
	if err != nil {
		return err
	}
	if c.planned() {
		return nil
	}
	info := n.Info()
	return c.created(uint64(info.Rev), networkOf(info), "networks", info.Name)
}

func (c *call) listNetworks() error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	names, more, err := c.h.ctl.Networks(c.ctx(), opts.After, opts.Limit)
	if err != nil {
		return err
	}
	out := list[network]{Items: []network{}}
	for _, name := range names {
		n, err := c.h.ctl.Network(c.ctx(), name)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, networkOf(n.Info()))
	}
	if more && len(names) > 0 {
		out.Next = names[len(names)-1]
	}
	return c.json(http.StatusOK, out)
}

func (c *call) network() error {
	info := c.net.Info()
	if !c.who.Operator {
		return c.object(http.StatusOK, uint64(info.Rev), memberNetwork{Name: info.Name, Suffix: info.Suffix})
	}
	return c.object(http.StatusOK, uint64(info.Rev), networkOf(info))
}

type networkPatch struct {
	AddPrefixes   []string `json:"add_prefixes"`
	Links         *string  `json:"links"`
	Keepalive     *string  `json:"keepalive"`
	PresharedKeys *bool    `json:"preshared_keys"`
}

func (c *call) updateNetwork() error {
	var in networkPatch
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	u := apn.NetworkUpdate{CommitOptions: c.opts, AddPrefixes: f.prefixes("add_prefixes", in.AddPrefixes), PresharedKeys: in.PresharedKeys}
	if in.Links != nil {
		u.Links = new(apn.LinkPolicy)
		if err := u.Links.UnmarshalText([]byte(*in.Links)); err != nil {
			f.add("links", `must be "all" or "none"`)
		}
	}
	if in.Keepalive != nil {
		d := f.duration("keepalive", *in.Keepalive)
		u.Keepalive = &d
		if *in.Keepalive == "" {
			f.add("keepalive", `must not be empty; "0s" is none`)
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	info, err := c.net.Update(c.ctx(), u)
	if err != nil {
		return err
	}
	return c.changed(uint64(info.Rev), networkOf(info))
}

type inventoryIn struct {
	Apps []struct {
		Name    string   `json:"name"`
		Subnets []string `json:"subnets"`
		Servers []struct {
			Name      string `json:"name"`
			Endpoint  string `json:"endpoint"`
			Address   string `json:"address"`
			PublicKey string `json:"public_key"`
		} `json:"servers"`
	} `json:"apps"`
}

type imported struct {
	Apps    []string `json:"apps"`
	Servers []string `json:"servers"`
}

func (c *call) importInventory() error {
	var in inventoryIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	var inv apn.Inventory
	all := imported{Apps: []string{}, Servers: []string{}}
	for i, a := range in.Apps {
		at := fmt.Sprintf("apps[%d].", i)
		app := apn.InventoryApp{Name: a.Name, Subnets: f.prefixes(at+"subnets", a.Subnets)}
		all.Apps = append(all.Apps, a.Name)
		for j, s := range a.Servers {
			at := fmt.Sprintf("%sservers[%d].", at, j)
			app.Servers = append(app.Servers, apn.InventoryServer{
				Name: s.Name, Endpoint: s.Endpoint, Address: f.addr(at+"address", s.Address), PublicKey: f.key(at+"public_key", s.PublicKey),
			})
			all.Servers = append(all.Servers, a.Name+"/"+s.Name)
		}
		inv.Apps = append(inv.Apps, app)
	}
	if len(inv.Apps) == 0 {
		f.add("apps", "must name at least one app")
	}
	if err := f.err(); err != nil {
		return err
	}
	added, err := c.net.Import(c.ctx(), inv, &c.opts)
	if c.repeated(err) {
		return c.json(http.StatusOK, all)
	}
	if err != nil {
		return err
	}
	if c.planned() {
		return nil
	}
	return c.json(http.StatusCreated, imported{
		Apps: append([]string{}, added.Apps...), Servers: append([]string{}, added.Servers...),
	})
}
