package apn

import (
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// state is all of a network at one revision. Copies are cheap: they share what
// neither changes. A published state is never changed, so readers need no lock.
type state struct {
	rev store.Rev
	// moved is at least the revision that last changed what all apps' documents
	// are made of.
	moved store.Rev
	rows  *btree.Map[string, rowAt]
	pubs  *btree.Map[string, string] // public key -> key row: unique in the network
	srvs  *btree.Map[string, string] // "<server>/<app>" -> app, for short DNS names
}

// rowAt is a row and the revision that wrote it; 0 while it is not committed.
type rowAt struct {
	row
	rev store.Rev
}

// degree keeps the nodes small that a commit copies on its way to a row.
const degree = 8

func newState() *state {
	return &state{
		rows: btree.NewMap[string, rowAt](degree),
		pubs: btree.NewMap[string, string](degree),
		srvs: btree.NewMap[string, string](degree),
	}
}

// copy returns a state that shares all rows with s until one of them changes.
// Only the committer may call it on a state that it goes on changing.
func (s *state) copy() *state {
	return &state{rev: s.rev, moved: s.moved, rows: s.rows.Copy(), pubs: s.pubs.Copy(), srvs: s.srvs.Copy()}
}

// set replaces a row; nil removes it.
func (s *state) set(key string, r row, rev store.Rev) {
	if shapes(key) {
		s.moved = max(s.moved, rev)
	}
	if strings.HasPrefix(key, preKey) {
		if old, ok := find[*keyRow](s, key); ok {
			s.pubs.Delete(string(old.pub[:]))
		}
	}
	if id, ok := strings.CutPrefix(key, preSrv); ok {
		app, server, _ := strings.Cut(id, "/")
		if r == nil {
			s.srvs.Delete(server + "/" + app)
		} else {
			s.srvs.Set(server+"/"+app, app)
		}
	}
	switch r := r.(type) {
	case nil:
		s.rows.Delete(key)
		return
	case *keyRow:
		s.pubs.Set(string(r.pub[:]), key)
	case *srvRow:
		if r.place == "" {
			r.place = placeOf(r.Addrs, r.Endpoint)
		}
	case *devRow:
		if r.place == "" {
			r.place = placeOf(r.Addrs, render.Endpoint{})
		}
	}
	s.rows.Set(key, rowAt{r, rev})
}

// find returns the row under key.
func find[R row](s *state, key string) (R, bool) {
	at, ok := s.rows.Get(key)
	r, fits := at.row.(R)
	return r, ok && fits
}

// under yields the rows below prefix by the rest of their key, in byte order.
// It skips rows of another kind.
func under[R row](s *state, prefix string) iter.Seq2[string, R] {
	return func(yield func(string, R) bool) {
		s.rows.Ascend(prefix, func(key string, at rowAt) bool {
			rest, ok := strings.CutPrefix(key, prefix)
			if !ok {
				return false
			}
			if r, fits := at.row.(R); fits {
				return yield(rest, r)
			}
			return true
		})
	}
}

// names returns the rest of the keys below prefix, for callers that change rows
// while they walk.
func names[R row](s *state, prefix string) []string {
	var list []string
	for name := range under[R](s, prefix) {
		list = append(list, name)
	}
	return list
}

// ListOptions select a part of a list that is sorted by name.
type ListOptions struct {
	// After is the name that the part comes after; it need not exist. Empty: from
	// the start.
	After string
	// Limit is how many items the part has at most. Zero: all.
	Limit int
}

// page returns the names below prefix that opts select, and whether there are
// more.
func page[R row](s *state, prefix string, opts *ListOptions) (list []string, more bool) {
	if opts == nil {
		opts = new(ListOptions)
	}
	s.rows.Ascend(prefix+opts.After, func(key string, at rowAt) bool {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			return false
		}
		if _, fits := at.row.(R); !fits || name <= opts.After && opts.After != "" {
			return true
		}
		if opts.Limit > 0 && len(list) == opts.Limit {
			more = true
			return false
		}
		list = append(list, name)
		return true
	})
	return list, more
}

// count returns how many rows lie below prefix.
func (s *state) count(prefix string) int {
	c := 0
	s.rows.Ascend(prefix, func(key string, _ rowAt) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		c++
		return true
	})
	return c
}

func (s *state) revOf(key string) store.Rev {
	at, _ := s.rows.Get(key)
	return at.rev
}

func (s *state) net() *netRow {
	r, _ := find[*netRow](s, rowNet)
	return r
}

func (s *state) ctr() ctrRow {
	if r, ok := find[*ctrRow](s, rowCtr); ok {
		return *r
	}
	return ctrRow{}
}

// deks returns the data key records, oldest version first.
func (s *state) deks() []keys.DEKRecord {
	var recs []keys.DEKRecord
	for _, r := range under[*dekRow](s, preDEK) {
		recs = append(recs, r.DEKRecord)
	}
	return recs
}

func appKey(app string) string             { return preApp + app }
func srvKey(app, server string) string     { return preSrv + app + "/" + server }
func memKey(member string) string          { return preMem + member }
func devKey(member, device string) string  { return preDev + member + "/" + device }
func handKey(member, device string) string { return preHand + member + "/" + device }

// keyKey returns the key of the key pair that belongs to a srv or dev row.
func keyKey(owner string) string { return preKey + owner }

// linkKey returns the key of the row between two apps: one row for both
// directions.
func linkKey(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return preLink + a + "/" + b
}

func dekKey(version uint32) string { return fmt.Sprintf("%s%08x", preDEK, version) }
