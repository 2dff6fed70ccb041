package keystest

import (
	"io"
	"slices"
	"testing"

	"github.com/apnkit/apnkit/keys"
)

// RunStore runs the suite against the stores that open returns. A new name
// stands for an empty store; a name that came up before for the same data
// again, as after a restart: the suite closes the first store, if it is an
// io.Closer, and opens it a second time.
func RunStore(t *testing.T, open func(t *testing.T, name string) keys.Store) {
	t.Helper()
	runAll(t, storeChecks(), func(t *testing.T) *storeEnv {
		t.Helper()
		e := &storeEnv{open: func() keys.Store { return open(t, t.Name()) }}
		e.Store = e.open()
		t.Cleanup(func() {
			if err := e.close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return e
	})
}

type storeEnv struct {
	keys.Store
	open func() keys.Store
}

func (e *storeEnv) close() error {
	if c, ok := e.Store.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func storeChecks() []check[*storeEnv] {
	return slices.Concat(swapChecks(), readChecks())
}

func row(key, value string, rev uint64) keys.Row {
	return keys.Row{Key: key, Value: []byte(value), Rev: rev}
}

// get returns one row; absent is the zero Row.
func (e *storeEnv) get(t reporter, network, key string) keys.Row {
	rows, err := e.Get(t.Context(), network, key)
	if err != nil {
		t.Fatalf("Get %q: %v", key, err)
	}
	if len(rows) == 0 {
		return keys.Row{}
	}
	if len(rows) > 1 || rows[0].Key != key || rows[0].Rev == 0 {
		t.Fatalf("Get %q returned %d rows, another key or revision 0", key, len(rows))
	}
	return rows[0]
}

// list returns one page.
func (e *storeEnv) list(t reporter, network, prefix, after string, limit int) []keys.Row {
	rows, err := e.List(t.Context(), network, prefix, after, limit)
	if err != nil {
		t.Fatalf("List %q: %v", prefix, err)
	}
	if len(rows) > limit {
		t.Fatalf("List with limit %d returned %d rows", limit, len(rows))
	}
	return rows
}

// has compares a value; empty means absent.
func (e *storeEnv) has(t reporter, key, value, when string) {
	if got := string(e.get(t, "n", key).Value); got != value {
		t.Fatalf("%s, %q is %.40q, want %.40q", when, key, got, value)
	}
}

func (e *storeEnv) put(t reporter, network string, rows ...keys.Row) {
	if err := e.Swap(t.Context(), network, nil, rows); err != nil {
		t.Fatalf("Swap %q: %v", rows[0].Key, err)
	}
}
