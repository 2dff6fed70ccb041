package ipam_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

// choices turns fuzz data into the choices of a script; it ends with the data.
type choices struct{ data []byte }

func (c *choices) more() bool { return len(c.data) > 0 }

func (c *choices) n(n int) int {
	if n <= 1 || len(c.data) == 0 {
		return 0
	}
	v := int(c.data[0])
	c.data = c.data[1:]
	if n > 256 && len(c.data) > 0 {
		v = v<<8 | int(c.data[0])
		c.data = c.data[1:]
	}
	return v % n
}

// random returns a seed for the corpus.
func random(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func FuzzModel(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(uint8(seed), random(seed, 300))
	}
	configs := modelConfigs()
	names := slices.Sorted(maps.Keys(configs))
	f.Fuzz(func(t *testing.T, config uint8, data []byte) {
		c := &choices{data}
		m := newModel(t, configs[names[int(config)%len(names)]], c.n)
		for c.more() {
			m.step()
		}
		m.check()
	})
}

func FuzzReplicas(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(random(seed, 300))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &choices{data}
		s := newReplicas(t, c.n)
		for c.more() {
			s.step()
		}
		s.settle()
	})
}

// FuzzRecords loads whatever decodes: damaged rows are refused or reported, and
// what is held never gets lost.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{
		`[{"app":"shop","prefix":"10.0.0.0/24"},{"app":"shop","owner":"a","addr":"10.0.0.2","gen":1}]`,
		`[{"app":"shop","prefix":"10.0.0.0/24"},{"app":"blog","prefix":"10.0.0.0/25"},{"app":"blog","owner":"a","addr":"10.0.0.2","gen":1}]`,
		`[{"app":"shop","prefix":"10.0.0.0/24","gen":3,"released":"2026-01-02T03:04:05.000000006Z"},{"app":"shop","owner":"a","addr":"10.0.0.2","gen":1}]`,
		`[{"app":"shop","owner":"a","addr":"fd12:3456:789a::a00:2","gen":1},{"app":"shop","owner":"a","addr":"192.0.2.1","gen":1,"released":"1969-01-02T03:04:05Z"}]`,
		`[{"app":"shop","prefix":"::ffff:10.0.0.0/104"},{"app":"x","prefix":"10.0.0.7/24"},{"app":"x","owner":"a","addr":"fe80::1%eth0","gen":1}]`,
	} {
		f.Add([]byte(s))
	}
	cfg := ipam.Config{Prefixes: pfx("10.0.0.0/8", "fd12:3456:789a::/48"), V6: ipam.Independent}
	f.Fuzz(func(t *testing.T, data []byte) {
		var records []ipam.Record
		if json.Unmarshal(data, &records) != nil {
			return
		}
		p, err := ipam.Load(cfg, len(records), slices.Values(records))
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrInvalid)
			return
		}
		kept := map[string]ipam.Record{}
		for r := range p.Records() {
			kept[r.Key()] = r
			back, ok := p.Record(r.Key())
			require.True(t, ok)
			require.Equal(t, r, back)
			text, err := json.Marshal(r)
			require.NoError(t, err)
			var again ipam.Record
			require.NoError(t, json.Unmarshal(text, &again))
			require.Equal(t, r, again)
		}
		for _, r := range records {
			require.Contains(t, kept, r.Key())
		}
		problems := p.Audit()
		if len(problems) == 0 {
			sound(t, slices.Collect(maps.Values(kept)))
		}
		// Nobody gets what a record names, however wrong the records are.
		for _, r := range records {
			if _, ok := p.SubnetOf(r.App); !ok {
				continue
			}
			a, c, err := p.Acquire(start, r.App, "somebody new", nil)
			if err != nil {
				continue
			}
			require.NoError(t, p.Apply(c))
			for _, s := range c.Steps {
				if s.Before == nil {
					require.NotContains(t, kept, s.After.Key())
				}
			}
			_, c, err = p.Acquire(start, r.App, "somebody new", nil)
			require.NoError(t, err)
			require.True(t, c.Empty(), "%v", a)
		}
	})
}

// FuzzConfig: any Config gives an error that names the field, or a Pool that works.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		`{"prefixes":["10.0.0.0/8","fd12:3456:789a::/48"]}`,
		`{"prefixes":["10.0.0.0/30"],"reserve":7,"subnet4":{"min":30,"max":32}}`,
		`{"prefixes":["fd00::/8"],"subnet6":{"default":64},"order":"hashed"}`,
		`{"prefixes":["10.0.0.0/8","10.1.0.0/16"]}`,
		`{"prefixes":["10.0.0.0/24"],"exclude":[{"prefix":"10.0.0.0/8"}],"coolDown":-1}`,
		`{"prefixes":["10.0.0.0/24","fd00::/97"],"v6":"independent","placement":"pack"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var cfg ipam.Config
		if json.Unmarshal(data, &cfg) != nil {
			return
		}
		p, err := ipam.New(cfg)
		if err != nil {
			var bad *ipam.ConfigError
			require.ErrorAs(t, err, &bad)
			require.NotEmpty(t, bad.Field)
			return
		}
		for _, app := range []string{"a", "b"} {
			s, c, err := p.Subnet(start, app, nil)
			if err != nil {
				require.ErrorIs(t, err, ipam.ErrExhausted)
				continue
			}
			require.NoError(t, p.Apply(c))
			require.NotEmpty(t, s.Prefixes)
			_, c, err = p.Acquire(start, app, "x", &ipam.AcquireOptions{AutoGrow: true})
			require.NoError(t, err)
			require.NoError(t, p.Apply(c))
			u := p.Usage(app)
			require.Equal(t, u.Total, u.Live+u.Cooling+u.Reserved+u.Excluded+u.Free)
		}
		u := p.Usage("")
		require.Equal(t, u.Total, u.Live+u.Cooling+u.Reserved+u.Excluded+u.Free)
		require.Empty(t, p.Audit())
		records := state(p)
		require.Equal(t, records, state(load(t, cfg, records)))
	})
}

func FuzzBitmap(f *testing.F) {
	f.Add(uint8(1), []byte{})
	f.Add(uint8(3), random(1, 200))
	f.Add(uint8(70), random(2, 2000))
	f.Fuzz(func(t *testing.T, words uint8, data []byte) {
		var b ipam.Bitmap
		var want []bool
		grow := func(word uint64) {
			b.Grow(word)
			for i := range 64 {
				want = append(want, word>>i&1 == 1)
			}
		}
		grow(0)
		next := func(i int) uint64 {
			for ; i < len(want) && want[i]; i++ {
			}
			return uint64(i)
		}
		c := &choices{data}
		for c.more() {
			switch op := c.n(8); {
			case op == 0 && len(want) < 64*(1+int(words)):
				grow([]uint64{0, 1, 1<<63 | 1, ^uint64(0)}[c.n(4)])
			case op < 4:
				// A full word, to move the summaries.
				w := c.n(len(want) / 64)
				for i := range 64 {
					b.Set(uint64(w*64 + i))
					want[w*64+i] = true
				}
			case op < 6:
				i := c.n(len(want))
				b.Set(uint64(i))
				want[i] = true
			default:
				i := c.n(len(want))
				b.Clear(uint64(i))
				want[i] = false
			}
			i := c.n(len(want) + 70)
			require.Equal(t, next(i), b.Next(uint64(i)), "from %d", i)
		}
		for i := range want {
			require.Equal(t, next(i), b.Next(uint64(i)), "from %d", i)
		}
	})
}

// TestBitmapLarge walks through all levels.
func TestBitmapLarge(t *testing.T) {
	t.Parallel()
	var b ipam.Bitmap
	const size = 1 << 20
	for b.Len() < size {
		b.Grow(^uint64(0))
	}
	require.EqualValues(t, size, b.Next(0))
	holes := []uint64{0, 63, 64, 4095, 4096, 262143, 262144, 262144 + 4096, 700001, size - 1}
	for _, h := range holes {
		b.Clear(h)
	}
	from := uint64(0)
	for _, h := range holes {
		require.Equal(t, h, b.Next(from))
		require.Equal(t, h, b.Next(h))
		from = h + 1
	}
	require.EqualValues(t, size, b.Next(from))
	for _, h := range holes {
		b.Set(h)
	}
	require.EqualValues(t, size, b.Next(0))
	b.Grow(^uint64(0) &^ 4)
	require.EqualValues(t, size+2, b.Next(0))
}

func FuzzTrie(f *testing.F) {
	f.Add([]byte{})
	f.Add(random(1, 100))
	f.Add(random(2, 1000))
	root := netip.MustParsePrefix("10.0.0.0/24")
	f.Fuzz(func(t *testing.T, data []byte) {
		trie := ipam.NewTrie(root)
		var taken [256]bool
		c := &choices{data}
		for c.more() {
			bits := 24 + c.n(9)
			size := 1 << (32 - bits)
			from := c.n(256) / size * size
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(from)}), bits)
			require.Equal(t, !slices.Contains(taken[from:from+size], true), trie.Unused(p), "%v", p)
			on := c.n(3) > 0
			trie.Set(p, on)
			for i := range size {
				taken[from+i] = on
			}
			count, reached := trie.Nodes()
			require.Equal(t, reached, count)

			for bits := 24; bits <= 32; bits++ {
				lengths := unusedLengths(taken[:], 24, bits)
				for _, spread := range []bool{true, false} {
					got, ok := trie.Find(bits, spread)
					require.Equal(t, len(lengths) > 0, ok)
					if !ok {
						continue
					}
					require.Equal(t, bits, got.Bits())
					require.True(t, trie.Unused(got))
					want := slices.Max(lengths)
					if spread {
						want = slices.Min(lengths)
					}
					largest := want
					for largest > 24 && trie.Unused(netip.PrefixFrom(got.Addr(), largest-1).Masked()) {
						largest--
					}
					require.Equal(t, want, largest, "cut from the wrong one")
					require.Equal(t, got.Addr(), netip.PrefixFrom(got.Addr(), want).Masked().Addr(), "not at its start")
				}
			}
		}
	})
}

// unusedLengths returns the lengths, up to bits, of the largest prefixes in
// which nothing is taken.
func unusedLengths(taken []bool, length, bits int) []int {
	if !slices.Contains(taken, true) {
		if length <= bits {
			return []int{length}
		}
		return nil
	}
	if len(taken) == 1 {
		return nil
	}
	half := len(taken) / 2
	return append(unusedLengths(taken[:half], length+1, bits), unusedLengths(taken[half:], length+1, bits)...)
}

func FuzzDerive(f *testing.F) {
	f.Add("fd12:3456:789a::/48", "fd12:3456:789a:1::/64", uint32(7), "10.1.2.0/24")
	f.Add("fd00::/96", "fd00::/64", uint32(0), "0.0.0.0/0")
	f.Fuzz(func(t *testing.T, base, via string, site uint32, v4 string) {
		p, err := netip.ParsePrefix(v4)
		if err != nil {
			return
		}
		if b, err := netip.ParsePrefix(base); err == nil {
			if a, err := ipam.Derive6(b, p.Addr()); err == nil {
				require.True(t, b.Contains(a))
				four := p.Addr().As4()
				all := a.As16()
				require.Equal(t, four[:], all[12:])
			} else {
				require.ErrorIs(t, err, ipam.ErrInvalid)
			}
		}
		if b, err := netip.ParsePrefix(via); err == nil {
			six, err := ipam.Via(b, site, p)
			if err != nil {
				require.ErrorIs(t, err, ipam.ErrInvalid)
				return
			}
			require.Equal(t, six, six.Masked())
			gotSite, got, ok := ipam.FromVia(b, six)
			require.True(t, ok)
			require.Equal(t, site, gotSite)
			require.Equal(t, p, got)
		}
	})
}
