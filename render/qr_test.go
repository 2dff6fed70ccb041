package render_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/png"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	qrcode "github.com/skip2/go-qrcode"
	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

// skip2PNG makes an image with go-qrcode alone.
func skip2PNG(tb testing.TB, text []byte, scale int) []byte {
	tb.Helper()
	q, err := qrcode.New(string(text), qrcode.Low)
	require.NoError(tb, err)
	b, err := q.PNG(-scale)
	require.NoError(tb, err)
	return b
}

// TestTenServersFit: the limit is not arbitrary. Every shape with ordinary names
// fits at level L.
func TestTenServersFit(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		for _, servers := range []int{0, 1, 9, 10} {
			c := device(t, s, servers)
			symbol, err := render.QR(c, nil)
			require.NoError(t, err)
			want, err := render.Compact.Append(nil, c, nil)
			require.NoError(t, err)
			got, err := decodeQR(symbol.Size(), symbol.Dark)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
			require.Equal(t, 17+4*symbol.Version(), symbol.Size())
			back, err := render.Parse(got, nil)
			require.NoError(t, err)
			require.True(t, back.Equal(c))
		}
	}
}

func TestTooManyServers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		servers, limit int
		want           *render.TooManyServersError
	}{
		{10, 0, nil},
		{11, 0, &render.TooManyServersError{Servers: 11, Limit: 10}},
		{1000, 0, &render.TooManyServersError{Servers: 1000, Limit: 10}},
		{11, 11, nil},
		{3, 2, &render.TooManyServersError{Servers: 3, Limit: 2}},
		{18, -1, nil},
	}
	for _, tt := range tests {
		_, err := render.QR(device(t, shapes[0], tt.servers), &render.QROptions{Limit: tt.limit, Encoder: counting{t, tt.want == nil}})
		if tt.want == nil {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, render.ErrNoQR)
		var tooMany *render.TooManyServersError
		require.ErrorAs(t, err, &tooMany)
		require.Equal(t, tt.want, tooMany)
		require.EqualError(t, err, fmt.Sprintf("render: QR code: %d servers, limit %d", tt.want.Servers, tt.want.Limit))
	}
}

// counting is an encoder that fails the test if it is not expected.
type counting struct {
	t        *testing.T
	expected bool
}

func (e counting) EncodeQR(data []byte, l render.Level) (*render.Symbol, error) {
	require.True(e.t, e.expected, "encoding work for a config that does not fit")
	return render.Skip2{}.EncodeQR(data, l)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[7], 10)
	for k := range c.Peers {
		c.Peers[k].Endpoint.Host = fmt.Sprintf("%s%02d.example", strings.Repeat("abcdefgh.", 20), k)
	}
	text, err := render.Compact.Append(nil, c, nil)
	require.NoError(t, err)
	for l, capacity := range map[render.Level]int{render.LevelL: 2953, render.LevelM: 2331, render.LevelQ: 1663, render.LevelH: 1273} {
		_, err = render.QR(c, &render.QROptions{Level: l, Encoder: counting{t, false}})
		require.ErrorIs(t, err, render.ErrNoQR)
		var tooLarge *render.TooLargeError
		require.ErrorAs(t, err, &tooLarge)
		require.Equal(t, &render.TooLargeError{Bytes: len(text), Capacity: capacity, Level: l}, tooLarge)
	}
	_, err = render.Skip2{}.EncodeQR(make([]byte, 8<<20), render.LevelL)
	require.ErrorIs(t, err, render.ErrNoQR)
}

func TestQRRefuses(t *testing.T) {
	t.Parallel()
	for _, change := range []func(c *render.Config){
		func(c *render.Config) { c.Interface.FwMark = 1 }, // an error on phones
		func(c *render.Config) { c.Interface.Table = render.TableOff },
		func(c *render.Config) { c.Interface.Hooks.PostUp = []string{"true"} },
		func(c *render.Config) { c.Peers[0].Endpoint.Host = "a b" },
	} {
		c := device(t, shapes[0], 1)
		change(c)
		_, err := render.QR(c, nil)
		var value *render.ValueError
		require.ErrorAs(t, err, &value)
	}
	_, err := render.QR(device(t, shapes[0], 1), &render.QROptions{Level: 4})
	require.Error(t, err)
	_, err = render.NewSymbol(22, nil)
	require.Error(t, err)
	_, err = render.NewSymbol(181, nil)
	require.Error(t, err)
}

func TestSkip2HoldsTheSame(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[4], 10)
	own, err := render.QR(c, nil)
	require.NoError(t, err)
	other, err := render.QR(c, &render.QROptions{Encoder: render.Skip2{}})
	require.NoError(t, err)
	require.LessOrEqual(t, other.Size(), own.Size())
}

func TestPNG(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{0, 3, 10} {
		s, err := render.QR(device(t, shapes[4], servers), nil)
		require.NoError(t, err)
		for _, scale := range []int{1, 2, 3, 4, 5, 7, 8, 13} {
			img, err := png.Decode(bytes.NewReader(s.AppendPNG([]byte("before"), scale)[len("before"):]))
			require.NoError(t, err)
			width := (s.Size() + 8) * scale
			require.Equal(t, width, img.Bounds().Dx())
			require.Equal(t, width, img.Bounds().Dy())
			for y := range width {
				for x := range width {
					r, _, _, _ := img.At(x, y).RGBA()
					if dark := s.Dark(x/scale-4, y/scale-4); dark == (r == 0) {
						continue
					}
					t.Fatalf("pixel %d,%d at scale %d", x, y, scale)
				}
			}
		}
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	for modules, want := range map[int]int{21: 21, 117: 5, 137: 5, 145: 4, 177: 4} {
		s, err := render.NewSymbol(modules, func(int, int) bool { return false })
		require.NoError(t, err)
		c, err := png.DecodeConfig(bytes.NewReader(s.AppendPNG(nil, 0)))
		require.NoError(t, err)
		require.Equal(t, (modules+8)*want, c.Width, modules)
		require.GreaterOrEqual(t, c.Width, 600)
	}
}

// TestSVG draws the path of the image again.
func TestSVG(t *testing.T) {
	t.Parallel()
	s, err := render.QR(device(t, shapes[4], 10), nil)
	require.NoError(t, err)
	var svg struct {
		Width   int    `xml:"width,attr"`
		ViewBox string `xml:"viewBox,attr"`
		Path    []struct {
			D string `xml:"d,attr"`
		} `xml:"path"`
	}
	require.NoError(t, xml.Unmarshal(s.AppendSVG(nil, 6), &svg))
	require.Equal(t, (s.Size()+8)*6, svg.Width)
	require.Equal(t, fmt.Sprintf("0 0 %d %d", s.Size()+8, s.Size()+8), svg.ViewBox)
	drawn := map[[2]int]bool{}
	x, y := 0, 0
	for _, m := range regexp.MustCompile(`M(\d+) (\d+)\.5|m(\d+) 0|h(\d+)`).FindAllStringSubmatch(svg.Path[1].D, -1) {
		n := make([]int, len(m))
		for i, text := range m {
			n[i], _ = strconv.Atoi(text)
		}
		switch m[0][0] {
		case 'M':
			x, y = n[1], n[2]
		case 'm':
			x += n[3]
		case 'h':
			for range n[4] {
				drawn[[2]int{x - 4, y - 4}] = true
				x++
			}
		}
	}
	for y := range s.Size() {
		for x := range s.Size() {
			require.Equal(t, s.Dark(x, y), drawn[[2]int{x, y}])
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	s, err := render.QR(device(t, shapes[4], 2), nil)
	require.NoError(t, err)
	read := func(opts *render.TextOptions, ink bool) {
		text := string(s.AppendText(nil, opts))
		require.Equal(t, opts == nil, strings.Contains(text, "\x1b["))
		text = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(text, "")
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		require.Len(t, lines, (s.Columns()+1)/2)
		for i, line := range lines {
			row := []rune(line)
			require.Len(t, row, s.Columns())
			for x, r := range row {
				above, below := strings.ContainsRune("▀█", r), strings.ContainsRune("▄█", r)
				require.Equal(t, s.Dark(x-4, 2*i-4), above == ink)
				require.Equal(t, s.Dark(x-4, 2*i-3), below == ink)
			}
		}
	}
	read(nil, true)
	read(&render.TextOptions{Plain: true}, false)
	read(&render.TextOptions{Plain: true, DarkText: true}, true)
}

// TestSymbolIsShared is for the race detector.
func TestSymbolIsShared(t *testing.T) {
	t.Parallel()
	s, err := render.QR(device(t, shapes[4], 10), nil)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s.AppendPNG(nil, 0)
			s.AppendSVG(nil, 0)
			s.AppendText(nil, nil)
			_, _ = render.QR(device(t, shapes[0], 3), nil)
		})
	}
	group.Wait()
}

func TestLevels(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 8)
	last := 0
	for l := render.LevelL; l <= render.LevelH; l++ {
		s, err := render.QR(c, &render.QROptions{Level: l})
		require.NoError(t, err)
		require.Greater(t, s.Version(), last)
		last = s.Version()
	}
	require.Equal(t, "LMQH", render.LevelL.String()+render.LevelM.String()+render.LevelQ.String()+render.LevelH.String())
}

// FuzzQRRoundTrip decodes what was encoded, at 9, 10 and 11 servers of any shape.
func FuzzQRRoundTrip(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(0))
	f.Add(uint64(2), uint8(7), uint8(1))
	f.Add(uint64(3), uint8(5), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, kind, more uint8) {
		servers := 9 + int(more%3)
		c := device(t, shapes[int(kind)%len(shapes)], servers)
		r := rand.New(rand.NewPCG(seed, 0))
		for k := range c.Peers {
			for i := range c.Peers[k].PublicKey[:31] {
				c.Peers[k].PublicKey[i] = byte(r.Uint32())
			}
			c.Peers[k].Endpoint.Port = uint16(1 + r.IntN(65535))
			if c.Peers[k].Endpoint.Host == "" {
				c.Peers[k].Endpoint.Port = 0
			}
		}
		s, err := render.QR(c, nil)
		if servers == 11 {
			var tooMany *render.TooManyServersError
			require.ErrorAs(t, err, &tooMany)
			require.Equal(t, render.TooManyServersError{Servers: 11, Limit: 10}, *tooMany)
			return
		}
		require.NoError(t, err)
		want, err := render.Compact.Append(nil, c, nil)
		require.NoError(t, err)
		got, err := decodeQR(s.Size(), s.Dark)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}
