package qr_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	qrcode "github.com/skip2/go-qrcode"
	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render/internal/qr"
)

const versions = 40

var levels = []qr.Level{qr.L, qr.M, qr.Q, qr.H}

// oracleLevel is go-qrcode's name of a level; its High is Q.
func oracleLevel(l qr.Level) qrcode.RecoveryLevel {
	return [...]qrcode.RecoveryLevel{qrcode.Low, qrcode.Medium, qrcode.High, qrcode.Highest}[l]
}

// oracle encodes with go-qrcode, without a quiet zone.
func oracle(t *testing.T, data []byte, version int, l qr.Level) [][]bool {
	t.Helper()
	q, err := qrcode.NewWithForcedVersion(string(data), version, oracleLevel(l))
	require.NoError(t, err)
	q.DisableBorder = true
	return q.Bitmap()
}

// maskOf reads the mask of a symbol from its format bits.
func maskOf(dark func(x, y int) bool) int {
	mask := 0
	for i, at := range [3][2]int{{2, 8}, {3, 8}, {4, 8}} { // bits 12, 11, 10
		if dark(at[0], at[1]) {
			mask |= 4 >> i
		}
	}
	return mask ^ 5 // the format bits are XORed with 101010000010010
}

// text returns n bytes that no encoder packs tighter than one byte each.
func text(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(26))
	}
	return b
}

func TestMatrixEqualsOracle(t *testing.T) {
	t.Parallel()
	for version := 1; version <= versions; version++ {
		t.Run(fmt.Sprintf("version=%d", version), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(version)))
			for _, l := range levels {
				limit := qr.Capacity(version, l)
				least := 1
				if version > 1 {
					least = qr.Capacity(version-1, l) + 1
				}
				data := text(r, least+r.IntN(limit-least+1))
				want := oracle(t, data, version, l)
				mask := maskOf(func(x, y int) bool { return want[y][x] })

				var got qr.Matrix
				got.EncodeAs(data, version, l, mask)
				require.Len(t, want, got.Size)
				for y := range want {
					for x := range want[y] {
						require.Equalf(t, want[y][x], got.Dark(x, y), "level %d mask %d at %d,%d", l, mask, x, y)
					}
				}

				require.NoError(t, got.Encode(data, l))
				require.Equal(t, version, got.Version)
				if int(l) == version%len(levels) {
					require.Equal(t, bestMask(data, version, l), got.Mask)
				}
				require.Equal(t, got.Mask, maskOf(got.Dark))
			}
		})
	}
}

// bestMask scores all masks one module at a time.
func bestMask(data []byte, version int, l qr.Level) int {
	best, bestScore := 0, 1<<30
	for mask := range 8 {
		var m qr.Matrix
		m.EncodeAs(data, version, l, mask)
		if s := slowPenalty(&m); s < bestScore {
			best, bestScore = mask, s
		}
	}
	return best
}

func slowPenalty(m *qr.Matrix) int {
	score, dark := 0, 0
	for i := range m.Size {
		row, col := make([]bool, m.Size), make([]bool, m.Size)
		for j := range m.Size {
			row[j], col[j] = m.Dark(j, i), m.Dark(i, j)
			if row[j] {
				dark++
			}
			if i > 0 && j > 0 {
				if c := m.Dark(j, i); m.Dark(j-1, i) == c && m.Dark(j, i-1) == c && m.Dark(j-1, i-1) == c {
					score += 3
				}
			}
		}
		score += slowLine(row) + slowLine(col)
	}
	total := m.Size * m.Size
	for step := 1; ; step++ {
		if d := 20*dark - 10*total; d < step*total && -d < step*total {
			return score + 10*(step-1)
		}
	}
}

func slowLine(line []bool) int {
	score, run := 0, 1
	for i := 1; i <= len(line); i++ {
		if i < len(line) && line[i] == line[i-1] {
			run++
			continue
		}
		if run >= 5 {
			score += 3 + run - 5
		}
		run = 1
	}
	light := func(from int) bool {
		for i := from; i < from+4; i++ {
			if i < 0 || i >= len(line) || line[i] {
				return false
			}
		}
		return true
	}
	for i := 0; i+7 <= len(line); i++ {
		if line[i] && !line[i+1] && line[i+2] && line[i+3] && line[i+4] && !line[i+5] && line[i+6] && (light(i-4) || light(i+7)) {
			score += 40
		}
	}
	return score
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	// ISO/IEC 18004:2015, table 7.
	for _, tt := range []struct {
		level   qr.Level
		v1, max int
	}{{qr.L, 17, 2953}, {qr.M, 14, 2331}, {qr.Q, 11, 1663}, {qr.H, 7, 1273}} {
		require.Equal(t, tt.v1, qr.Capacity(1, tt.level))
		require.Equal(t, tt.max, qr.MaxBytes(tt.level))
		var m qr.Matrix
		require.NoError(t, m.Encode(make([]byte, tt.max), tt.level))
		require.Equal(t, 40, m.Version)
		require.Error(t, m.Encode(make([]byte, tt.max+1), tt.level))
	}
}

func TestEncodeAllocatesNothing(t *testing.T) {
	data := text(rand.New(rand.NewPCG(1, 1)), 1488)
	var m qr.Matrix
	require.NoError(t, m.Encode(data, qr.L))
	require.Zero(t, testing.AllocsPerRun(20, func() { _ = m.Encode(data, qr.L) }))
}

func FuzzEncodeEqualsOracle(f *testing.F) {
	f.Add([]byte("a"), uint8(0))
	f.Add([]byte("[Interface]\nPrivateKey=aaaa"), uint8(1))
	f.Add(text(rand.New(rand.NewPCG(1, 2)), 300), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, level uint8) {
		l := qr.Level(level % 4)
		if len(data) == 0 || len(data) > qr.MaxBytes(l) {
			t.Skip()
		}
		for i := range data {
			data[i] |= 0x80 // go-qrcode packs digits and capitals tighter
		}
		var got qr.Matrix
		require.NoError(t, got.Encode(data, l))
		want := oracle(t, data, got.Version, l)
		got.EncodeAs(data, got.Version, l, maskOf(func(x, y int) bool { return want[y][x] }))
		for y := range want {
			for x := range want[y] {
				require.Equal(t, want[y][x], got.Dark(x, y))
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	data := text(rand.New(rand.NewPCG(1, 1)), 1488)
	b.Run("encoder=own", func(b *testing.B) {
		b.ReportAllocs()
		var m qr.Matrix
		for b.Loop() {
			_ = m.Encode(data, qr.L)
		}
	})
	b.Run("encoder=go-qrcode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q, err := qrcode.New(string(data), qrcode.Low)
			if err != nil {
				b.Fatal(err)
			}
			q.Bitmap()
		}
	})
}
