package apn

import (
	"context"
	"slices"
	"strings"
)

// Verified is what [Control.Verify] found.
type Verified struct {
	Servers, Devices int
	Keys             int    // pairs that were opened
	Events           uint64 // in the audit log's chain
	Problems         []Problem
}

// Problem is a row that does not fit the others.
type Problem struct {
	Row    string // its key
	Reason string
}

// Verify reads a network anew from the store and checks all that must hold of
// its rows: addresses, names, references, sealed keys, and the chain of the
// audit log. What does not fit is told as problems. The error is for what
// cannot be read: it wraps [ErrDamaged] if a row, a key or the chain is broken.
func (c *Control) Verify(ctx context.Context, network string) (Verified, error) {
	n := newNetwork(c, network, c.store)
	v, err := n.verify(ctx)
	if err != nil {
		return v, &Error{Op: "verify", Object: network, Err: storeError(err)}
	}
	return v, nil
}

func (n *Network) verify(ctx context.Context) (Verified, error) {
	if err := n.load(ctx); err != nil {
		return Verified{}, err
	}
	n.show()
	s := n.tip
	v := verifier{state: s}
	v.apps(n)
	v.peers(n)
	v.access()
	for _, p := range n.pool.Audit() {
		v.problem(preAddr+p.Record.Key(), p.Detail)
	}
	zone, err := n.zoneOf(s)
	if err != nil {
		return v.Verified, err
	}
	for id := range under[*srvRow](s, preSrv) {
		app, server, _ := strings.Cut(id, "/")
		if !slices.Equal(zone.Names(id), s.names(app, server)) {
			v.problem(preSrv+id, "has other names in the zone")
		}
	}
	if v.Keys, err = n.VerifyKeys(ctx); err != nil {
		return v.Verified, err
	}
	if v.Events, err = n.VerifyAudit(ctx); err != nil {
		return v.Verified, err
	}
	return v.Verified, nil
}

// verifier gathers problems of a state.
type verifier struct {
	*state
	Verified
}

func (v *verifier) problem(row, reason string) {
	v.Problems = append(v.Problems, Problem{Row: row, Reason: reason})
}

func (v *verifier) has(key string) bool {
	_, ok := v.rows.Get(key)
	return ok
}

func (v *verifier) apps(n *Network) {
	for app, r := range under[*appRow](v.state, preApp) {
		if sub, _ := n.pool.SubnetOf(app); !slices.Equal(sub.Prefixes, r.Subnets) {
			v.problem(appKey(app), "differs from its address records")
		}
	}
	for sub := range n.pool.Subnets() {
		if sub.App != devicePool && !v.has(appKey(sub.App)) {
			v.problem(preAddr+sub.Prefixes[0].String(), "belongs to no app")
		}
		for a := range n.pool.Assignments(sub.App) {
			owner := srvKey(sub.App, a.Owner)
			if sub.App == devicePool {
				owner = preDev + a.Owner
			}
			if !v.has(owner) {
				v.problem(preAddr+a.Addrs[0].String(), "belongs to no server or device")
			}
		}
	}
}

// peers checks servers and devices: each with its parent, addresses and key.
func (v *verifier) peers(n *Network) {
	for id, r := range under[*srvRow](v.state, preSrv) {
		v.Servers++
		app, server, _ := strings.Cut(id, "/")
		if !v.has(appKey(app)) {
			v.problem(preSrv+id, "belongs to no app")
		}
		if a, _ := n.pool.Assignment(app, server); !slices.Equal(a.Addrs, r.Addrs) {
			v.problem(preSrv+id, "differs from its address record")
		}
		v.key(preSrv+id, r.UID)
	}
	for id, r := range under[*devRow](v.state, preDev) {
		v.Devices++
		member, _, _ := strings.Cut(id, "/")
		if !v.has(memKey(member)) {
			v.problem(preDev+id, "belongs to no member")
		}
		if a, _ := n.pool.Assignment(devicePool, id); !slices.Equal(a.Addrs, r.Addrs) {
			v.problem(preDev+id, "differs from its address record")
		}
		v.key(preDev+id, r.UID)
	}
	for owner := range under[*keyRow](v.state, preKey) {
		if !v.has(owner) {
			v.problem(preKey+owner, "belongs to no server or device")
		}
	}
}

func (v *verifier) key(owner, uid string) {
	k, ok := find[*keyRow](v.state, keyKey(owner))
	switch {
	case !ok:
		v.problem(owner, "has no key")
	case k.UID != uid:
		v.problem(keyKey(owner), "belongs to an earlier owner of the name")
	default:
		if holder, _ := v.pubs.Get(string(k.pub[:])); holder != keyKey(owner) {
			v.problem(keyKey(owner), "has the public key of "+holder)
		}
	}
}

// access checks what lets people in.
func (v *verifier) access() {
	for member, r := range under[*memRow](v.state, preMem) {
		for app := range r.Roles {
			if !v.has(appKey(app)) {
				v.problem(memKey(member), "has a role on the missing app "+app)
			}
		}
	}
	for id, r := range under[*leaseRow](v.state, preLse) {
		app, _, _ := strings.Cut(id, "/")
		if !v.has(appKey(app)) || !v.has(memKey(r.Member)) {
			v.problem(preLse+id, "belongs to no app or member")
		}
	}
	for id := range under[*ruleRow](v.state, preRule) {
		if app, _, _ := strings.Cut(id, "/"); !v.has(appKey(app)) {
			v.problem(preRule+id, "belongs to no app")
		}
	}
	for pair := range under[*linkRow](v.state, preLink) {
		a, b, _ := strings.Cut(pair, "/")
		if !v.has(appKey(a)) || !v.has(appKey(b)) {
			v.problem(preLink+pair, "links a missing app")
		}
	}
	for hash, r := range under[*onceRow](v.state, preOnce) {
		if !v.has(devKey(r.Member, r.Device)) {
			v.problem(onceKey(hash), "belongs to no device")
		}
	}
	for id, r := range under[*agentRow](v.state, preAgt) {
		if srv, ok := find[*srvRow](v.state, preSrv+id); !ok || srv.UID != r.UID {
			v.problem(preAgt+id, "belongs to no server")
		}
	}
	for id := range under[*handRow](v.state, preHand) {
		if !v.has(preDev + id) {
			v.problem(preHand+id, "belongs to no device")
		}
	}
}
