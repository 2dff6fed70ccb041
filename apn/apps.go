package apn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
)

// App is an application with an address range of its own.
type App struct {
	Name      string
	CreatedAt time.Time
	Subnets   []netip.Prefix // IPv4 first, then by address
	Servers   int
	Rev       store.Rev // of the app itself, not of its servers
}

// AppOptions are the optional settings of an app.
type AppOptions struct {
	CommitOptions
	// Subnets are the ranges that the app gets. Nil lets the network choose.
	Subnets []netip.Prefix
	// Bits is the prefix length of the IPv4 subnet, if the network chooses.
	// Zero means the network's default.
	Bits int
}

// AddApp adds an application and gives it a subnet that overlaps no other. opts
// may be nil.
func (n *Network) AddApp(ctx context.Context, app string, opts *AppOptions) (App, error) {
	if opts == nil {
		opts = new(AppOptions)
	}
	var out App
	err := n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if err := t.addApp(app, opts); err != nil {
			return err
		}
		out, _ = t.app(app)
		return nil
	})
	if err != nil {
		return App{}, &Error{Op: "add app", Object: app, Err: err}
	}
	return n.settledApp(app, out), nil
}

func (t *tx) addApp(app string, opts *AppOptions) error {
	if err := checkLabel("name", app); err != nil {
		return err
	}
	if _, ok := find[*appRow](t.state, appKey(app)); ok {
		return ErrExists
	}
	sub, change, err := t.pool.Subnet(t.now, app, &ipam.SubnetOptions{At: opts.Subnets, Bits: opts.Bits})
	if err != nil {
		return poolError("subnets", err)
	}
	if err := t.address(change); err != nil {
		return err
	}
	t.put(appKey(app), &appRow{Created: t.now.UTC(), Subnets: sub.Prefixes})
	t.event("app.add", app, "")
	return nil
}

// poolError says what a refusal of the pool means to the caller: the pool is
// full, or the chosen address or prefix cannot be had.
func poolError(field string, err error) error {
	switch {
	case errors.Is(err, ipam.ErrExhausted):
		return fmt.Errorf("%w: %w", ErrExhausted, err)
	case errors.Is(err, ipam.ErrInvalid), errors.Is(err, ipam.ErrNotInPool), errors.Is(err, ipam.ErrOverlap),
		errors.Is(err, ipam.ErrExcluded), errors.Is(err, ipam.ErrTaken):
		return invalid(field, err.Error(), err)
	default:
		return err
	}
}

// App returns one app.
func (n *Network) App(app string) (App, error) {
	a, ok := n.view().app(app)
	if !ok {
		return App{}, &Error{Op: "read app", Object: app, Err: ErrNotFound}
	}
	return a, nil
}

// settledApp returns the app with the revision that its commit got, or out if it
// is not there: a dry run, or it is gone again.
func (n *Network) settledApp(app string, out App) App {
	if a, ok := n.view().app(app); ok {
		return a
	}
	return out
}

// Apps returns the apps, sorted by name, and whether there are more. opts may be
// nil.
func (n *Network) Apps(opts *ListOptions) ([]App, bool) {
	s := n.view()
	list, more := page[*appRow](s, preApp, opts)
	apps := make([]App, len(list))
	for i, name := range list {
		apps[i], _ = s.app(name)
	}
	return apps, more
}

func (s *state) app(app string) (App, bool) {
	r, ok := find[*appRow](s, appKey(app))
	if !ok {
		return App{}, false
	}
	return App{
		Name: app, CreatedAt: r.Created, Subnets: slices.Clone(r.Subnets),
		Servers: s.count(srvKey(app, "")), Rev: s.revOf(appKey(app)),
	}, true
}

// RemoveAppOptions are the optional settings of RemoveApp.
type RemoveAppOptions struct {
	CommitOptions
	// Servers removes the app's servers with it. False refuses an app that
	// still has some.
	Servers bool
}

// RemoveApp removes an app with its roles, leases, rules and links. Its
// addresses rest before another app gets them. opts may be nil.
//
// If the app has servers and opts does not say to remove them, the error wraps
// [ErrInUse]. Where the store bounds a commit ([store.Limiter]), many servers are
// removed in steps before the app.
func (n *Network) RemoveApp(ctx context.Context, app string, opts *RemoveAppOptions) error {
	if opts == nil {
		opts = new(RemoveAppOptions)
	}
	remove := func(t *tx) error { return t.removeApp(app, opts.Servers) }
	err := n.do(ctx, &opts.CommitOptions, remove)
	if errors.Is(err, ErrTooLarge) {
		if err = n.removeServers(ctx, app); err == nil {
			err = n.do(ctx, &opts.CommitOptions, remove)
		}
	}
	if err != nil {
		return &Error{Op: "remove app", Object: app, Err: err}
	}
	return nil
}

// removeServers removes an app's servers, some in a commit.
func (n *Network) removeServers(ctx context.Context, app string) error {
	for {
		list, more := page[*srvRow](n.view(), srvKey(app, ""), &ListOptions{Limit: max(1, n.ctl.limits.most/rowsPerServer)})
		err := n.do(ctx, nil, func(t *tx) error {
			for _, server := range list {
				if err := t.removeServer(app, server); err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
}

func (t *tx) removeApp(app string, servers bool) error {
	if _, ok := find[*appRow](t.state, appKey(app)); !ok {
		return ErrNotFound
	}
	if err := t.match(appKey(app)); err != nil {
		return err
	}
	for _, server := range names[*srvRow](t.state, srvKey(app, "")) {
		if !servers {
			return ErrInUse
		}
		if err := t.removeServer(app, server); err != nil {
			return err
		}
	}
	change, err := t.pool.ReleaseSubnet(t.now, app)
	if err != nil {
		return err
	}
	if err := t.address(change); err != nil {
		return err
	}
	for _, member := range names[*memRow](t.state, preMem) {
		t.dropRole(member, app)
	}
	for _, prefix := range []string{preLse + app + "/", preRule + app + "/"} {
		for _, id := range names[row](t.state, prefix) {
			t.del(prefix + id)
		}
	}
	for _, pair := range names[*linkRow](t.state, preLink) {
		if a, b, _ := strings.Cut(pair, "/"); a == app || b == app {
			t.del(preLink + pair)
		}
	}
	t.del(appKey(app))
	t.event("app.remove", app, "")
	return nil
}
