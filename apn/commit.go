package apn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
)

// A commit joins commands until it holds this much: a shorter one is answered
// sooner. A single command may be larger.
const (
	batchRows     = 384
	batchCommands = 64
	dropBatch     = 200 // appended events whose rows one commit drops
)

// ownRows is how many rows a commit adds to those of its commands besides the
// dropped events: the data key's count and the replica's op row.
const ownRows = 2

// limits is how much one commit may hold.
type limits struct {
	rows int // of joined commands
	most int // in all, 0: any number
}

func limitsOf(st store.Store) limits {
	if l, ok := st.(store.Limiter); ok && l.MaxWrites() > 0 {
		most := l.MaxWrites()
		// A third is left for dropping events, which come with most rows.
		return limits{rows: min(batchRows, most*2/3), most: most}
	}
	return limits{rows: batchRows}
}

// spare is how many rows there is room for beside n of them.
func (l limits) spare(n int) int {
	if l.most == 0 {
		return dropBatch
	}
	return max(0, min(dropBatch, l.most-n))
}

// queueLength is how many commands may wait for the committer. Further callers
// wait for room, so that a slow store costs a bounded amount of memory.
const queueLength = 4096

// giveUp is how long the committer tries to learn the outcome of a commit, or to
// reach the store at all, before it answers that it does not know.
const giveUp = 10 * time.Second

// errPrepare marks a batch that could not be written at all.
var errPrepare = errors.New("prepare commit")

// command is a function from state to row changes. It may run more than once,
// so it has no side effects but its captured result.
type command struct {
	ctx     context.Context // ends with its caller
	network string
	actor   Actor
	opts    CommitOptions
	decide  func(*tx) error
	plan    *Plan
	done    chan error
	state   atomic.Uint32 // waiting, taken or abandoned
}

const (
	waiting uint32 = iota
	taken
	abandoned
)

// do runs a command and waits until it is durable.
func (n *Network) do(ctx context.Context, opts *CommitOptions, decide func(*tx) error) error {
	cmd := &command{ctx: ctx, network: n.name, actor: actorOf(ctx), decide: decide, done: make(chan error, 1)}
	if opts != nil {
		cmd.opts = *opts
	}
	if cmd.opts.DryRun != nil {
		cmd.plan = new(Plan)
	}
	// A cold ring costs a call to the KEK, which the committer must not wait for.
	if _, err := n.ring(ctx); err != nil {
		return err
	}
	if cmd.opts.In != nil {
		return n.join(ctx, cmd)
	}
	select {
	case n.room <- struct{}{}:
		defer func() { <-n.room }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := n.enqueue(cmd); err != nil {
		return err
	}
	var err error
	select {
	case err = <-cmd.done:
	case <-ctx.Done():
		if cmd.state.CompareAndSwap(waiting, abandoned) {
			n.leave(cmd)
			return context.Cause(ctx)
		}
		return fmt.Errorf("outcome unknown: %w", context.Cause(ctx))
	}
	if err == nil && cmd.plan != nil {
		*cmd.opts.DryRun = *cmd.plan
	}
	return err
}

// enqueue hands cmd to the committer.
func (n *Network) enqueue(cmd *command) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.wake() {
		return ErrClosed
	}
	n.queue = append(n.queue, cmd)
	return nil
}

// leave takes an abandoned command out of the queue, which callers that come
// and go while the store hangs would fill.
func (n *Network) leave(cmd *command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = slices.DeleteFunc(n.queue, func(c *command) bool { return c == cmd })
}

// wake starts the committer if it rests. The caller holds mu.
func (n *Network) wake() bool {
	n.running = n.running || n.ctl.start(n.run)
	return n.running
}

// run is the committer: the one writer of the network in this process. It ends
// when nothing waits.
func (n *Network) run() {
	for {
		n.mu.Lock()
		batch, behind := n.queue[:min(len(n.queue), batchCommands)], n.behind
		n.queue, n.behind = n.queue[len(batch):], false
		n.running = len(batch) > 0 || behind
		n.stale = n.stale || behind // while the committer's state is still ours
		n.mu.Unlock()
		switch {
		case len(batch) > 0:
			n.process(batch)
			rest(n.ctl.waits, n.pace.pause(n.ctl.now()), nil)
		case behind:
			if err := n.refresh(n.ctx); err == nil {
				n.stale = false
			}
		default:
			return
		}
	}
}

// decided is a batch that was decided against the tip and not yet committed.
type decided struct {
	id      uint64
	tip     *state // with the batch applied
	writes  map[string]row
	undone  []ipam.Change
	repool  bool
	ring    *keys.Ring
	block   int64 // seals that the batch reserves
	answers map[*command]error
	rest    []*command // did not fit
}

// process decides and commits cmds, and answers each.
func (n *Network) process(cmds []*command) {
	cmds = slices.DeleteFunc(cmds, func(c *command) bool { return !c.state.CompareAndSwap(waiting, taken) })
	deadline := n.ctl.now().Add(giveUp)
	unknown := map[uint64]*decided{} // attempts that may yet have landed
	fresh := false                   // the tip was read after cmds had come
	for try := 0; len(cmds) > 0; try++ {
		if n.stale {
			if err := n.refresh(n.ctx); err != nil {
				if n.joined || n.ctl.now().After(deadline) || !n.pause(try) {
					answer(cmds, fmt.Errorf("%w: read what changed: %w", ErrUnavailable, err))
					return
				}
				continue
			}
			n.stale, fresh = false, true
			if d := unknown[n.landed()]; d != nil {
				d.answer()
				cmds = d.rest
				unknown = map[uint64]*decided{}
				continue
			}
		}
		d, err := n.decide(cmds)
		if err != nil {
			answer(cmds, err)
			return
		}
		if !fresh && len(d.writes) == 0 && len(d.answers) > 0 {
			// A commit would tell whether another replica was faster. Without one,
			// what was refused may be right on what that replica has done.
			n.stale = true
			continue
		}
		rev, err := n.commit(d)
		if err == nil {
			fresh = true
			n.publish(d, rev)
			d.answer()
			cmds = d.rest
			unknown = map[uint64]*decided{}
			continue
		}
		n.undo(d.undone)
		n.stale = true
		switch {
		case errors.Is(err, errPrepare), n.joined && !errors.Is(err, store.ErrConflict):
			answer(cmds, err)
			return
		case errors.Is(err, keys.ErrUnknownDEK): // another replica rotated the key
			n.ctl.custody.Load().rings.Flush(n.name)
		case !errors.Is(err, store.ErrConflict):
			unknown[d.id] = d
			n.ctl.log.Warn("commit outcome unknown", "network", n.name, "error", err)
		}
		// After a conflict others got on, and leave room for us: see pace.
		wait := try
		if errors.Is(err, store.ErrConflict) {
			wait = max(0, try-patience)
		}
		if n.ctl.now().After(deadline) || !n.pause(wait) {
			answer(cmds, fmt.Errorf("%w: commit: %w", ErrUnavailable, err))
			return
		}
	}
}

// patience is how many conflicts in a row are taken for the usual traffic.
const patience = 10

// pause waits before the next try, longer each time and at random, so that
// replicas do not meet again. It reports whether to go on.
func (n *Network) pause(try int) bool {
	if try > 0 {
		limit := min(time.Millisecond<<min(try, 10), time.Second)
		rest(n.ctx, limit/2+rand.N(limit), nil) //nolint:gosec // jitter, not a secret
	}
	return n.ctx.Err() == nil
}

// decide runs commands in order, each on what the ones before it decided.
func (n *Network) decide(cmds []*command) (*decided, error) {
	ring, err := n.ring(n.ctx)
	if err != nil {
		return nil, err
	}
	n.batch++
	d := &decided{id: n.batch, tip: n.tip.copy(), writes: map[string]row{}, ring: ring, answers: map[*command]error{}}
	now := n.ctl.now()
	for i, cmd := range cmds {
		t := &tx{state: d.tip, cmd: cmd, ring: ring, leases: n.ctl.lease, pool: n.pool, now: now, writes: map[string]row{}}
		if cmd.plan != nil {
			t.state = d.tip.copy()
		}
		err := t.repeated()
		if err == nil {
			err = cmd.decide(t)
		}
		if err == nil {
			t.finish()
		}
		if err == nil && cmd.plan != nil {
			*cmd.plan = planOf(d.tip, t.state)
		}
		if most := n.ctl.limits.most; err == nil && most > 0 && len(t.writes)+ownRows > most {
			err = fmt.Errorf("%d rows: %w", len(t.writes), ErrTooLarge)
		}
		full := len(d.writes) > 0 && len(d.writes)+len(t.writes) > n.ctl.limits.rows
		if err != nil || cmd.plan != nil || full {
			t.revert()
			n.undo(t.undone)
			if n.pool == nil {
				return nil, fmt.Errorf("%w: the address pool is rebuilt", ErrUnavailable)
			}
			if full && err == nil {
				d.rest = cmds[i:]
				return d, nil
			}
			d.answers[cmd] = err
			continue
		}
		maps.Copy(d.writes, t.writes)
		d.undone = append(d.undone, t.undone...)
		d.repool = d.repool || t.repool
		d.answers[cmd] = nil
	}
	return d, nil
}

// commit writes a decided batch at the revision that it was decided on.
func (n *Network) commit(d *decided) (store.Rev, error) {
	if len(d.writes) == 0 {
		return n.tip.rev, nil
	}
	put := func(key string, r row) {
		d.writes[key] = r
		d.tip.set(key, r, 0)
	}
	// The batch may rotate the data key itself; its own seals are under the one
	// that was active before.
	active, ok := find[*dekRow](n.tip, dekKey(d.ring.Version()))
	if !ok {
		return 0, fmt.Errorf("%w: version %d", keys.ErrUnknownDEK, d.ring.Version())
	}
	rec, block, err := d.ring.Reserve(active.DEKRecord)
	if errors.Is(err, keys.ErrUnknownDEK) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errPrepare, err)
	}
	if d.block = block; block > 0 {
		r, _ := find[*dekRow](d.tip, dekKey(rec.Version))
		counted := *r
		counted.Seals = rec.Seals
		put(dekKey(rec.Version), &counted)
	}
	out, _ := page[*outRow](d.tip, preOut, &ListOptions{Limit: n.ctl.limits.spare(len(d.writes) + ownRows)})
	last, _ := slices.BinarySearch(out, outNumber(n.drained.Load()+1))
	for _, number := range out[:last] {
		put(preOut+number, nil)
	}
	if !n.joined { // else whether it landed is the transaction's to tell
		put(preOp+n.replica, &opRow{head{rowFormat}, d.id, n.ctl.now().UTC()})
	}
	for _, gone := range n.goneReplicas(n.ctl.limits.spare(len(d.writes))) {
		put(preOp+gone, nil)
	}
	writes, err := encode(d.writes)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, giveUp)
	defer cancel()
	began := n.ctl.now()
	rev, err := n.store.Commit(ctx, n.space(), store.Batch{At: &n.tip.rev, Writes: writes})
	n.pace.commit(began, n.ctl.now(), err)
	return rev, err
}

// encode turns rows into the store's writes.
func encode(rows map[string]row) ([]store.Write, error) {
	writes := make([]store.Write, 0, len(rows))
	for key, r := range rows {
		w := store.Write{Key: key}
		if r != nil {
			value, err := json.Marshal(r)
			if err != nil {
				return nil, fmt.Errorf("%w: encode row %q: %w", errPrepare, key, err)
			}
			w.Value = value
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// opAge is how long the row of a process that is gone is kept. No commit stays
// in doubt for so long.
const opAge = 24 * time.Hour

// goneReplicas returns processes whose rows are old, looked up once per load.
func (n *Network) goneReplicas(most int) []string {
	if n.swept {
		return nil
	}
	n.swept = true
	var gone []string
	for replica, r := range under[*opRow](n.tip, preOp) {
		if n.ctl.now().Sub(r.At) > opAge && len(gone) < most {
			gone = append(gone, replica)
		}
	}
	return gone
}

// publish makes a committed batch the head.
func (n *Network) publish(d *decided, rev store.Rev) {
	if len(d.writes) == 0 {
		return
	}
	for key, r := range d.writes {
		if r != nil {
			d.tip.rows.Set(key, rowAt{r, rev})
		}
		if shapes(key) {
			d.tip.moved = rev
		}
	}
	d.tip.rev = rev
	if n.joined {
		n.tip = d.tip
		return // it may be rolled back
	}
	d.ring.Reserved(d.block)
	if from, to := n.tip.ctr().Serial, d.tip.ctr().Serial; from != to {
		n.zone.changed(from, to, hostChanges(d.writes))
	}
	n.tip = d.tip
	if !d.ring.Covers(n.tip.deks()...) {
		defer n.ctl.custody.Load().rings.Flush(n.name) // once readers see the new data keys
	}
	if d.repool {
		if err := n.buildPool(); err != nil {
			n.ctl.log.Error("address pool is rebuilt", "network", n.name, "error", err)
			n.pool, n.stale = nil, true
		}
	}
	n.show()
	n.appendEvents()
}

// show publishes a copy of the tip to readers and wakes watchers.
func (n *Network) show() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.head.Store(n.tip.copy())
	close(n.changed)
	n.changed = make(chan struct{})
}

// landed returns the last batch of this Network that the tip contains.
func (n *Network) landed() uint64 {
	if op, ok := find[*opRow](n.tip, preOp+n.replica); ok {
		return op.Batch
	}
	return 0
}

// undo takes decisions out of the pool again. If that fails the pool is not what
// the rows say, so the next refresh builds it anew.
func (n *Network) undo(changes []ipam.Change) {
	if n.pool == nil {
		return // given up earlier in the batch
	}
	for _, c := range slices.Backward(changes) {
		if err := n.pool.Apply(c.Inverse()); err != nil {
			n.ctl.log.Error("address pool is rebuilt", "network", n.name, "error", err)
			n.pool, n.stale = nil, true
			return
		}
	}
}

// answer tells each command of the batch what became of it.
func (d *decided) answer() {
	for cmd, err := range d.answers {
		cmd.done <- err
	}
}

func answer(cmds []*command, err error) {
	for _, cmd := range cmds {
		cmd.done <- err
	}
}
