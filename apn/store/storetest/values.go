package storetest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

// values: every byte string comes back as it was; empty is not absent.
func (k *kit) values() {
	st := k.store()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	long := make([]byte, k.MaxValue)
	for i := range long {
		long[i] = all[k.rng.IntN(256)]
	}
	for name, value := range map[string][]byte{
		"empty": {}, "nul": {0}, "nuls": {0, 0, 0}, "every byte": all, "bad utf-8": {0xff, 0xfe, 0xc0, 0x80},
		"quotes": []byte(`'"\%_$1;--` + "`"), "newline": []byte("a\r\nb\n"), "spaces": []byte("  "), "long": long,
	} {
		k.put(st, "s", "key", "before", "other", name)
		rev := k.commit(st, "s", store.Batch{Writes: []store.Write{{Key: "key", Value: value}}})
		for way, p := range map[string]store.Page{
			"Get": k.get(st, "s", "key"), "List": k.list(st, "s", "key", "", 1), "Since": k.changes(st, "s", rev-1, 1),
		} {
			switch {
			case len(p.Entries) != 1:
				k.Errorf("%s, value %q: got %s, want one row", way, name, show(p))
			case p.Entries[0].Value == nil:
				k.Errorf("%s, value %q: came back as nil, a deletion", way, name)
			case !bytes.Equal(p.Entries[0].Value, value):
				k.Errorf("%s, value %q: came back different, %d bytes of %d", way, name, len(p.Entries[0].Value), len(value))
			}
		}
	}
	k.put(st, "s", "key", "-")
	if p := k.get(st, "s", "key"); len(p.Entries) > 0 {
		k.Errorf("deleted row: got %s", show(p))
	}
}

// limits: names and values up to the limits of the contract are taken.
func (k *kit) limits() {
	if k.MaxValue < store.MaxValue {
		k.Errorf("the adapter takes values of %d bytes, the contract asks for %d", k.MaxValue, store.MaxValue)
	}
	st := k.store()
	name := func(end string) string { return strings.Repeat("n", store.MaxKey-len(end)) + end }
	for _, space := range []string{"s", " ", name("1"), name("2")} {
		rev := k.put(st, space, name("a"), "1", name("b"), "2", "k", "3", " ", "4", "/", "5")
		p := k.list(st, space, "", "", 0)
		k.want(p, " ", "4", "/", "5", "k", "3", name("a"), "1", name("b"), "2")
		if p.Rev != rev {
			k.Errorf("space of %d bytes: got revision %d, want %d", len(space), p.Rev, rev)
		}
		k.want(k.get(st, space, name("a")), name("a"), "1")
		k.want(k.list(st, space, name("a")[:store.MaxKey-1], name("a"), 0), name("b"), "2")
		if p := k.changes(st, space, rev-1, 0); len(p.Entries) != 5 {
			k.Errorf("space of %d bytes: got changes %s, want five", len(space), show(p))
		}
	}
}

// aliasing: the store and its caller share no memory, in either direction.
func (k *kit) aliasing() {
	st := k.store()
	scribble := func(b []byte) {
		for i := range b {
			b[i] = 'X'
		}
	}
	for i := range 3 {
		w := writes("a", "first", "b", "second")
		rev := k.commit(st, "s", store.Batch{Writes: w})
		check := func(when string) {
			k.Helper()
			for way, p := range map[string]store.Page{
				"Get": k.get(st, "s", "a", "b"), "List": k.list(st, "s", "", "", 0), "Since": k.changes(st, "s", rev-1, 0),
			} {
				for _, e := range p.Entries {
					if want := map[string]string{"a": "first", "b": "second"}[e.Key]; string(e.Value) != want {
						k.Errorf("round %d, %s, %s: row %q is %q, want %q", i, when, way, e.Key, e.Value, want)
					}
					// Also past the end: an append must not reach a neighbour.
					scribble(e.Value[:cap(e.Value)])
				}
			}
		}
		for _, one := range w {
			scribble(one.Value)
		}
		check("after the caller changed what it wrote")
		check("after the caller changed what it read")
	}
	// Pages outlive later commits.
	k.put(st, "s", "a", "first")
	p := k.list(st, "s", "", "", 1)
	for i := range 50 {
		k.put(st, "s", "a", fmt.Sprintf("later%d", i), "c", strings.Repeat("c", i*100))
	}
	k.want(store.Page{Entries: p.Entries}, "a", "first")
}
