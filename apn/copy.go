package apn

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

// Copied tells how far a copy, backup or restore is.
type Copied struct {
	Networks int
	Rows     int
}

// add counts a space.
func (c *Copied) add(name string, rows []store.Entry) {
	c.Rows += len(rows)
	if strings.HasPrefix(name, space("")) {
		c.Networks++
	}
}

// CopyOptions are the optional settings of a copy, backup or restore.
type CopyOptions struct {
	// Progress is told after each network. Nil: nobody is.
	Progress func(Copied)
}

func (o *CopyOptions) tell(c Copied) {
	if o != nil && o.Progress != nil {
		o.Progress(c)
	}
}

// Copy copies everything from one store into another, of any kind, and reads it
// back to compare. dst must not hold networks. Each network is copied as of one
// revision, with the audit log up to it; a change made to src meanwhile may be
// missing, so end the programs that use src before its networks move for good.
//
// The networks of dst get a new epoch: revisions do not survive, so readers that
// remember some start over. A copy that was cut off leaves no network visible,
// and is finished by running it again. opts may be nil.
func Copy(ctx context.Context, dst, src store.Store, opts *CopyOptions) (Copied, error) {
	f, err := newFiller(ctx, dst, opts)
	if err == nil {
		err = readAll(ctx, src, func(space string, rows []store.Entry) error { return f.fill(ctx, space, rows) })
	}
	if err != nil {
		return f.Copied, &Error{Op: "copy store", Err: storeError(err)}
	}
	return f.Copied, nil
}

// spaces are those of a network, in the order in which they are read: what the
// network counts must be in the audit log or on its way there.
func spacesOf(network string) []string { return []string{space(network), auditSpace(network)} }

// readAll yields every space of a store with its rows, those of each network one
// after the other and the directory last.
func readAll(ctx context.Context, st store.Store, yield func(space string, rows []store.Entry) error) error {
	dir, err := snapshot(ctx, st, dirSpace)
	if err != nil {
		return err
	}
	for _, e := range dir {
		network, ok := strings.CutPrefix(e.Key, dirNet)
		if !ok {
			continue
		}
		var events uint64
		for _, space := range spacesOf(network) {
			rows, err := snapshot(ctx, st, space)
			if err != nil {
				return err
			}
			if space == auditSpace(network) {
				if rows, err = cutAudit(rows, events); err != nil {
					return err
				}
			} else if events, err = eventsOf(rows); err != nil {
				return err
			}
			if err := yield(space, rows); err != nil {
				return err
			}
		}
	}
	events, err := snapshot(ctx, st, ctlAuditSpace)
	if err != nil {
		return err
	}
	if err := yield(ctlAuditSpace, events); err != nil {
		return err
	}
	return yield(dirSpace, dir)
}

// snapshot reads a space as of one revision.
func snapshot(ctx context.Context, st store.Store, space string) ([]store.Entry, error) {
	rows := map[string]store.Entry{}
	var at store.Rev
	for after, more := "", true; more; {
		page, err := st.List(ctx, space, "", after, pageSize)
		if err != nil {
			return nil, err
		}
		if after == "" {
			at = page.Rev
		}
		for _, e := range page.Entries {
			rows[e.Key], after = e, e.Key
		}
		more = page.More
	}
	for more := true; more; { // pages may be of different revisions
		page, err := st.Since(ctx, space, at, pageSize)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			if rows[e.Key] = e; e.Value == nil {
				delete(rows, e.Key)
			}
			at = e.Rev
		}
		more = page.More
	}
	list := make([]store.Entry, 0, len(rows))
	for _, e := range rows {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b store.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return list, nil
}

// eventsOf returns how many events the rows of a network count.
func eventsOf(rows []store.Entry) (uint64, error) {
	i, ok := search(rows, rowCtr)
	if !ok {
		return 0, nil
	}
	r, err := decodeRow(rowCtr, rows[i].Value)
	if err != nil {
		return 0, err
	}
	c, _ := r.(*ctrRow)
	return c.Events, nil
}

// cutAudit leaves out the events that came after a network was read: the copy
// would give their numbers to others.
func cutAudit(rows []store.Entry, events uint64) ([]store.Entry, error) {
	count := len(rows)
	rows = slices.DeleteFunc(rows, func(e store.Entry) bool {
		return strings.HasPrefix(e.Key, auditEvent) && e.Key > auditEvent+outNumber(events)
	})
	head, ok := search(rows, auditHeadKey)
	if !ok || len(rows) == count {
		return rows, nil
	}
	var end auditMark
	last, found := search(rows, auditFloorKey)
	if found {
		if err := json.Unmarshal(rows[last].Value, &end); err != nil {
			return nil, damaged(auditFloorKey, errors.New("malformed JSON document"))
		}
	}
	if last > 0 {
		c, err := decodeEvent(rows[last-1])
		if err != nil {
			return nil, err
		}
		end.N, end.Hash = c.N, c.Hash
	}
	end.stamp()
	value, err := json.Marshal(end)
	rows[head].Value = value
	return rows, err
}

// ErrNotEmpty says that the store that was to be filled holds networks.
var ErrNotEmpty = errors.New("the store holds networks already")

// filler fills a store space by space, the directory last: until then no
// network is visible.
type filler struct {
	Copied
	st   store.Store
	most int // rows per commit
	opts *CopyOptions
}

func newFiller(ctx context.Context, st store.Store, opts *CopyOptions) (*filler, error) {
	f := &filler{st: st, most: cmp.Or(limitsOf(st).most, pageSize), opts: opts}
	page, err := st.List(ctx, dirSpace, dirNet, "", 1)
	if err == nil && len(page.Entries) > 0 {
		err = ErrNotEmpty
	}
	return f, err
}

const copyBytes = 1 << 20 // per commit; etcd takes 1.5 MiB

// fill makes rows the content of a space, reads it back and compares.
func (f *filler) fill(ctx context.Context, name string, rows []store.Entry) error {
	old, err := snapshot(ctx, f.st, name) // of a copy that was cut off
	if err != nil {
		return err
	}
	var writes []store.Write
	for i, e := range rows {
		if e.Key == rowNet {
			if rows[i].Value, err = newEpoch(e.Value); err != nil {
				return err
			}
		}
		writes = append(writes, store.Write{Key: e.Key, Value: rows[i].Value})
	}
	for _, e := range old {
		if _, ok := search(rows, e.Key); !ok {
			writes = append(writes, store.Write{Key: e.Key})
		}
	}
	for len(writes) > 0 {
		count, size := 0, 0
		for _, w := range writes[:min(f.most, len(writes))] {
			if size += len(w.Key) + len(w.Value); count > 0 && size > copyBytes {
				break
			}
			count++
		}
		if _, err := f.st.Commit(ctx, name, store.Batch{Writes: writes[:count]}); err != nil {
			return err
		}
		writes = writes[count:]
	}
	got, err := snapshot(ctx, f.st, name)
	if err != nil {
		return err
	}
	same := func(a, b store.Entry) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }
	if !slices.EqualFunc(got, rows, same) {
		return fmt.Errorf("space %q: what was written reads differently: %w", name, ErrDamaged)
	}
	f.add(name, rows)
	f.opts.tell(f.Copied)
	return nil
}

// newEpoch changes the epoch in a network's settings, and nothing else of them.
func newEpoch(value []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(value, &fields); err != nil {
		return nil, damaged(rowNet, errors.New("malformed JSON document"))
	}
	epoch, err := json.Marshal(newUID())
	if err != nil {
		return nil, err
	}
	fields["epoch"] = epoch
	return json.Marshal(fields)
}

// search finds a key in rows that are sorted.
func search(rows []store.Entry, key string) (int, bool) {
	return slices.BinarySearchFunc(rows, key, func(e store.Entry, key string) int { return cmp.Compare(e.Key, key) })
}
