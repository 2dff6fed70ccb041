package storetest

import (
	"slices"
	"strings"

	"github.com/apnkit/apnkit/apn/store"
)

// keyOrder: rows are listed in byte order, whatever the language of the
// database.
func (k *kit) keyOrder() {
	st := k.store()
	var keys, pairs []string
	for c := byte(0x20); c <= 0x7e; c++ {
		keys = append(keys, string(c), "k"+string(c), "k"+string(c)+"x", "K"+string(c))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, key := range keys {
		pairs = append(pairs, key, "v")
	}
	shuffled := slices.Collect(slices.Chunk(pairs, 2))
	k.rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for batch := range slices.Chunk(slices.Concat(shuffled...), 100) {
		k.put(st, "s", batch...)
	}
	k.want(k.list(st, "s", "", "", 0), pairs...)
	var paged []string
	for after := ""; ; {
		p := k.list(st, "s", "", after, 7)
		for _, e := range p.Entries {
			paged = append(paged, e.Key)
		}
		if !p.More {
			break
		}
		after = p.Entries[len(p.Entries)-1].Key
	}
	if !slices.Equal(paged, keys) {
		k.Errorf("pages of 7: got keys %q, want %q", paged, keys)
	}
}

// prefix: List takes prefix and after as bytes, nothing in them is special.
func (k *kit) prefix() {
	st := k.store()
	keys := []string{
		"a", "a!", "a%", "a%b", "a*", "a/", "a/1", "a/2", "a/~", "a/~~", "a0", "a?", "aX", "a[b]", "a\\", "a\\b", "a_", "a_b", "aa",
		"aab", "ab", "axb", "a~", "a~~", "b", "B", "A", "A/1", "~", "~~", "~~~", "}", " ", "  ", "'", "';--",
	}
	for _, key := range keys {
		k.put(st, "s", key, "v", "gone/"+key, "v")
	}
	for _, key := range keys {
		k.put(st, "s", "gone/"+key, "-")
	}
	slices.Sort(keys)
	probes := append([]string{"", "a/1x", "a/~~~", "zzz", "gone/", "gone/a", "A/", "\x1f", "~~~~"}, keys...)
	for _, prefix := range probes {
		for _, after := range probes {
			var want []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			p := k.list(st, "s", prefix, after, 0)
			got := keysOf(p)
			if !slices.Equal(got, want) || p.More {
				k.Errorf("prefix %q after %q: got %q more %t, want %q", prefix, after, got, p.More, want)
			}
		}
	}
}

// spaces: a space knows nothing of the others, however close their names.
func (k *kit) spaces() {
	st := k.store()
	names := []string{"a", "ab", "a/", "a/b", "a:b", "a b", "A", "a_", "a%", "b", "ba", " a", "a ", "'", "net", "net/1", "=a", "k", "l", "r"}
	for _, name := range names {
		k.put(st, name, "key", name, "b/key", name)
	}
	heads := map[string]store.Rev{}
	for _, name := range names {
		p := k.list(st, name, "", "", 0)
		k.want(p, "b/key", name, "key", name)
		k.want(k.get(st, name, "key"), "key", name)
		heads[name] = p.Rev
	}
	for i, name := range names {
		head := heads[name] // commits to others do not move it
		rev, err := st.Commit(k.Context(), name, store.Batch{At: &head, Writes: writes("key", "-", "new", "v")})
		if err != nil {
			k.Fatalf("commit to space %q at its revision %d: %v", name, head, err)
		}
		for _, other := range names[i+1:] {
			if q := k.list(st, other, "", "", 0); len(q.Entries) != 2 {
				k.Errorf("commit to space %q changed space %q: %s", name, other, show(q))
			}
		}
		if p := k.changes(st, name, head, 0); len(p.Entries) != 2 || p.Rev != rev {
			k.Errorf("space %q: got changes %s, want two", name, show(p))
		}
	}
	k.want(k.list(st, "a/key", "", "", 0))
	k.want(k.list(st, "never", "", "", 0))
}

func keysOf(p store.Page) []string {
	var keys []string
	for _, e := range p.Entries {
		keys = append(keys, e.Key)
	}
	return keys
}
