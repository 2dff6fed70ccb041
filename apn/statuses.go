package apn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
)

// ServerStatus is how a server is, as its agent said last.
type ServerStatus struct {
	JoinedAt time.Time // zero: no agent runs the server, and nothing else is set
	SeenAt   time.Time // of the last report; zero: none yet
	Version  string    // of the agent
	// Applied is the revision of the document that the server matches, and Wanted
	// that of the newest. They are equal if what they say is the same. Wanted 0:
	// not known at the moment.
	Applied, Wanted uint64
	ClockOffset     time.Duration // how far the server's clock is ahead
	LastHandshake   time.Time     // with whichever peer; zero: never
	PeersUp         int           // peers with a handshake in the last three minutes
	// Peers are those that shook hands lately, latest first, at most
	// [MaxStatusPeers].
	Peers  []PeerStatus
	Errors []string // what keeps the server from doing what it should
}

// PeerStatus is what a server knows of one of its peers.
type PeerStatus struct {
	ID            string    `json:"id"` // "srv/shop/web-1" or "dev/ada/laptop"
	LastHandshake time.Time `json:"last_handshake"`
	Received      uint64    `json:"received"` // bytes
	Sent          uint64    `json:"sent"`
}

// MaxStatusPeers is how many peers of a server's status are kept.
const MaxStatusPeers = 64

const (
	maxStatusErrors = 16
	maxStatusText   = 256 // bytes of an error
	// statusEvery is how often a server's status is written at most, if nothing
	// but times and counts changed.
	statusEvery = 30 * time.Second
	// statusGather is how long reports gather before they are written together.
	statusGather = time.Second
	// statusRows bounds how many one commit writes.
	statusRows = 100
	// statusQueue bounds how many servers' reports wait. One more is dropped: the
	// agent reports again.
	statusQueue = 1 << 16
	// clockMatters is how much a clock may move before that is news.
	clockMatters = time.Second
)

// statusRow is a server's status in a space of its own, so that reports do not
// move the network's revision. It holds no secret and may be lost: agents report
// every minute.
type statusRow struct {
	head
	UID     string        `json:"uid"` // of the server's row
	Seen    time.Time     `json:"seen"`
	Version string        `json:"version,omitempty"`
	Epoch   string        `json:"epoch,omitempty"`
	Applied uint64        `json:"applied,omitempty"`
	Content string        `json:"content,omitempty"` // of the applied document, if it was known
	Clock   time.Duration `json:"clock,omitempty"`
	Shook   time.Time     `json:"shook,omitzero"`
	Up      int           `json:"up,omitempty"`
	Peers   []PeerStatus  `json:"peers,omitempty"`
	Errors  []string      `json:"errors,omitempty"`
}

func statusSpace(network string) string { return "status/" + network }

// Report takes an agent's word for how its server is. It is written a moment
// later, and only if 30 seconds have passed since the last one or there is news.
func (a *Agent) Report(ctx context.Context, s netmap.Status) error {
	if err := a.report(s); err != nil { //nolint:contextcheck // it is written later, with others
		return a.fail("report", err)
	}
	return ctx.Err()
}

func (a *Agent) report(s netmap.Status) error {
	view := a.n.view()
	agent, err := a.row(view)
	if err != nil {
		return err
	}
	now := a.n.ctl.now().UTC()
	r := &statusRow{
		UID: agent.UID, Seen: now, Version: plainText(s.Version, maxVersion), Epoch: plainText(s.Epoch, maxVersion),
		Applied: s.Revision, Clock: s.ClockOffset, Up: min(max(s.PeersUp, 0), netmap.MaxPeers),
		Content: a.n.documentsOf(a.App).contentOf(s.Epoch, s.Revision),
	}
	for _, text := range s.Errors[:min(len(s.Errors), maxStatusErrors)] {
		r.Errors = append(r.Errors, plainText(text, maxStatusText))
	}
	for _, p := range s.Peers[:min(len(s.Peers), MaxStatusPeers)] {
		if !view.peer(p.ID) || p.HandshakeAge < 0 {
			continue // gone meanwhile
		}
		r.Peers = append(r.Peers, PeerStatus{p.ID, now.Add(-p.HandshakeAge), p.Received, p.Sent})
	}
	a.n.statuses.add(a.n, preSrv+a.App+"/"+a.Server, r)
	return nil
}

// peer reports whether there is a server or device of that ID.
func (s *state) peer(id string) bool {
	at, _ := s.rows.Get(id)
	switch at.row.(type) {
	case *srvRow, *devRow:
		return true
	default:
		return false
	}
}

// plainText cuts what a server says to what a page or a log may show.
func plainText(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// statuses are reports on their way to the store.
type statuses struct {
	mu      sync.Mutex
	waiting map[string]*statusRow // by key
	written map[string]written
	running bool
}

// written is when a status was written last, and what it said.
type written struct {
	at   time.Time
	news [sha256.Size]byte
}

// news hashes what is worth a write of its own.
func (r *statusRow) news() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %v %v %q",
		r.UID, r.Version, r.Epoch, r.Applied, r.Up > 0, r.Clock.Round(clockMatters), r.Errors))
}

func (q *statuses) add(n *Network, key string, r *statusRow) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if last, ok := q.written[key]; ok && r.Seen.Sub(last.at) < statusEvery && last.news == r.news() {
		return
	}
	if q.waiting == nil {
		q.waiting, q.written = map[string]*statusRow{}, map[string]written{}
	}
	if len(q.waiting) < statusQueue {
		q.waiting[key] = r
	}
	if !q.running {
		q.running = n.ctl.start(func() { n.writeStatuses() })
	}
}

// writeStatuses writes what waits, together, until nothing does.
func (n *Network) writeStatuses() {
	for {
		rest(n.ctl.waits, statusGather, nil)
		q := &n.statuses
		q.mu.Lock()
		waiting := q.waiting
		q.waiting = map[string]*statusRow{}
		q.running = len(waiting) > 0
		q.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(n.ctl.ctx, giveUp)
		if err := n.commitStatuses(ctx, waiting); err != nil {
			n.ctl.log.Warn("status reports are lost", "network", n.name, "error", err)
		}
		cancel()
	}
}

func (n *Network) commitStatuses(ctx context.Context, waiting map[string]*statusRow) error {
	keys := make([]string, 0, len(waiting))
	for key := range waiting {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	most := statusRows
	if n.ctl.limits.most > 0 {
		most = min(most, n.ctl.limits.most)
	}
	for part := range slices.Chunk(keys, most) {
		page, err := n.ctl.store.Get(ctx, statusSpace(n.name), part...)
		if err != nil {
			return err
		}
		before := map[string]*statusRow{}
		for _, e := range page.Entries {
			if before[e.Key], err = decodeStatus(e); err != nil {
				n.ctl.log.Warn("damaged status is replaced", "network", n.name, "row", e.Key)
			}
		}
		var b store.Batch
		for _, key := range part {
			r := waiting[key]
			r.follow(before[key])
			r.stamp()
			value, err := json.Marshal(r)
			if err != nil {
				return err
			}
			b.Writes = append(b.Writes, store.Write{Key: key, Value: value})
		}
		if _, err := n.ctl.store.Commit(ctx, statusSpace(n.name), b); err != nil {
			return err
		}
		q := &n.statuses
		q.mu.Lock()
		for _, key := range part {
			q.written[key] = written{waiting[key].Seen, waiting[key].news()}
		}
		q.mu.Unlock()
	}
	return nil
}

// follow adds to r the peers that old told of and r does not: a report has only
// those that shook hands since the one before. old may be nil.
func (r *statusRow) follow(old *statusRow) {
	if old != nil && old.UID == r.UID {
		known := map[string]bool{}
		for _, p := range r.Peers {
			known[p.ID] = true
		}
		for _, p := range old.Peers {
			if !known[p.ID] {
				r.Peers = append(r.Peers, p)
			}
		}
		r.Shook = old.Shook
	}
	slices.SortFunc(r.Peers, func(a, b PeerStatus) int {
		return cmp.Or(b.LastHandshake.Compare(a.LastHandshake), strings.Compare(a.ID, b.ID))
	})
	if len(r.Peers) > 0 && r.Peers[0].LastHandshake.After(r.Shook) {
		r.Shook = r.Peers[0].LastHandshake
	}
	r.Peers = r.Peers[:min(len(r.Peers), MaxStatusPeers)]
}

func decodeStatus(e store.Entry) (*statusRow, error) {
	r := new(statusRow)
	if err := json.Unmarshal(e.Value, r); err != nil || r.V != rowFormat {
		return nil, damaged(e.Key, errors.New("malformed JSON document"))
	}
	return r, nil
}

// ServerStatus returns how a server is.
func (n *Network) ServerStatus(ctx context.Context, app, server string) (ServerStatus, error) {
	if _, ok := find[*srvRow](n.view(), srvKey(app, server)); !ok {
		return ServerStatus{}, &Error{Op: "read status", Object: app + "/" + server, Err: ErrNotFound}
	}
	list, err := n.ServerStatuses(ctx, app, []string{server})
	if err != nil {
		return ServerStatus{}, err
	}
	return list[0], nil
}

// ServerStatuses returns how some servers of an app are, in their order. One that
// is gone has the zero status.
func (n *Network) ServerStatuses(ctx context.Context, app string, servers []string) ([]ServerStatus, error) {
	out := make([]ServerStatus, len(servers))
	s := n.view()
	var keys []string
	for i, server := range servers {
		r, ok := find[*agentRow](s, agentKey(app, server))
		if !ok {
			continue
		}
		out[i] = ServerStatus{JoinedAt: r.Joined, Version: r.Version}
		keys = append(keys, srvKey(app, server))
	}
	if len(keys) == 0 {
		return out, nil
	}
	fail := func(err error) ([]ServerStatus, error) {
		return nil, &Error{Op: "read status", Object: app, Err: storeError(err)}
	}
	doc, _, _, _ := n.documentsOf(app).current(ctx) // it may need a KEK that does not answer
	page, err := n.ctl.store.Get(ctx, statusSpace(n.name), keys...)
	if err != nil {
		return fail(err)
	}
	rows := make(map[string]*statusRow, len(page.Entries))
	for _, e := range page.Entries {
		if rows[e.Key], err = decodeStatus(e); err != nil {
			return fail(err)
		}
	}
	for i, server := range servers {
		agent, _ := find[*agentRow](s, agentKey(app, server))
		r := rows[srvKey(app, server)]
		if agent != nil && r != nil && r.UID == agent.UID {
			r.show(&out[i])
		}
		if agent != nil && doc != nil {
			out[i].want(r, doc)
		}
	}
	return out, nil
}

func (r *statusRow) show(out *ServerStatus) {
	out.SeenAt, out.Version, out.ClockOffset, out.LastHandshake = r.Seen, r.Version, r.Clock, r.Shook
	out.Applied, out.PeersUp, out.Peers, out.Errors = r.Applied, r.Up, r.Peers, r.Errors
}

// want says which revision the server should match.
func (v *ServerStatus) want(r *statusRow, doc *document) {
	v.Wanted = doc.signed.Revision()
	switch {
	case r == nil || v.SeenAt.IsZero():
	case r.Epoch != doc.signed.Epoch():
		v.Applied = 0 // of a store that was restored since
	case r.Content == doc.content || r.Applied > v.Wanted: // in step, or ahead of this process
		v.Wanted = r.Applied
	}
}

// contentOf returns the content of a document that is known here, else nothing.
func (a *appDocuments) contentOf(epoch string, revision uint64) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.doc == nil || a.doc.signed.Epoch() != epoch {
		return ""
	}
	for _, d := range append([]*document{a.doc}, a.past...) {
		if d.signed.Revision() == revision {
			return d.content
		}
	}
	return ""
}

// forgetStatuses removes the statuses of servers that no agent runs any more.
func (n *Network) forgetStatuses(ctx context.Context) error {
	s := n.view()
	for after, more := "", true; more; {
		page, err := n.ctl.store.List(ctx, statusSpace(n.name), "", after, statusRows)
		if err != nil {
			return err
		}
		var b store.Batch
		for _, e := range page.Entries {
			after = e.Key
			if _, ok := find[*agentRow](s, preAgt+strings.TrimPrefix(e.Key, preSrv)); !ok {
				b.Writes = append(b.Writes, store.Write{Key: e.Key})
			}
		}
		if more = page.More; len(b.Writes) == 0 {
			continue
		}
		if _, err := n.ctl.store.Commit(ctx, statusSpace(n.name), b); err != nil {
			return err
		}
	}
	return nil
}
