package apn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
)

// Network is an account's private network. Its methods are safe for concurrent
// use. Reads show the last committed state that this process knows; a change is
// readable once its method has returned.
type Network struct {
	ctl      *Control
	store    store.Store
	ctx      context.Context // of the committer
	joined   bool            // store is a transaction of the caller's
	name     string
	replica  string                // names this Network in op rows
	head     atomic.Pointer[state] // what readers see
	zone     zoneCache
	docs     documents
	peers    serverPeers
	statuses statuses
	radar    radar

	mu      sync.Mutex
	queue   []*command
	room    chan struct{} // holds a token per command under way
	running bool
	behind  bool          // another process committed
	changed chan struct{} // closed when head moves

	drainMu  sync.Mutex
	draining atomic.Bool
	drained  atomic.Uint64 // last event that is in the audit space

	// Only the committer uses these.
	tip   *state
	pool  *ipam.Pool
	batch uint64
	stale bool // read what changed before the next decision
	swept bool // old op rows were looked up
	pace  pace
}

func newNetwork(c *Control, name string, st store.Store) *Network {
	return &Network{
		ctl: c, store: st, ctx: c.ctx, name: name, replica: newUID(),
		room: make(chan struct{}, queueLength), changed: make(chan struct{}),
	}
}

// Name returns the network's name.
func (n *Network) Name() string { return n.name }

// Rev returns the revision of the state that reads show.
func (n *Network) Rev() store.Rev { return n.view().rev }

func (n *Network) view() *state { return n.head.Load() }

func (n *Network) space() string { return space(n.name) }

func (n *Network) ring(ctx context.Context) (*keys.Ring, error) {
	ring, err := n.ctl.custody.Load().rings.Ring(ctx, n.name, n.ctl.now(), func(context.Context) ([]keys.DEKRecord, error) {
		return n.view().deks(), nil
	})
	if err != nil {
		return nil, kekError(err)
	}
	return ring, nil
}

// kekError marks an outage as such; a wrong KEK stays what it is.
func kekError(err error) error {
	if errors.Is(err, keys.ErrKEKUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// Watch yields the revision of each new state after since until ctx ends; it
// skips revisions that came and went while the caller was busy. A since below
// the current revision yields the current one at once. The last error is that
// of ctx.
func (n *Network) Watch(ctx context.Context, since store.Rev) iter.Seq2[store.Rev, error] {
	return func(yield func(store.Rev, error) bool) {
		for {
			n.mu.Lock()
			rev, changed := n.view().rev, n.changed
			n.mu.Unlock()
			if rev > since {
				since = rev
				if !yield(rev, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(since, context.Cause(ctx))
				return
			case <-n.ctl.ctx.Done():
				yield(since, ErrClosed)
				return
			}
		}
	}
}

// pageSize is how many rows one read of the store asks for.
const pageSize = 1000

// load reads the whole space. The network does not exist if there is no net row.
func (n *Network) load(ctx context.Context) error {
	var entries []store.Entry
	var at store.Rev
	for after := ""; ; {
		page, err := n.store.List(ctx, n.space(), "", after, pageSize)
		if err != nil {
			return err
		}
		if after == "" {
			at = page.Rev
		}
		entries = append(entries, page.Entries...)
		if !page.More {
			break
		}
		after = page.Entries[len(page.Entries)-1].Key
	}
	n.tip, n.pool = newState(), nil
	n.tip.rev, n.tip.moved = at, at // deletions up to there are not told
	if err := n.take(ctx, entries); err != nil {
		return err
	}
	// Pages may have been read at different revisions: catch up from the first.
	if err := n.catchUp(ctx); err != nil {
		return err
	}
	if n.tip.net() == nil {
		return ErrNotFound
	}
	return n.buildPool()
}

// refresh brings the tip to the store's revision and shows it.
func (n *Network) refresh(ctx context.Context) error {
	err := error(nil)
	if n.pool != nil {
		err = n.catchUp(ctx)
	}
	if n.pool == nil || errors.Is(err, store.ErrCompacted) || errors.Is(err, errReload) {
		err = n.load(ctx)
	}
	if err != nil {
		return err
	}
	if n.tip.rev != n.view().rev {
		n.show()
	}
	return nil
}

// errReload asks for a full load: the store went back, or the pool did not take
// what other replicas decided.
var errReload = errors.New("load anew")

// catchUp applies what was committed after the tip.
func (n *Network) catchUp(ctx context.Context) error {
	for {
		page, err := n.store.Since(ctx, n.space(), n.tip.rev, pageSize)
		if err != nil {
			return err
		}
		if page.Rev < n.tip.rev {
			return errReload
		}
		if err := n.take(ctx, page.Entries); err != nil {
			return err
		}
		if !page.More {
			n.tip.rev = page.Rev
			return nil
		}
		n.tip.rev = page.Entries[len(page.Entries)-1].Rev
	}
}

// take applies rows of the store to the tip, and to the pool if there is one.
func (n *Network) take(ctx context.Context, entries []store.Entry) error {
	rows, err := decodeRows(entries)
	if err != nil {
		return err
	}
	var sealed bool
	var moved ipam.Change
	for i, e := range entries {
		if e.Value == nil {
			if old, ok := find[*addrRow](n.tip, e.Key); ok {
				moved.Steps = append(moved.Steps, ipam.Step{Before: &old.Record})
			}
			continue
		}
		switch r := rows[i].(type) {
		case *keyRow:
			sealed = true
		case *addrRow:
			step := ipam.Step{After: &r.Record}
			if old, ok := find[*addrRow](n.tip, e.Key); ok {
				step.Before = &old.Record
			}
			moved.Steps = append(moved.Steps, step)
		case *netRow:
			if old := n.tip.net(); old != nil && n.pool != nil {
				return errReload // the pool's configuration may differ
			}
		case *dekRow:
			n.tip.set(e.Key, r, e.Rev)
			n.ctl.custody.Load().rings.Flush(n.name)
		}
	}
	if sealed {
		if err := n.openPublic(ctx, entries, rows); err != nil {
			return err
		}
	}
	for i, e := range entries {
		n.tip.set(e.Key, rows[i], e.Rev)
	}
	if n.pool == nil || moved.Empty() {
		return nil
	}
	if err := n.pool.Apply(moved); err != nil {
		n.ctl.log.Error("address pool is rebuilt", "network", n.name, "error", err)
		n.pool = nil
		return errReload
	}
	return nil
}

// decodePart is how many rows are worth a goroutine.
const decodePart = 500

// decodeRows decodes the rows of entries, nil for deleted ones, on all cores if
// they are many.
func decodeRows(entries []store.Entry) ([]row, error) {
	rows := make([]row, len(entries))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(entries); from += decodePart {
		part := func() (err error) {
			for i, e := range entries[from:min(from+decodePart, len(entries))] {
				if e.Value == nil {
					continue
				}
				if rows[from+i], err = decodeRow(e.Key, e.Value); err != nil {
					return err
				}
			}
			return nil
		}
		if len(entries) <= decodePart {
			return rows, part()
		}
		g.Go(part)
	}
	return rows, g.Wait()
}

// openPublic opens the public keys of key rows, so that reads need no KEK.
func (n *Network) openPublic(ctx context.Context, entries []store.Entry, rows []row) error {
	ring, err := n.ctl.custody.Load().rings.Ring(ctx, n.name, n.ctl.now(), func(context.Context) ([]keys.DEKRecord, error) {
		return n.tip.deks(), nil
	})
	if err != nil {
		return kekError(err)
	}
	for i, r := range rows {
		k, ok := r.(*keyRow)
		if !ok {
			continue
		}
		owner := strings.TrimPrefix(entries[i].Key, preKey)
		if k.pub, err = ring.OpenPublic(keyOwner(n.name, owner, k, keys.PurposePublicKey), k.Pub); err != nil {
			return damaged(entries[i].Key, err)
		}
	}
	return nil
}

// buildPool makes the pool that the rows describe.
func (n *Network) buildPool() error {
	pool, err := poolOf(n.tip, n.tip.net().Pool)
	if err != nil {
		return fmt.Errorf("addresses: %w: %w", ErrDamaged, err)
	}
	n.pool = pool
	return nil
}

func poolOf(s *state, cfg ipam.Config) (*ipam.Pool, error) {
	count := 0
	for range under[*addrRow](s, preAddr) {
		count++
	}
	return ipam.Load(cfg, count, func(yield func(ipam.Record) bool) {
		for _, r := range under[*addrRow](s, preAddr) {
			if !yield(r.Record) {
				return
			}
		}
	})
}
