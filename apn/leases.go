package apn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/lease"
)

// LeaseOptions are the optional settings of a lease.
type LeaseOptions struct {
	CommitOptions
	// Duration is how long the port stays open. Zero means the policy's
	// default, 24 hours.
	Duration time.Duration
}

// Lease opens the WireGuard port of an app's servers for a member at the given
// addresses, and returns one lease per address in their order: a dual-stack
// caller has two. An IPv6 address stands for its /64. Leasing again extends; it
// never shortens. opts may be nil.
//
// A member who is not at least [Developer] on the app gets [ErrForbidden].
func (n *Network) Lease(ctx context.Context, app, member string, sources []netip.Addr, opts *LeaseOptions) ([]lease.Lease, error) {
	if opts == nil {
		opts = new(LeaseOptions)
	}
	var out []lease.Lease
	err := n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if _, ok := find[*appRow](t.state, appKey(app)); !ok {
			return notFound("app")
		}
		if _, ok := find[*memRow](t.state, memKey(member)); !ok {
			return notFound("member")
		}
		if t.role(member, app) < Developer {
			return ErrForbidden
		}
		if len(sources) == 0 {
			return invalid("sources", "must name at least one address", nil)
		}
		live := t.sweepLeases(member)
		out = out[:0]
		for _, addr := range sources {
			source, err := lease.SourcePrefix(addr, &n.ctl.sources)
			if err != nil {
				return invalid("sources", err.Error(), err)
			}
			k := lease.Key{Network: n.name, App: app, Member: member, Source: source}
			l, isNew, err := t.lease(k, opts.Duration, live)
			if err != nil {
				return err
			}
			if isNew {
				live++
			}
			out = append(out, l)
		}
		t.event("lease.grant", app+"/"+member, detailOf(out))
		return nil
	})
	if err != nil {
		return nil, &Error{Op: "lease", Object: app + "/" + member, Err: err}
	}
	return out, nil
}

// lease grants or extends one lease.
func (t *tx) lease(k lease.Key, d time.Duration, live int) (l lease.Lease, isNew bool, err error) {
	key := preLse + k.App + "/" + lease.IDOf(k)
	var have *lease.Lease
	if r, ok := find[*leaseRow](t.state, key); ok {
		have = &r.Lease
	}
	l, err = t.leases.Grant(k, d, have, live, t.now)
	if err != nil {
		return lease.Lease{}, false, leaseError(err)
	}
	t.put(key, &leaseRow{Lease: l})
	return l, have == nil || !have.Active(t.now), nil
}

func leaseError(err error) error {
	switch {
	case errors.Is(err, lease.ErrLimit):
		return fmt.Errorf("%w: %w", ErrExhausted, err)
	case errors.Is(err, lease.ErrDuration):
		return invalid("duration", err.Error(), err)
	case errors.Is(err, lease.ErrSource):
		return invalid("sources", err.Error(), err)
	case errors.Is(err, lease.ErrExpired):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	default:
		return err
	}
}

// sweepBatch bounds how many ended leases one command removes.
const sweepBatch = 16

// sweepLeases counts a member's active leases and removes some that have ended.
func (t *tx) sweepLeases(member string) (live int) {
	var ended []string
	for id, r := range under[*leaseRow](t.state, preLse) {
		switch {
		case r.Active(t.now):
			if r.Member == member {
				live++
			}
		case len(ended) < sweepBatch:
			ended = append(ended, id)
		}
	}
	for _, id := range ended {
		t.del(preLse + id)
	}
	return live
}

// dropLeases revokes a member's leases on an app.
func (t *tx) dropLeases(app, member string) {
	for _, id := range names[*leaseRow](t.state, preLse+app+"/") {
		key := preLse + app + "/" + id
		if r, _ := find[*leaseRow](t.state, key); r.Member == member {
			t.del(key)
		}
	}
}

func detailOf(leases []lease.Lease) string {
	var b strings.Builder
	for i, l := range leases {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.Source.String() + " until " + l.ExpiresAt.Format(time.RFC3339))
	}
	return b.String()
}

// RenewLease extends a lease by d from now; zero means the policy's default. A
// lease that has ended is gone: the error wraps [ErrNotFound]. opts may be nil.
func (n *Network) RenewLease(ctx context.Context, app, id string, d time.Duration, opts *CommitOptions) (lease.Lease, error) {
	var out lease.Lease
	err := n.do(ctx, opts, func(t *tx) error {
		key := preLse + app + "/" + id
		r, ok := find[*leaseRow](t.state, key)
		if !ok {
			return ErrNotFound
		}
		if t.role(r.Member, app) < Developer {
			return ErrForbidden
		}
		var err error
		if out, err = t.leases.Renew(r.Lease, d, t.now); err != nil {
			return leaseError(err)
		}
		t.put(key, &leaseRow{Lease: out})
		t.event("lease.renew", app+"/"+r.Member, detailOf([]lease.Lease{out}))
		return nil
	})
	if err != nil {
		return lease.Lease{}, &Error{Op: "renew lease", Object: app + "/" + id, Err: err}
	}
	return out, nil
}

// RevokeLease ends a lease now. opts may be nil.
func (n *Network) RevokeLease(ctx context.Context, app, id string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		key := preLse + app + "/" + id
		r, ok := find[*leaseRow](t.state, key)
		if !ok || !r.Active(t.now) {
			return ErrNotFound
		}
		t.del(key)
		t.event("lease.revoke", app+"/"+r.Member, r.Source.String())
		return nil
	})
	if err != nil {
		return &Error{Op: "revoke lease", Object: app + "/" + id, Err: err}
	}
	return nil
}

// Leases returns the active leases of an app, sorted by ID.
func (n *Network) Leases(app string) ([]lease.Lease, error) {
	s := n.view()
	if _, ok := find[*appRow](s, appKey(app)); !ok {
		return nil, &Error{Op: "list leases", Object: app, Err: ErrNotFound}
	}
	leases := []lease.Lease{}
	now := n.ctl.now()
	for _, r := range under[*leaseRow](s, preLse+app+"/") {
		if r.Active(now) {
			leases = append(leases, r.Lease)
		}
	}
	return leases, nil
}

// LeaseByID returns one active lease.
func (n *Network) LeaseByID(app, id string) (lease.Lease, error) {
	r, ok := find[*leaseRow](n.view(), preLse+app+"/"+id)
	if !ok || !r.Active(n.ctl.now()) {
		return lease.Lease{}, &Error{Op: "read lease", Object: app + "/" + id, Err: ErrNotFound}
	}
	return r.Lease, nil
}

// Rule is a permanent opening of an app's port.
type Rule struct {
	ID string
	lease.Rule
	Rev store.Rev
}

// RuleOptions are the optional settings of a rule.
type RuleOptions struct {
	CommitOptions
	// Note tells people what the rule is for: printable ASCII, at most 100.
	Note string
}

const maxNote = 100

// AddRule opens the WireGuard port of an app's servers for a prefix until the
// rule is removed. opts may be nil.
func (n *Network) AddRule(ctx context.Context, app string, source netip.Prefix, opts *RuleOptions) (Rule, error) {
	if opts == nil {
		opts = new(RuleOptions)
	}
	id := ruleID(source)
	var out Rule
	err := n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		if _, ok := find[*appRow](t.state, appKey(app)); !ok {
			return notFound("app")
		}
		source, err := lease.RulePrefix(source, &n.ctl.sources)
		if err != nil {
			return invalid("source", err.Error(), err)
		}
		if len(opts.Note) > maxNote || strings.ContainsFunc(opts.Note, func(r rune) bool { return r < ' ' || r > '~' }) {
			return invalid("note", "must be printable ASCII, at most 100 bytes", nil)
		}
		key := preRule + app + "/" + id
		if _, ok := find[*ruleRow](t.state, key); ok {
			return ErrExists
		}
		r := lease.Rule{Network: n.name, App: app, Source: source, Note: opts.Note, CreatedAt: t.now.UTC()}
		t.put(key, &ruleRow{Rule: r})
		t.event("rule.add", app+"/"+source.String(), "")
		out = Rule{ID: id, Rule: r}
		return nil
	})
	if err != nil {
		return Rule{}, &Error{Op: "add rule", Object: app, Err: err}
	}
	out.Rev = n.view().revOf(preRule + app + "/" + id)
	return out, nil
}

// ruleID names a rule in URLs: the prefix with '_' before its length.
func ruleID(source netip.Prefix) string {
	return strings.Replace(source.String(), "/", "_", 1)
}

// RemoveRule closes a permanent opening. opts may be nil.
func (n *Network) RemoveRule(ctx context.Context, app, id string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		key := preRule + app + "/" + id
		r, ok := find[*ruleRow](t.state, key)
		if !ok {
			return ErrNotFound
		}
		if err := t.match(key); err != nil {
			return err
		}
		t.del(key)
		t.event("rule.remove", app+"/"+r.Source.String(), "")
		return nil
	})
	if err != nil {
		return &Error{Op: "remove rule", Object: app + "/" + id, Err: err}
	}
	return nil
}

// Rules returns the permanent openings of an app, sorted by ID.
func (n *Network) Rules(app string) ([]Rule, error) {
	s := n.view()
	if _, ok := find[*appRow](s, appKey(app)); !ok {
		return nil, &Error{Op: "list rules", Object: app, Err: ErrNotFound}
	}
	rules := []Rule{}
	for id, r := range under[*ruleRow](s, preRule+app+"/") {
		rules = append(rules, Rule{ID: id, Rule: r.Rule, Rev: s.revOf(preRule + app + "/" + id)})
	}
	return rules, nil
}
