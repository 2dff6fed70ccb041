package apnhttp

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

type server struct {
	App       string          `json:"app"`
	Name      string          `json:"name"`
	CreatedAt time.Time       `json:"created_at"`
	Addresses []netip.Addr    `json:"addresses"`
	Names     []string        `json:"names"`
	Endpoint  render.Endpoint `json:"endpoint"`
	PublicKey keys.PublicKey  `json:"public_key"`
	KeyGen    uint64          `json:"key_generation"`
	Custody   keys.Custody    `json:"custody"`
	Revision  uint64          `json:"revision"`
	Agent     *agentState     `json:"agent,omitempty"` // when it is read
}

func serverOf(s apn.Server) server {
	return server{
		App: s.App, Name: s.Name, CreatedAt: s.CreatedAt, Addresses: s.Addresses, Names: append([]string{}, s.Names...),
		Endpoint: s.Endpoint, PublicKey: s.PublicKey, KeyGen: s.KeyGen, Custody: s.Custody, Revision: uint64(s.Rev),
	}
}

type serverIn struct {
	Name      string `json:"name"`
	Endpoint  string `json:"endpoint"`
	Address   string `json:"address"`
	PublicKey string `json:"public_key"`
}

func (c *call) addServer() error {
	var in serverIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	opts := &apn.ServerOptions{
		CommitOptions: c.opts, Endpoint: in.Endpoint, Address: f.addr("address", in.Address), PublicKey: f.key("public_key", in.PublicKey),
	}
	if err := f.err(); err != nil {
		return err
	}
	s, err := c.net.AddServer(c.ctx(), c.r.PathValue("app"), in.Name, opts)
	if c.repeated(err) {
		s, err = c.net.Server(c.r.PathValue("app"), in.Name)
	}
	if err != nil {
		return err
	}
	return c.created(uint64(s.Rev), serverOf(s), "networks", c.net.Name(), "apps", s.App, "servers", s.Name)
}

func (c *call) listServers() error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	app := c.r.PathValue("app")
	servers, more, err := c.net.Servers(app, &opts)
	if err != nil {
		return err
	}
	names := make([]string, len(servers))
	for i := range servers {
		names[i] = servers[i].Name
	}
	status, err := c.net.ServerStatuses(c.ctx(), app, names)
	if err != nil {
		return err
	}
	out := make([]server, len(servers))
	for i := range servers {
		out[i] = serverOf(servers[i])
		out[i].Agent = agentStateOf(status[i])
	}
	return answerPage(c, out, more, func(s server) string { return s.Name }, func(s server) server { return s })
}

func (c *call) server() error {
	s, err := c.net.Server(c.r.PathValue("app"), c.r.PathValue("server"))
	if err != nil {
		return err
	}
	status, err := c.net.ServerStatus(c.ctx(), s.App, s.Name)
	if err != nil {
		return err
	}
	out := serverOf(s)
	out.Agent = agentStateOf(status)
	return c.object(http.StatusOK, uint64(s.Rev), out)
}

type serverPatch struct {
	Endpoint *string `json:"endpoint"`
}

func (c *call) updateServer() error {
	var in serverPatch
	if err := c.decode(&in, false); err != nil {
		return err
	}
	u := apn.ServerUpdate{CommitOptions: c.opts, Endpoint: in.Endpoint}
	s, err := c.net.UpdateServer(c.ctx(), c.r.PathValue("app"), c.r.PathValue("server"), u)
	if err != nil {
		return err
	}
	return c.changed(uint64(s.Rev), serverOf(s))
}

func (c *call) removeServer() error {
	return c.removed(c.net.RemoveServer(c.ctx(), c.r.PathValue("app"), c.r.PathValue("server"), &c.opts))
}

// rotateIn is the body of a rotation; it may be left out.
type rotateIn struct {
	PublicKey string `json:"public_key"`
}

// newKey reads the body of a rotation.
func (c *call) newKey() (keys.PublicKey, error) {
	var in rotateIn
	if err := c.decode(&in, true); err != nil {
		return keys.PublicKey{}, err
	}
	var f fields
	return f.key("public_key", in.PublicKey), f.err()
}

func (c *call) rotateServer() error {
	pub, err := c.newKey()
	if err != nil {
		return err
	}
	name := c.r.PathValue("server")
	s, err := c.net.RotateServer(c.ctx(), c.r.PathValue("app"), name, pub, &c.opts)
	if c.repeated(err) {
		s, err = c.net.Server(c.r.PathValue("app"), name)
	}
	if err != nil {
		return err
	}
	return c.changed(uint64(s.Rev), serverOf(s))
}

func (c *call) serverMap() error {
	m, err := c.net.ServerMap(c.ctx(), c.r.PathValue("app"), c.r.PathValue("server"))
	if err != nil {
		return err
	}
	return c.object(http.StatusOK, m.Revision, m)
}
