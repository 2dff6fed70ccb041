package apn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/apnkit/apnkit/keys"
)

// Inventory is a set of apps and servers that a network takes in one commit.
type Inventory struct {
	Apps []InventoryApp `json:"apps"`
}

// InventoryApp is an app of an [Inventory]. An app that exists gets the servers
// that it lacks.
type InventoryApp struct {
	Name    string            `json:"name"`
	Subnets []netip.Prefix    `json:"subnets,omitempty"` // of a new app; nil lets the network choose
	Servers []InventoryServer `json:"servers"`
}

// InventoryServer is a server of an [Inventory].
type InventoryServer struct {
	Name      string         `json:"name"`
	Endpoint  string         `json:"endpoint,omitempty"`  // as in ServerOptions
	Address   netip.Addr     `json:"address,omitzero"`    // zero lets the subnet choose
	PublicKey keys.PublicKey `json:"public_key,omitzero"` // zero generates a key pair
}

// Imported tells what an import added.
type Imported struct {
	Apps    []string
	Servers []string // "shop/web-1"
}

// Import adds apps and servers, all or nothing. A server that exists already is
// an error, so an inventory is not taken twice by accident. opts may be nil.
//
// Where the store bounds a commit ([store.Limiter]), a larger inventory is
// decided as a whole and then committed in steps. If a step fails, what
// Imported tells is there.
func (n *Network) Import(ctx context.Context, inv Inventory, opts *CommitOptions) (Imported, error) {
	const op = "import"
	pairs := map[string]*keyPair{}
	for i, app := range inv.Apps {
		for j, server := range app.Servers {
			k, err := newKey(server.PublicKey, keys.Managed)
			if err != nil {
				return Imported{}, &Error{Op: op, Err: at(err, "apps[%d].servers[%d].", i, j)}
			}
			pairs[app.Name+"/"+server.Name] = k
		}
	}
	out, err := n.importOnce(ctx, inv, pairs, opts)
	if errors.Is(err, ErrTooLarge) {
		out, err = n.importSteps(ctx, inv, pairs, opts)
	}
	if err != nil {
		return out, &Error{Op: op, Err: err}
	}
	return out, nil
}

// importSteps takes an inventory that was found good in parts of some servers.
func (n *Network) importSteps(ctx context.Context, inv Inventory, pairs map[string]*keyPair, opts *CommitOptions) (Imported, error) {
	var out Imported
	step := max(1, n.ctl.limits.most/rowsPerServer)
	for i, app := range inv.Apps {
		for first := true; first || len(app.Servers) > 0; first = false {
			part := app
			part.Servers = app.Servers[:min(step, len(app.Servers))]
			app.Servers = app.Servers[len(part.Servers):]
			if !first {
				part.Subnets = nil
			}
			var o *CommitOptions
			if i == len(inv.Apps)-1 && len(app.Servers) == 0 {
				o = opts // with the last step, all of the request is done
			}
			done, err := n.importOnce(ctx, Inventory{Apps: []InventoryApp{part}}, pairs, o)
			if err != nil {
				return out, err
			}
			out.Apps = append(out.Apps, done.Apps...)
			out.Servers = append(out.Servers, done.Servers...)
		}
	}
	return out, nil
}

// rowsPerServer is how many rows a new server takes at most: its own, key,
// address, event, and its part of counters and a subnet that grows.
const rowsPerServer = 8

func (n *Network) importOnce(ctx context.Context, inv Inventory, pairs map[string]*keyPair, opts *CommitOptions) (Imported, error) {
	var out Imported
	err := n.do(ctx, opts, func(t *tx) error {
		out = Imported{}
		for i, app := range inv.Apps {
			err := t.addApp(app.Name, &AppOptions{Subnets: app.Subnets})
			switch {
			case err == nil:
				out.Apps = append(out.Apps, app.Name)
			case !errors.Is(err, ErrExists) || len(app.Subnets) > 0:
				return at(err, "apps[%d].", i)
			}
			for j, server := range app.Servers {
				o := &ServerOptions{Endpoint: server.Endpoint, Address: server.Address}
				if err := t.addServer(app.Name, server.Name, o, pairs[app.Name+"/"+server.Name]); err != nil {
					return at(err, "apps[%d].servers[%d].", i, j)
				}
				out.Servers = append(out.Servers, app.Name+"/"+server.Name)
			}
		}
		return nil
	})
	if err != nil {
		return Imported{}, err
	}
	return out, nil
}

// at puts the place in an inventory before the field that an error names.
func at(err error, format string, args ...any) error {
	place := fmt.Sprintf(format, args...)
	if field, ok := errors.AsType[*FieldError](err); ok {
		return &FieldError{Field: place + field.Field, Reason: field.Reason, Err: field.Err}
	}
	return &FieldError{Field: place + "name", Reason: err.Error(), Err: err}
}
