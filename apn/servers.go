package apn

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// Server runs an app and is a peer in its network. It keeps its address for
// life.
type Server struct {
	App       string
	Name      string
	CreatedAt time.Time
	Addresses []netip.Addr    // IPv4 first
	Names     []string        // DNS names that it really has, shortest first
	Endpoint  render.Endpoint // zero: it cannot be reached from outside
	PublicKey keys.PublicKey
	KeyGen    uint64
	Custody   keys.Custody
	Rev       store.Rev
}

// ServerOptions are the optional settings of a server.
type ServerOptions struct {
	CommitOptions
	// Endpoint is where the server listens: "host:port", or an address alone
	// for the network's port. Empty: it is behind NAT and calls others.
	Endpoint string
	// Address is the address that the server gets. Zero lets the app's subnet
	// choose, and grow if it is full.
	Address netip.Addr
	// PublicKey is the server's own key, whose private half stays there (custody
	// Self). Zero generates a key pair and keeps it sealed (custody Managed).
	PublicKey keys.PublicKey
}

// AddServer adds a server to an app, with an address, a key and its names. opts
// may be nil.
func (n *Network) AddServer(ctx context.Context, app, server string, opts *ServerOptions) (Server, error) {
	const op = "add server"
	if opts == nil {
		opts = new(ServerOptions)
	}
	object := app + "/" + server
	k, err := newKey(opts.PublicKey, keys.Managed)
	if err != nil {
		return Server{}, &Error{Op: op, Object: object, Err: err}
	}
	var out Server
	err = n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if err := t.addServer(app, server, opts, k); err != nil {
			return err
		}
		out, _ = t.server(app, server)
		return nil
	})
	if err != nil {
		return Server{}, &Error{Op: op, Object: object, Err: err}
	}
	return n.settledServer(app, server, out), nil
}

func (t *tx) addServer(app, server string, opts *ServerOptions, k *keyPair) error {
	if err := checkLabel("name", server); err != nil {
		return err
	}
	if _, ok := find[*appRow](t.state, appKey(app)); !ok {
		return notFound("app")
	}
	key := srvKey(app, server)
	if _, ok := find[*srvRow](t.state, key); ok {
		return ErrExists
	}
	endpoint, err := t.endpoint(opts.Endpoint)
	if err != nil {
		return err
	}
	asg, change, err := t.pool.Acquire(t.now, app, server, &ipam.AcquireOptions{At: opts.Address, AutoGrow: true})
	if err != nil {
		return poolError("address", err)
	}
	if err := t.address(change); err != nil {
		return err
	}
	t.subnets(app)
	row := &srvRow{UID: newUID(), Created: t.now.UTC(), Addrs: asg.Addrs, Endpoint: endpoint}
	t.put(key, row)
	if err := t.seal(key, k.row(row.UID, 1, t.now), k.private); err != nil {
		return err
	}
	t.hosts = true
	t.event("server.add", app+"/"+server, "")
	return nil
}

// subnets copies the app's ranges into its row if the pool has changed them.
func (t *tx) subnets(app string) {
	r, ok := find[*appRow](t.state, appKey(app))
	sub, has := t.pool.SubnetOf(app)
	if !ok || !has || slices.Equal(r.Subnets, sub.Prefixes) {
		return
	}
	grown := *r
	grown.Subnets = sub.Prefixes
	t.put(appKey(app), &grown)
}

// endpoint reads "host:port" or an address alone; empty is none.
func (t *tx) endpoint(s string) (render.Endpoint, error) {
	if s == "" {
		return render.Endpoint{}, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return render.EndpointFrom(netip.AddrPortFrom(addr.Unmap(), t.net().Port)), nil
	}
	e, err := render.ParseEndpoint(s)
	if err != nil {
		return render.Endpoint{}, invalid("endpoint", "must be host:port with an IP address (IPv6 in brackets) or a host name", err)
	}
	return e, nil
}

// Server returns one server.
func (n *Network) Server(app, server string) (Server, error) {
	v, ok := n.view().server(app, server)
	if !ok {
		return Server{}, &Error{Op: "read server", Object: app + "/" + server, Err: ErrNotFound}
	}
	return v, nil
}

// settledServer returns the server as it was committed, or out if it is not
// there: a dry run, or it is gone again.
func (n *Network) settledServer(app, server string, out Server) Server {
	if v, err := n.Server(app, server); err == nil {
		return v
	}
	return out
}

// Servers returns an app's servers, sorted by name, and whether there are more.
// opts may be nil.
func (n *Network) Servers(app string, opts *ListOptions) ([]Server, bool, error) {
	s := n.view()
	if _, ok := find[*appRow](s, appKey(app)); !ok {
		return nil, false, &Error{Op: "list servers", Object: app, Err: ErrNotFound}
	}
	list, more := page[*srvRow](s, srvKey(app, ""), opts)
	servers := make([]Server, len(list))
	for i, name := range list {
		servers[i], _ = s.server(app, name)
	}
	return servers, more, nil
}

func (s *state) server(app, server string) (Server, bool) {
	key := srvKey(app, server)
	r, ok := find[*srvRow](s, key)
	if !ok {
		return Server{}, false
	}
	v := Server{
		App: app, Name: server, CreatedAt: r.Created, Addresses: slices.Clone(r.Addrs), Names: s.names(app, server),
		Endpoint: r.Endpoint, Rev: s.revOf(key),
	}
	if k, ok := find[*keyRow](s, keyKey(key)); ok {
		v.PublicKey, v.KeyGen, v.Custody = k.pub, k.Gen, k.Custody
	}
	return v, true
}

// ServerUpdate changes a server. Nil fields stay as they are.
type ServerUpdate struct {
	CommitOptions
	Endpoint *string // as in ServerOptions; empty: none
}

// UpdateServer changes a server's settings.
func (n *Network) UpdateServer(ctx context.Context, app, server string, u ServerUpdate) (Server, error) {
	var out Server
	err := n.do(ctx, &u.CommitOptions, func(t *tx) error {
		key := srvKey(app, server)
		r, ok := find[*srvRow](t.state, key)
		if !ok {
			return ErrNotFound
		}
		if err := t.match(key); err != nil {
			return err
		}
		if u.Endpoint != nil {
			endpoint, err := t.endpoint(*u.Endpoint)
			if err != nil {
				return err
			}
			moved := *r
			moved.Endpoint, moved.place = endpoint, ""
			t.put(key, &moved)
		}
		t.event("server.update", app+"/"+server, "")
		out, _ = t.server(app, server)
		return nil
	})
	if err != nil {
		return Server{}, &Error{Op: "update server", Object: app + "/" + server, Err: err}
	}
	return n.settledServer(app, server, out), nil
}

// RemoveServer removes a server and its key. Its address rests before another
// server gets it. opts may be nil.
func (n *Network) RemoveServer(ctx context.Context, app, server string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		if err := t.match(srvKey(app, server)); err != nil {
			return err
		}
		return t.removeServer(app, server)
	})
	if err != nil {
		return &Error{Op: "remove server", Object: app + "/" + server, Err: err}
	}
	return nil
}

func (t *tx) removeServer(app, server string) error {
	key := srvKey(app, server)
	if _, ok := find[*srvRow](t.state, key); !ok {
		return ErrNotFound
	}
	change, err := t.pool.Release(t.now, app, server, 0)
	if err != nil {
		return err
	}
	if err := t.address(change); err != nil {
		return err
	}
	t.del(keyKey(key))
	if _, ok := find[*agentRow](t.state, agentKey(app, server)); ok {
		t.del(agentKey(app, server))
	}
	t.del(key)
	t.hosts = true
	t.event("server.remove", app+"/"+server, "")
	return nil
}

// RotateServer gives a server a new key pair; every other peer learns the new
// public key. pub is the new key of a server in custody Self, zero otherwise.
// opts may be nil.
//
// In custody Self without pub, the server's agent is asked to make the pair; the
// key changes when it has.
func (n *Network) RotateServer(ctx context.Context, app, server string, pub keys.PublicKey, opts *CommitOptions) (Server, error) {
	const op = "rotate server"
	object := app + "/" + server
	k, err := newKey(pub, keys.Managed)
	if err != nil {
		return Server{}, &Error{Op: op, Object: object, Err: err}
	}
	var out Server
	err = n.do(ctx, opts, func(t *tx) error {
		key := srvKey(app, server)
		rotate := func() error { return t.rotate(key, k) }
		if pub.IsZero() && t.askAgent(app, server) {
			rotate = func() error { return t.match(key) }
		}
		if err := rotate(); err != nil {
			return err
		}
		t.event("server.rotate", object, "")
		out, _ = t.server(app, server)
		return nil
	})
	if err != nil {
		return Server{}, &Error{Op: op, Object: object, Err: err}
	}
	return n.settledServer(app, server, out), nil
}
