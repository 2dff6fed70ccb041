package keystest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

func TestMemStore(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	stores := map[string]*keys.MemStore{}
	keystest.RunStore(t, func(_ *testing.T, name string) keys.Store {
		mu.Lock()
		defer mu.Unlock()
		if stores[name] == nil {
			stores[name] = &keys.MemStore{}
		}
		return stores[name]
	})
}

// badStore is a store whose methods a mutant replaces.
type badStore struct {
	keys.Store
	networks func(ctx context.Context, after string, limit int) ([]string, error)
	get      func(ctx context.Context, network string, keys ...string) ([]keys.Row, error)
	list     func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error)
	swap     func(ctx context.Context, network string, checks, writes []keys.Row) error
}

func (b *badStore) Networks(ctx context.Context, after string, limit int) ([]string, error) {
	if b.networks != nil {
		return b.networks(ctx, after, limit)
	}
	return b.Store.Networks(ctx, after, limit)
}

func (b *badStore) Get(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
	if b.get != nil {
		return b.get(ctx, network, names...)
	}
	return b.Store.Get(ctx, network, names...)
}

func (b *badStore) List(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
	if b.list != nil {
		return b.list(ctx, network, prefix, after, limit)
	}
	return b.Store.List(ctx, network, prefix, after, limit)
}

func (b *badStore) Swap(ctx context.Context, network string, checks, writes []keys.Row) error {
	if b.swap != nil {
		return b.swap(ctx, network, checks, writes)
	}
	return b.Store.Swap(ctx, network, checks, writes)
}

// current makes the revisions of rows what the store has, so that nothing
// conflicts.
func current(ctx context.Context, s keys.Store, network string, rows []keys.Row) []keys.Row {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Rev = 0
		if got, _ := s.Get(ctx, network, rows[i].Key); len(got) == 1 {
			rows[i].Rev = got[0].Rev
		}
	}
	return rows
}

// overwrite writes whatever the revisions are.
func overwrite(ctx context.Context, s keys.Store, network string, checks, writes []keys.Row) error {
	err := keys.ErrConflict
	for try := 0; try < 100 && errors.Is(err, keys.ErrConflict); try++ {
		err = s.Swap(ctx, network, checks, current(ctx, s, network, writes))
	}
	return err
}

// mapRows changes the rows that Get and List return.
func mapRows(b *badStore, f func(keys.Row) keys.Row) {
	b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
		rows, err := b.Store.Get(ctx, network, names...)
		for i := range rows {
			rows[i] = f(rows[i])
		}
		return rows, err
	}
	b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
		rows, err := b.Store.List(ctx, network, prefix, after, limit)
		for i := range rows {
			rows[i] = f(rows[i])
		}
		return rows, err
	}
}

// mapWrites changes what Swap stores.
func mapWrites(b *badStore, f func(keys.Row) keys.Row) {
	b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
		writes = slices.Clone(writes)
		for i := range writes {
			writes[i] = f(writes[i])
		}
		return b.Store.Swap(ctx, network, checks, writes)
	}
}

// mapNetwork changes which network is meant.
func mapNetwork(b *badStore, f func(string) string) {
	b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
		return b.Store.Get(ctx, f(network), names...)
	}
	b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
		return b.Store.List(ctx, f(network), prefix, after, limit)
	}
	b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
		return b.Store.Swap(ctx, f(network), checks, writes)
	}
}

// TestStoreMutants breaks a working store in one way each, and wants the check
// that defends the sentence to say so.
func TestStoreMutants(t *testing.T) {
	t.Parallel()
	mutants := []struct {
		name   string
		mutate func(b *badStore)
		again  func(b *badStore) keys.Store // after a restart; nil means the same store
		want   []string                     // the checks that must fail
	}{
		{name: "loses compare-and-swap", want: []string{"CompareAndSwap", "NoLostUpdate"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				return overwrite(ctx, b.Store, network, checks, writes)
			}
		}},
		{name: "creates over an existing row", want: []string{"CreateOnce", "OneWinner"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				for i, r := range current(ctx, b.Store, network, writes) {
					if writes[i].Rev == 0 {
						writes[i].Rev = r.Rev
					}
				}
				return b.Store.Swap(ctx, network, checks, writes)
			}
		}},
		{name: "compares, then swaps", want: []string{"OneWinner"}, mutate: checkThenAct},
		{name: "ignores the checks", want: []string{"ChecksWithoutWrites"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, _, writes []keys.Row) error {
				return b.Store.Swap(ctx, network, nil, writes)
			}
		}},
		{name: "writes row by row", want: []string{"AllOrNothing"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				for _, r := range writes {
					if err := b.Store.Swap(ctx, network, checks, []keys.Row{r}); err != nil {
						return err
					}
				}
				return nil
			}
		}},
		{name: "reports another error for a conflict", want: []string{"CreateOnce", "CompareAndSwap"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				if err := b.Store.Swap(ctx, network, checks, writes); err != nil {
					return errors.Join(ctx.Err(), errors.New("UNIQUE constraint failed"))
				}
				return nil
			}
		}},
		{name: "keeps deleted rows as empty ones", want: []string{"Delete"}, mutate: func(b *badStore) {
			mapWrites(b, func(r keys.Row) keys.Row {
				if r.Value == nil {
					r.Value = []byte{}
				}
				return r
			})
		}},
		{name: "counts revisions per row", want: []string{"RevisionNeverReturns"}, mutate: countPerRow},
		{name: "is not durable", want: []string{"Durable"}, again: func(*badStore) keys.Store { return &keys.MemStore{} }},
		{name: "renumbers after a restart", want: []string{"Durable"}, again: func(b *badStore) keys.Store {
			again := &badStore{Store: b.Store}
			mapRows(again, func(r keys.Row) keys.Row {
				r.Rev += 100
				return r
			})
			return again
		}},
		{name: "forgets deletions in a crash", want: []string{"Durable"}, again: func(b *badStore) keys.Store {
			again := &badStore{Store: b.Store}
			again.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
				rows, err := b.Store.Get(ctx, network, names...)
				if slices.Contains(names, "b") && len(rows) == 0 {
					rows = []keys.Row{{Key: "b", Value: []byte("1"), Rev: 1}}
				}
				return rows, err
			}
			return again
		}},
		{name: "returns an error for an absent row", want: []string{"AbsentIsLeftOut"}, mutate: func(b *badStore) {
			b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
				rows, err := b.Store.Get(ctx, network, names...)
				if err == nil && len(rows) < len(names) {
					err = errors.New("no rows in result set")
				}
				return rows, err
			}
		}},
		{name: "returns a placeholder for an absent row", want: []string{"AbsentIsLeftOut"}, mutate: func(b *badStore) {
			b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
				rows, err := b.Store.Get(ctx, network, names...)
				for _, n := range names {
					if !slices.ContainsFunc(rows, func(r keys.Row) bool { return r.Key == n }) {
						rows = append(rows, keys.Row{Key: n})
					}
				}
				return rows, err
			}
		}},
		{name: "reads from a cache", want: []string{"ReadsSeeWrites"}, mutate: cacheReads},
		{name: "keeps text", want: []string{"BinaryValues"}, mutate: func(b *badStore) {
			mapWrites(b, func(r keys.Row) keys.Row {
				if !utf8.Valid(r.Value) {
					r.Value = []byte(strings.ToValidUTF8(string(r.Value), "?"))
				}
				return r
			})
		}},
		{name: "cuts values at NUL", want: []string{"BinaryValues"}, mutate: func(b *badStore) {
			mapWrites(b, func(r keys.Row) keys.Row {
				if i := slices.Index(r.Value, 0); i >= 0 {
					r.Value = r.Value[:i]
				}
				return r
			})
		}},
		{name: "trims values", want: []string{"BinaryValues"}, mutate: func(b *badStore) {
			mapRows(b, func(r keys.Row) keys.Row {
				r.Value = []byte(strings.TrimSpace(string(r.Value)))
				return r
			})
		}},
		{name: "cuts large values", want: []string{"LargeValues"}, mutate: func(b *badStore) {
			mapWrites(b, func(r keys.Row) keys.Row {
				r.Value = r.Value[:min(len(r.Value), 65535)]
				return r
			})
		}},
		{name: "sorts as people do", want: []string{"ListOrder"}, mutate: func(b *badStore) {
			listAll(b, func(x, y keys.Row) int {
				return strings.Compare(strings.ToLower(x.Key)+x.Key, strings.ToLower(y.Key)+y.Key)
			})
		}},
		{name: "lists from after on", want: []string{"ListOrder"}, mutate: func(b *badStore) {
			b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
				rows, err := b.Store.List(ctx, network, prefix, after, limit)
				if got, _ := b.Store.Get(ctx, network, after); len(got) == 1 && strings.HasPrefix(after, prefix) {
					rows = append(got, rows...)
				}
				return rows[:min(len(rows), limit)], err
			}
		}},
		{name: "ignores the limit", want: []string{"ListOrder"}, mutate: func(b *badStore) {
			b.list = func(ctx context.Context, network, prefix, after string, _ int) ([]keys.Row, error) {
				return b.Store.List(ctx, network, prefix, after, 1000)
			}
		}},
		{name: "ignores after before the prefix", want: []string{"ListOrder"}, mutate: func(b *badStore) {
			b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
				if after != "" && !strings.HasPrefix(after, prefix) {
					return nil, ctx.Err()
				}
				return b.Store.List(ctx, network, prefix, after, limit)
			}
		}},
		{name: "takes the prefix for a pattern", want: []string{"PrefixIsLiteral"}, mutate: likePrefix},
		{name: "ignores case", want: []string{"PrefixIsLiteral"}, mutate: func(b *badStore) {
			b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
				rows, err := b.Store.List(ctx, network, "", after, 1000)
				rows = slices.DeleteFunc(rows, func(r keys.Row) bool {
					return !strings.HasPrefix(strings.ToLower(r.Key), strings.ToLower(prefix))
				})
				return rows[:min(len(rows), limit)], err
			}
		}},
		{name: "keeps empty networks", want: []string{"Networks"}, mutate: func(b *badStore) {
			var mu sync.Mutex
			seen := map[string]bool{}
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				err := b.Store.Swap(ctx, network, checks, writes)
				mu.Lock()
				defer mu.Unlock()
				seen[network] = true
				return err
			}
			b.networks = func(ctx context.Context, after string, limit int) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				names := slices.DeleteFunc(slices.Sorted(maps.Keys(seen)), func(n string) bool { return n <= after })
				return names[:min(len(names), limit)], ctx.Err()
			}
		}},
		{name: "lists networks on one page", want: []string{"Networks"}, mutate: func(b *badStore) {
			b.networks = func(ctx context.Context, _ string, limit int) ([]string, error) {
				return b.Store.Networks(ctx, "", limit)
			}
		}},
		{name: "mixes networks", want: []string{"NetworksApart"}, mutate: func(b *badStore) {
			mapNetwork(b, strings.ToLower)
		}},
		{name: "keeps the caller's slice", want: []string{"ArgumentsCopied"}, mutate: keepSlices},
		{name: "returns its own slice", want: []string{"ResultsCopied"}, mutate: func(b *badStore) {
			var mu sync.Mutex
			own := map[string][]byte{}
			mapRows(b, func(r keys.Row) keys.Row {
				mu.Lock()
				defer mu.Unlock()
				if string(own[r.Key]) == "" {
					own[r.Key] = r.Value
				}
				if r.Key == "a" && string(r.Value) == "before" {
					r.Value = own[r.Key]
				}
				return r
			})
		}},
		{name: "reads after the context ended", want: []string{"ContextHonoured"}, mutate: func(b *badStore) {
			b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
				return b.Store.Get(context.WithoutCancel(ctx), network, names...)
			}
		}},
		{name: "writes after the context ended", want: []string{"ContextHonoured"}, mutate: func(b *badStore) {
			b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
				return errors.Join(b.Store.Swap(context.WithoutCancel(ctx), network, checks, writes), ctx.Err())
			}
		}},
	}

	var caught []string
	for _, m := range mutants {
		caught = append(caught, m.want...)
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, want := range m.want {
				b := &badStore{Store: &keys.MemStore{}}
				if m.mutate != nil {
					m.mutate(b)
				}
				again := func() keys.Store { return b }
				if m.again != nil {
					again = func() keys.Store { return m.again(b) }
				}
				require.NotEmpty(t, keystest.StoreFailure(t, want, b, again), "not caught")
			}
		})
	}
	slices.Sort(caught)
	require.ElementsMatch(t, keystest.StoreChecks(), slices.Compact(caught), "every check has a mutant")
}

// checkThenAct reads the revisions, lets others run, and writes whatever it
// finds then.
func checkThenAct(b *badStore) {
	var together sync.WaitGroup
	together.Add(2)
	var once [2]sync.Once
	b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
		for i, r := range current(ctx, b.Store, network, writes) {
			if writes[i].Rev != r.Rev {
				return keys.ErrConflict
			}
		}
		if strings.HasPrefix(writes[0].Key, "idx/0") {
			// The first two that got here have both read "absent".
			first := false
			once[0].Do(func() { first = true; together.Done() })
			if !first {
				once[1].Do(together.Done)
			}
			together.Wait()
		}
		return overwrite(ctx, b.Store, network, checks, writes)
	}
}

// countPerRow numbers the writes of each row from 1, also after a deletion.
func countPerRow(b *badStore) {
	var mu sync.Mutex
	base := map[string]uint64{} // revision of the store just before the row's first write
	b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
		mu.Lock()
		defer mu.Unlock()
		stored := slices.Clone(writes)
		for i := range stored {
			if stored[i].Rev != 0 {
				stored[i].Rev += base[network+stored[i].Key]
			}
		}
		realChecks := slices.Clone(checks)
		for i := range realChecks {
			if realChecks[i].Rev != 0 {
				realChecks[i].Rev += base[network+realChecks[i].Key]
			}
		}
		err := b.Store.Swap(ctx, network, realChecks, stored)
		if err == nil {
			for _, r := range writes {
				if rows, _ := b.Store.Get(ctx, network, r.Key); r.Rev == 0 && len(rows) == 1 {
					base[network+r.Key] = rows[0].Rev - 1
				}
			}
		}
		return err
	}
	number := func(network string, rows []keys.Row) {
		mu.Lock()
		defer mu.Unlock()
		for i := range rows {
			rows[i].Rev -= base[network+rows[i].Key]
		}
	}
	b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
		rows, err := b.Store.Get(ctx, network, names...)
		number(network, rows)
		return rows, err
	}
	b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
		rows, err := b.Store.List(ctx, network, prefix, after, limit)
		number(network, rows)
		return rows, err
	}
}

// cacheReads answers each Get with what it first found.
func cacheReads(b *badStore) {
	var mu sync.Mutex
	seen := map[string][]keys.Row{}
	b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
		mu.Lock()
		defer mu.Unlock()
		at := network + "|" + strings.Join(names, "|")
		if rows, ok := seen[at]; ok && len(rows) > 0 {
			return slices.Clone(rows), ctx.Err()
		}
		rows, err := b.Store.Get(ctx, network, names...)
		seen[at] = slices.Clone(rows)
		return rows, err
	}
}

// listAll lists in another order.
func listAll(b *badStore, cmp func(x, y keys.Row) int) {
	b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
		rows, err := b.Store.List(ctx, network, prefix, "", 1000)
		slices.SortFunc(rows, cmp)
		rows = slices.DeleteFunc(rows, func(r keys.Row) bool { return cmp(r, keys.Row{Key: after}) <= 0 })
		return rows[:min(len(rows), limit)], err
	}
}

// likePrefix reads % and _ as SQL's LIKE does.
func likePrefix(b *badStore) {
	b.list = func(ctx context.Context, network, prefix, after string, limit int) ([]keys.Row, error) {
		if !strings.ContainsAny(prefix, "%_") {
			return b.Store.List(ctx, network, prefix, after, limit)
		}
		rows, err := b.Store.List(ctx, network, strings.TrimRight(prefix, "%_"), after, limit)
		return rows, err
	}
}

// keepSlices stores what it is given without a copy.
func keepSlices(b *badStore) {
	var mu sync.Mutex
	kept := map[string][]byte{}
	b.swap = func(ctx context.Context, network string, checks, writes []keys.Row) error {
		err := b.Store.Swap(ctx, network, checks, writes)
		mu.Lock()
		defer mu.Unlock()
		for _, r := range writes {
			if err == nil {
				kept[network+r.Key] = r.Value
			}
		}
		return err
	}
	b.get = func(ctx context.Context, network string, names ...string) ([]keys.Row, error) {
		rows, err := b.Store.Get(ctx, network, names...)
		mu.Lock()
		defer mu.Unlock()
		for i := range rows {
			rows[i].Value = slices.Clone(kept[network+rows[i].Key])
		}
		return rows, err
	}
}
