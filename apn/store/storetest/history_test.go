package storetest_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

// TestCheckHistory plants anomalies into small histories. Times are ticks; the
// marker row op/N is written by commit N.
func TestCheckHistory(t *testing.T) {
	t.Parallel()
	put := func(id, key string) store.Batch {
		return store.Batch{Writes: []store.Write{{Key: id, Value: []byte("v")}, {Key: key, Value: []byte(id)}}}
	}
	at := func(b store.Batch, rev store.Rev) store.Batch { b.At = &rev; return b }
	checked := func(b store.Batch, key string, rev store.Rev) store.Batch {
		b.Checks = map[string]store.Rev{key: rev}
		return b
	}
	commit := func(began, ended int64, id string, rev store.Rev, b store.Batch) storetest.Op {
		return storetest.Op{Commit: true, Began: began, Ended: ended, ID: id, Rev: rev, Batch: b}
	}
	failed := func(o storetest.Op, err error) storetest.Op { o.Rev, o.Err = 0, err; return o }
	row := func(key, id string, rev store.Rev) store.Entry {
		return store.Entry{Key: key, Value: []byte(id), Rev: rev}
	}
	list := func(began, ended int64, rev store.Rev, rows ...store.Entry) storetest.Op {
		return storetest.Op{Began: began, Ended: ended, Page: store.Page{Rev: rev, Entries: rows}}
	}
	unknown := errors.New("connection lost")
	tests := []struct {
		name  string
		ops   []storetest.Op
		marks []store.Entry
		want  string // part of the error; empty: sound
	}{
		{name: "empty"},
		{
			name: "sound", ops: []storetest.Op{
				list(1, 2, 0),
				commit(1, 5, "op/1", 10, at(put("op/1", "a"), 0)),
				list(3, 4, 10, row("a", "op/1", 10)), // overlaps the commit that it shows
				commit(6, 9, "op/2", 20, checked(put("op/2", "a"), "a", 10)),
				list(7, 8, 10, row("a", "op/1", 10)), // overlaps the commit that it does not show
				list(10, 11, 20, row("a", "op/2", 20)),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20)},
		},
		{
			name: "unknown outcome that happened", ops: []storetest.Op{
				failed(commit(1, 2, "op/1", 10, put("op/1", "a")), unknown),
				list(3, 4, 0), // it may happen late
				list(5, 6, 10, row("a", "op/1", 10)),
			},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "unknown outcome that did not", ops: []storetest.Op{
				failed(commit(1, 2, "op/1", 10, put("op/1", "a")), unknown), list(3, 4, 0),
			},
		},
		{
			name: "refused and not there", ops: []storetest.Op{
				commit(1, 2, "op/1", 10, put("op/1", "a")),
				failed(commit(3, 4, "op/2", 0, at(put("op/2", "a"), 0)), store.ErrConflict),
			},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "acknowledged and lost", want: "acknowledged at revision 10",
			ops: []storetest.Op{commit(1, 2, "op/1", 10, put("op/1", "a"))},
		},
		{
			name: "refused and there", want: "refused, and happened",
			ops:   []storetest.Op{failed(commit(1, 2, "op/1", 10, at(put("op/1", "a"), 3)), store.ErrConflict)},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "conflict without a condition", want: "without a condition",
			ops: []storetest.Op{failed(commit(1, 2, "op/1", 10, put("op/1", "a")), store.ErrConflict)},
		},
		{
			name: "revision given twice", want: "revision 10, like",
			ops: []storetest.Op{
				commit(1, 4, "op/1", 10, put("op/1", "a")), commit(2, 3, "op/2", 10, put("op/2", "b")),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 10)},
		},
		{
			name: "order against time", want: "before it began",
			ops: []storetest.Op{
				commit(1, 2, "op/1", 20, put("op/1", "a")), commit(3, 4, "op/2", 10, put("op/2", "b")),
			},
			marks: []store.Entry{row("op/1", "v", 20), row("op/2", "v", 10)},
		},
		{
			name: "lost update of the space", want: "asked for revision 10, came after 20",
			ops: []storetest.Op{
				commit(1, 2, "op/1", 10, put("op/1", "a")),
				commit(3, 6, "op/2", 20, at(put("op/2", "a"), 10)), commit(4, 5, "op/3", 30, at(put("op/3", "a"), 10)),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20), row("op/3", "v", 30)},
		},
		{
			name: "lost update of a row", want: `asked for row "a" at revision 10, it was at 20`,
			ops: []storetest.Op{
				commit(1, 2, "op/1", 10, put("op/1", "a")),
				commit(3, 6, "op/2", 20, checked(put("op/2", "a"), "a", 10)), commit(4, 5, "op/3", 30, checked(put("op/3", "a"), "a", 10)),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20), row("op/3", "v", 30)},
		},
		{
			name: "row made twice", want: `asked for row "a" at revision 0, it was at 10`,
			ops: []storetest.Op{
				commit(1, 4, "op/1", 10, checked(put("op/1", "a"), "a", 0)), commit(2, 3, "op/2", 20, checked(put("op/2", "a"), "a", 0)),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20)},
		},
		{
			name: "stale read", want: "stale, at revision 0",
			ops:   []storetest.Op{commit(1, 2, "op/1", 10, put("op/1", "a")), list(3, 4, 0)},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "read from the future", want: "began to write later",
			ops:   []storetest.Op{list(1, 2, 10, row("a", "op/1", 10)), commit(3, 4, "op/1", 10, put("op/1", "a"))},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "revision of no commit", want: "revision 15 is that of no commit",
			ops:   []storetest.Op{commit(1, 2, "op/1", 10, put("op/1", "a")), list(3, 4, 15, row("a", "op/1", 10))},
			marks: []store.Entry{row("op/1", "v", 10)},
		},
		{
			name: "torn page", want: "want rev 20",
			ops: []storetest.Op{
				commit(1, 2, "op/1", 10, put("op/1", "a")), commit(3, 6, "op/2", 20, put("op/2", "a")),
				list(4, 5, 20, row("a", "op/1", 10)),
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20)},
		},
		{
			name: "change withheld", want: "want rev 20",
			ops: []storetest.Op{
				commit(1, 2, "op/1", 10, put("op/1", "a")), commit(3, 4, "op/2", 20, put("op/2", "a")),
				{Since: true, After: 10, Began: 5, Ended: 6, Page: store.Page{Rev: 20, Entries: []store.Entry{row("a", "op/2", 20)}}},
			},
			marks: []store.Entry{row("op/1", "v", 10), row("op/2", "v", 20)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := storetest.CheckHistory(tt.ops, store.Page{Entries: tt.marks})
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}
