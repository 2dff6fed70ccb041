package storetest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// naive is the plainest store: everything in one map under one lock, and a log
// file. It is right, unless it has a bug: the name of a way in which real
// adapters go wrong.
type naive struct {
	bug  string
	file string

	mu     sync.Mutex
	spaces map[string]*naiveSpace
	log    *os.File
	held   [][]byte // acknowledged, not written yet
	turn   uint64
	open   int
}

type naiveSpace struct {
	rev, floor store.Rev
	rows       map[string]store.Entry
	changes    []store.Entry // every change; only the bug "stale log" shows it
	changed    chan struct{}
}

// handle is what one process holds of a naive.
type handle struct {
	*naive
	second bool
	mu     sync.Mutex
	cached map[string]store.Page
	mine   chan struct{} // the bug "deaf": only its own commits wake it
}

// frame is a commit in the log file.
type frame struct {
	Space  string
	Rev    store.Rev
	Writes []store.Write
}

// naives opens naive stores with a bug.
func naives(bug string) func(testing.TB, string) store.Store {
	var mu sync.Mutex
	stores := map[string]*naive{}
	return func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		mu.Lock()
		defer mu.Unlock()
		n := stores[dir]
		if n == nil || n.open == 0 {
			n = &naive{bug: bug, file: filepath.Join(dir, "log"), spaces: map[string]*naiveSpace{}}
			if err := n.load(); err != nil {
				tb.Fatal(err)
			}
			stores[dir] = n
		}
		n.open++
		return &handle{naive: n, second: n.open == 2, cached: map[string]store.Page{}, mine: make(chan struct{})}
	}
}

func (n *naive) load() error {
	var err error
	if n.log, err = os.OpenFile(n.file, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	data, err := os.ReadFile(n.file)
	if err != nil {
		return err
	}
	good := 0
	for line := range bytes.SplitAfterSeq(data, []byte("\n")) {
		var f frame
		if json.Unmarshal(line, &f) != nil || !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		good += len(line)
		if n.bug == "deletions end with the process" {
			f.Writes = slices.DeleteFunc(f.Writes, func(w store.Write) bool {
				if w.Value == nil {
					delete(n.space(f.Space).rows, w.Key)
				}
				return w.Value == nil
			})
		}
		n.apply(n.space(f.Space), f.Rev, f.Writes)
	}
	if err := n.log.Truncate(int64(good)); err != nil {
		return err
	}
	if n.bug == "revision restarts" {
		for _, s := range n.spaces {
			s.rev = 0
			for _, e := range s.rows {
				s.rev = max(s.rev, e.Rev-1)
			}
		}
	}
	_, err = n.log.Seek(int64(good), 0)
	return err
}

func (h *handle) Close() error {
	h.naive.mu.Lock()
	defer h.naive.mu.Unlock()
	if h.open--; h.open > 0 {
		return nil
	}
	return h.log.Close()
}

func (n *naive) space(name string) *naiveSpace {
	s := n.spaces[name]
	if s == nil {
		s = &naiveSpace{rows: map[string]store.Entry{}, changed: make(chan struct{})}
		if n.bug == "space created twice" {
			n.mu.Unlock() // looks, then creates, without holding on
			time.Sleep(time.Millisecond)
			n.mu.Lock()
		}
		n.spaces[name] = s
	}
	return s
}

func (n *naive) apply(s *naiveSpace, rev store.Rev, list []store.Write) {
	s.rev = rev
	for _, w := range list {
		e := store.Entry{Key: w.Key, Value: bytes.Clone(w.Value), Rev: rev}
		switch n.bug {
		case "empty is nil":
			if len(w.Value) == 0 {
				e.Value = nil
			}
		case "cut at nul":
			if i := bytes.IndexByte(w.Value, 0); i >= 0 {
				e.Value = e.Value[:i]
			}
		case "bad utf-8 replaced":
			if w.Value != nil {
				e.Value = []byte(strings.ToValidUTF8(string(w.Value), "?"))
			}
		case "keeps the caller's memory":
			e.Value = w.Value
		case "row revision counts the row":
			if old := s.rows[w.Key]; old.Value != nil {
				e.Rev = old.Rev + 1
			} else {
				e.Rev = 1
			}
		case "keys cut at 255":
			e.Key = w.Key[:min(len(w.Key), 255)]
		case "same value skipped":
			if old, ok := s.rows[e.Key]; ok && bytes.Equal(old.Value, e.Value) {
				continue
			}
		}
		s.rows[e.Key] = e
		s.changes = append(s.changes, e)
	}
}

func (n *naive) copied(e store.Entry) store.Entry {
	if n.bug != "returns its own memory" {
		e.Value = bytes.Clone(e.Value)
	}
	return e
}

// names maps a space and a key to those of the store: the same, but for bugs.
func (n *naive) names(space, key string) (inSpace, asKey string) {
	switch n.bug {
	case "no separator":
		return "", space + key
	case "spaces ignore case":
		return strings.ToLower(space), key
	}
	return space, key
}

func (h *handle) Get(ctx context.Context, space string, keys ...string) (store.Page, error) {
	return h.read(ctx, "get", space, func(s *naiveSpace, p *store.Page) {
		for _, key := range keys {
			_, key = h.names(space, key)
			if h.bug == "rows read one by one" {
				h.naive.mu.Unlock()
				runtime.Gosched()
				h.naive.mu.Lock()
			}
			if e, ok := s.rows[key]; ok && e.Value != nil {
				p.Entries = append(p.Entries, h.copied(e))
			} else if h.bug == "absent rows listed" {
				p.Entries = append(p.Entries, store.Entry{Key: key})
			}
		}
	})
}

func (h *handle) List(ctx context.Context, space, prefix, after string, limit int) (store.Page, error) {
	return h.read(ctx, "list", space, func(s *naiveSpace, p *store.Page) {
		_, lead := h.names(space, "")
		for _, e := range s.rows {
			if e.Value == nil || !strings.HasPrefix(e.Key, lead) {
				continue
			}
			e.Key = e.Key[len(lead):]
			has, past := strings.HasPrefix(e.Key, prefix), e.Key > after
			switch h.bug {
			case "LIKE":
				pattern := strings.NewReplacer("_", "?", "%", "*", "*", "\\*", "?", "\\?", "[", "\\[", "\\", "\\\\").Replace(prefix) + "*"
				has, _ = path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(e.Key, "/", "\x01"))
			case "upper bound":
				has = e.Key >= prefix && e.Key < prefix+"~"
			case "after inclusive":
				past = e.Key >= after
			case "after stands for the prefix":
				has = has && (after == "" || strings.HasPrefix(after, prefix))
			}
			if has && past {
				p.Entries = append(p.Entries, h.copied(e))
			}
		}
		slices.SortFunc(p.Entries, func(a, b store.Entry) int {
			if h.bug == "collation" {
				return cmp.Or(strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key)), strings.Compare(a.Key, b.Key))
			}
			return strings.Compare(a.Key, b.Key)
		})
		if limit > 0 && len(p.Entries) >= limit {
			p.More = len(p.Entries) > limit || h.bug == "more on a full page"
			p.Entries = p.Entries[:limit]
		}
	})
}

func (h *handle) Since(ctx context.Context, space string, after store.Rev, limit int) (store.Page, error) {
	compacted := false
	p, err := h.read(ctx, "since", space, func(s *naiveSpace, p *store.Page) {
		if compacted = after < s.floor && h.bug != "no floor"; compacted {
			return
		}
		list := make([]store.Entry, 0, len(s.rows))
		for _, e := range s.rows {
			list = append(list, e)
		}
		if h.bug == "stale log" {
			list = slices.Clone(s.changes)
		}
		for _, e := range list {
			if e.Rev > after || h.bug == "since inclusive" && e.Rev == after && after > 0 {
				if e.Value != nil || h.bug != "lost deletions" {
					p.Entries = append(p.Entries, h.copied(e))
				}
			}
		}
		slices.SortFunc(p.Entries, func(a, b store.Entry) int {
			if h.bug == "changes by key" {
				return cmp.Compare(a.Key, b.Key)
			}
			return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Key, b.Key))
		})
		end := limit
		for end > 0 && end < len(p.Entries) && p.Entries[end].Rev == p.Entries[end-1].Rev && h.bug != "revision split" {
			end++
		}
		if limit > 0 && end < len(p.Entries) {
			p.More, p.Entries = true, p.Entries[:end]
		}
	})
	if compacted {
		return store.Page{}, fmt.Errorf("naive: %w", store.ErrCompacted)
	}
	return p, err
}

func (h *handle) read(ctx context.Context, what, space string, fn func(*naiveSpace, *store.Page)) (store.Page, error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, err
	}
	h.naive.mu.Lock()
	defer h.naive.mu.Unlock()
	inSpace, _ := h.names(space, "")
	s := h.spaces[inSpace]
	if s == nil {
		if h.bug == "unknown space is an error" {
			return store.Page{}, fmt.Errorf("naive: no space %q", space)
		}
		s = &naiveSpace{rows: map[string]store.Entry{}}
	}
	p := store.Page{Rev: s.rev}
	fn(s, &p)
	switch h.bug {
	case "revision from a second query":
		h.naive.mu.Unlock()
		runtime.Gosched()
		h.naive.mu.Lock()
		p.Rev = s.rev
	case "one revision for all spaces":
		for _, s := range h.spaces {
			p.Rev = max(p.Rev, s.rev)
		}
	case "reads a replica that lags":
		h.mu.Lock()
		defer h.mu.Unlock()
		if what == "get" && h.second {
			if h.turn++; h.turn%16 > 0 && h.cached[space].Rev > 0 {
				return h.cached[space], nil
			}
			h.cached[space] = p
		}
	}
	return p, nil
}

func (h *handle) Commit(ctx context.Context, space string, b store.Batch) (store.Rev, error) {
	if err := ctx.Err(); err != nil {
		if h.bug == "cancelled is a conflict" {
			err = store.ErrConflict
		}
		return 0, err
	}
	h.naive.mu.Lock()
	defer h.naive.mu.Unlock()
	inSpace, _ := h.names(space, "")
	s := h.space(inSpace)
	var drawn store.Rev
	switch h.bug {
	case "sequence as revision":
		h.turn++
		drawn = store.Rev(h.turn)
		h.naive.mu.Unlock()
		runtime.Gosched()
		h.naive.mu.Lock()
	case "one revision for all spaces":
		for _, s := range h.spaces {
			drawn = max(drawn, s.rev)
		}
		drawn++
		s.rev = drawn - 1
	default:
		drawn = s.rev + 1
	}
	if h.bug == "half a batch on conflict" {
		h.apply(s, s.rev, b.Writes[:len(b.Writes)/2])
	}
	if err := h.conditions(space, s, b); err != nil {
		return 0, err
	}
	switch h.bug {
	case "check outside the lock", "deferred lock":
		h.naive.mu.Unlock()
		runtime.Gosched()
		h.naive.mu.Lock()
		if h.bug == "deferred lock" && b.At != nil && *b.At != s.rev {
			return 0, store.ErrConflict
		}
		drawn = s.rev + 1
	case "cancelled half way":
		h.apply(s, s.rev+1, b.Writes[:len(b.Writes)/2])
		h.naive.mu.Unlock()
		runtime.Gosched()
		h.naive.mu.Lock()
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		drawn = s.rev + 1
	}
	if len(b.Writes) == 0 && h.bug == "no writes, no revision" {
		return s.rev, nil
	}
	f := frame{Space: inSpace, Rev: drawn}
	for _, w := range b.Writes {
		_, key := h.names(space, w.Key)
		f.Writes = append(f.Writes, store.Write{Key: key, Value: w.Value})
	}
	if err := h.persist(f); err != nil {
		return 0, err
	}
	h.apply(s, drawn, f.Writes)
	close(s.changed)
	s.changed = make(chan struct{})
	close(h.mine)
	h.mine = make(chan struct{})
	return drawn, nil
}

func (h *handle) conditions(space string, s *naiveSpace, b store.Batch) error {
	if b.At != nil && *b.At != s.rev && h.bug != "at ignored" {
		return fmt.Errorf("naive: %w", store.ErrConflict)
	}
	for key, want := range b.Checks {
		_, key = h.names(space, key)
		e := s.rows[key]
		if e.Value == nil && h.bug != "a deleted row is present" {
			e.Rev = 0
		}
		written := slices.ContainsFunc(b.Writes, func(w store.Write) bool { return w.Key == key })
		switch {
		case h.bug == "checks ignored", h.bug == "checks of written rows only" && !written, h.bug == "absence not checked" && want == 0:
		case h.bug == "row not older than its check" && e.Rev <= want && e.Value != nil:
		case e.Rev != want:
			return fmt.Errorf("naive: %w", store.ErrConflict)
		}
	}
	return nil
}

func (n *naive) persist(f frame) error {
	frames := []frame{f}
	if n.bug == "a frame per row" {
		frames = nil
		for _, w := range f.Writes {
			frames = append(frames, frame{f.Space, f.Rev, []store.Write{w}})
		}
	}
	for _, f := range frames {
		line, err := json.Marshal(f)
		if err != nil {
			return err
		}
		n.held = append(n.held, append(line, '\n'))
		if n.bug == "acknowledged before it is written" && len(n.held) < 1000 {
			return nil
		}
		for _, line := range n.held {
			if _, err := n.log.Write(line); err != nil {
				return err
			}
			if n.bug == "a frame per row" {
				time.Sleep(time.Millisecond) // widens the moment in which a kill hurts
			}
		}
		n.held = nil
	}
	if n.bug == "no sync" {
		return nil
	}
	return n.log.Sync()
}

func (h *handle) Wait(ctx context.Context, space string, after store.Rev) error {
	inSpace, _ := h.names(space, "")
	h.naive.mu.Lock()
	s := h.space(inSpace)
	past, changed := s.rev > after, s.changed
	switch h.bug {
	case "waits for the next commit":
		past = false
	case "looks, then waits":
		h.naive.mu.Unlock()
		runtime.Gosched()
		h.naive.mu.Lock()
		changed = s.changed
	case "deaf":
		changed = h.mine
	}
	h.naive.mu.Unlock()
	if past {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Compact implements store.Compactor, in memory only.
func (h *handle) Compact(_ context.Context, space string, before store.Rev) error {
	h.naive.mu.Lock()
	defer h.naive.mu.Unlock()
	inSpace, _ := h.names(space, "")
	s := h.spaces[inSpace]
	if s == nil {
		return nil
	}
	before = min(before, s.rev)
	if h.bug == "floor goes back" {
		s.floor = before
	}
	s.floor = max(s.floor, before)
	for key, e := range s.rows {
		if e.Value == nil && (e.Rev <= before || h.bug == "forgets newer deletions") || e.Rev <= before && h.bug == "forgets rows" {
			delete(s.rows, key)
		}
	}
	return nil
}
