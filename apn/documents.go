package apn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
)

// Agents of one app all get the same signed document, so it is drawn up and
// encoded once, however many wait for it.

const (
	// settle is how long after a change a document waits for the changes that
	// belong to it, and spacing how long after a document the next one comes at
	// the earliest. Together they bound what a busy network costs.
	settle  = 10 * time.Millisecond
	spacing = 50 * time.Millisecond
	// pastDocuments is how many earlier documents of an app are kept to lead from
	// to the newest. An agent that is further behind gets the whole.
	pastDocuments = 8
	// maxBodies bounds the encodings that one document keeps.
	maxBodies = 64
)

// Held is the document that an agent has. The zero Held is none.
type Held struct {
	Epoch    string
	Revision uint64
	// Content is [netmap.Signed.Content] of it. Empty: the agent does not say.
	Content string
}

// Update leads an agent to another document.
type Update struct {
	Epoch    string
	Revision uint64 // of the result
	// Body is a [netmap.Delta] as JSON. It is shared and must not be changed.
	Body []byte
}

// Netmap waits until the agent's app has another document than the agent has,
// and returns what leads there; nil if none came while it waited. An agent
// without a document gets the whole at once.
//
// If nothing leads from the agent's document to the newest, the error wraps
// [ErrStartOver]: it asks again without one.
func (a *Agent) Netmap(ctx context.Context, have Held, wait time.Duration) (*Update, error) {
	u, err := a.netmap(ctx, have, wait)
	return u, a.fail("netmap", err)
}

func (a *Agent) netmap(ctx context.Context, have Held, wait time.Duration) (*Update, error) {
	docs := a.n.documentsOf(a.App)
	docs.enter()
	defer docs.leave()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	expired := timer.C
	if have.Epoch == "" {
		expired = nil
	}
	since := a.n.Rev() // that the agent joined may be as new as that
	var base *document // what the agent has, once it is recognised
	for {
		if err := a.check(); err != nil {
			return nil, err
		}
		doc, at, soon, err := docs.current(ctx)
		if err != nil {
			return nil, err
		}
		if have.Epoch != "" && have.Epoch != doc.signed.Epoch() {
			return nil, ErrStartOver
		}
		if base == nil && have.Epoch != "" {
			base = docs.find(have)
		}
		switch newer := doc.signed.Revision() > have.Revision; {
		case have.Epoch == "" && at < since:
		case have.Epoch == "" || newer && base != nil:
			return docs.lead(base, have.Revision, doc), nil
		case newer:
			return nil, ErrStartOver
		}
		select {
		case <-doc.next:
		case <-soon:
		case <-expired:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-a.n.ctl.agentsEnded:
			return nil, nil
		}
	}
}

// EndWaits ends all calls of [Agent.Netmap], now and from now on: nothing comes
// any more. It is for the beginning of a shutdown; all else goes on.
func (c *Control) EndWaits() { c.agentsEnd() }

// AgentStats counts what a Control does for agents.
type AgentStats struct {
	Waiting int64 // agents that ask for a document at the moment
	Signed  int64 // documents that were drawn up and signed
	Encoded int64 // ways from one document to another that were encoded
}

type agentCounters struct{ waiting, signed, encoded atomic.Int64 }

// AgentStats returns what the Control does for agents.
func (c *Control) AgentStats() AgentStats {
	return AgentStats{Waiting: c.counters.waiting.Load(), Signed: c.counters.signed.Load(), Encoded: c.counters.encoded.Load()}
}

// documents are those of a network's apps that agents ask for.
type documents struct {
	mu   sync.Mutex
	apps map[string]*appDocuments
}

// appDocuments are the newest document of an app and some before it.
type appDocuments struct {
	n   *Network
	app string

	mu      sync.Mutex
	doc     *document     // nil: none yet
	past    []*document   // of the same epoch, oldest first
	shown   *state        // that doc was last compared with
	mark    mark          // of shown
	spaced  chan struct{} // closed once there may be another one
	waiters int
	stop    chan struct{} // ends the follower
}

// document is a signed document at the revision at which this process first saw
// its content.
type document struct {
	signed  *netmap.Signed
	content string
	next    chan struct{} // closed when another one takes its place

	mu     sync.Mutex
	bodies map[lead]func() []byte
}

// lead says from where a body leads to a document.
type lead struct {
	base *document // nil: from nothing
	from uint64    // revision under which the agent has base
}

// mark tells states apart in which an app's document may differ.
type mark struct {
	epoch    string
	moved    store.Rev // see state.moved
	openings store.Rev // last change of leases and rules
	count    int       // of leases and rules: one that is gone leaves no other trace
}

func (s *state) markOf(app string) mark {
	m := mark{epoch: s.net().Epoch, moved: s.moved}
	for _, prefix := range []string{preLse + app + "/", preRule + app + "/"} {
		s.rows.Ascend(prefix, func(key string, at rowAt) bool {
			if !strings.HasPrefix(key, prefix) {
				return false
			}
			m.count++
			m.openings = max(m.openings, at.rev)
			return true
		})
	}
	return m
}

// shapes reports whether a row is one that documents are made of, leases and
// rules aside.
func shapes(key string) bool {
	kind, _, _ := strings.Cut(key, "/")
	switch kind {
	case "net", "app", "srv", "mem", "dev", "key", "link", "agent":
		return true
	default:
		return false
	}
}

func (n *Network) documentsOf(app string) *appDocuments {
	d := &n.docs
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.apps[app]
	if !ok {
		if d.apps == nil {
			d.apps = map[string]*appDocuments{}
		}
		a = &appDocuments{n: n, app: app}
		d.apps[app] = a
	}
	return a
}

// enter counts a waiter; the first one starts the follower.
func (a *appDocuments) enter() {
	a.n.ctl.counters.waiting.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiters++; a.waiters == 1 {
		stop := make(chan struct{})
		a.stop = stop
		a.n.ctl.start(func() { a.follow(stop) })
	}
}

func (a *appDocuments) leave() {
	a.n.ctl.counters.waiting.Add(-1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiters--; a.waiters == 0 {
		close(a.stop)
	}
}

// follow draws up the next document after each change, until stop closes.
func (a *appDocuments) follow(stop <-chan struct{}) {
	ctx := a.n.ctl.waits
	for {
		spaced, changed := a.upcoming()
		for _, c := range []<-chan struct{}{changed, spaced} {
			select {
			case <-c:
			case <-stop:
				return
			case <-ctx.Done():
				return
			}
			if c == changed {
				rest(ctx, settle, stop)
			}
		}
		switch _, _, _, err := a.current(ctx); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNotFound): // with its servers, so nobody waits for more
			a.close()
			return
		case err != nil:
			a.n.ctl.log.Error("document is not drawn up", "network", a.n.name, "app", a.app, "error", err)
			rest(ctx, pollEvery, stop)
		}
	}
}

// upcoming returns what to wait for before another document: that it may come,
// and that the state is another one.
func (a *appDocuments) upcoming() (spaced, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	spaced, changed = a.spaced, a.n.changed
	if a.doc == nil {
		spaced = closed()
	}
	if a.doc == nil || a.shown != a.n.view() {
		changed = closed()
	}
	return spaced, changed
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// close wakes whoever waits for a document of an app that is gone.
func (a *appDocuments) close() {
	d := &a.n.docs
	d.mu.Lock()
	if d.apps[a.app] == a {
		delete(d.apps, a.app)
	}
	d.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.doc != nil {
		close(a.doc.next)
		a.doc, a.past, a.shown = nil, nil, nil
	}
}

// current returns the document of the state that reads show, or one that was
// made a moment ago, and the revision up to which it is true. soon closes when
// there may be another one; nil: this is it.
func (a *appDocuments) current(ctx context.Context) (doc *document, at store.Rev, soon <-chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.n.view()
	m := a.mark
	if a.doc == nil || a.shown != s {
		m = s.markOf(a.app)
	}
	if a.doc != nil && a.mark == m {
		a.shown = s
		return a.doc, s.rev, nil, nil
	}
	if a.doc != nil {
		select {
		case <-a.spaced:
		default:
			return a.doc, a.shown.rev, a.spaced, nil
		}
	}
	var before *netmap.Signed
	if a.doc != nil {
		before = a.doc.signed
	}
	signed, err := a.n.signMap(ctx, s, a.app, before)
	if err != nil {
		return nil, 0, nil, err
	}
	a.n.ctl.counters.signed.Add(1)
	a.shown, a.mark = s, m
	content := signed.Content()
	if a.doc == nil || a.doc.content != content {
		a.replace(&document{signed: signed, content: content, next: make(chan struct{}), bodies: map[lead]func() []byte{}})
	}
	return a.doc, s.rev, nil, nil
}

// signMap draws up and signs the document of an app.
func (n *Network) signMap(ctx context.Context, s *state, app string, before *netmap.Signed) (*netmap.Signed, error) {
	m, err := n.appMap(s, app)
	if err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	key, err := n.signer(ctx)
	if err != nil {
		return nil, err
	}
	return netmap.Sign(key, m, before)
}

// replace makes doc the newest. The caller holds mu.
func (a *appDocuments) replace(doc *document) {
	old := a.doc
	a.doc = doc
	spaced := make(chan struct{})
	a.spaced = spaced
	time.AfterFunc(spacing, func() { close(spaced) })
	if old == nil {
		return
	}
	close(old.next)
	old.forget()
	if old.signed.Epoch() != doc.signed.Epoch() {
		a.past = nil
		return
	}
	a.past = append(a.past, old)
	if more := len(a.past) - pastDocuments; more > 0 {
		a.past = append([]*document(nil), a.past[more:]...)
	}
}

// find returns the document that an agent has, nil if it is not known here. An
// agent that came from another process may have it under another revision.
func (a *appDocuments) find(have Held) *document {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, same := range []func(*document) bool{
		func(d *document) bool { return d.signed.Revision() == have.Revision },
		func(d *document) bool { return d.content == have.Content },
	} {
		if a.doc != nil && same(a.doc) {
			return a.doc
		}
		for _, d := range a.past {
			if same(d) {
				return d
			}
		}
	}
	return nil
}

// lead returns what leads from base, which the agent has under the revision
// from, to doc.
func (a *appDocuments) lead(base *document, from uint64, doc *document) *Update {
	return &Update{
		Epoch: doc.signed.Epoch(), Revision: doc.signed.Revision(),
		Body: doc.body(lead{base, from}, func() []byte {
			a.n.ctl.counters.encoded.Add(1)
			if base == nil {
				return doc.signed.Append(nil)
			}
			d := netmap.Diff(base.signed, doc.signed)
			if moved := d.At(from); moved != nil {
				d = moved
			}
			return d.Append(nil)
		}),
	}
}

// body returns what encode returns, which runs once for each lead.
func (d *document) body(l lead, encode func() []byte) []byte {
	d.mu.Lock()
	once, ok := d.bodies[l]
	if !ok {
		once = sync.OnceValue(encode)
		if len(d.bodies) < maxBodies && d.bodies != nil {
			d.bodies[l] = once
		}
	}
	d.mu.Unlock()
	return once()
}

// forget drops the encodings of a document that is not the newest any more.
func (d *document) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bodies = nil
}
