package render

import (
	"fmt"

	"github.com/apnkit/apnkit/render/internal/qr"
)

// Level is how much of a QR code may be unreadable: L 7 %, M 15 %, Q 25 %,
// H 30 % of it (ISO/IEC 18004).
type Level uint8

// LevelL is the default: the higher the level, the smaller the modules, and the
// fewer phones read a large code from a screen.
const (
	LevelL Level = iota
	LevelM
	LevelQ
	LevelH
)

// String returns L, M, Q or H.
func (l Level) String() string {
	if l > LevelH {
		return fmt.Sprintf("Level(%d)", uint8(l))
	}
	return "LMQH"[l : l+1]
}

// Symbol is a QR code. It is as secret as the config that it holds.
type Symbol struct{ m qr.Matrix }

// NewSymbol returns a symbol of size modules on a side, without quiet zone, for
// a [QREncoder] that is not of this package. dark reports the module in column
// x of row y. The size must be one of a QR code: 21, 25, ... 177.
func NewSymbol(size int, dark func(x, y int) bool) (*Symbol, error) {
	if size < 21 || size > qr.MaxSize || size%4 != 1 {
		return nil, fmt.Errorf("render: new symbol: no QR code has %d modules on a side", size)
	}
	s := &Symbol{qr.Matrix{Version: (size - 17) / 4, Size: size}}
	for y := range size {
		for x := range size {
			s.m.Set(x, y, dark(x, y))
		}
	}
	return s, nil
}

// Size returns the modules on a side, without the quiet zone.
func (s *Symbol) Size() int { return s.m.Size }

// Version returns 1 to 40: the size is 17 + 4 * version.
func (s *Symbol) Version() int { return s.m.Version }

// Dark reports whether the module in column x of row y is dark. Modules outside
// the symbol are light.
func (s *Symbol) Dark(x, y int) bool {
	return x >= 0 && y >= 0 && x < s.m.Size && y < s.m.Size && s.m.Dark(x, y)
}
