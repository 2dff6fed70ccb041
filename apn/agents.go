package apn

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// Agent is a server's agent that has shown its credential. Each method looks
// again whether the credential still stands: with the server removed, or another
// agent joined in its place, the error wraps [ErrForbidden].
type Agent struct {
	Network string
	App     string
	Server  string

	n          *Network
	credential string // its hash
}

// Agent returns the agent that has a credential. One that is unknown, or void,
// gives [ErrForbidden].
func (c *Control) Agent(ctx context.Context, credential string) (*Agent, error) {
	a, err := c.agent(ctx, secretHash(credential))
	if err != nil {
		return nil, &Error{Op: "identify agent", Err: err}
	}
	return a, nil
}

func (c *Control) agent(ctx context.Context, hash string) (*Agent, error) {
	place, known := c.places.find(hash)
	var rev store.Rev
	if !known {
		page, err := c.store.Get(ctx, dirSpace, dirAgent+hash)
		if err != nil {
			return nil, storeError(err)
		}
		if len(page.Entries) == 0 {
			return nil, ErrForbidden
		}
		rev = page.Entries[0].Rev
		if place, err = decodePlace(page.Entries[0]); err != nil {
			return nil, err
		}
	}
	n, err := c.open(ctx, place.Network)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrForbidden
	}
	if err != nil {
		return nil, err
	}
	a := &Agent{Network: n.name, App: place.App, Server: place.Server, n: n, credential: hash}
	if a.check() == nil {
		if !known {
			c.places.add(hash, place)
		}
		return a, nil
	}
	// It may have joined a moment ago, by way of another process.
	c.places.drop(hash)
	if err := n.catchUpNow(ctx); err != nil {
		return nil, err
	}
	err = a.check()
	if err != nil && !known {
		c.forgetPlace(ctx, hash, rev)
	}
	return a, err
}

// forgetPlace removes what led to a server whose agent has another credential,
// unless it was written again meanwhile.
func (c *Control) forgetPlace(ctx context.Context, hash string, rev store.Rev) {
	key := dirAgent + hash
	_, err := c.store.Commit(ctx, dirSpace, store.Batch{Checks: map[string]store.Rev{key: rev}, Writes: []store.Write{{Key: key}}})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		c.log.Warn("void credential is not forgotten", "error", err)
	}
}

// row returns the agent's row, if its credential still stands.
func (a *Agent) row(s *state) (*agentRow, error) {
	r, ok := find[*agentRow](s, agentKey(a.App, a.Server))
	if !ok || r.Credential != a.credential {
		return nil, ErrForbidden
	}
	return r, nil
}

func (a *Agent) check() error {
	_, err := a.row(a.n.view())
	return err
}

func (a *Agent) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Object: a.App + "/" + a.Server, Err: err}
}

// places remembers where credentials belong, so that a request reads no store.
// What it says needs no invalidation: the network's rows have the last word.
type places struct {
	mu sync.Mutex
	by map[string]agentPlace
}

// maxPlaces bounds the memory for credentials, about 16 MB.
const maxPlaces = 1 << 16

func (p *places) find(hash string) (agentPlace, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	place, ok := p.by[hash]
	return place, ok
}

func (p *places) add(hash string, place agentPlace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string]agentPlace{}
	}
	for other := range p.by {
		if len(p.by) < maxPlaces {
			break
		}
		delete(p.by, other)
	}
	p.by[hash] = place
}

func (p *places) drop(hash string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, hash)
}

// catchUpNow waits until reads show all that was committed before the call, by
// whichever process.
func (n *Network) catchUpNow(ctx context.Context) error {
	page, err := n.store.Get(ctx, n.space())
	if err != nil {
		return storeError(err)
	}
	for {
		n.mu.Lock()
		changed := n.changed
		if n.view().rev >= page.Rev {
			n.mu.Unlock()
			return nil
		}
		n.behind = true
		running := n.wake()
		n.mu.Unlock()
		if !running {
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctl.waits.Done():
			return ErrClosed
		}
	}
}

// Secrets returns what only this server may know, sealed to its agent: its
// private key in custody Managed, and preshared keys if the network has them.
// Nil: there is nothing. The first time that a private key leaves is in the
// audit log.
func (a *Agent) Secrets(ctx context.Context) (*netmap.Sealed, error) {
	sealed, err := a.secrets(ctx)
	return sealed, a.fail("seal secrets", err)
}

func (a *Agent) secrets(ctx context.Context) (*netmap.Sealed, error) {
	ring, err := a.n.ring(ctx)
	if err != nil {
		return nil, err
	}
	s := a.n.view()
	r, err := a.row(s)
	if err != nil {
		return nil, err
	}
	owner := srvKey(a.App, a.Server)
	k, ok := find[*keyRow](s, keyKey(owner))
	if !ok {
		return nil, ErrForbidden
	}
	secrets := netmap.Secrets{Preshared: s.net().preshare()}
	if secrets.PrivateKey, err = a.n.private(ring, owner, k); err != nil {
		return nil, err
	}
	if secrets.Preshared != 0 {
		secrets.PSKs = map[keys.PublicKey]keys.PresharedKey{}
		for p := range s.linkedTo(a.App, a.Server) {
			secrets.PSKs[p.key.pub] = s.net().preshared(ring, k.pub, p.key.pub)
		}
		for p := range s.devicesInto(a.App) {
			secrets.PSKs[p.key.pub] = s.net().preshared(ring, k.pub, p.key.pub)
		}
	}
	if secrets.PrivateKey.IsZero() && len(secrets.PSKs) == 0 {
		return nil, nil
	}
	if !secrets.PrivateKey.IsZero() && r.Revealed != k.Gen {
		if err := a.reveal(ctx, k); err != nil {
			return nil, err
		}
	}
	return secrets.Seal(r.SealKey, netmap.Sealing{
		Network: a.Network, Server: netmap.ServerID(a.App, a.Server), Epoch: s.net().Epoch, KeyGen: k.Gen,
	})
}

// reveal records that the private half of k leaves.
func (a *Agent) reveal(ctx context.Context, k *keyRow) error {
	return a.n.do(ctx, nil, func(t *tx) error {
		r, err := a.row(t.state)
		if err != nil {
			return err
		}
		now, ok := find[*keyRow](t.state, keyKey(srvKey(a.App, a.Server)))
		if !ok || now.UID != k.UID || now.Gen != k.Gen {
			return ErrConflict // the key is not the server's any more
		}
		next := *r
		next.Revealed = k.Gen
		t.put(agentKey(a.App, a.Server), &next)
		t.event("agent.secrets", a.App+"/"+a.Server, fmt.Sprintf("key %d", k.Gen))
		return nil
	})
}

// SetKey makes pub the server's key; every other peer learns it in one step. The
// key that the server has already is no change. If the control plane keeps the
// key pair, the error wraps [ErrManaged].
func (a *Agent) SetKey(ctx context.Context, pub keys.PublicKey) error {
	pair, err := newKey(pub, keys.Self)
	if err != nil {
		return a.fail("set key", err)
	}
	err = a.n.do(ctx, nil, func(t *tx) error {
		if _, err := a.row(t.state); err != nil {
			return err
		}
		owner := srvKey(a.App, a.Server)
		k, ok := find[*keyRow](t.state, keyKey(owner))
		switch {
		case !ok:
			return ErrForbidden
		case k.Custody != keys.Self:
			return ErrManaged
		case k.pub == pair.public:
			return nil
		}
		t.event("server.rotate", a.App+"/"+a.Server, "by its agent")
		return t.replaceKey(owner, k, pair, keys.Self)
	})
	return a.fail("set key", err)
}

// Leave makes the agent's credential void. The server stays, with its key.
func (a *Agent) Leave(ctx context.Context) error {
	err := a.n.do(ctx, nil, func(t *tx) error {
		if _, err := a.row(t.state); err != nil {
			return err
		}
		t.del(agentKey(a.App, a.Server))
		t.event("agent.leave", a.App+"/"+a.Server, "")
		return nil
	})
	if err == nil {
		_, err = a.n.ctl.store.Commit(ctx, dirSpace, store.Batch{Writes: []store.Write{{Key: dirAgent + a.credential}}})
		err = storeError(err)
	}
	return a.fail("leave", err)
}

// askAgent asks the agent of a server that keeps its own key for the next one.
// It reports whether there is such an agent.
func (t *tx) askAgent(app, server string) bool {
	r, ok := find[*agentRow](t.state, agentKey(app, server))
	k, has := find[*keyRow](t.state, keyKey(srvKey(app, server)))
	if !ok || !has || k.Custody != keys.Self {
		return false
	}
	next := *r
	next.RotateTo = k.Gen + 1
	t.put(agentKey(app, server), &next)
	return true
}
